# %% [markdown]
# # What does a latent space know of an effect?
#
# ```{admonition} This page
# :class: tip
# **In**: clips of speech and music under the report's five effects, random settings, equal loudness. **Out**: a map of a latent space with parameters as colours, paths of a
# parameter through it, and the place of effects that were never trained on. **Time**: a minute on one CPU core at the quick setting, three at the published one. **Number to
# expect**: on persons and songs never heard, a third of the error of the dry clip itself.
# ```
#
# A VAE of spectrograms spends its latents on what varies most: the voice, the words, the notes. To leave $z$ with the effect, we tell the decoder all the rest, the picture of the
# dry clip. This is a conditional VAE {cite:p}`sohn2015learning`, {eq}`eq-told` with pictures for prints:
#
# $$ z \sim \mathcal N(0, I), \qquad p(\text{wet} \mid z, \text{dry}) = \mathcal N\big(\text{dry} + f_\theta(\text{dry}, z),\ \sigma^2 I\big) $$ (eq-told-picture)
#
# What the dry clip tells is free, and every nat in $z$ costs. So $z$ has no reason to hold a word. No label of an effect is used.

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # trained on together; folder:<path>
paired: bool = True  # the encoder hears the dry picture, too
latent: int = 32  # number of latent units
epochs: int = 12  # passes over the training clips
train_clips: int = 60  # clips of each effect and corpus in the training set
test_clips: int = 30  # per effect and corpus; a third validates
floor_db: float = -60.0  # quieter values of a picture are set to it, dB
seed: int = 1  # of clips, settings, weights, order, latent noise, map
unseen: list = [
    "compressor",
    "chorus",
    "phaser",
    "ring_modulator",
    "bitcrush",
    "combo",
]  # effects not trained on

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from lib import vae
from lib.audio.effects import REPORT_ORDER, apply_at, find_effect
from lib.book import figures, page
from lib.data.examples import SMALL, paired_splits, render_pairs
from lib.embeddings import maps
from lib.vae.conditional import ConditionalSpectrogramVAE
from matplotlib.colors import LinearSegmentedColormap
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors

parameters = page.begin("12_latent_space", globals())

# %% [markdown]
# ## The model
#
# An example is a pair: the wet {term}`log-mel spectrogram` above the dry one, 48 bands by 48 frames each. The encoder hears the wet picture and how it differs from the dry one, and keeps
# the mean and the deviation of its features over time. In the decoder $z$ scales and shifts the channels of a convolutional net {cite:p}`perez2018film`, the same in every frame:
# it can tell *what* is done and hardly *when*. The last layer, of $f_\theta$ in {eq}`eq-told-picture`, starts at zero, so the untrained net returns the dry clip.

# %%
pairs, splits = paired_splits(
    parameters.corpora,
    REPORT_ORDER,
    parameters.train_clips,
    parameters.test_clips,
    parameters.seed,
    parameters.floor_db,
)
train, test = pairs["train"], pairs["test"]

# %%
unseen = render_pairs(
    parameters.corpora,
    "test",
    parameters.unseen,
    parameters.test_clips,
    parameters.seed + 1,
    parameters.floor_db,
    train.data.standardiser,
)

# %% tags=["hide-input"]
for split, clips in (pairs | {"test, unseen effects": unseen}).items():
    kinds, people = len(set(clips.effects)), len(set(clips.groups))
    count = f"{split}: {len(clips.table)} pairs, {kinds} effects"
    print(f"{count}, {people} persons and songs")

# %%
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
run = vae.train(config, splits)
page.source(ConditionalSpectrogramVAE.decode)

# %%
model = run.model()
names, groups = test.effects, test.groups
mu = vae.encode_all(model, test.data)[0]
mu_unseen = vae.encode_all(model, unseen.data)[0]
wet, dry = test.x
x_hat = vae.reconstruct(model, torch.cat([wet, dry], 2))

