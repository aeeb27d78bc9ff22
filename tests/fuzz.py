"""Our own parsers against made-up input, for a bounded time: `make fuzz`, or `FUZZ_SECONDS=3600 make fuzz`.

Hypothesis makes the input and shrinks what it finds; a property holds where lib answers, or refuses by BadInput. The
decoders are C: they are given damaged sound in forks, and a fork that a signal ended is a finding whose input is kept.
What is found becomes a case of tests/hostile.py. tests/test_hostile.py runs every property a few times.
"""

import gzip
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import hostile
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lib import BadInput
from lib.book.parameters import STORIES, read_run, resolve
from lib.data import corpora
from lib.predict import IDX, predict_data
from lib.runtime import stages as artifacts

SECONDS = float(os.environ.get("FUZZ_SECONDS", 300))
SLOW_S = 20  # an input that takes as long is a finding
LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
SIZES = st.sampled_from([0, 1, 2, 3, 5, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1]) | st.integers(
    0, 2**32 - 1
)
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
SPELT = st.text("()[]{},:'\"-~0123456789 <>|fuiOVUdescrshapetn_order\\\n\t.\xe9", max_size=80)


def npy_headers() -> st.SearchStrategy[str]:
    """Headers of .npy files: right, nearly right, and text."""
    dtypes = st.sampled_from(
        ["'<f8'", "'|u1'", "'|O'", "'V0'", "'<U0'", "'<c16'", "[('a', '<f4')]", "'<M8[s]'", "3"]
    )
    shapes = st.lists(st.integers(-3, 9) | st.integers(), max_size=4).map(
        lambda sizes: repr(tuple(sizes))
    )
    whole = st.builds(
        "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}".format,
        dtypes | SPELT,
        st.sampled_from(["True", "False", "0", "None"]),
        shapes | SPELT,
    )
    return whole | st.tuples(whole, st.integers(0, 80)).map(lambda pair: pair[0][: pair[1]]) | SPELT


@st.composite
def data_files(draw: st.DrawFn) -> bytes:
    """.npy and IDX files, right and wrong, packed or not, cut or not."""
    content = draw(st.binary(max_size=64))
    if draw(st.booleans()):
        body = hostile.npy(draw(npy_headers()), content, draw(st.sampled_from([1, 2, 3])))
    else:
        shape = draw(st.lists(st.integers(0, 5) | SIZES, max_size=4))
        kind, axes = (
            draw(st.sampled_from([*IDX, 0, 7])),
            draw(st.just(len(shape)) | st.integers(0, 255)),
        )
        body = hostile.idx(kind, *shape, data=content, axes=axes)
    for at, byte in draw(
        st.lists(st.tuples(st.integers(0, len(body) - 1), st.integers(0, 255)), max_size=2)
    ):
        body = body[:at] + bytes([byte]) + body[at + 1 :]
    if draw(st.booleans()):
        body = gzip.compress(body, 1)
        body = body[: draw(st.just(len(body)) | st.integers(0, len(body)))]
    return body


def data(body: bytes, folder: Path) -> None:
    """A file of data is predicted from in numbers that JSON holds, or refused by its name."""
    path = folder / "data"
    path.write_bytes(body)
    try:
        json.dumps(predict_data(str(path), 1), allow_nan=False)
    except BadInput as error:
        assert str(path) in str(error) or "--latents" in str(error), error


def run(text: str, folder: Path) -> None:
    """A run file is read as what YAML makes of it, every story's parameters checked, or refused by its name."""
    path = folder / "run.yml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        found = read_run(path)
    except BadInput as error:
        assert str(path) in str(error)
    else:
        assert set(found["stories"]) <= set(STORIES)


GOOD_RUN = yaml.safe_load(hostile.RUN("speech"))
SPELLINGS = [*hostile.EFFECTS.values(), "1e-3", "[1, 2]", "-" * 2000 + "1", float("nan"), 10**400]
VALUES = st.sampled_from(SPELLINGS) | LITERALS
RUNS = st.fixed_dictionaries(
    {
        "stories": st.dictionaries(
            st.sampled_from(["02_audio_effects", "09_umap_analysis"]) | st.text(max_size=9),
            st.dictionaries(st.sampled_from([*hostile.EFFECTS, "beta"]), VALUES, max_size=5)
            | LITERALS,
            max_size=2,
        )
    }
)
TEXTS = (
    (RUNS | LITERALS).map(lambda value: yaml.safe_dump(value))
    | st.text(max_size=60)
    | st.text("[]{}&*!:?-|>%@`'\"#,ab \n", max_size=60).map(
        lambda rest: hostile.RUN("speech") + rest
    )
)


