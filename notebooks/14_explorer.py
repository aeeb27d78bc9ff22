# %% [markdown]
# # What does each point of the map sound like?
#
# A map of points can say that effects lie apart. Do clips that lie close together also *sound* alike?
#
# Here you can judge by ear: every point of the map can be heard, before its effect, after it, and as the model draws it. For each point we also take the commonest effect among its five nearest points of other clips. This is the point's own effect more than twice as often as by chance, for persons and songs in the training set and outside it.
#
# ```{glue:figure} key-14
# :name: fig-key-14
# :alt: Two scatter plots of one map, training clips on the left, clips of other persons and songs on the right. In both, overdrive and multiband touch, delay and ambience share an area, and the flangers lie apart.
#
# The map of this page as a still picture: each point is one clip under one effect. Near points have similar codes; the two axes of a UMAP have no unit.
# ```
#
# ```{admonition} This page
# :class: tip
# **In**: the model of [the page on the latent space](12_latent_space), and dry clips of speech and music, from the training set and from outside it. **Out**: a map of the latent space in which every point shows
# its spectrogram and its settings and can be heard. **Time**: a minute on one CPU core at the quick setting, two at the published
# one. **Number to expect**: for about eight points in ten at the published setting, and seven at the quick one, the five nearest points of other clips name the point's own effect, in the training set and outside it.
# ```

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # trained on together; folder:<path>
paired: bool = True  # the encoder sees the dry clip, too
latent: int = 32  # number of latent units
epochs: int = 12  # passes over the training clips
train_clips: int = 60  # clips of each effect and corpus in the training set
test_clips: int = 30  # per effect and corpus; a third validates
floor_db: float = -60.0  # lower values of a spectrogram are set to it, dB
seed: int = 1  # seed of clips, settings, weights, order, latent noise, map
shown: int = 5  # dry clips per corpus and split, under every effect

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from lib import vae
from lib.audio.effects import REPORT_ORDER
from lib.book import explorer, figures, page
from lib.data.examples import paired_splits
from lib.embeddings import maps

parameters = page.begin("14_explorer", globals())

# %% [markdown]
# ## The model
#
# Data, net and training are exactly those of [the page on the latent space](12_latent_space), which explains them line by line. The cell is folded here. With equal parameters the finished training is loaded from disk.
#
# One reminder: the model is a conditional VAE, {eq}`eq-told-picture`. Its encoder sees a clip with its effect (*wet*) and without it (*dry*) and gives a code $z$ of 32 numbers. Its decoder draws the wet {term}`spectrogram <Log-mel spectrogram>` from the dry one and $z$. No name of an effect was used in training.

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
# We expect islands of effects, not of voices. So that you can compare effects by ear, every dry clip stands on the map under each of the report's five effects: delay, overdrive, multiband, ambience and flanger. The five points of a clip differ only in the
# effect and in its settings, which are random. The clips are new: `seed + 1` cuts them at other places of the recordings than in training. Half of the clips are by persons and songs of the training set, half by others.
#
# `explore` puts the clips through the effects, encodes each one, places the means `mu` in the plane by {term}`UMAP`, stores the sounds, and returns the folder of all this. `shown` is the number of dry clips per corpus and split. Spectrograms are prepared as in `pairs["test"]`, with the mean and deviation of the training set. `show` puts the map on the page.
#
# How to use it:
#
# - Point at a mark to see its clip: the wet spectrogram and, beside it, what the decoder draws from the dry clip and the code.
# - Click it, or press Enter, to hear it wet. Buttons play the dry clip and the reconstruction. With the keyboard, Tab reaches the map and the arrow keys go from point to point.
# - Colour the map by a setting, and look for a gradient.
# - Hide the training clips, and see what remains for the persons and songs outside the training set. The map calls them *never heard*.

# %% tags=["nbval-ignore-output"]
folder = explorer.explore(
    run,
    pairs["test"],
    parameters.corpora,
    REPORT_ORDER,
    parameters.shown,
    seed=parameters.seed + 1,
)
explorer.show(folder, "Each mark is a clip under an effect.")

