"""The parameters of every story: type, range, unit and meaning. Every story checks its own before it computes.

A notebook's `parameters` cell holds names and defaults, `runs/*.yml` the values of a run, the classes here what is
allowed; `lib.parameters` compares.
"""

from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

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
Examples = Annotated[int, Field(ge=2, description="clips of sound")]
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


class LossQuestion(Parameters):
    """Story 05."""

    corpora: many(Corpus)
    latent: Annotated[int, Field(ge=1, le=64, description="latent units, at most 64, which the calculator holds")]
    relative_betas: many(Annotated[float, Field(gt=0, le=100, description="beta in units of the predicted edge")])
    train_images: Images
    train_clips: Annotated[int, Field(ge=66, description="clips of sound, more than the calculator's 64 components")]
    checked: Annotated[int, Field(ge=0, description="public losses that are tried in training")]
    epochs: Count
    seed: Seed


class BetaAblation(Parameters):
    """Story 06: the grid is corpora x betas x seeds."""

    corpora: many(Corpus)
    betas: many(Beta)
    sound_betas: many(Beta)
    seeds: many(Seed)
    latent: Latent
    epochs: Count
    sound_epochs: Count
    train_images: Images
    train_clips: Examples
    test_clips: Examples
    learning_rate: Rate
    batch_size: Count


class EdgeOfCollapse(Parameters):
    """Story 06, second page: an edge is sought for each corpus and seed."""

    corpora: many(Corpus)
    seeds: many(Seed)
    sweep_seed: Seed
    bisections: Annotated[int, Field(ge=1, le=12, description="halvings in the search for the edge")]
    sweep: many(Annotated[float, Field(gt=0, le=10, description="beta in units of the predicted edge")])
    latent: Latent
    epochs: Count
    sound_epochs: Count
    train_images: Images
    train_clips: Examples
    learning_rate: Rate
    batch_size: Count


class Repair(Parameters):
    """Story 06, third page."""

    corpora: many(Sound)
    seeds: many(Seed)
    remedy_images: Images
    epochs: Count
    train_clips: Annotated[int, Field(ge=66, description="clips in the training set, more than the 64 components")]
    test_clips: Annotated[int, Field(ge=2, description="clips in the test set, of voices or songs never trained on")]
    sound_epochs: Count
    small_epochs: Annotated[int, Field(ge=0, description="passes of the plain net on sound, 0 to leave it out")]
    binarised_epochs: Annotated[int, Field(ge=0, description="passes over binarised digits, 0 to leave them out")]


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


class SpaceBetween(Parameters):
    """Story 08, third page: the model of the second page."""

    corpora: many(Sound)
    paired: Annotated[bool, Field(description="the encoder hears the dry picture, too")]
    latent: Latent
    epochs: Count
    train_clips: Annotated[int, Field(ge=2, description="training clips of each effect and corpus")]
    test_clips: Annotated[int, Field(ge=9, description="clips of each effect and corpus, never trained on")]
    floor_db: Annotated[float, Field(ge=-100, le=-30, description="quieter values of a picture are set to it, dB")]
    seed: Seed


class LatentSpace(SpaceBetween):
    """Story 08, second page: pictures of the report's five effects, and effects that are not trained on."""

    unseen: many(Annotated[str, Field(description="effect that is not trained on, see lib.effects")])


STORIES: dict[str, type[Parameters]] = {
    "01_dataset_preparation": DatasetPreparation,
    "02_audio_effects": AudioEffects,
    "03_mnist_sanity_check": MnistSanityCheck,
    "04_spectrogram_vae": SpectrogramVae,
    "05_the_loss_question": LossQuestion,
    "06_beta_ablation": BetaAblation,
    "06_edge_of_collapse": EdgeOfCollapse,
    "06_the_repair": Repair,
    "07_umap_analysis": UmapAnalysis,
    "08_latent_space": LatentSpace,
    "08_the_space_between": SpaceBetween,
}
