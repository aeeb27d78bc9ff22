"""The parameters of every chapter: type, range, unit and meaning, and the check of a page or a run.

A notebook's `parameters` cell holds names and defaults, `runs/*.yml` the values of a run, and the
classes here what is allowed. Papermill accepts an unknown name or a wrong type in silence:
`resolve` does not.
"""

import ast
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lib import BadInput
from lib.config import Config, did_you_mean, parse_corpus


def _spelled(value: Any) -> Any:
    """The value that a string spells: papermill leaves "1e-3" and "[1, 2]" as strings."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
    except Exception:  # the text spells no value, or is nested too deeply
        return value


def _tuple(value: Any) -> tuple:
    """A list as a tuple; anything else is a list of one."""
    value = _spelled(value)
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _sound(corpus: str) -> str:
    if parse_corpus(corpus).kind == "digits":
        raise ValueError("should be a corpus of sound")
    return corpus


def _corpus(corpus: str) -> str:
    parse_corpus(corpus)
    return corpus


def scalar(kind: type, meaning: str, low: float | None = None, high: float | None = None) -> Any:
    """Type of a number from low to high, or of a bool."""
    return Annotated[kind, BeforeValidator(_spelled), Field(ge=low, le=high, description=meaning)]


def choice(meaning: str, *values: str) -> Any:
    """Type of a string that is one of some."""
    return Annotated[Literal[values], Field(description=meaning)]


def many(item: Any, unique: bool = True) -> Any:
    """Type of a list of at least one item, none twice."""

    def check(values: tuple) -> tuple:
        if not values or (unique and len(set(values)) != len(values)):
            raise ValueError("should have at least one item, and none twice")
        return values

    field = Field(description=item.__metadata__[-1].description)
    return Annotated[tuple[item, ...], BeforeValidator(_tuple), AfterValidator(check), field]


EFFECTS = ("delay", "overdrive", "multiband", "ambience", "flanger")  # those of the report
SOUND = '"speech", "music", "folder:PATH", "vctk:PATH" or "musdb18:PATH"'
Sound = Annotated[str, AfterValidator(_sound), Field(description=SOUND)]
Corpus = Annotated[str, AfterValidator(_corpus), Field(description=f'"digits", {SOUND}')]
Seed = scalar(int, "seed of everything random", 0, 2**32 - 1)
SmallSeed = scalar(int, "seed of folds, nets and probes", 0, 1000)
Epochs = scalar(int, "passes over the training set, at least 1", 1)
BatchSize = scalar(int, "examples per step, at least 1", 1)
LearningRate = scalar(float, "Adam's step size", 1e-9, 1)
ClipSeconds = scalar(float, "length of a clip, s", 0.5, 60)
Images = scalar(int, "training images; MNIST's last 2,000 are for validation", 1000, 58000)
Clips = scalar(int, "clips of sound", 2)
ManyClips = scalar(int, "clips in the training set, more than the 64 components of PCA", 66)
ClipsPerEffect = scalar(int, "clips of each effect, corpus and setting", 30)
Folds = scalar(int, "parts into which persons or songs are divided", 2, 20)
Latent = scalar(int, "latent units", 1, 4096)
Beta = scalar(float, "weight of the KL term in the report's loss", 0, 1e6)
Preset = choice("architecture, see lib.vae.presets", "small", "week4", "week4_mnist", "final")
Logger = choice("where curves go beside the CSV", "csv", "tensorboard", "wandb", "wandb_offline")
Spectrogram = choice("kind of spectrogram, see lib.audio.spectrograms", "log_mel", "stft")
Settings = choice("effect settings: all 0.5, or uniform at random", "fixed", "random")


class Parameters(Config, strict=True, allow_inf_nan=False):
    """Base of all chapters: no silent conversion, no NaN."""


class DatasetPreparation(Parameters):
    """Chapter 01."""

    corpora: many(Sound)
    clip_s: ClipSeconds
    seed: Seed
    split_seed: Seed


class AudioEffects(Parameters):
    """Chapter 02."""

    corpus: Sound
    clip_s: ClipSeconds
    settings: Settings
    seed: Seed


class Training(Parameters):
    """What chapters 03 and 04 share: one VAE with the report's loss."""

    preset: Preset
    latent: Latent
    beta: Beta
    epochs: Epochs
    learning_rate: LearningRate
    batch_size: BatchSize
    logger: Logger
    seed: Seed


