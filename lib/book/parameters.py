"""Checking the parameters of a story, and reading the file of a run. What is allowed stands in `lib.book.stories`.

Papermill accepts an unknown name or a wrong type in silence: `resolve` does not.
"""

import ast
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from lib import BadInput
from lib.book.kinds import Parameters
from lib.book.stories import STORIES
from lib.config import did_you_mean


def _parsed(kind: Any, value: Any) -> Any:
    """A string that papermill left as one ("1e-3", "[1, 2]") as the value it spells, unless a string is wanted."""
    wants_text = kind is str or (
        get_args(kind) and all(isinstance(choice, str) for choice in get_args(kind))
    )
    if not isinstance(value, str) or wants_text:
        return value
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
    except Exception:  # of a text that is none, or nested too deeply
        return value


def _explain(model: type[Parameters], error: dict) -> str:
    """One pydantic error as `name = value: what would be right (meaning)`."""
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ")
    name = str(error["loc"][0])
    item = "".join(f"[{place}]" for place in error["loc"][1:])
    field = model.model_fields[name]
    wish = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] == "literal_error":
        wish = did_you_mean(error["input"], get_args(field.annotation))
    meaning = f" ({field.description})" if field.description else ""
    return f"{name}{item} = {error['input']!r}: {wish}{meaning}"


def resolve(story: str, values: dict[str, Any]) -> Parameters:
    """The checked parameters of a story; values: by name, those with a default if wanted. BadInput: what is wrong."""
    if story not in STORIES:
        raise BadInput(f"story {story!r}: {did_you_mean(story, tuple(STORIES))}")
    model = STORIES[story]
    known, fields = tuple(model.model_fields), model.model_fields
    wrong = [
        f"unknown parameter {k} = {v!r}: {did_you_mean(k, known)}"
        for k, v in values.items()
        if k not in known
    ]
    missing = [name for name in known if name not in values and fields[name].is_required()]
    wrong += [
        f"parameter {name} is missing: set it in the cell tagged parameters" for name in missing
    ]
    if wrong:
        raise BadInput(f"{story}: {'; '.join(wrong)}")
    try:
        return model(
            **{
                name: _parsed(model.model_fields[name].annotation, value)
                for name, value in values.items()
            }
        )
    except ValidationError as error:
        raise BadInput(
            f"{story}: {'; '.join(_explain(model, each) for each in error.errors())}"
        ) from None


def read_run(path: Path) -> dict[str, Any]:
    """A run file, `runs/<run>.yml`, with every story's parameters checked; BadInput names the file."""
    import yaml

    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yml"))
        raise BadInput(f"{path}: no such run; {did_you_mean(path.stem, known)}")
    try:
        text = path.read_text(encoding="utf-8")
        run = yaml.safe_load(text)
        if any(
            isinstance(token, yaml.AliasToken) for token in yaml.scan(text)
        ):  # a few lines can spell gigabytes
            raise BadInput("names a value by an alias (*name); write the value out")
        for story, values in run["stories"].items():
            resolve(story, values)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    except Exception as error:  # of yaml, of values that are no run, of a text nested too deeply
        raise BadInput(
            f"{path}: not a run file ({error}); see runs/quick.yml for what one looks like"
        ) from None
    return run
