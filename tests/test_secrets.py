"""What git tracks names no credential; what people read names no machine, no person's address, no
unknown host.
"""

import re
from urllib.parse import urlsplit

import pytest
from test_layout import tracked

from lib import ROOT

BINARY = (".mp3", ".ogg", ".woff", ".png", ".webp", ".gz", ".parquet")
OTHERS = ("data/LICENSES/", "book/_extra/", "LICENSE", "tests/")  # texts of others; made-up cases
CREDENTIALS = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{35}"
    r"|\b(gh[pousr]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|hf_[A-Za-z]{30,}|sk-[\w-]{20,})\b"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.|\b[a-z]+://[^\s/:@\"'{}$]+:[^\s/@\"'{}$]+@"
    r"|(?i:(token|api_?key|secret|passw(or)?d)\b[\\\"']*\s*[:=]+\s*[\\\"']*"
    r"(?=[\w+/-]*\d)[\w+/-]{16,})"
)
HOSTS = {  # addresses of works or of their makers
    *("github.com", "doi.org", "zenodo.org", "datashare.ed.ac.uk", "yann.lecun.com", "d3js.org"),
    *("creativecommons.org", "www.w3.org", "www.apache.org", "mybinder.org"),
    *("colab.research.google.com", "127.0.0.1", "0.0.0.0"),
    "git-lfs",  # its host begins so; a pointer file is known by its first bytes
}
PLACES = (
    r"(?<![\w.:/*+%-])(/(?:home|root|tmp|work|workspace|Users|mnt|private|srv)/[\w.-]"
    r"|[A-Z]:\\+Users\b|~/\.)"
    r"|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b|(?<![\d.=])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"
)


def places(text: str, versions: set[str]) -> list[str]:
    """Folders of a machine, addresses of people and machines, and hosts that are not listed."""
    found = [match[0] for match in re.finditer(PLACES, text)]
    hosts = {urlsplit(each).hostname for each in re.findall(r"\bhttps?://[\w.:-]+", text)}
    return [each for each in found if each not in HOSTS | versions] + sorted(hosts - HOSTS)


def test_nothing_tracked_names_a_credential_a_machine_or_a_person_s_address() -> None:
    versions = set(re.findall(r"==([\d.]+)", (ROOT / "requirements.txt").read_text()))
    names = [name for name in tracked() if not name.endswith(BINARY)]
    assert "README.md" in names and "notebooks/01_dataset_preparation.ipynb" in names
    for name in names:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert name.startswith("book/_extra/") or not re.search(CREDENTIALS, text), name
        if not name.startswith(OTHERS):
            assert places(text, versions) == [], name
            assert str(ROOT) not in text and '"output_path"' not in text, name


@pytest.mark.parametrize(
    "text",
    [
        *("-----BEGIN " + "RSA PRIVATE KEY-----", "AKIA" + "ABCDEFGHIJKLMNO1"),
        *("gh" + "p_" + "a1" * 18, "https://me:" + "hunter2@example.org"),
        *("WANDB_API_KEY=" + "0123456789abcdef" * 2, "pass" + 'word: "correct4horse4battery"'),
        *("/home/somebody/x.wav", r"C:\Users\me", "a.person@example.org", "10.1.2.3"),
        *("https://example.org/page", "http://localhost:8888/lab", "(/workspace/run)"),
    ],
)
def test_a_credential_or_a_place_is_found_and_nothing_else(text: str) -> None:
    assert re.search(CREDENTIALS, f"before {text} after") or places(f"before {text} after", set())
    for right in ("password, or a token of yours", "nvidia==9.9.9.9", "https://github.com/a/b"):
        assert not re.search(CREDENTIALS, right) and places(right, {"13.1.1.3"}) == []