class MnistSanityCheck(Training):
    """Chapter 03."""

    latent: scalar(int, "latent units, fewer than the 784 pixels", 1, 783)
    train_images: Images


class SpectrogramVae(Training):
    """Chapter 04."""

    corpus: Sound
    train_clips: Clips
    test_clips: Clips
    clip_s: ClipSeconds
    spectrogram: Spectrogram
    normalise: choice("by each clip, or by the training set", "per_clip", "constants")
    augment: scalar(bool, "change pitch and tempo of training clips")
    accelerator: choice("kind of device that trains", "auto", "cpu", "cuda", "mps") = "auto"
    devices: scalar(int, "devices of this machine, which share every batch", 1, 64) = 1


class LossQuestion(Parameters):
    """Chapter 05."""

    corpora: many(Corpus)
    latent: scalar(int, "latent units, at most 64, which the calculator holds", 1, 64)
    relative_betas: many(scalar(float, "beta in units of the predicted edge", 1e-9, 100))
    train_images: Images
    train_clips: ManyClips
    checked: scalar(int, "public losses that are tried in training", 0)
    epochs: Epochs
    seed: Seed


class Grid(Parameters):
    """What chapters 06 and 07 share: trainings on corpora x seeds."""

    corpora: many(Corpus)
    seeds: many(Seed)
    latent: Latent
    epochs: Epochs
    sound_epochs: Epochs
    train_images: Images
    train_clips: Clips
    learning_rate: LearningRate
    batch_size: BatchSize


class BetaAblation(Grid):
    """Chapter 06: the grid is corpora x betas x seeds."""

    betas: many(Beta)
    sound_betas: many(Beta)
    test_clips: Clips


class EdgeOfCollapse(Grid):
    """Chapter 07: an edge is sought for each corpus and seed."""

    sweep_seed: Seed
    bisections: scalar(int, "halvings in the search for the edge", 1, 12)
    sweep: many(scalar(float, "beta in units of the predicted edge", 1e-9, 10))


class Repair(Parameters):
    """Chapter 08."""

    corpora: many(Sound)
    seeds: many(Seed)
    remedy_images: Images
    epochs: Epochs
    train_clips: ManyClips
    test_clips: Clips
    sound_epochs: Epochs
    small_epochs: scalar(int, "passes of the plain net on sound, 0 to leave it out", 0)
    binarised_epochs: scalar(int, "passes over binarised digits, 0 to leave them out", 0)


class UmapAnalysis(Parameters):
    """Chapter 09: one panel for each corpus and each number of effects."""

    corpora: many(Sound)
    effects: many(scalar(int, "how many effects, in the report's order", 2, 5))
    clips_per_effect: many(
        scalar(int, "clips of each effect, one number per panel", 10), unique=False
    )
    clip_s: ClipSeconds
    spectrogram: Spectrogram
    settings: Settings
    n_neighbors: scalar(int, "neighbours of a point in UMAP's graph", 2, 200)
    min_dist: scalar(float, "least distance of two points in UMAP's plane", 0, 1)
    grid_clips: many(scalar(int, "clips of each effect in the experiment", 10))
    sweep_clips: scalar(int, "clips of each effect in the sweep of UMAP's settings", 10)
    sweep_neighbors: many(scalar(int, "n_neighbors of the sweep", 2, 200))
    sweep_min_dists: many(scalar(float, "min_dist of the sweep", 0, 1))
    seed: Seed

    @model_validator(mode="after")
    def _clips_are_there(self) -> "UmapAnalysis":
        clips, effects = list(self.clips_per_effect), list(self.effects)
        if len(clips) != len(effects):
            raise ValueError(
                f"clips_per_effect = {clips}: needs one number for each of effects = {effects}"
            )
        if max(*self.grid_clips, self.sweep_clips) > min(clips):
            raise ValueError(
                f"grid_clips, sweep_clips: more than {min(clips)}, the clips of each effect in "
                "every panel"
            )
        points = self.sweep_clips * max(effects)
        if max(self.sweep_neighbors) >= points:
            raise ValueError(
                f"sweep_neighbors = {list(self.sweep_neighbors)}: must be below {points}, the "
                "number of points in the sweep"
            )
        return self


