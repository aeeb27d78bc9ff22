"""What every config shares: a frozen base with clear errors, and hints for a name that is close to a known one."""

from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict, ValidationError

from lib import BadInput


class Config(BaseModel):
    """Base of a stage's config: frozen, no unknown fields; BadInput names the field, the value and what is right."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **fields) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}"
                for e in error.errors()
            )
            known = ", ".join(type(self).model_fields)
            raise BadInput(f"{type(self).__name__}: {wrong}. Fields: {known}") from None


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """'did you mean "beta"?' when a known name is close, else the list of all."""
    close = get_close_matches(str(name), known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(map(str, known))}"
