"""The parameters of every story: type, range, unit and meaning. Every story checks its own before it computes.

A notebook's `parameters` cell holds names and defaults, `runs/*.yml` the values of a run, the classes here what is
allowed. Papermill accepts an unknown name or a wrong type in silence: `resolve` does not.
"""

import ast
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lib import BadInput

CORPORA = ("speech", "music")


def did_you_mean(name: str, known: list[str] | tuple[str, ...]) -> str:
    """'did you mean "beta"?' when a known name is close, else the list of all."""
    close = get_close_matches(str(name), known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(map(str, known))}"


def _sound(corpus: str) -> str:
    if corpus in CORPORA or (corpus.startswith("folder:") and corpus != "folder:"):
        return corpus
    raise ValueError(f'{did_you_mean(corpus, CORPORA)} (or "folder:PATH", any folder of sound files)')


def _any_corpus(corpus: str) -> str:
    return corpus if corpus == "digits" else _sound(corpus)


Sound = Annotated[str, AfterValidator(_sound), Field(description='"speech", "music" or "folder:PATH"')]
Corpus = Annotated[str, AfterValidator(_any_corpus), Field(description='"digits", "speech", "music" or "folder:PATH"')]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="seed of everything random")]
Count = Annotated[int, Field(ge=1, description="how many, at least 1")]
Seconds = Annotated[float, Field(ge=0.5, le=60, description="length of a clip, s")]
Images = Annotated[int, Field(ge=1000, le=58000, description="training images; MNIST's last 2,000 are for validation")]
Latent = Annotated[int, Field(ge=1, le=4096, description="latent units")]
Beta = Annotated[float, Field(ge=0, le=1e6, description="weight of the KL term in the report's loss")]
Rate = Annotated[float, Field(gt=0, le=1, description="Adam's step size")]
Preset = Annotated[Literal["small", "week4", "week4_mnist", "final"], Field(description="architecture, see lib.vae")]
Logger = Annotated[
    Literal["csv", "tensorboard", "wandb", "wandb_offline"], Field(description="where the curves go beside the CSV")
]
Kind = Annotated[Literal["log_mel", "stft"], Field(description="kind of spectrogram, see lib.spectrograms")]
Normalise = Annotated[Literal["per_clip", "constants"], Field(description="by each clip, or by the training set")]
Settings = Annotated[Literal["fixed", "random"], Field(description="effect settings: all 0.5, or uniform at random")]


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


class DatasetPreparation(Parameters):
    """Story 01."""

    corpora: many(Sound)
    clip_s: Seconds
    seed: Seed
    split_seed: Seed


class AudioEffects(Parameters):
    """Story 02."""

    corpus: Sound
    clip_s: Seconds
    settings: Settings
    seed: Seed


class MnistSanityCheck(Parameters):
    """Story 03."""

    preset: Preset
    latent: Annotated[int, Field(ge=1, le=783, description="latent units, fewer than the 784 pixels")]
    beta: Beta
    epochs: Count
    learning_rate: Rate
    batch_size: Count
    train_images: Images
    logger: Logger
    seed: Seed


class SpectrogramVae(Parameters):
    """Story 04."""

    corpus: Sound
    preset: Preset
    latent: Latent
    beta: Beta
    epochs: Count
    learning_rate: Rate
    batch_size: Count
    train_clips: Annotated[int, Field(ge=2, description="clips in the training set")]
    test_clips: Annotated[int, Field(ge=2, description="clips in the test set, of voices or songs never trained on")]
    clip_s: Seconds
    spectrogram: Kind
    normalise: Normalise
    augment: Annotated[bool, Field(description="change pitch and tempo of training clips")]
    logger: Logger
    seed: Seed


class BetaAblation(Parameters):
    """Story 06: the grid is corpora x betas x seeds."""

    corpora: many(Corpus)
    betas: many(Beta)
    seeds: many(Seed)
    latent: Latent
    epochs: Count
    speech_epochs: Count
    train_images: Images
    train_clips: Annotated[int, Field(ge=2, description="clips in the training set")]
    test_clips: Annotated[int, Field(ge=2, description="clips in the test set")]
    learning_rate: Rate
    batch_size: Count


class UmapAnalysis(Parameters):
    """Story 07: one panel for each corpus and each number of effects."""

    corpora: many(Sound)
    effects: many(Annotated[int, Field(ge=2, le=5, description="how many effects, in the report's order")])
    clips_per_effect: Annotated[tuple[Annotated[int, Field(ge=10)], ...], Field(description="one number a panel")]
    clip_s: Seconds
    spectrogram: Kind
    settings: Settings
    n_neighbors: Annotated[int, Field(ge=2, le=200, description="neighbours of a point in UMAP's graph")]
    min_dist: Annotated[float, Field(ge=0, le=1, description="least distance of two points in UMAP's plane")]
    seed: Seed

    @model_validator(mode="after")
    def _one_number_each(self) -> "UmapAnalysis":
        if len(self.clips_per_effect) != len(self.effects):
            numbers, effects = list(self.clips_per_effect), list(self.effects)
            raise ValueError(f"clips_per_effect = {numbers}: needs one number for each of effects = {effects}")
        return self


STORIES: dict[str, type[Parameters]] = {
    "01_dataset_preparation": DatasetPreparation,
    "02_audio_effects": AudioEffects,
    "03_mnist_sanity_check": MnistSanityCheck,
    "04_spectrogram_vae": SpectrogramVae,
    "06_beta_ablation": BetaAblation,
    "07_umap_analysis": UmapAnalysis,
}


def _parsed(kind: Any, value: Any) -> Any:
    """A string that papermill left as one ("1e-3", "[1, 2]") as the value it spells, unless a string is wanted."""
    wants_text = kind is str or (get_args(kind) and all(isinstance(choice, str) for choice in get_args(kind)))
    if not isinstance(value, str) or wants_text:
        return value
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
    except (ValueError, SyntaxError):
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
    """The checked parameters of a story; values: by name, complete. BadInput names parameter, value and remedy."""
    if story not in STORIES:
        raise BadInput(f"story {story!r}: {did_you_mean(story, tuple(STORIES))}")
    model = STORIES[story]
    known = tuple(model.model_fields)
    wrong = [f"unknown parameter {k} = {v!r}: {did_you_mean(k, known)}" for k, v in values.items() if k not in known]
    wrong += [f"parameter {k} is missing: set it in the cell tagged parameters" for k in known if k not in values]
    if wrong:
        raise BadInput(f"{story}: {'; '.join(wrong)}")
    try:
        return model(**{name: _parsed(model.model_fields[name].annotation, value) for name, value in values.items()})
    except ValidationError as error:
        raise BadInput(f"{story}: {'; '.join(_explain(model, each) for each in error.errors())}") from None


def read_run(path: Path) -> dict[str, Any]:
    """A run file, `runs/<run>.yml`, with every story's parameters checked; BadInput names the file."""
    import yaml

    if not path.exists():
        known = sorted(file.stem for file in path.parent.glob("*.yml"))
        raise BadInput(f"{path}: no such run; {did_you_mean(path.stem, known)}")
    try:
        run = yaml.safe_load(path.read_text(encoding="utf-8"))
        for story, values in run["stories"].items():
            resolve(story, values)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: not a run file ({error}); see runs/quick.yml for what one looks like") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return run
