"""The base of all configurations, hints for misspelt names, and the grammar of corpus names.

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

from lib import ROOT, BadInput

OPTIONS: dict[str, dict[str, tuple[str, ...]]] = {  # the corpora with a path, and their options
    "folder": {"links": ("follow",)},
    "vctk": {"mic": ("1", "2")},
    "musdb18": {"stem": ("mixture", "drums", "bass", "other", "vocals")},
}
FORMS = ("digits", "speech", "music", "folder:PATH", "vctk:PATH", "musdb18:PATH")


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
    """A parsed corpus: "vctk:/sounds/VCTK?mic=2" has kind "vctk" and options {"mic": "2"}."""

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
    """Parse "speech", "folder:PATH", "vctk:PATH?mic=2" or "musdb18:PATH?stem=drums".

    A path that exists with a "?" in its name has no option. Raises BadInput for any other text.
    """
    grammar = r"(digits|speech|music)|(folder|vctk|musdb18):([^\0]+)"
    match = re.fullmatch(grammar, str(text))
    if not match:
        raise BadInput(f"corpus {text!r}: {did_you_mean(text, FORMS)}")
    embedded, kind, path = match.groups()
    if embedded:
        return CorpusName(embedded, None, {})
    options = {}
    option = re.fullmatch(r"(.+)\?(\w*)=([^/?]*)", path, re.DOTALL)
    if option and OPTIONS[kind] and not os.path.exists(os.path.expanduser(path)):
        path, name, value = option.groups()
        options[name] = value
        if value not in OPTIONS[kind].get(name, ()):
            ((known, values),) = OPTIONS[kind].items()
            wish = f"write ?{known}= with one of {', '.join(values)}"
            raise BadInput(f"corpus {text!r}: setting '{name}={value}' is not known; {wish}")
    return CorpusName(kind, _located(Path(os.path.expanduser(path))), options)


def _located(path: Path) -> Path:
    """A relative path made absolute: below the present folder, where the command was typed, or
    the checkout. Papermill starts a chapter in notebooks/, and its user is elsewhere."""
    places = [Path.cwd(), Path(os.environ.get("PWD", ".")), ROOT]
    for place in places:
        if path.is_absolute() or os.path.exists(place / path):
            return place / path
    return places[0] / path
