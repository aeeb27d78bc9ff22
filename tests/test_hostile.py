"""Hostile and broken inputs at scale: each of tests/hostile.py in a fork with limits, each parser under made-up input.

Hostile inputs of one kind have their tests elsewhere: archives in test_download.py, broken and odd sound in
test_bad_audio.py, files of data in test_predict.py, parameters in test_parameters.py, cards in test_runtime.py,
checkpoints in test_vae_training.py, layouts of corpora in test_known_corpora.py.
"""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from html import escape
from itertools import product
from pathlib import Path

import fuzz
import hostile
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import publish
import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from scipy.signal import butter, sosfilt

from lib import ROOT
from lib.book import figures, players, widgets
from lib.book import page as story
from lib.book.parameters import read_run, resolve


def environment(home, **more: str) -> dict[str, str]:
    return (
        os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "HOME": str(home),
            "ARTIFACTS_DIR": str(home / "artifacts"),
        }
        | more
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict]:
    """What came of each case, by its name."""
    folder = tmp_path_factory.mktemp("hostile")
    command = [sys.executable, ROOT / "tests/hostile.py", folder]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_there_are_many(found) -> None:
    assert len(found) == len(hostile.CASES) >= 150
    assert (
        sum(of["decoded"] for of in found.values()) >= 60
    )  # in the child process of lib, which is watched as well


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile.CASES, ids=ascii)
def test_a_hostile_input_is_named_and_does_no_harm(found, name) -> None:
    """No signal, no hang, no error but BadInput; nothing written, started, connected to or run."""
    case, of = hostile.CASES[name], found[name]
    said = "\n".join(of["said"])
    assert of["status"] == 0, f"ended by status {of['status']} after {of['seconds']:.1f} s"
    assert of["kind"] in ("done", "refused"), said
    assert re.search(case.said, said, re.DOTALL), said
    assert not of["canary"] and of["events"] == [] and of["changed"] == []


HARMFUL = """
import os, socket
import numpy as np
from lib.data import apart
def act():
    os.system("touch canary")
    socket.socket(socket.AF_UNIX).connect_ex("/nowhere")
    open({place!r} + "/elsewhere", "w").close()
    return np.zeros(1)
apart.serve(act)
"""


def test_the_fork_sees_what_an_input_could_do(tmp_path) -> None:
    """Its own test: an act that does every harm is caught by each of the means above."""
    code = f"""
import os, pickle, signal, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests")!r})
import hostile
from hostile import Case, Canary, run

def unpickles(_): pickle.loads(pickle.dumps(Canary())); return []
def writes(_): Path("input/new").write_text("x"); return []
def fills(_): return [bytes(2**33)]
def asks(_):
    from lib.data import apart
    apart.ask("harmful", "act", kind="<f8", most=1)
def dies(_): os.kill(os.getpid(), signal.SIGSEGV)
def turns(_):
    while True: pass
hostile.CPU_S = 1
acts = (unpickles, writes, fills, dies, turns, asks)
found = [run(n, Case(lambda folder: None, act, ""), Path({str(tmp_path)!r})) for n, act in enumerate(acts)]
assert found[0]["canary"] and "os.system" in found[0]["events"][0] and found[0]["changed"] == ["'canary'"], found
assert found[1]["changed"] == ["'input'", "'input/new'"] and "input/new" in found[1]["events"][0], found
assert found[2]["kind"] == "raised" and "MemoryError" in found[2]["said"][0], found
for word in ("os.system", "socket.connect", "/elsewhere"):
    assert any(word in event for event in found[5]["events"]), found
assert found[5]["canary"] and found[5]["decoded"], found
assert found[3]["status"] == signal.SIGSEGV and found[4]["status"] in (signal.SIGXCPU, signal.SIGKILL), found
"""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/harmful.py").write_text(HARMFUL.format(place=str(tmp_path)))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True
    )
    (ROOT / hostile.CANARY).unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("name", fuzz.PROPERTIES)
def test_made_up_input_is_an_answer_or_bad_input(name) -> None:
    fuzz.check(name, 60, derandomise=True)


def test_damaged_sound_crashes_no_decoder(tmp_path) -> None:
    assert fuzz.batch(1, tmp_path, 150) == ""