# %%
# To compare with: the dry clip and the mean gain of each band, which is
# learned with the effect's name.
wet_train, dry_train = train.x
gain = wet_train - dry_train
raised = dry.clone()
for effect in REPORT_ORDER:
    rows = np.flatnonzero(train.effects == effect)
    raised[names == effect] += gain[rows].mean((0, 3), keepdim=True)

# %%
compared = {
    "dry clip itself": dry,
    "dry clip and mean gain": raised,
    "conditional VAE": x_hat,
}
by_clip = pd.DataFrame()
for label, picture in compared.items():
    by_clip[label] = (picture - wet).square().flatten(1).mean(1).numpy()
errors = by_clip.groupby(names).mean().loc[list(REPORT_ORDER)]
errors.loc["mean"] = errors.mean()

# %% tags=["nbval-ignore-output", "hide-input"]
for effect, row in errors.iterrows():
    row.index = ["dry", "gain", "told"]
    page.record_all(f"latent.error.{effect}", row)
driven = by_clip["conditional VAE"][names == "overdrive"]
by_group = driven.groupby(groups[driven.index]).mean()
page.record("latent.error.overdrive.worst", by_group.max())
page.record("latent.error.overdrive.median", driven.median())
metrics = vae.evaluate(run, splits)
page.record("latent.kl", metrics["kl"])
page.record("latent.active_units", metrics["active_units"])
caption = "Squared error, in units of the training variance."
page.table(errors, "errors", caption, digits=4)

# %% [markdown]
# **What we see.** The error of the conditional VAE is {glue:text}`latent.error.mean.told:.3f`; that of the dry clip itself is {glue:text}`latent.error.mean.dry:.3f`, and with the mean
# gain of its effect {glue:text}`latent.error.mean.gain:.3f`. The code holds {glue:text}`latent.kl:.0f` nats, and {glue:text}`latent.active_units:.0f` units are active. The flanger
# is the limit of these pictures: its comb is finer than a band, and the dry clip is only {glue:text}`latent.error.flanger.dry:.3f` away. With overdrive the median clip has
# {glue:text}`latent.error.overdrive.median:.3f`, but one person or song {glue:text}`latent.error.overdrive.worst:.2f`: what nothing in training resembles is not drawn. Step size,
# floor and the bound on $z$'s scales were chosen while looking at other clips of these test persons and songs, and there is one seed: read the numbers as a first sign.

# %% mystnb={"figure": {"name": "fig-latent-pairs", "caption": "One unheard clip of each effect: wet (original), dry, and what the model makes of the dry clip and z. One colour scale; the titles give the mean squared error to the wet picture."}, "image": {"alt": "Three rows of five spectrograms, one column for each effect. The third row looks like the first: tails fill the pauses under delay and ambience, overdrive fills the high bands."}}
first = [int(np.flatnonzero(names == effect)[1]) for effect in REPORT_ORDER]
rows = {"dry": dry[first][:, 0], "conditional VAE": x_hat[first][:, 0]}
figures.reconstruction_grid(
    wet[first][:, 0],
    rows,
    SMALL,
    list(REPORT_ORDER),
    "standardised dB",
)
plt.show()

# %% [markdown]
# ## A map, and parameters as colours
#
# We expect islands of effects that are not islands of voices. And if $z$ holds the effect, it holds its settings: neighbours should have similar parameters. Domain colouring shows
# two at once, one as hue and one as lightness.

# %%
both = np.concatenate([mu, mu_unseen])
plane = maps.umap_2d(both, parameters.seed)  # one map of all clips
here, there = plane[: len(mu)], plane[len(mu) :]
spectra = maps.reduce(wet.numpy(), parameters.seed)
knn5 = maps.knn_accuracy(mu, names)
knn5_grouped = maps.knn_accuracy(mu, names, groups=groups)
raw_grouped = maps.knn_accuracy(spectra, names, groups=groups)
page.record("latent.map.knn5_grouped", knn5_grouped)
page.record("latent.raw.knn5_grouped", raw_grouped)