class EffectEmbeddings(Parameters):
    """Chapter 10: every method of lib.embeddings.methods on every corpus and fold."""

    corpora: many(Sound)
    clips_per_effect: ClipsPerEffect
    folds: Folds
    seeds: many(SmallSeed)
    epochs: Epochs
    cnn_epochs: Epochs
    seed: Seed


class HowFar(Parameters):
    """Chapter 11."""

    corpora: many(Sound)
    sets: many(choice("sets of clips", "fixed", "clean", "twelve"))
    left_out: many(choice("effects left out of training in turn", *EFFECTS))
    joint: scalar(bool, "also both corpora together")
    clips_per_effect: ClipsPerEffect
    folds: Folds
    epochs: Epochs
    net_seed: SmallSeed
    seed: Seed


class BetweenEffects(Parameters):
    """Chapter 13; chapters 12 and 14 use the same model."""

    corpora: many(Sound)
    paired: scalar(bool, "the encoder sees the dry spectrogram, too")
    latent: Latent
    epochs: Epochs
    train_clips: scalar(int, "training clips of each effect and corpus", 2)
    test_clips: scalar(int, "clips of each effect and corpus, never trained on", 9)
    floor_db: scalar(float, "quieter values of a spectrogram are set to it, dB", -100, -30)
    seed: Seed


class Explorer(BetweenEffects):
    """Chapter 14: a map that can be heard."""

    shown: scalar(int, "dry clips of each corpus and split on the map", 3, 40)


class LatentSpace(BetweenEffects):
    """Chapter 12: the report's five effects, and effects that are not trained on."""

    unseen: many(Annotated[str, Field(description="effects not trained on, see lib.audio.effects")])


STORIES: dict[str, type[Parameters]] = {
    "01_dataset_preparation": DatasetPreparation,
    "02_audio_effects": AudioEffects,
    "03_mnist_sanity_check": MnistSanityCheck,
    "04_spectrogram_vae": SpectrogramVae,
    "05_the_loss_question": LossQuestion,
    "06_beta_ablation": BetaAblation,
    "07_edge_of_collapse": EdgeOfCollapse,
    "08_the_repair": Repair,
    "09_umap_analysis": UmapAnalysis,
    "10_effect_embeddings": EffectEmbeddings,
    "11_how_far": HowFar,
    "12_latent_space": LatentSpace,
    "13_between_effects": BetweenEffects,
    "14_explorer": Explorer,
}


def model_of(story: str) -> type[Parameters]:
    """The class of a story's parameters. Raises BadInput for an unknown story."""
    if story not in STORIES:
        raise BadInput(f"story {story!r}: {did_you_mean(story, STORIES)}")
    return STORIES[story]


def resolve(story: str, values: dict[str, Any]) -> Parameters:
    """The checked parameters of a story. Raises BadInput, which names what is wrong."""
    model = model_of(story)
    values = _renamed(values, model)
    try:
        return model(**values)
    except BadInput as error:
        raise BadInput(f"{story}: {error}") from None


def _renamed(values: dict[str, Any], model: type[Parameters]) -> dict[str, Any]:
    """corpus and corpora are one name: a story takes the other one, if it names one corpus."""
    values = dict(values)
    for given, own in (("corpus", "corpora"), ("corpora", "corpus")):
        if given in values and own in model.model_fields and given not in model.model_fields:
            value = values.pop(given)
            single = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
            values[own] = single if own == "corpus" else [single]
    return values


def read_run(path: Path) -> dict[str, Any]:
    """A run file, `runs/RUN.yml`, with all parameters checked. Raises BadInput, which names it."""
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yml"))
        raise BadInput(f"{path}: no such run; {did_you_mean(path.stem, known)}")
    try:
        text = path.read_text(encoding="utf-8")
        run = yaml.safe_load(text)
        for token in yaml.scan(text):
            if isinstance(token, yaml.AliasToken):  # a few lines can spell gigabytes
                raise BadInput("names a value by an alias (*name); write the value out")
        for story, values in run["stories"].items():
            resolve(story, values)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    except Exception as error:  # yaml raises much, and values may be no run
        raise BadInput(
            f"{path}: not a run file ({error}); see runs/quick.yml for what one looks like"
        ) from None
    return run