def test_a_crash_of_a_decoder_is_found_and_its_input_kept(tmp_path, monkeypatch) -> None:
    def crash(body: bytes, suffix: str, folder) -> None:
        (folder / f"x{suffix}").write_bytes(body)
        os.kill(os.getpid(), signal.SIGKILL)  # for which faulthandler writes no trace

    monkeypatch.setattr(fuzz, "decode", crash)
    said = fuzz.batch(1, tmp_path)
    assert "SIGKILL" in said and list(tmp_path.glob("found-1.*"))


def test_the_name_of_a_scattered_job_is_nothing_to_a_shell() -> None:
    text = (ROOT / "Snakefile").read_text(encoding="utf-8")
    corpora = ["folder:$(touch x)'\"`;&|\n", "folder:a b", "n" * 400, "speech"]
    space = {"run": {"scatter": {"s": ["corpora"]}}, "STORIES": {"s": {"corpora": corpora}}}
    space |= {"product": product, "re": re}
    exec(re.search(r"^def points\(story\):\n(?: .*\n|\n)*", text, re.M)[0], space)
    found = space["points"]("s")
    assert [values["corpora"] for values in found.values()] == [[corpus] for corpus in corpora]
    assert all(re.fullmatch(r"[\w.+-]{1,150}", name) for name in found) and "speech" in found


# pages ----------------------------------------------------------------------------------------------------------------

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
TABLES = {  # set_uuid of each table that shows names of corpora or groups: a frame of its form
    "corpora": pd.DataFrame(
        {"minutes": [1.0], "rate_hz": [8000], "author": [None]},
        pd.MultiIndex.from_tuples([(EVIL, EVIL)], names=["corpus", "group"]),
    ),
    "exact": pd.DataFrame({"corpus": [EVIL], "beta / edge": [1.0]}),
    "ablation": pd.DataFrame(
        {"kl": [1.0]}, pd.MultiIndex.from_tuples([(EVIL, 0.1)], names=["corpus", "beta"])
    ),
    "edges": pd.DataFrame({"predicted": [1.0]}, [EVIL]),
    "unheard": pd.DataFrame(
        {"kl": [1.0]}, pd.MultiIndex.from_tuples([(EVIL, "PCA")], names=["corpus", "model"])
    ),
}
PLAIN = {  # those that show words of the story, effects and `story.slug`, which has letters and digits only
    "effects",
    "levels",
    "mnist",
    "speech",
    "decoder",
    "remedies",
    "digits",
    "numbers",
    "verdicts",
    "carried",
    "explorer",
    "transfer",
    "left",
    "sets",
    "r2",
    "errors",
}