# %%
COLOURED = {  # two controls of each effect, drawn as hue and lightness
    "overdrive": ("drive_db", "muffle_hz"),
    "delay": ("delay_ms", "mix"),
}
mu_train = vae.encode_all(model, train.data)[0]
for effect, controls in COLOURED.items():
    for control in controls:
        name = f"{effect}.{control}"
        known, setting = train.table[name].dropna(), test.table[name].dropna()
        readout = Ridge(1.0).fit(mu_train[known.index], known)
        answer = pd.Series(readout.predict(mu[setting.index]), setting.index)
        rank = setting.corr(answer, method="spearman")
        page.record(f"latent.rank.{name}", rank)


# %% tags=["hide-input"]
def domain(hue: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """Colours (..., 3) of positions in [0, 1].

    Hue goes from blue by way of violet to orange, lightness from dark
    to light.
    """
    colours = ["#0072B2", "#B8528F", "#F09000"]
    colour = LinearSegmentedColormap.from_list("hue", colours)(hue)[..., :3]
    light = lightness[..., None]
    darker = colour * (0.3 + 1.4 * light)
    lighter = colour + (1 - colour) * (light - 0.5) * 1.4
    return np.where(light < 0.5, darker, lighter)


def draw_settings(ax: plt.Axes, effect: str, controls: tuple) -> None:
    """The map with the clips of one effect in the colours of two controls."""
    own = names == effect
    columns = [f"{effect}.{control}" for control in controls]
    units = test.table[columns].dropna().to_numpy()
    ax.scatter(*here[~own].T, s=5, c="#dddddd", linewidths=0)
    ax.scatter(
        *here[own].T,
        s=18,
        c=domain(*units.T),
        marker=figures.EFFECT_MARKERS[effect],
        lw=0.2,
        ec="black",
    )
    ax.set(xticks=[], yticks=[], title=f"{effect} by its parameters")
    sns.despine(ax=ax, left=True, bottom=True)


def draw_square(ax: plt.Axes, effect: str, controls: tuple) -> None:
    """The legend of two controls: a square of colours under the map."""
    square = ax.inset_axes((0.08, -0.26, 0.22, 0.2))
    unit = np.linspace(0, 1, 32)
    colours = domain(*np.meshgrid(unit, unit))
    square.imshow(colours, origin="lower", extent=(0, 1, 0, 1))
    square.set(xticks=[], yticks=[])
    lines = []
    for way, control in zip(("across", "up"), controls, strict=True):
        for p in find_effect(effect).parameters:
            if p.name == control:
                lines.append(
                    f"{way}: {p.name}, {p.low:g} to {p.high:g} {p.unit}"
                )
    square.text(
        1.15,
        0.5,
        "\n".join(lines),
        transform=square.transAxes,
        fontsize=8,
        va="center",
    )


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-latent-map", "caption": "UMAP of mu of unheard clips. Left: by effect, under it the 5-NN accuracy in the latent space. Middle and right: the same map, the clips of one effect coloured by two of its parameters, all others grey; the square is the legend."}, "image": {"alt": "Three scatter plots of the same points. Left: effects in patches, ambience among delay. Middle: the overdrive points. Right: the delay points; in both, neighbours mostly have similar colours."}}
figure, axes = plt.subplots(1, 3, figsize=(10.5, 4.4))
caption = f"5-NN {knn5:.2f}, other voices {knn5_grouped:.2f}"
caption += f", seed {parameters.seed}"
figures.umap_panel(axes[0], here, names, caption, "by effect")
for ax, (effect, controls) in zip(axes[1:], COLOURED.items(), strict=True):
    draw_settings(ax, effect, controls)
    draw_square(ax, effect, controls)
figures.effect_legend(figure, axes[0])
plt.show()

# %% [markdown]
# **What we see.** The five nearest points of *other* persons and songs vote for the right effect in {glue:text}`latent.map.knn5_grouped:.2f` of cases, between the wet pictures
# themselves in {glue:text}`latent.raw.knn5_grouped:.2f`; chance is 0.20. A linear read-out of $\mu$, fitted on training clips, ranks unheard clips by their settings: the rank
# correlation with the drive is {glue:text}`latent.rank.overdrive.drive_db:.2f`, with the muffle {glue:text}`latent.rank.overdrive.muffle_hz:.2f`, with the delay's time
# {glue:text}`latent.rank.delay.delay_ms:.2f` and with its mix {glue:text}`latent.rank.delay.mix:.2f`. Nobody told the model that there are such controls.
#
# ## A parameter swept through its range
#
# One unheard clip, one control from its lowest to its highest value, the others in the middle. We expect a smooth path, one for each control, that does not come back.

# %%
clip = test.parts[0].dry(1)  # (sample,), by someone never heard in training


def codes_of(versions: list[np.ndarray]) -> np.ndarray:
    """mu (version, latent) of wet versions of the clip."""
    x_dry = test.picture(clip)
    x = [torch.cat([test.picture(audio), x_dry], 2) for audio in versions]
    return model.encode(torch.cat(x))[0].detach().numpy()


def sweep(effect: str, control: str) -> np.ndarray:
    """mu (step, latent) of the clip, one control from 0 to 1."""
    versions = []
    for unit in np.linspace(0, 1, 9):
        setting = {control: unit}
        wet = apply_at(effect, clip, SMALL.sample_rate_hz, **setting)
        versions.append(wet)
    return codes_of(versions)


# %%
paths = {}
for effect, controls in COLOURED.items():
    for control in controls:
        path = sweep(effect, control)
        length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
        straight = np.linalg.norm(path[-1] - path[0]) / length
        page.record(f"latent.straight.{effect}.{control}", straight)
        paths[effect, control] = path


# %% tags=["hide-input"]
def draw_clouds(ax: plt.Axes) -> None:
    """The test clips in the plane, faint, by effect."""
    for effect in REPORT_ORDER:
        ax.scatter(
            *flat[names == effect].T,
            s=9,
            alpha=0.35,
            linewidths=0,
            c=figures.EFFECT_COLOURS[effect],
            marker=figures.EFFECT_MARKERS[effect],
            label=effect,
        )


def draw_path(
    ax: plt.Axes, effect: str, control: str, dashes: str, below: float
) -> None:
    """One path, its markers growing with the control."""
    line = lines[effect, control]
    ax.plot(*line.T, dashes, c="black", lw=1)
    ax.scatter(
        *line.T,
        s=np.linspace(6, 60, 9),
        c=figures.EFFECT_COLOURS[effect],
        edgecolors="black",
        lw=0.6,
        zorder=3,
    )
    ax.annotate(
        control,
        line[-1],
        xytext=(10, below),
        textcoords="offset points",
        fontsize=9,
    )


# %% tags=["nbval-ignore-output", "hide-input"] mystnb={"figure": {"name": "fig-latent-paths", "caption": "Four controls swept through their range on one unheard clip, in the plane of the first two principal components of mu. Faint: unheard clips by effect. A path starts at the small and ends at the large marker; the cross is the dry clip itself. Outermost points are cut off."}, "image": {"alt": "Two scatter plots with faint clouds of effects. In each, two lines with nine markers of growing size, one for each control, run in different directions."}}
pca = PCA(2, random_state=parameters.seed).fit(mu)
flat = pca.transform(mu)
lines = {key: pca.transform(path) for key, path in paths.items()}
points = np.concatenate([flat, *lines.values()])
(left, low), (right, high) = np.percentile(points, (4, 96), axis=0)
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True)
for ax, (effect, (solid, dotted)) in zip(axes, COLOURED.items(), strict=True):
    draw_clouds(ax)
    draw_path(ax, effect, solid, "-", below=6)
    draw_path(ax, effect, dotted, ":", below=-2)
    ax.plot(*pca.transform(codes_of([clip])).T, "kx")
    ax.set(
        title=f"{effect} on one clip",
        xlabel="first component of mu",
        ylabel="second component of mu",
    )
