"""Our parsers against made-up input, for a bounded time: `FUZZ_SECONDS=3600 make fuzz`.

Hypothesis makes the input and shrinks what it finds: lib has to answer, or to refuse by BadInput.
Damaged sound goes through a worker process as in use. tests/test_hostile.py runs a few of each.
"""

import gzip
import json
import os
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import hostile
import numpy as np
import test_ranges
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lib import BadInput
from lib.book.parameters import STORIES, read_run, resolve
from lib.data import recordings, sandbox
from lib.data.corpora import load_corpus
from lib.data.digits import IDX
from lib.predict import predict_data
from lib.runtime import stages

SECONDS = float(os.environ.get("FUZZ_SECONDS", 300))
SLOW_MS = 20_000  # an input that takes as long is a finding
LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
SIZES = st.integers(0, 5) | st.sampled_from([255, 2**16, 2**31, 2**32 - 1])
SPELT = st.text("()[]{},:'\"-~0123456789 <>|fuiOVUdescrshapetn_order\\\n\t.\xe9", max_size=80)
DTYPES = st.sampled_from(["'<f8'", "'|u1'", "'|O'", "'V0'", "'<U0'", "'<c16'", "3"])


@st.composite
def data_files(draw: st.DrawFn) -> bytes:
    """.npy and IDX files, right and wrong, packed or not, cut or not."""
    content = draw(st.binary(max_size=64))
    if draw(st.booleans()):
        shape = repr(tuple(draw(st.lists(st.integers(-3, 9) | st.integers(), max_size=4))))
        body = hostile.shaped(draw(st.just(shape) | SPELT), draw(DTYPES), content)
    else:
        shape = draw(st.lists(SIZES, max_size=4))
        axes = draw(st.just(len(shape)) | st.integers(0, 255))
        body = hostile.idx(draw(st.sampled_from([*IDX, 0, 7])), *shape, data=content, axes=axes)
    if draw(st.booleans()):
        body = gzip.compress(body, 1)
    return body[: draw(st.just(len(body)) | st.integers(0, len(body)))]


def predict(path: Path) -> None:
    json.dumps(predict_data(str(path), 1), allow_nan=False)


VALUES = st.sampled_from([*hostile.EFFECTS.values(), "1e-3", "[1, 2]", 10**400]) | LITERALS
PARAMETERS = st.dictionaries(st.sampled_from([*hostile.EFFECTS, "beta"]), VALUES, max_size=5)
RUNS = st.builds(lambda values: {"stories": {"02_audio_effects": values}}, PARAMETERS)
TEXTS = (RUNS | LITERALS).map(yaml.safe_dump) | st.text("[]{}&*!:?-|>%@`'\"#,ab \n", max_size=60)


def run_file(path: Path) -> None:
    assert set(read_run(path)["stories"]) <= set(STORIES)


def parameters(path: Path) -> None:
    resolved = resolve("02_audio_effects", hostile.EFFECTS | json.loads(path.read_text()))
    assert isinstance(resolved.corpus, str) and 0.5 <= resolved.clip_s <= 60


PLACES = st.text(max_size=40) | st.sampled_from(["/dev/zero", "~x", "?mic=1", "x\0", "\ud800"])
KINDS = st.sampled_from(["folder", "vctk", "musdb18", "speech", "digits", "folder "])


def corpus(path: Path) -> None:
    load_corpus(path.read_text(encoding="utf-8", errors="surrogatepass"))


def corpus_here(path: Path) -> None:
    name = path.read_text(encoding="utf-8", errors="surrogatepass")
    load_corpus(name.replace(":", f":{path.parent}/", 1))


CARDS = LITERALS.map(json.dumps) | st.text(max_size=60)
CARDS |= st.dictionaries(st.sampled_from(["files", "format", "x"]), LITERALS).map(hostile.signed)


def card(path: Path) -> None:
    assert stages.read_card(path.parent)["files"] == {}


CORPORA = st.builds("{}:{}".format, KINDS, PLACES) | st.text(max_size=20)
PROPERTIES: dict[str, tuple[st.SearchStrategy, Callable]] = {  # by name of the file
    "data": (data_files(), predict),
    "run.yml": (TEXTS, run_file),
    "parameters": (PARAMETERS.map(json.dumps), parameters),
    "corpus": (CORPORA, corpus_here),
    "card.json": (CARDS, card),
}


def check(name: str, examples: int, derandomise: bool = False) -> None:
    """Test one property on so many examples; raises what Hypothesis found."""
    strategy, read = PROPERTIES[name]
    with tempfile.TemporaryDirectory() as folder:

        @settings(
            max_examples=examples,
            derandomize=derandomise,
            database=None,
            deadline=SLOW_MS,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def test(value: object) -> None:
            hostile.write(Path(folder, name), value)
            try:
                read(Path(folder, name))
            except BadInput as error:
                assert str(error)

        test()


def damaged(body: bytes, rng: random.Random) -> bytes:
    """Bytes and numbers replaced, mostly in the header; parts doubled or cut off."""
    content = bytearray(body)
    for _ in range(rng.choice((1, 2, 4, 16))):
        at = rng.randrange(min(len(content), rng.choice((64, 512, len(content)))))
        number = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, rng.randrange(2**32)))
        change = rng.randrange(3)
        if change == 0:
            content[at : at + 1] = bytes([number % 256])
        elif change == 1:
            content[at : at + 4] = struct.pack(rng.choice("<>") + "I", number)
        else:
            content[at : at + 64] = content[at : at + 64] * rng.randrange(1, 3)
    return bytes(content[: rng.choice((len(content), rng.randrange(1, len(content) + 1)))])


def damaged_sound(folder: Path, seed: int, examples: int) -> None:
    """Read damaged sound of every kind; a crash of a decoder is a finding: the file is kept."""
    rng = random.Random(seed)
    kinds = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
    whole = {suffix: hostile.encoded(kind, 0.3) for suffix, kind in kinds.items()}
    whole[".mp4"] = hostile.mp4()
    for number in range(examples):
        suffix = rng.choice(list(whole))
        path = folder / f"{seed}-{number}{suffix}"
        path.write_bytes(damaged(whole[suffix], rng))
        try:
            rate_hz, seconds = recordings.read_header(path)
            recording = recordings.Recording("fuzz:", "x", (path,), rate_hz, seconds, "x")
            recordings.read_stretch(recording, seconds / 2, min(seconds, 2), 24000)
        except sandbox.Crash as error:
            raise AssertionError(f"{path}: {error}") from error
        except BadInput as error:
            assert "ended its decoder" not in str(error), path
        path.unlink()


def main() -> int:
    """Test all in turn until the time is up; returns 1 if something was found."""
    folder = stages.root() / "fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    seed, until = random.randrange(2**31), time.monotonic() + SECONDS
    try:
        while time.monotonic() < until:
            for name in PROPERTIES:
                check(name, 100)
            damaged_sound(folder, seed, 200)
            draws = np.random.default_rng(seed)
            story = str(draws.choice(list(STORIES)))
            problem = test_ranges.run(story, test_ranges.drawn(story, draws), folder)
            assert problem == "", f"{story}: {problem}"
            seed += 1
    except Exception as error:
        print(f"found: {error!r}", *getattr(error, "__notes__", []), sep="\n")
        return 1
    print("nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