def chains() -> dict[str, tuple[str, str]]:
    """Of every Styler in a story: its set_uuid, the story, and the calls behind `.style`."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            text = ast.unparse(node) if isinstance(node, ast.Call) and id(node) not in inner else ""
            if ".style." in text and not text.startswith("display("):
                uuid = re.search(r"\.set_uuid\(f?'(\w+)", text)
                found[uuid[1] if uuid else text] = path.stem, text.rpartition(".style.")[2]
    return found


def test_every_table_of_a_story_is_known_to_show_names_or_not() -> None:
    assert set(chains()) == TABLES.keys() | PLAIN | {"embed_"}


@pytest.mark.parametrize("uuid", TABLES)
def test_a_name_in_a_table_is_text(uuid) -> None:
    page = eval(f"frame.style.{chains()[uuid][1]}", {"frame": TABLES[uuid]}).to_html()
    soup = BeautifulSoup(page, "html.parser")
    assert not soup.find(["script", "img"]) and EVIL in soup.get_text()


def test_the_caption_of_a_table_is_no_path() -> None:
    story, calls = chains()["embed_"]
    assert "set_caption(names[corpus])" in calls and story == "10_effect_embeddings"


def test_a_name_in_the_payload_of_a_widget_is_text() -> None:
    soup = BeautifulSoup(
        widgets.div("latent-explorer", {"group": [EVIL]}, folder="x"), "html.parser"
    )
    (script,) = soup.find_all("script")
    assert not soup.find("img") and json.loads(script.string) == {"group": [EVIL]}


def test_scripts_of_the_book_write_text_and_no_html() -> None:
    html = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write"
    for path in (ROOT / "book/_static").glob("*.js"):
        assert not re.search(html, path.read_text(encoding="utf-8")), path


def bars(names: list[str], log: bool = False) -> plt.Figure:
    figure, axes = plt.subplots(layout="constrained")
    axes.barh(names, [1, 20, 300])
    axes.set(title=names[0], xscale="log" if log else "linear")
    axes.plot([1], [1], label=names[1])
    axes.legend()
    return figure


@pytest.mark.parametrize("log", [False, True])
def test_a_dollar_in_a_name_is_a_dollar(log) -> None:
    """A name with two of them is drawn as it is; what a log axis writes stays mathematics."""
    names = ["A$AP & $ong", "$\\x$", "c"]
    figure = bars(names, log)
    assert figures.png(figure)
    texts = {text.get_text(): text.get_parse_math() for text in figure.findobj(plt.Text)}
    assert not texts[names[0]] and not texts[names[1]]
    ticks = [parsed for words, parsed in texts.items() if r"\mathdefault" in words]
    assert all(ticks) and bool(ticks) == log
    plt.close("all")


NAME = "02_audio_effects"
CORPUS = f"folder:{EVIL}`` ` | \\| $x$ {{{{ y }}}}</td></tr><tr><th>commit</th><td>z\n| **a** | [b](c) |\n```\n"


def test_a_corpus_in_the_state_of_the_book_is_text(tmp_path) -> None:
    """By the book's own parser: what stands in its cell is the name in JSON, and it stands nowhere else."""
    given = new_code_cell(f"corpus = {CORPUS!r}", metadata={"tags": ["parameters"]})
    nbformat.write(
        new_notebook(cells=[new_markdown_cell("# Why?"), given]), tmp_path / f"{NAME}.ipynb"
    )
    page = publish.status([tmp_path / f"{NAME}.ipynb"])
    extensions = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["parse"][
        "myst_enable_extensions"
    ]
    parser = create_md_parser(MdParserConfig(enable_extensions=set(extensions)), RendererHTML)
    (folded,) = [
        token.content for token in parser.parse(page) if token.info.startswith("{admonition}")
    ]
    soup = BeautifulSoup(parser.render(folded), "html.parser")
    assert soup.find("thead").get_text(" ", strip=True) == "parameter value"
    name, value = soup.find("tbody").find_all("td")
    assert name.get_text() == "corpus" and json.loads(value.get_text()) == CORPUS
    assert [tag.name for tag in value.find_all()] == ["code"]
    assert (
        "Hash unknown, on unknown, with unknown." in soup.get_text()
        and "alert" not in page.replace(folded, "")
    )


def test_a_corpus_in_the_provenance_is_text(monkeypatch) -> None:
    """Nor does it make a row that tells another commit."""
    shown = []
    monkeypatch.setattr(
        story,
        "display",
        lambda data, raw, metadata: shown.append(
            new_output("display_data", data, metadata=metadata)
        ),
    )
    monkeypatch.setattr(story._page, "name", NAME)
    values = read_run(ROOT / "runs/quick.yml")["stories"][NAME]
    story.provenance(resolve(NAME, values | {"corpus": CORPUS}))
    soup = BeautifulSoup(shown[0].data["text/html"], "html.parser")
    rows = {row.th.get_text(): row.td for row in soup.find_all("tr")}
    assert (
        json.loads(rows["parameter corpus"].get_text()) == CORPUS
        and not rows["parameter corpus"].find()
    )
    assert len(soup.find_all("tr")) == len(rows) and not soup.find(["script", "img", "strong", "a"])
    told = publish.provenance(new_notebook(cells=[new_code_cell(outputs=shown)]))
    assert told["commit"] == story.commit() and not any("alert" in text for text in told.values())


GROUPS = [
    "<script>alert(1)<\u2215script>",
    "quote\"'`b",
    "new\nline",
    "A$AP $\\x$",
    "n" * 250,
    "!!!",
    "\u202egpj",
    "_",
]


FILE = "<img src=x onerror=alert(2)>.wav"
FOLDER = "<b>sounds$`|`\n```\n|"


