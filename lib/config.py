"""What every configuration shares: a frozen base with clear errors, hints for misspelt names, and names of corpora.

Chapter 03 introduces the configuration of a training, chapter 01 the corpora.
"""

import os
import re
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from lib import BadInput

OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {  # the corpora with a path, and their options
    "folder": {},
    "vctk": {"mic": ("1", "2")},
    "musdb18": {"stem": ("mixture", "drums", "bass", "other", "vocals")},
}
EMBEDDED = ("digits", "speech", "music")
FORMS = (*EMBEDDED, "folder:PATH", "vctk:PATH", "musdb18:PATH")


class Config(BaseModel):
    """Base of a configuration: frozen, and unknown fields are refused.

    Raises BadInput, which says for each wrong field `name = value: what would be right (meaning)`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            wrong = [_explain(type(self).model_fields, each) for each in error.errors()]
            raise BadInput("; ".join(wrong)) from None


def _explain(fields: dict[str, FieldInfo], error: dict[str, Any]) -> str:
    """What is wrong with a field, from one of pydantic's errors."""
    wish = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not error["loc"]:  # an error of several fields together
        return wish
    name, *places = error["loc"]
    value = f"{name}{''.join(f'[{place}]' for place in places)} = {error['input']!r}"
    if error["type"] == "missing":
        return f"parameter {name} is missing"
    if error["type"] == "extra_forbidden":
        return f"unknown parameter {value}: {did_you_mean(name, fields)}"
    if error["type"] == "literal_error":
        wish = did_you_mean(error["input"], re.findall("'(.*?)'", error["ctx"]["expected"]))
    if fields[name].description:
        wish += f" ({fields[name].description})"
    return f"{value}: {wish}"


class CorpusName(NamedTuple):
    """A parsed name of a corpus: "vctk:/sounds/VCTK?mic=2" has kind "vctk" and options {"mic": "2"}."""

    kind: str
    path: Path | None  # None for an embedded corpus; "~" is expanded
    options: dict[str, str]


def did_you_mean(name: object, known: Collection[str]) -> str:
    """The hint 'did you mean "beta"?' when a known name is close, else the list of all."""
    close = get_close_matches(str(name), known, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"known: {', '.join(map(str, known))}"


def parse_corpus(text: str) -> CorpusName:
    """Parse "digits", "speech", "music", "folder:PATH", "vctk:PATH?mic=2" or "musdb18:PATH?stem=drums".

    A path that exists with a "?" in its name has no option. Raises BadInput for any other text.
    """
    kind, colon, rest = str(text).partition(":")
    wish = ""
    if kind not in EMBEDDED and kind not in OPTIONS:
        wish = did_you_mean(text, FORMS)
    elif kind in EMBEDDED and colon:
        wish = f'{kind} takes nothing after a colon; write "{kind}"'
    elif kind in OPTIONS and (not rest or "\0" in rest):
        wish = f'names no folder; write "{kind}:PATH", like "{kind}:recordings"'
    if wish:
        raise BadInput(f"corpus {text!r}: {wish}")
    if kind in EMBEDDED:
        return CorpusName(kind, None, {})
    option = re.fullmatch(r"(.*)\?(\w*)=([^/?]*)", rest, re.DOTALL)
    if not option or not OPTIONS[kind] or os.path.exists(os.path.expanduser(rest)):
        return CorpusName(kind, Path(os.path.expanduser(rest)), {})
    path, name, value = option.groups()
    if value not in OPTIONS[kind].get(name, ()):
        known = "".join(
            f"?{key}= with one of {', '.join(OPTIONS[kind][key])}" for key in OPTIONS[kind]
        )
        raise BadInput(f"corpus {text!r}: option {name}={value} is not known; write {known}")
    return CorpusName(kind, Path(os.path.expanduser(path)), {name: value})
