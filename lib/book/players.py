"""Sound on a page: small MP3 players with a caption, a label and a transcript. Introduced by story 01.

The sound lives in the page as a data address, so a published chapter needs no file beside it: 2 s at 24 kHz are about
10 kB. Only one player sounds at a time.
"""

import base64
import io
from html import escape

import numpy as np
import soundfile
from IPython.display import HTML

from lib import BadInput

MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
COMPRESSION = 0.6  # of soundfile, 0 to 1, variable bit rate
ONE_AT_A_TIME = "document.querySelectorAll('audio').forEach(a => { if (a !== this) a.pause() })"


def mp3(
    audio: np.ndarray, sample_rate_hz: int, compression: float = COMPRESSION, mode: str = "VARIABLE"
) -> bytes:
    """Encode mono float audio (sample,) as MP3, level as given; samples beyond +-1 are clipped, as in any player.

    compression: of soundfile, 0 to 1; mode: of its bit rate, VARIABLE, AVERAGE or CONSTANT.

    Raises BadInput for audio that is empty, not mono or not finite, and for a rate that MP3 does not have.
    """
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 1 or not len(audio):
        raise BadInput(f"audio: shape {audio.shape}; a player takes mono audio of shape (sample,)")
    if not np.isfinite(audio).all():
        raise BadInput("audio: contains nan or infinity; a player takes finite samples")
    if sample_rate_hz not in MP3_RATES_HZ:
        raise BadInput(
            f"sample_rate_hz: {sample_rate_hz} is no rate of MP3; resample to one of {MP3_RATES_HZ}"
        )
    file = io.BytesIO()
    with soundfile.SoundFile(
        file,
        "w",
        sample_rate_hz,
        1,
        subtype="MPEG_LAYER_III",
        format="MP3",
        compression_level=compression,
        bitrate_mode=mode,
    ) as out:
        for start in range(
            0, len(audio), 48000
        ):  # in blocks: libsndfile does not like very long writes
            out.write(np.clip(audio[start : start + 48000], -1, 1))
    return file.getvalue()


def player(audio: np.ndarray, sample_rate_hz: int, label: str, transcript: str = "") -> HTML:
    """A player: caption `label`, also read out by screen readers, and a transcript of what is heard, in words.

    audio: (sample,), float, +-1 is full scale; label and transcript are plain text and are escaped.
    """
    data = base64.b64encode(mp3(audio, sample_rate_hz)).decode()
    words = f"<small>{escape(transcript)}</small>" if transcript else ""
    return HTML(
        f'<figure class="player" style="margin:0.3em 0"><figcaption><b>{escape(label)}</b><br>{words}</figcaption>'
        f'<audio controls preload="none" aria-label="{escape(label)}" style="width:100%;height:2.2em" '
        f'onplay="{escape(ONE_AT_A_TIME)}" src="data:audio/mpeg;base64,{data}"></audio></figure>'
    )


def players(items: list[HTML], columns: int = 2) -> HTML:
    """Several players side by side in a grid; on a narrow screen they stand one under another.

    columns: at most so many in a row. Raises BadInput when there is nothing to play.
    """
    if not items:
        raise BadInput("items: no players; give at least one")
    width = f"max(14em, calc((100% - {columns - 1}em) / {columns}))"
    style = (
        f"display:grid;grid-template-columns:repeat(auto-fill,minmax({width},1fr));gap:0.3em 1em"
    )
    return HTML(
        f'<div class="players" style="{style}">{"".join(item.data for item in items)}</div>'
    )