@pytest.fixture(scope="module")
def of_names(tmp_path_factory) -> Path:
    """Story 01, all of it, run on a folder of hostile names."""
    place = tmp_path_factory.mktemp("named")
    sounds = place / FOLDER
    for number, group in enumerate(GROUPS):
        (sounds / group).mkdir(parents=True)
        noise = np.random.default_rng(number).normal(0, 0.1, 36_000)
        tilted = sosfilt(
            butter(1, 200 * 1.7**number, fs=24000, output="sos"), noise
        )  # each voice has its spectrum
        (sounds / group / FILE).write_bytes(hostile.encoded("WAV", tilted))
    (sounds / GROUPS[0] / "<i>broken.wav").write_bytes(b"x")
    name, values = (
        "01_dataset_preparation.ipynb",
        yaml.safe_dump({"corpora": [f"folder:{sounds}"], "clip_s": 0.5}),
    )
    command = [
        sys.executable,
        "-m",
        "papermill",
        f"notebooks/{name}",
        place / name,
        "-y",
        values,
        "--cwd",
        "notebooks",
        "-k",
        "python3",
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(place), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place / name


@pytest.mark.slow
def test_a_folder_of_hostile_names_makes_a_page_of_text(of_names) -> None:
    """Names of groups in the tables, figures, players and recorded numbers of story 01."""
    outputs = publish.outputs(publish.read(of_names))
    tables = [
        output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})
    ]
    soups = [BeautifulSoup(table, "html.parser") for table in tables]
    shown = "".join(soup.get_text() for soup in soups)
    assert all(group in shown for group in GROUPS) and FILE in shown
    assert not any(soup.find(["script", "img", "i"]) for soup in soups)
    tags = [tag for soup in soups for tag in soup.find_all() if tag.name != "audio"]
    assert not any(name.startswith("on") for tag in tags for name in tag.attrs)
    assert "<i>broken.wav (not decodable" in "".join(output.get("text", "") for output in outputs)


def planted(part: Tag) -> list[str]:
    """Tags and attributes in a part of a page that neither the story nor the theme writes."""

    def own(tag: Tag) -> bool:
        return {
            "script": tag.get("type") == "text/x-thebe-config"
            or tag.text == "kernelName = 'python3'",
            "img": "_images/" in tag.get("src", ""),
            "i": False,
            "b": tag.parent.name == "figcaption",
        }.get(tag.name, True)

    found = [str(tag)[:200] for tag in part.find_all() if not own(tag)]
    for tag in part.find_all():
        acts = {name: value for name, value in tag.attrs.items() if name.startswith("on")}
        if acts and (tag.name, acts) != ("audio", {"onplay": players.ONE_AT_A_TIME}):
            found.append(f"{tag.name} {acts}")
    return found


@pytest.mark.parametrize(
    "name", [*GROUPS[:1], FILE, FOLDER, "<i>broken.wav", EVIL, "<p onclick=alert(3)>"]
)
def test_a_name_that_became_html_would_be_seen(name) -> None:
    page = "<figure><figcaption><b>{}</b></figcaption></figure>"
    assert not planted(BeautifulSoup(page.format(escape(name)), "html.parser"))
    assert planted(BeautifulSoup(page.format(name), "html.parser"))


@pytest.mark.slow
def test_a_book_of_hostile_names_is_a_book_of_text(of_names, tmp_path) -> None:
    """The page of story 01 as a chapter, and what tools/publish.py says of it, with the book's own settings."""
    book = tmp_path / "book"
    shutil.copytree(
        ROOT / "book",
        book,
        ignore=lambda folder, names: [
            name
            for name in names
            if name in ("_build", "chapters", "explorer", "sound") or name.endswith(".md")
        ],
    )
    for name, content in publish.as_chapter(of_names).items():
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        (book / name).write_bytes(content)
    (book / "status.md").write_text(publish.status([of_names]), encoding="utf-8")
    chapter = f"chapters/{of_names.stem}"
    (book / "_toc.yml").write_text(f"format: jb-book\nroot: status\nchapters:\n- file: {chapter}\n")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", book]
    done = subprocess.run(
        command, env=environment(tmp_path), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    articles = []
    for page in ("status", chapter):
        soup = BeautifulSoup(
            (book / f"_build/html/{page}.html").read_text(encoding="utf-8"), "html.parser"
        )
        articles.append(soup.find("article"))
        assert planted(articles[-1]) == [], page
    state, shown = (article.get_text() for article in articles)
    assert json.dumps(FOLDER)[1:-1].replace("`", r"\u0060") in state
    assert all(name in shown for name in [*GROUPS, FILE, "<i>broken.wav (not decodable"])