# %% [markdown]
# All sounds have one {term}`loudness`, -23 LUFS. A reconstruction is rough: its spectrogram has only 48 bands, its phase is borrowed from the dry clip, and the echoes of a delay blur into
# one tail, as [the page on effects between effects](13_between_effects) explains. Listen to delay and ambience, which share an area, to
# overdrive and multiband, which touch, and to the flangers, which lie apart.
#
# ## How many neighbours share an effect?
#
# Whether neighbours sound alike is for your ear, but whether they share an effect can be counted. `points.parquet` has a row for each point, with its `x` and `y` on the map, its effect, its dry clip, and its split: training or never heard.
# Within a split, each point gets the effect for which most of its five nearest points vote (*{term}`5-NN`*). `groups=part["clip"]` leaves out the points of its own dry
# clip, so that only other clips vote, though perhaps of the same person or song. We expect clearly more right votes than chance, which is 0.20 with five effects.

# %%
table = pd.read_parquet(folder / "points.parquet")
votes = {}
for split, part in table.groupby("split"):
    place, clips = part[["x", "y"]], part["clip"]
    votes[split] = maps.knn_accuracy(place, part["effect"], groups=clips)

# %% tags=["nbval-ignore-output", "hide-input"]
for split, accuracy in votes.items():
    page.record(f"explorer.{split.replace(' ', '_')}.knn5", accuracy)
page.record("explorer.points", len(table))
rows = pd.DataFrame(
    {
        "points": table.groupby("split").size(),
        "5-NN in the plane, other clips": votes,
        "chance": 1 / len(REPORT_ORDER),
    }
)
caption = "Share of points whose five nearest points of other clips vote for"
caption += " the right effect. never heard: outside the training set."
page.table(rows, "explorer", caption, digits=2)

# %% tags=["nbval-ignore-output", "hide-input"] mystnb={"figure": {"name": "fig-explorer-map", "caption": "The map above without sound. Left: clips of persons and songs of the training set. Right: clips of others. Under each: the accuracy of the five nearest points of other clips, in the plane."}, "image": {"alt": "Two scatter plots of one map, training clips on the left, clips of other persons and songs on the right. In both, overdrive and multiband touch, delay and ambience share an area, and the flangers lie apart."}}
titles = {
    "training": "training persons and songs",
    "never heard": "other persons and songs",
}
figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
for ax, (split, title) in zip(axes, titles.items(), strict=True):
    part = table[table["split"] == split]
    text = f"5-NN, other clips: {votes[split]:.2f}"
    figures.umap_panel(ax, part[["x", "y"]], part["effect"], text, title)
figures.effect_legend(figure, axes)
page.key_figure(figure)
plt.show()

# %% [markdown]
# **What we see.** The map has {glue:text}`explorer.points:.0f` points. The vote of *other* clips is right for {glue:text}`explorer.training.knn5:.2f` of the points of training persons and songs, and for {glue:text}`explorer.never_heard.knn5:.2f` of
# the points of others. Chance is 0.20. There are few clips and one seed. Also, UMAP keeps neighbours only in part, so the map shows less than the codes do. [The page on embeddings](10_effect_embeddings)
# has accuracies with repeated splits and baselines.
#
# ## The finding, asserted
#
# Every point must have two sounds, `wet` and `drawn` by the decoder, and every dry clip one. Every point must have a place of its own. In both splits the votes must be right more than twice as often as by chance.

# %%
sounds = {}
for kind in ("dry", "wet", "drawn"):
    sounds[kind] = len(list(folder.glob(f"{kind}-*.mp3")))
assert sounds["wet"] == sounds["drawn"] == len(table), "a sound is missing"
assert sounds["dry"] * len(REPORT_ORDER) == len(table), "a clip is missing"
plane = table[["x", "y"]].to_numpy()
assert np.isfinite(plane).all(), "a clip has no place"
assert len(np.unique(plane, axis=0)) == len(plane), "two points in one place"
for split, accuracy in votes.items():
    times = accuracy * len(REPORT_ORDER)
    words = f"{split}: neighbours share an effect"
    page.finding(words, times > 2, times)

# %% [markdown]
# ```{admonition} Exercise
# Colour the delays by `mix`, then by `feedback`. Which of the two does the map order? Find the two delays that lie farthest apart and listen to both.
# ```
#
# ```{admonition} A solution
# :class: dropdown
# The map orders them by `mix`, the share of the echoes, because louder echoes fill the pauses of a spectrogram. The feedback is the share of an echo that goes into the next one. In two seconds few echoes return, so it changes little. Of the two delays farthest apart in our run, one lies among other delays and ambience; the
# other, with a smaller mix and little feedback, lies among the flangers: it adds hardly more than one late and quiet copy.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
