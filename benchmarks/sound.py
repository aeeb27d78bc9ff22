"""Sound to spectrograms: the book's rendering against the bare library calls and the report's way; STFTs; growth.

Rates are audio-seconds per CPU-second. Every contender of `clips` takes the same stretches of the same recordings
through the same effects with the same settings, which our rendering drew; it alone also draws them, refuses silent
ones and writes files.
"""

import itertools
import time
from collections.abc import Callable

import numpy as np
import soundfile
import soxr
import torch

from lib.audio import effects
from lib.audio.effects import REPORT_ORDER
from lib.audio.levels import level
from lib.audio.spectrograms import REPORT_STFT, SpectrogramConfig, mel_bands, stft
from lib.data import corpora
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, render
from lib.runtime import stages as artifacts

Work = Callable[[], tuple[float, dict[str, float]]]
LAYOUT = SpectrogramConfig()
RATE_HZ, LUFS = LAYOUT.sample_rate_hz, -23.0
torch.set_num_threads(1)


def _config(corpus: str, clips: int, seed: int = 0) -> RenderConfig:
    chosen = ClipConfig(corpus=corpus, split="all", sample_rate_hz=RATE_HZ, seed=seed)
    return RenderConfig(
        clips=chosen, spectrogram=LAYOUT, effects=REPORT_ORDER, clips_per_effect=clips
    )


def ours(corpora_: list[str], clips: int) -> Work:
    """clips: of each effect and corpus."""
    seeds = itertools.count(1)

    def work() -> tuple[float, dict[str, float]]:
        seed = next(seeds)  # a rendering that is there is not computed again
        done = [render(_config(corpus, clips, seed)) for corpus in corpora_]
        size = sum((part.folder / "spectrograms.npy").stat().st_size for part in done)
        seconds = sum(part.config.count for part in done) * done[0].config.clips.clip_s
        return seconds, {"bytes_per_audio_s": size / seconds}

    return work


def _stretches(corpora_: list[str], clips: int) -> list[tuple]:
    """Files, start, seconds, effect and its values for every clip of one rendering of ours."""
    found = []
    for corpus in corpora_:
        table = render(_config(corpus, clips)).table
        by_name = {recording.name: recording for recording in corpora.load_corpus(corpus)}
        for row in table.to_dict("records"):
            names = [p.name for p in effects.find_effect(row["effect"]).parameters]
            values = effects.denormalise(
                row["effect"], {n: row[f"{row['effect']}.{n}"] for n in names}
            )
            found.append(
                (
                    by_name[row["recording"]].paths,
                    row["start_s"],
                    _config(corpus, clips).clips.clip_s,
                    effects.find_effect(row["effect"]),
                    values,
                )
            )
    return found


STAGES = ("decode", "resample", "level", "effect", "spectrogram")


def bare(corpora_: list[str], clips: int) -> Work:
    """The limit. Facts: CPU-seconds of each stage in an audio-second."""
    stretches = _stretches(corpora_, clips)
    mel = torch.from_numpy(mel_bands(LAYOUT).toarray())
    window = torch.hann_window(LAYOUT.n_fft)

    def work() -> tuple[float, dict[str, float]]:
        spent, clock, kept = dict.fromkeys(STAGES, 0.0), time.process_time, None
        for paths, start_s, seconds, effect, values in stretches:
            dry = 0
            for path in paths:
                t0 = clock()
                with soundfile.SoundFile(path) as file:
                    file.seek(int(start_s * file.samplerate))
                    audio = file.read(
                        int(seconds * file.samplerate), dtype="float32", always_2d=True
                    ).mean(axis=1)
                    rate_hz = file.samplerate
                t1 = clock()
                dry = dry + soxr.resample(audio, rate_hz, RATE_HZ)
                spent["decode"] += t1 - t0
                spent["resample"] += clock() - t1
            t0 = clock()
            dry = level(
                dry, RATE_HZ, LUFS
            )  # before the effect, whose drive it decides, and after it
            t1 = clock()
            wet = np.asarray(effect.apply(dry, RATE_HZ, **values), np.float32)
            t2 = clock()
            wet = level(wet, RATE_HZ, LUFS)
            t3 = clock()
            x = torch.stft(
                torch.from_numpy(wet),
                LAYOUT.n_fft,
                LAYOUT.hop_length,
                window=window,
                return_complex=True,
            )
            kept = (
                (10 * torch.log10(mel @ (x.real**2 + x.imag**2) + 1e-10)).numpy().astype(np.float16)
            )
            spent["level"] += t1 - t0 + t3 - t2
            spent["effect"] += t2 - t1
            spent["spectrogram"] += clock() - t3
        total = sum(seconds for _, _, seconds, _, _ in stretches)
        facts = {name: value / total for name, value in spent.items()}
        return total, facts | {"finite": float(np.isfinite(kept).all())}

    return work


