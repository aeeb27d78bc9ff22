"""The kinds of parameter that stories share: type, range, unit and meaning, and the base of every story's class."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from lib.config import did_you_mean

CORPORA = ("speech", "music")
FOLDERS = ("folder", "vctk", "musdb18")
WANTED = '"speech", "music", "folder:PATH", "vctk:PATH" or "musdb18:PATH"'


def _sound(corpus: str) -> str:
    kind, _, path = corpus.partition(":")
    if corpus in CORPORA or (kind in FOLDERS and path and "\0" not in path):
        return corpus
    raise ValueError(
        f"{did_you_mean(corpus, CORPORA)} (or {', '.join(f'{each}:PATH' for each in FOLDERS)})"
    )


def _any_corpus(corpus: str) -> str:
    return corpus if corpus == "digits" else _sound(corpus)


Sound = Annotated[str, AfterValidator(_sound), Field(description=WANTED)]
Corpus = Annotated[str, AfterValidator(_any_corpus), Field(description=f'"digits", {WANTED}')]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="seed of everything random")]
Count = Annotated[int, Field(ge=1, description="how many, at least 1")]
Seconds = Annotated[float, Field(ge=0.5, le=60, description="length of a clip, s")]
Images = Annotated[
    int,
    Field(ge=1000, le=58000, description="training images; MNIST's last 2,000 are for validation"),
]
Examples = Annotated[int, Field(ge=2, description="clips of sound")]
Latent = Annotated[int, Field(ge=1, le=4096, description="latent units")]
Beta = Annotated[
    float, Field(ge=0, le=1e6, description="weight of the KL term in the report's loss")
]
Rate = Annotated[float, Field(gt=0, le=1, description="Adam's step size")]
Preset = Annotated[
    Literal["small", "week4", "week4_mnist", "final"],
    Field(description="architecture, see lib.vae.presets"),
]
Logger = Annotated[
    Literal["csv", "tensorboard", "wandb", "wandb_offline"],
    Field(description="where the curves go beside the CSV"),
]
Accelerator = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], Field(description="kind of device that trains")
]
Devices = Annotated[int, Field(ge=1, le=64, description="of this machine; they share every batch")]
Kind = Annotated[
    Literal["log_mel", "stft"], Field(description="kind of spectrogram, see lib.audio.spectrograms")
]
Normalise = Annotated[
    Literal["per_clip", "constants"], Field(description="by each clip, or by the training set")
]
Settings = Annotated[
    Literal["fixed", "random"], Field(description="effect settings: all 0.5, or uniform at random")
]


class Parameters(BaseModel):
    """Base: frozen, no unknown names, no silent conversion, no NaN; a list is kept as a tuple."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _tuples(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


def many(item: Any) -> Any:
    """Type of a list parameter: at least one item, none twice."""

    def unique(values: tuple) -> tuple:
        if not values or len(set(values)) != len(values):
            raise ValueError("should have at least one item, and none twice")
        return values

    return Annotated[tuple[item, ...], AfterValidator(unique)]
