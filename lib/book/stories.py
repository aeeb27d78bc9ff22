"""The parameters of every story: type, range, unit and meaning. Every story checks its own before it computes.

A notebook's `parameters` cell holds names and defaults, `runs/*.yml` the values of a run, the classes here what is
allowed; `lib.book.parameters` compares.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lib.book.kinds import (
    Accelerator,
    Beta,
    Corpus,
    Count,
    Devices,
    Examples,
    Images,
    Kind,
    Latent,
    Logger,
    Normalise,
    Parameters,
    Preset,
    Rate,
    Seconds,
    Seed,
    Settings,
    Sound,
    many,
)


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
    latent: Annotated[
        int, Field(ge=1, le=783, description="latent units, fewer than the 784 pixels")
    ]
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
    test_clips: Annotated[
        int, Field(ge=2, description="clips in the test set, of voices or songs never trained on")
    ]
    clip_s: Seconds
    spectrogram: Kind
    normalise: Normalise
    augment: Annotated[bool, Field(description="change pitch and tempo of training clips")]
    logger: Logger
    accelerator: Accelerator = "auto"
    devices: Devices = 1
    seed: Seed


class LossQuestion(Parameters):
    """Story 05."""

    corpora: many(Corpus)
    latent: Annotated[
        int, Field(ge=1, le=64, description="latent units, at most 64, which the calculator holds")
    ]
    relative_betas: many(
        Annotated[float, Field(gt=0, le=100, description="beta in units of the predicted edge")]
    )
    train_images: Images
    train_clips: Annotated[
        int, Field(ge=66, description="clips of sound, more than the calculator's 64 components")
    ]
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
    bisections: Annotated[
        int, Field(ge=1, le=12, description="halvings in the search for the edge")
    ]
    sweep: many(
        Annotated[float, Field(gt=0, le=10, description="beta in units of the predicted edge")]
    )
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
    train_clips: Annotated[
        int, Field(ge=66, description="clips in the training set, more than the 64 components")
    ]
    test_clips: Annotated[
        int, Field(ge=2, description="clips in the test set, of voices or songs never trained on")
    ]
    sound_epochs: Count
    small_epochs: Annotated[
        int, Field(ge=0, description="passes of the plain net on sound, 0 to leave it out")
    ]
    binarised_epochs: Annotated[
        int, Field(ge=0, description="passes over binarised digits, 0 to leave them out")
    ]


class UmapAnalysis(Parameters):
    """Story 07: one panel for each corpus and each number of effects."""

    corpora: many(Sound)
    effects: many(
        Annotated[int, Field(ge=2, le=5, description="how many effects, in the report's order")]
    )
    clips_per_effect: Annotated[
        tuple[Annotated[int, Field(ge=10)], ...], Field(description="one number a panel")
    ]
    clip_s: Seconds
    spectrogram: Kind
    settings: Settings
    n_neighbors: Annotated[
        int, Field(ge=2, le=200, description="neighbours of a point in UMAP's graph")
    ]
    min_dist: Annotated[
        float, Field(ge=0, le=1, description="least distance of two points in UMAP's plane")
    ]
    grid_clips: many(
        Annotated[int, Field(ge=10, description="clips of each effect in the experiment")]
    )
    sweep_clips: Annotated[
        int, Field(ge=10, description="clips of each effect in the sweep of UMAP's settings")
    ]
    sweep_neighbors: many(
        Annotated[int, Field(ge=2, le=200, description="n_neighbors of the sweep")]
    )
    sweep_min_dists: many(Annotated[float, Field(ge=0, le=1, description="min_dist of the sweep")])
    seed: Seed

    @model_validator(mode="after")
    def _clips_are_there(self) -> "UmapAnalysis":
        if len(self.clips_per_effect) != len(self.effects):
            numbers, effects = list(self.clips_per_effect), list(self.effects)
            raise ValueError(
                f"clips_per_effect = {numbers}: needs one number for each of effects = {effects}"
            )
        most = min(self.clips_per_effect)
        if max(*self.grid_clips, self.sweep_clips) > most:
            raise ValueError(
                f"grid_clips, sweep_clips: more than {most}, the clips of each effect in every panel"
            )
        if max(self.sweep_neighbors) >= (points := self.sweep_clips * max(self.effects)):
            raise ValueError(
                f"sweep_neighbors = {list(self.sweep_neighbors)}: must be below {points}, sweep's points"
            )
        return self


class EffectEmbeddings(Parameters):
    """Story 08: every method of lib.embeddings.methods on every corpus and fold."""

    corpora: many(Sound)
    clips_per_effect: Annotated[
        int, Field(ge=30, description="clips of each effect, corpus and setting")
    ]
    folds: Annotated[
        int, Field(ge=2, le=20, description="parts into which persons or songs are divided")
    ]
    seeds: many(Annotated[int, Field(ge=0, le=1000, description="seed of folds, nets and probes")])
    epochs: Count
    cnn_epochs: Count
    seed: Seed


class HowFar(Parameters):
    """Story 08, second page."""

    corpora: many(Sound)
    sets: many(Literal["fixed", "clean", "twelve"])
    left_out: many(Literal["delay", "overdrive", "multiband", "ambience", "flanger"])
    joint: Annotated[bool, Field(description="also both corpora together")]
    clips_per_effect: Annotated[
        int, Field(ge=30, description="clips of each effect, corpus and setting")
    ]
    folds: Annotated[
        int, Field(ge=2, le=20, description="parts into which persons or songs are divided")
    ]
    epochs: Count
    net_seed: Annotated[int, Field(ge=0, le=1000, description="seed of folds and nets")]
    seed: Seed


class BetweenEffects(Parameters):
    """Story 08, third page: the model of the second page."""

    corpora: many(Sound)
    paired: Annotated[bool, Field(description="the encoder hears the dry picture, too")]
    latent: Latent
    epochs: Count
    train_clips: Annotated[int, Field(ge=2, description="training clips of each effect and corpus")]
    test_clips: Annotated[
        int, Field(ge=9, description="clips of each effect and corpus, never trained on")
    ]
    floor_db: Annotated[
        float, Field(ge=-100, le=-30, description="quieter values of a picture are set to it, dB")
    ]
    seed: Seed


class Explorer(BetweenEffects):
    """Story 08, fifth page: the same model, and a map that can be heard."""

    shown: Annotated[
        int, Field(ge=3, le=40, description="dry clips of each corpus and split on the map")
    ]


class LatentSpace(BetweenEffects):
    """Story 08, second page: pictures of the report's five effects, and effects that are not trained on."""

    unseen: many(
        Annotated[str, Field(description="effect that is not trained on, see lib.audio.effects")]
    )


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
