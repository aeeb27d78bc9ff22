"""What git tracks names no credential, and what people read names no machine, no person's address, no unknown host."""

import re
from urllib.parse import urlsplit

import pytest
from test_layout import tracked

from lib import ROOT

BINARY = (".mp3", ".ogg", ".woff", ".png", ".webp", ".gz", ".parquet")
OTHERS = ("data/LICENSES/", "book/_extra/", "LICENSE")  # of other people, as they gave them
TESTS = ("tests/",)  # these make up what must be refused
CREDENTIALS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a key of a cloud": r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}",
    "a token": r"\b(gh[pousr]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|hf_[A-Za-z]{30,}|sk-[\w-]{20,})\b",
    "a signed token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.",
    "a password in an address": r"\b[a-z]+://[^\s/:@\"'{}$]+:[^\s/@\"'{}$]+@",
    "a secret": r"(?i)(token|api_?key|secret|passw(or)?d)\b[\\\"']*\s*[:=]+\s*[\\\"']*(?=[\w+/-]*\d)[\w+/-]{16,}",
}
# Where a page, a notebook or a comment says where something comes from; each is an address of a work or its makers.
HOSTS = {
    "github.com",
    "doi.org",
    "zenodo.org",
    "datashare.ed.ac.uk",
    "yann.lecun.com",
    "d3js.org",
    "creativecommons.org",
    "www.w3.org",
    "www.apache.org",
    "mybinder.org",
    "colab.research.google.com",
}
PATHS = r"(?<![\w.:/*+%-])(/(?:home|root|tmp|work|workspace|Users|mnt|private|srv)/[\w.-]|[A-Z]:\\+Users\b|~/\.)"
MAIL = r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b"
NUMBERS = r"(?<![\d.=])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"
LOOPBACK = {"127.0.0.1", "0.0.0.0"}


def credentials(text: str) -> list[str]:
    """Kind and place of each thing that looks like a credential, without saying it again in full."""
    return [
        f"{kind}: {found[0][:12]}"
        for kind, rule in CREDENTIALS.items()
        for found in re.finditer(rule, text)
    ]


def places(text: str, known: set[str]) -> list[str]:
    """Folders of a machine, addresses of people and machines, and hosts that are not listed. known: versions."""
    found = [each[0] for each in re.finditer(PATHS, text)] + re.findall(MAIL, text)
    found += [each for each in re.findall(NUMBERS, text) if each not in LOOPBACK | known]
    hosts = {urlsplit(each).hostname for each in re.findall(r"\bhttps?://[\w.:-]+", text)}
    return found + sorted(hosts - HOSTS - LOOPBACK)


def texts(*without: str) -> dict[str, str]:
    names = [
        name for name in tracked() if not name.endswith(BINARY) and not name.startswith(without)
    ]
    return {
        name: (ROOT / name).read_text(encoding="utf-8") for name in names if (ROOT / name).is_file()
    }


def test_nothing_that_is_tracked_names_a_credential() -> None:
    found = {
        name: seen for name, text in texts("book/_extra/").items() if (seen := credentials(text))
    }
    assert found == {}


def test_nothing_that_people_read_names_a_machine_a_person_s_address_or_an_unknown_host() -> None:
    versions = set(re.findall(r"==([\d.]+)", (ROOT / "requirements.txt").read_text()))
    read = texts(*OTHERS, *TESTS)
    assert {
        "README.md",
        "book/intro.md",
        "notebooks/01_dataset_preparation.ipynb",
        "lib/vae/networks.py",
    } <= set(read)
    found = {name: seen for name, text in read.items() if (seen := places(text, versions))}
    assert found == {}
    assert [name for name, text in read.items() if str(ROOT) in text] == []
    assert [
        name for name, text in read.items() if name.endswith(".ipynb") and "output_path" in text
    ] == []


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN " + "RSA PRIVATE KEY-----",
        "AKIA" + "ABCDEFGHIJKLMNO1",
        "AIza" + "a1B-_" * 7,
        "gh" + "p_" + "a1" * 18,
        "hf_" + "Ab" * 17,
        "eyJ" + "hbGciOiJIUzI1" + ".eyJ" + "zdWIiOiIxMjM0" + ".x",
        "https://me:" + "hunter2@example.org",
        "WANDB_API_KEY=" + "0123456789abcdef" * 2,
        "pass" + 'word: "correct4horse4battery"',
        "sec" + "ret = 'dGhpcyBpc3Ax+/dGhp'",
        r"\"api_" + r"key\": \"" + "abcdefghij0123456789",
        "TOKEN=" + "a1" * 10,
    ],
)
def test_a_credential_is_found(text: str) -> None:
    assert credentials(f"before {text} after")


@pytest.mark.parametrize(
    "text",
    [
        "/home/somebody/x.wav",
        "see /root/.venv",
        '"/tmp/out"',
        r"C:\Users\me",
        "/Users/me/x",
        "a.person@example.org",
        "10.1.2.3",
        "http://10.1.2.3:80/x",
        "https://example.org/page",
        "http://localhost:8888/lab",
        "(/workspace/run)",
    ],
)
def test_a_place_is_found(text: str) -> None:
    assert places(f"before {text} after", {"13.1.1.3"})


@pytest.mark.parametrize(
    "text",
    [
        "key=lambda path: path.stem",
        "token: write}",
        "secret = name",
        "password, or a token of yours",
        "$HOME/recordings",
        "13.1.1.3",
        "nvidia==9.9.9.9",
        "127.0.0.1",
        "https://github.com/spotify/pedalboard",
        "/artifacts/tmp/x",
        "a @ b",
        "iVBOR/tmp/aaaa+/home/b",
    ],
)
def test_what_is_none_of_these_passes(text: str) -> None:
    assert credentials(text) == places(text, {"13.1.1.3"}) == []
