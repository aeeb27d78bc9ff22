# %% [markdown]
# # What does each point of the map sound like?
#
# ```{admonition} This page
# :class: tip
# **In**: the model of [](12_latent_space), and dry clips of speech and music, of training and never heard. **Out**: a map of the latent space in which every point shows
# its spectrogram and its settings and can be heard, wet, dry, and as the model draws it. **Time**: a minute on one CPU core at the quick setting, two at the published
# one. **Number to expect**: at the published setting, for three clips in four the five neighbours on other clips vote for the right effect, never heard or not.
# ```
#
# A map of points says that effects lie apart. Whether the near ones also *sound* alike, an ear tells sooner than a number. Each dry clip stands here under each of
# the report's five effects, at random settings, so what differs between its five points is the effect alone.

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # trained on together; folder:<path>
paired: bool = True  # the encoder hears the dry picture, too
latent: int = 32  # number of latent units
epochs: int = 12  # passes over the training clips
train_clips: int = 60  # clips of each effect and corpus in the training set
test_clips: int = 30  # per effect and corpus; a third validates
floor_db: float = -60.0  # quieter values of a picture are set to it, dB
seed: int = 1  # of clips, settings, weights, order, latent noise, map
shown: int = 5  # dry clips per corpus and split, under every effect

# %%
import numpy as np
import pandas as pd
from lib import vae
from lib.audio.effects import REPORT_ORDER
from lib.book import explorer, page
from lib.data.examples import paired_splits
from lib.embeddings import maps

parameters = page.begin("14_explorer", globals())

# %% tags=["hide-input"]
pairs, splits = paired_splits(
    parameters.corpora,
    REPORT_ORDER,
    parameters.train_clips,
    parameters.test_clips,
    parameters.seed,
    parameters.floor_db,
)
preset = "conditional_spectrogram"
if parameters.paired:
    preset = "conditional_spectrogram_paired"
config = vae.TrainingConfig(
    preset=preset,
    latent=parameters.latent,
    loss="calibrated",
    learning_rate=6e-3,
    batch_size=16,
    epochs=parameters.epochs,
    seed=parameters.seed,
)

# %%
run = vae.train(config, splits)

# %% [markdown]
# ## The map
#
# Point at a mark to see its clip: the wet spectrogram and, beside it, what the decoder makes of the dry clip and the code *z*. Click it, or press Enter, to hear it. Colour the
# map by a setting, and look for a gradient; hide the training clips, and see what remains for voices and songs that the model never heard. The map has one tab stop: arrow keys
# go from point to point.

# %% tags=["nbval-ignore-output"]
folder = explorer.explore(
    run,
    pairs["test"],
    parameters.corpora,
    REPORT_ORDER,
    parameters.shown,
    seed=parameters.seed + 1,  # other places in the recordings than above
)
explorer.show(folder, "Each mark is a clip under an effect.")

# %% [markdown]
# The sounds have one loudness, -23 LUFS. A reconstruction is the decoder's picture of 48 bands with the phase of the dry clip: it is rough, and the beats of an echo are
# smeared, as [](13_between_effects) explains. Listen to delay and ambience, which share an area, to
# overdrive and multiband, which touch, and to the flangers, which lie apart.
#
# ## How many neighbours share an effect?

# %%
table = pd.read_parquet(folder / "points.parquet")
votes = {}
for split, part in table.groupby("split"):
    accuracy = maps.knn_accuracy(
        part[["x", "y"]], part["effect"], groups=part["clip"]
    )
    votes[split] = accuracy
    page.record(f"explorer.{split.replace(' ', '_')}.knn5", accuracy)
page.record("explorer.points", len(table))

# %% tags=["nbval-ignore-output", "hide-input"]
rows = pd.DataFrame(
    {
        "points": table.groupby("split").size(),
        "5-NN in the plane, other clips": votes,
        "chance": 1 / len(REPORT_ORDER),
    }
)
page.table(rows, "explorer", digits=2)

# %% [markdown]
# **What we see.** Of {glue:text}`explorer.points:.0f` points, five neighbours on *other* clips vote for the right effect in {glue:text}`explorer.training.knn5:.2f` of cases among
# training persons and songs, and in {glue:text}`explorer.never_heard.knn5:.2f` among those never heard. Chance is 0.20. These are few clips and one seed; [](10_effect_embeddings)
# has the numbers with folds and baselines.
#
# ## The finding, asserted

# %%
sounds = {}
for kind in ("dry", "wet", "drawn"):
    sounds[kind] = len(list(folder.glob(f"{kind}-*.mp3")))
assert sounds["wet"] == sounds["drawn"] == len(table), "a sound is missing"
assert sounds["dry"] * len(REPORT_ORDER) == len(table), "a clip is missing"
plane = table[["x", "y"]].to_numpy()
assert np.isfinite(plane).all(), "a clip has no place"
assert len(np.unique(plane, axis=0)) == len(plane), "two clips in one place"
for split, accuracy in votes.items():
    assert accuracy > 2 / len(REPORT_ORDER), f"{split}: no map of effects"
print("asserted: every point can be heard, and neighbours share an effect,")
print("for voices and songs never heard, too")

# %% [markdown]
# ```{admonition} Exercise
# Colour the delays by `mix`, then by `feedback`. Which of the two does the map order? Find the two delays that lie farthest apart and listen to both.
# ```
#
# ```{admonition} A solution
# :class: dropdown
# The mix: how loud the echoes are changes the pauses of a picture most. In two seconds few echoes return, so the feedback says less. One of the two lies among delays and rooms; the
# other, with a smaller mix and little feedback, among the flangers: it is hardly more than one late and quiet copy of the sound.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