def parameters(values: dict, folder: Path) -> None:
    """Parameters come out as their types, or are refused by the name of the story."""
    try:
        found = resolve("02_audio_effects", hostile.EFFECTS | values)
    except BadInput as error:
        assert "02_audio_effects" in str(error)
    else:
        assert (
            isinstance(found.corpus, str) and 0.5 <= found.clip_s <= 60 and 0 <= found.seed < 2**32
        )


KINDS = st.sampled_from(["folder", "vctk", "musdb18", "speech", "digits", "folder "])
PLACES = st.text(max_size=40) | st.sampled_from(
    ["/dev/zero", "~x", "?mic=1", "/tmp?stem=", "x\0", "\ud800"]
)
SPECS = st.builds("{}:{}".format, KINDS, PLACES) | st.text(max_size=20)


def corpus(spec: str, folder: Path) -> None:
    """The name of a corpus lists recordings, or is refused; nothing below this folder is one."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        corpora.load_corpus(spec)
    except BadInput:
        pass
    finally:
        os.chdir(here)


FILES = st.dictionaries(
    st.sampled_from(["card.json", "../x", "/dev/zero", "a" * 300, ""]) | st.text(max_size=9),
    st.integers() | LITERALS,
)
DEEP = st.integers(1, 3000).map(
    lambda depth: (
        f'{{"format": {artifacts.FORMAT}, "files": {{"card.json": {"[" * depth + "]" * depth}}}}}'
    )
)
FIELDS = st.fixed_dictionaries(
    {"files": FILES | LITERALS}, optional={"format": LITERALS, "x": LITERALS}
)
CARDS = (
    FIELDS.map(hostile.signed)
    | FIELDS.map(json.dumps)
    | DEEP
    | LITERALS.map(json.dumps)
    | st.text(max_size=60)
)


def card(text: str, folder: Path) -> None:
    """A made-up card is refused by its folder, unless it has its own checksum and tells of no file."""
    (folder / "card.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        found = artifacts.read_card(folder)
    except BadInput as error:
        assert str(folder) in str(error)
    else:
        assert found["format"] == artifacts.FORMAT and found["files"] == {}, "taken for a card"


SOUND = hostile.wav(b"\1\0" * 2400)


def names(given_names: tuple[str, str, str], folder: Path) -> None:
    """Persons, utterances and songs of any name are listed under it."""
    person, utterance, song = given_names
    shutil.rmtree(folder / "VCTK", ignore_errors=True)
    shutil.rmtree(folder / "MUSDB", ignore_errors=True)
    spoken = f"{person}/{utterance}.wav"
    files = {
        "VCTK/wav48": spoken,
        "MUSDB/train": f"{song}/mixture.wav",
        "MUSDB/test": "x/mixture.wav",
    }
    for top, name in files.items():
        (folder / top / name).parent.mkdir(parents=True)
        (folder / top / name).write_bytes(SOUND)
    hidden = person.startswith("."), utterance.startswith("."), song.startswith(".")
    for kind, top, wanted in (
        ("folder", "VCTK/wav48", None if hidden[1] else spoken),
        ("vctk", "VCTK", None if hidden[0] or hidden[1] else spoken),
        ("musdb18", "MUSDB", None if hidden[2] else f"train/{song}"),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = [
                    recording.name for recording in corpora.load_corpus(f"{kind}:{folder / top}")
                ]
        except BadInput:
            found = []
        assert (
            wanted in found if wanted else not any(name.startswith("train/") for name in found)
        ), (kind, found)


PROPERTIES: dict[str, tuple[st.SearchStrategy, Callable]] = {
    "data files": (data_files(), data),
    "run files": (TEXTS, run),
    "parameters": (st.dictionaries(st.sampled_from([*hostile.EFFECTS, "x"]), VALUES), parameters),
    "corpora": (SPECS, corpus),
    "cards": (CARDS, card),
    "names": (st.tuples(NAMES, NAMES, NAMES), names),
}


def late(*_: object) -> None:
    raise AssertionError(f"takes more than {SLOW_S} s")


def check(name: str, examples: int, derandomise: bool = False) -> None:
    """One property, so many examples; raises what Hypothesis found."""
    strategy, holds = PROPERTIES[name]
    with tempfile.TemporaryDirectory() as folder:

        @settings(
            max_examples=examples,
            derandomize=derandomise,
            database=None,
            deadline=1000 * SLOW_S,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def test(value: object) -> None:
            signal.signal(signal.SIGALRM, late)  # a deadline alone looks when it is over
            signal.alarm(SLOW_S)
            try:
                holds(value, Path(folder))
            finally:
                signal.alarm(0)

        test()


# decoders -------------------------------------------------------------------------------------------------------------


def sounds() -> dict[str, bytes]:
    """A short file of every kind that is decoded, by its suffix."""
    kinds = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
    found = {suffix: hostile.encoded(kind, hostile.tone(0.3)) for suffix, kind in kinds.items()}
    return found | {".mp4": hostile.mp4()}


def damaged(body: bytes, rng: random.Random) -> bytes:
    """Bytes and numbers replaced, mostly of the header; parts doubled, left out or cut off."""
    found = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(min(len(found), rng.choice((64, 512, len(found))))) if found else 0
        change = rng.randrange(6)
        if change < 3:
            found[at : at + 1] = bytes([rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))])
        elif change == 3:
            number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, rng.randrange(2**32)))
            found[at : at + 4] = struct.pack(rng.choice("<>") + "I", number)
        elif change == 4:
            end = at + rng.randrange(64)
            found[at:end] = found[at:end] * rng.randrange(3)
        else:
            del found[rng.randrange(at, len(found) + 1) :]
    return bytes(found)


def decode(body: bytes, suffix: str, folder: Path) -> None:
    """The header and all of the content, as a corpus is listed and its clips are read, but in this very process."""
    from lib.data import recordings

    path = folder / f"x{suffix}"
    path.write_bytes(body)
    try:
        rate_hz, seconds = recordings._header(str(path), 0, len(body))
        found = recordings.Recording("fuzz", "x", (path,), int(rate_hz), seconds, path.name)
        for start_s in (0, seconds / 2, max(0, seconds - 0.1)):
            recordings.read_stretch(found, start_s, min(seconds, 2), 24000)
    except BadInput:
        pass


def batch(seed: int, kept: Path, examples: int = 200) -> str:
    """Damaged sound of one seed in a fork: "" or what ended it; the input then lies in `kept`."""
    whole, rng = sounds(), random.Random(seed)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (mapped + hostile.MEMORY,) * 2)
            os.dup2(os.open(kept / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            for _ in range(examples):
                suffix = rng.choice(list(whole))
                signal.alarm(SLOW_S)
                decode(damaged(whole[suffix], rng), suffix, kept)
            code = 0
        finally:
            if code:
                import traceback

                traceback.print_exc()
                sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if status == 0:
        return ""
    newest = max(kept.glob("x.*"), key=lambda path: path.stat().st_mtime_ns)
    found = newest.rename(kept / f"found-{seed}{newest.suffix}")
    ended = (
        signal.Signals(os.WTERMSIG(status)).name
        if os.WIFSIGNALED(status)
        else f"exit status {status}"
    )
    return f"{found}: {ended}\n{(kept / 'stderr').read_text(errors='replace')[-2000:]}"


def main() -> int:
    """Properties in turn until the time is up; exit status 1 when something was found."""
    until, rounds, found = time.monotonic() + SECONDS, 0, []
    kept = artifacts.root() / "fuzz"
    kept.mkdir(parents=True, exist_ok=True)
    seed = random.randrange(2**31)
    while time.monotonic() < until and not found:
        rounds += 1
        for name in PROPERTIES:
            try:
                check(name, 100)
            except Exception as error:
                notes = "\n".join(getattr(error, "__notes__", []))
                found.append(f"{name}: {type(error).__name__}: {error}\n{notes}")
        found += [said for said in [batch(seed + rounds, kept)] if said]
    count = f"{rounds} rounds of {100 * len(PROPERTIES)} made-up inputs and 200 damaged sounds"
    print(f"{count}: {len(found) or 'nothing'} found", *found, sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