axes[0].set(xlim=(left - 1, right + 1), ylim=(low - 1, high + 1))
figures.effect_legend(figure, axes[0])
plt.show()

# %% [markdown]
# **What we see.** In all dimensions of $z$ the way from end to end is {glue:text}`latent.straight.overdrive.drive_db:.2f` of the path's length for the drive,
# {glue:text}`latent.straight.overdrive.muffle_hz:.2f` for the muffle, {glue:text}`latent.straight.delay.mix:.2f` for the mix and {glue:text}`latent.straight.delay.delay_ms:.2f`
# for the delay's time (1: a straight line).
#
# ## Effects that it never heard
#
# Six effects that were not in training, on other clips of the test persons and songs. We expect each beside the trained effect that sounds most like it.

# %%
votes = np.empty((len(mu_unseen), 5), object)
for group in np.unique(unseen.groups):
    own, others = unseen.groups == group, groups != group
    search = NearestNeighbors(n_neighbors=5).fit(mu[others])
    nearest = search.kneighbors(mu_unseen[own], return_distance=False)
    votes[own] = names[others][nearest]

# %%
shares = {}
for effect in REPORT_ORDER:
    shares[effect] = {}
    for name in parameters.unseen:
        share = (votes[unseen.effects == name] == effect).mean()
        shares[effect][name] = share
        page.record(f"latent.near.{name}.{effect}", share)

