"""Sound on a page: small MP3 players with a caption, a label and a transcript. See chapter 01.

The sound lives in the page as a data address, so a published chapter needs no file beside it: two
seconds at 24 kHz are about 10 kB. Only one player sounds at a time.
"""

import base64
import io
from html import escape

import numpy as np
import soundfile
from IPython.display import HTML

from lib import BadInput

BLOCK = 48000  # samples that are written at a time: libsndfile dislikes very long writes
ONE_AT_A_TIME = "document.querySelectorAll('audio').forEach(a => { if (a !== this) a.pause() })"


def mp3(
    audio: np.ndarray, sample_rate_hz: int, compression: float = 0.6, mode: str = "VARIABLE"
) -> bytes:
    """Mono float audio (sample,) as MP3 at its own level; samples beyond +-1 are clipped.

    compression, 0 to 1, and mode of the bit rate, VARIABLE, AVERAGE or CONSTANT, are soundfile's.
    BadInput for audio that is not mono or not finite.
    """
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1 or not np.isfinite(audio).all():
        raise BadInput(f"audio of shape {audio.shape}: a player takes finite samples (sample,)")
    file = io.BytesIO()
    with soundfile.SoundFile(
        file,
        "w",
        sample_rate_hz,
        channels=1,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode=mode,
        compression_level=compression,
    ) as out:
        for start in range(0, len(audio), BLOCK):
            out.write(np.clip(audio[start : start + BLOCK], -1, 1))
    return file.getvalue()


def player(
    audio: np.ndarray, sample_rate_hz: int, label: str, transcript: str = "", file: str = ""
) -> HTML:
    """A player for audio (sample,), float, +-1 is full scale.

    label: the caption, also read out by screen readers; transcript: what one hears, in words. Both
    are plain text and are escaped. file: a name under which other pages of the book find the sound,
    `_static/sound/NAME.mp3`.
    """
    data = base64.b64encode(mp3(audio, sample_rate_hz)).decode()
    label = escape(label)
    name = f'data-file="{file}" ' if file else ""
    words = f"<small>{escape(transcript)}</small>" if transcript else ""
    return HTML(
        '<figure class="player" style="margin:0.3em 0">'
        f"<figcaption><b>{label}</b><br>{words}</figcaption>"
        f'<audio controls preload="none" aria-label="{label}" style="width:100%;height:2.2em" '
        f'onplay="{escape(ONE_AT_A_TIME)}" {name}'
        f'src="data:audio/mpeg;base64,{data}"></audio></figure>'
    )


def players(items: list[HTML], columns: int = 2) -> HTML:
    """Players in a grid of at most so many columns; on a narrow screen, one below another."""
    width = f"max(14em, calc((100% - {columns - 1}em) / {columns}))"
    grid = f"grid-template-columns:repeat(auto-fill,minmax({width},1fr))"
    page = "".join(item.data for item in items)
    return HTML(f'<div class="players" style="display:grid;{grid};gap:0.3em 1em">{page}</div>')