def _report(resampler: str) -> Callable[..., Work]:
    """Open, resample, effect, STFT, an item at a time, with librosa and its resampler of that name."""

    def contender(corpora_: list[str], clips: int) -> Work:
        import librosa

        stretches = _stretches(corpora_, clips)
        bands = librosa.filters.mel(sr=RATE_HZ, n_fft=LAYOUT.n_fft, n_mels=LAYOUT.n_mels)
        stretches_s = sum(seconds for _, _, seconds, _, _ in stretches)

        def item(
            paths: tuple, start_s: float, seconds: float, effect: effects.Effect, values: dict
        ) -> np.ndarray:
            parts = [
                librosa.load(
                    path, sr=RATE_HZ, offset=start_s, duration=seconds, res_type=resampler
                )[0]
                for path in paths
            ]
            shortest = min(map(len, parts))
            wet = effect.apply(sum(part[:shortest] for part in parts), RATE_HZ, **values)
            power = np.abs(librosa.stft(wet, n_fft=LAYOUT.n_fft, hop_length=LAYOUT.hop_length)) ** 2
            return librosa.power_to_db(bands @ power)

        item(*stretches[0])  # numba compiles

        def work() -> tuple[float, dict[str, float]]:
            made = [item(*stretch).astype(np.float16) for stretch in stretches]
            return stretches_s, {"finite": float(all(np.isfinite(each).all() for each in made))}

        return work

    return contender


def _stft(kind: str, dtype: torch.dtype = torch.float32) -> Callable[..., Work]:
    """STFT 4096/2048 of clips of 5.46 s, a clip at a time. Facts: the largest error as a share of the largest value.

    dtype: of what the others are given; ours takes float32.
    """

    def contender(clips: int) -> Work:
        n_fft, hop = REPORT_STFT.n_fft, REPORT_STFT.hop_length
        audio = np.random.default_rng(0).standard_normal((clips, 64 * hop)).astype(np.float32)
        given = audio if kind == "ours" else torch.from_numpy(audio).to(dtype).numpy()
        window = torch.hann_window(n_fft, dtype=dtype)
        if kind == "librosa":
            import librosa

            def one(x: np.ndarray) -> np.ndarray:
                return librosa.stft(x, n_fft=n_fft, hop_length=hop, pad_mode="reflect")
        elif kind == "torchaudio":
            from torchaudio.transforms import Spectrogram

            made = Spectrogram(n_fft=n_fft, hop_length=hop, power=None).to(dtype)

            def one(x: np.ndarray) -> torch.Tensor:
                return made(torch.from_numpy(x))
        elif kind == "torch":

            def one(x: np.ndarray) -> torch.Tensor:
                return torch.stft(
                    torch.from_numpy(x), n_fft, hop, window=window, return_complex=True
                )
        else:

            def one(x: np.ndarray) -> np.ndarray:
                return stft(x, REPORT_STFT)

        padded = np.pad(audio[0].astype(np.float64), n_fft // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
        exact = np.fft.rfft(frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft))).T
        error = np.abs(np.asarray(one(given[0])) - exact).max() / np.abs(exact).max()

        def work() -> tuple[float, dict[str, float]]:
            for x in given:
                one(x)
            return audio.size / RATE_HZ, {"error": float(error)}

        return work

    return contender


def growth(clips: int, workers: int) -> Work:
    """A rendering of so many clips of dry speech; peak memory tells whether it grows with them."""
    seeds = itertools.count()

    def work() -> tuple[float, dict[str, float]]:
        chosen = ClipConfig(corpus="speech", split="all", seed=next(seeds))
        made = render(RenderConfig(clips=chosen, clips_per_effect=clips), workers=workers)
        return clips, {
            "bytes": float(
                sum(
                    (made.folder / name).stat().st_size
                    for name in artifacts.read_card(made.folder)["files"]
                )
            )
        }

    return work


CONTENDERS = {
    "ours": ours,
    "bare": bare,
    "resampy": _report("kaiser_best"),
    "librosa": _report("soxr_hq"),
    "stft_ours": _stft("ours"),
    "stft_librosa": _stft("librosa"),
    "stft_torchaudio": _stft("torchaudio"),
    "stft_torch": _stft("torch"),
    "stft_librosa_64": _stft("librosa", torch.float64),
    "stft_torchaudio_64": _stft("torchaudio", torch.float64),
    "growth": growth,
}