# %% tags=["nbval-ignore-output", "hide-input"] mystnb={"figure": {"name": "fig-latent-unseen", "caption": "Left: unseen effects on the map of the figure above, trained ones grey. Right: of the five nearest clips under trained effects in the latent space, other persons and songs only, the share of each effect."}, "image": {"alt": "A scatter plot with six unseen effects over grey points, and a table of shares as a heat map with six rows and five columns."}}
figure, axes = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(1, 1.1))
axes[0].scatter(*here.T, s=4, c="#dddddd", linewidths=0)
caption = f"seed {parameters.seed}"
figures.umap_panel(axes[0], there, unseen.effects, caption, "unseen effects")
sns.heatmap(
    pd.DataFrame(shares),
    ax=axes[1],
    annot=True,
    fmt=".2f",
    cmap="Blues",
    vmin=0,
    vmax=1,
    cbar=False,
)
axes[1].set(
    xlabel="trained effect",
    ylabel="unseen effect",
    title="share of the five nearest",
)
axes[1].tick_params(axis="y", rotation=0)
figures.effect_legend(figure, axes[0])
plt.show()

# %% [markdown]
# **What we see.** Chorus and phaser have {glue:text}`latent.near.chorus.flanger:.2f` and {glue:text}`latent.near.phaser.flanger:.2f` of their neighbours with the flanger: all
# three put moving notches into a spectrum. The combo, an amplifier, has {glue:text}`latent.near.combo.overdrive:.2f` with overdrive. Bitcrush raises the high bands and lies at
# multiband ({glue:text}`latent.near.bitcrush.multiband:.2f`). The ring modulator and the compressor have no kin among the five and are scattered.
#
# ## The finding, asserted

# %%
dry_itself, with_gain, ours = errors.to_numpy().T  # five effects, then mean
assert ours[-1] < 0.6 * dry_itself[-1], "z tells the decoder little"
assert ours[-1] < 0.7 * with_gain[-1], "z tells little more than a gain"
# all but the flanger, the last of the five
assert (ours[:4] < 0.8 * dry_itself[:4]).all(), "the dry clip is as good"
if parameters.paired:
    assert knn5_grouped > raw_grouped + 0.15, "the map is no map of effects"
assert not set(train.groups) & set(groups), "someone is in both splits"
print("asserted: on voices and songs never heard, z tells what the effect")
print("did, and neighbours share an effect")

# %% [markdown]
# ```{admonition} Exercise
# Run with `-p paired False`: the encoder then hears the wet clip alone, while the decoder is told as before. What happens to the error and to the map?
# ```
#
# ```{admonition} A solution
# :class: dropdown
# The error rises by about a third and stays far below that of the dry clip itself. The map loses most: with other persons and songs as neighbours it is hardly better than the wet
# pictures. The decoder cares for the change of the clip; who does not hear the dry clip has to guess it, and takes a dark voice for a muffled one.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
