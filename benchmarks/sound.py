"""Sound to spectrograms: the book's rendering against bare calls and librosa; STFTs; growth.

Every contender of `clips` takes the same stretches of the same recordings through the same
effects with the same settings, which our rendering drew; it alone also draws them, refuses silent
ones and writes files. Rates are audio-seconds per CPU-second.
"""

import os
import time

import numpy as np
import soundfile
import soxr
import torch

from lib.audio import effects
from lib.audio.levels import level
from lib.audio.spectrograms import REPORT_STFT, SpectrogramConfig, spectrogram, stft
from lib.data.clips import ClipConfig
from lib.data.corpora import load_corpus
from lib.data.rendering import RenderConfig, render

LAYOUT = SpectrogramConfig()
RATE_HZ, LUFS = LAYOUT.sample_rate_hz, -23.0
torch.set_num_threads(1)


def _config(corpus: str, clips: int, seed: int) -> RenderConfig:
    source = ClipConfig(corpus=corpus, split="all", sample_rate_hz=RATE_HZ, seed=seed)
    order = effects.REPORT_ORDER
    return RenderConfig(clips=source, spectrogram=LAYOUT, effects=order, clips_per_effect=clips)


def ours(names: list[str], clips: int):
    """clips: of each effect and corpus."""
    seed = int.from_bytes(os.urandom(3))  # a rendering that is there is not computed again
    yield
    sets = [render(_config(name, clips, seed)) for name in names]
    seconds = sum(each.config.count * each.config.clips.clip_s for each in sets)
    size = sum((each.folder / "spectrograms.npy").stat().st_size for each in sets)
    yield seconds, {"bytes_per_audio_s": size / seconds}


def _stretches(names: list[str], clips: int) -> list[tuple]:
    """Files, start, seconds, effect and its values for every clip of one rendering of ours."""
    stretches = []
    for name in names:
        config = _config(name, clips, 0)
        recordings = {recording.name: recording for recording in load_corpus(name)}
        for row in render(config).table.to_dict("records"):
            effect = effects.find_effect(row["effect"])
            unit = {p.name: row[f"{row['effect']}.{p.name}"] for p in effect.parameters}
            values = effects.denormalise(row["effect"], unit)
            paths = recordings[row["recording"]].paths
            stretches.append((paths, row["start_s"], config.clips.clip_s, effect, values))
    return stretches


def bare(names: list[str], clips: int):
    """The limit. Facts: CPU-seconds of each stage in an audio-second."""
    stretches = _stretches(names, clips)
    spent = dict.fromkeys(("decode", "resample", "level", "effect", "spectrogram"), 0.0)

    def timed(name: str, function, *arguments, **more):
        start = time.process_time()
        value = function(*arguments, **more)
        spent[name] += time.process_time() - start
        return value

    def decode(path, start_s: float, seconds: float) -> tuple[np.ndarray, int]:
        with soundfile.SoundFile(path) as file:
            file.seek(int(start_s * file.samplerate))
            frames = int(seconds * file.samplerate)
            return file.read(frames, "float32", always_2d=True).mean(axis=1), file.samplerate

    yield
    for paths, start_s, seconds, effect, values in stretches:
        dry = 0
        for path in paths:
            audio, rate_hz = timed("decode", decode, path, start_s, seconds)
            dry = dry + timed("resample", soxr.resample, audio, rate_hz, RATE_HZ)
        dry = timed("level", level, dry, RATE_HZ, LUFS)  # the level decides what overdrive does
        wet = timed("effect", effect.apply, dry, RATE_HZ, **values)
        wet = timed("level", level, np.asarray(wet, np.float32), RATE_HZ, LUFS)
        timed("spectrogram", spectrogram, wet, LAYOUT).astype(np.float16)
    total = sum(seconds for _, _, seconds, _, _ in stretches)
    yield total, {name: value / total for name, value in spent.items()}


def librosa(names: list[str], clips: int):
    """Open, resample, effect, STFT, an item at a time, without levels."""
    import librosa

    stretches = _stretches(names, clips)
    n_fft, hop = LAYOUT.n_fft, LAYOUT.hop_length
    bands = librosa.filters.mel(sr=RATE_HZ, n_fft=n_fft, n_mels=LAYOUT.n_mels)

    def item(paths, start_s: float, seconds: float, effect, values: dict) -> np.ndarray:
        where = {"sr": RATE_HZ, "offset": start_s, "duration": seconds, "res_type": "soxr_hq"}
        parts = [librosa.load(path, **where)[0] for path in paths]
        shortest = min(map(len, parts))
        wet = effect.apply(sum(part[:shortest] for part in parts), RATE_HZ, **values)
        power = np.abs(librosa.stft(wet, n_fft=n_fft, hop_length=hop)) ** 2
        return librosa.power_to_db(bands @ power).astype(np.float16)

    item(*stretches[0])  # numba compiles
    yield
    for stretch in stretches:
        item(*stretch)
    yield sum(seconds for _, _, seconds, _, _ in stretches), {}


def stfts(kind: str, clips: int):
    """STFT 4096/2048 of clips of 5.46 s, one at a time. Facts: error, a share of the maximum."""
    n_fft, hop = REPORT_STFT.n_fft, REPORT_STFT.hop_length
    audio = np.random.default_rng(0).standard_normal((clips, 64 * hop)).astype(np.float32)
    if kind == "librosa":
        import librosa

        def one(x: np.ndarray) -> np.ndarray:
            return librosa.stft(x, n_fft=n_fft, hop_length=hop, pad_mode="reflect")
    elif kind == "torchaudio":
        from torchaudio.transforms import Spectrogram

        transform = Spectrogram(n_fft=n_fft, hop_length=hop, power=None)

        def one(x: np.ndarray) -> np.ndarray:
            return transform(torch.from_numpy(x)).numpy()
    else:

        def one(x: np.ndarray) -> np.ndarray:
            return stft(x, REPORT_STFT)

    padded = np.pad(audio[0].astype(np.float64), n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    exact = np.fft.rfft(frames * hann).T
    error = np.abs(one(audio[0]) - exact).max() / np.abs(exact).max()
    yield
    for x in audio:
        one(x)
    yield audio.size / RATE_HZ, {"error": float(error)}


def growth(clips: int):
    """A rendering of so many clips of dry speech: peak memory should not grow with them."""
    source = ClipConfig(corpus="speech", split="all", seed=int.from_bytes(os.urandom(3)))
    yield
    render(RenderConfig(clips=source, clips_per_effect=clips))
    yield clips, {}
