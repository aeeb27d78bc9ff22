# %% [markdown]
# # Do raw spectrograms separate effects?
#
# ```{admonition} This page
# :class: tip
# **In**: clips of speech and music under two to five effects, random settings, equal loudness. **Out**: the eight panels of the
# report's Table 1 with seeds and numbers; two experiments; a verdict on each claim. **Time**: one minute on one CPU core at the quick
# setting, seven at the published one; no GPU. **Number to expect**: with two effects about nine of ten points have neighbours of their
# own effect, with five on speech two of three.
# ```
#
# Table 1 of the report shows {term}`UMAP` maps of raw spectrograms, judged by eye and without a seed. It says that speech "is clearly better at
# separating effect classes", that it "gets a little bit messy with more than 3", and wonders whether fewer samples are to blame: both
# changed together. This page draws the maps again, counts what the eye guesses, and changes one thing at a time.

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # rows of the table; folder:<path>
effects: list = [2, 3, 4, 5]  # columns: how many effects
clips_per_effect: list = [200, 200, 150, 100]  # one per column
clip_s: float = 2.03  # length of a clip, seconds
spectrogram: str = "log_mel"  # log_mel (96 bands, dB) or stft (2,049)
settings: str = "random"  # random: uniform; fixed: controls at 0.5
n_neighbors: int = 15  # of UMAP: small sees local, large sees global structure
min_dist: float = 0.1  # of UMAP: how tightly points may lie
grid_clips: list = [25, 50, 100]  # of the experiment, per effect
sweep_clips: int = 50  # of the sweep over UMAP's settings, per effect
sweep_neighbors: list = [5, 15, 50]  # n_neighbors of the sweep
sweep_min_dists: list = [0.0, 0.5]  # min_dist of the sweep
seed: int = 42  # of the clips, the settings, PCA and UMAP

# %%
from functools import partial
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from lib.audio.effects import REPORT_ORDER
from lib.audio.spectrograms import REPORT_STFT, SpectrogramConfig
from lib.book import figures, page
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, Rendering, render
from lib.embeddings import maps
from lib.runtime.progress import progress

parameters = page.begin("09_umap_analysis", globals())
names = {corpus: page.slug(corpus) for corpus in parameters.corpora}

# %% [markdown]
# ## The maps
#
# Each effect is rendered once, and a panel takes the first clips. No two effects share a draw. All clips are equally loud, so that
# volume tells nothing. All voices and songs take part: nothing is trained here. Clips are drawn at random places and overlap when many
# are drawn. A spectrogram of 96 bands and 96 frames is a point with 9,216 coordinates. PCA keeps the first 50, UMAP
# {cite:p}`mcinnes2018umap` lays their neighbourhoods out in the plane. A second run gives the same bits.

# %%
layout = SpectrogramConfig()
if parameters.spectrogram == "stft":
    layout = REPORT_STFT
# number of effects in a panel -> clips of each of them
sizes = dict(zip(parameters.effects, parameters.clips_per_effect, strict=True))


# %%
def clips_of(corpus: str) -> ClipConfig:
    return ClipConfig(
        corpus=corpus,
        split="all",
        clip_s=parameters.clip_s,
        seed=parameters.seed,
    )


# %%
def rendered(corpus: str, effect: str) -> Rendering:
    """As many clips under an effect as the largest of its panels needs."""
    place = REPORT_ORDER.index(effect)
    counts = [count for number, count in sizes.items() if number > place]
    config = RenderConfig(
        clips=clips_of(corpus),
        spectrogram=layout,
        effects=(effect,),
        settings=parameters.settings,
        clips_per_effect=max(counts),
    )
    return render(config)


# %%
most_effects = max(parameters.effects)
data = {}
for corpus in parameters.corpora:
    for effect in REPORT_ORDER[:most_effects]:
        data[corpus, effect] = rendered(corpus, effect)
page.source(maps.umap_2d)

# %% [markdown]
# Four numbers go with every map. **5-NN** is the share of points whose five nearest *other* points vote for the right effect: what
# the eye calls separation. **5-NN, unheard** leaves out all points of the same person or song. The **silhouette**
# {cite:p}`rousseeuw1987silhouettes` compares distances within a class to those of the nearest other class. **Trustworthiness**
# {cite:p}`venna2001neighborhood` knows no effects: 1 when neighbours on the map are neighbours among the 50 components, about one half
# on a random map. We expect two effects to part well, and each further effect and unheard voices to cost accuracy.


# %%
def components(
    corpus: str, number: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `count` clips of each effect: (clip, component), names."""
    parts = [data[corpus, effect] for effect in REPORT_ORDER[:number]]
    x = np.concatenate([part.spectrograms[:count] for part in parts])
    table = pd.concat([part.table[:count] for part in parts])
    x = maps.reduce(x, parameters.seed)
    return x, table["effect"].to_numpy(), table["group"].to_numpy()


# %%
def umap_of(
    corpus: str,
    number: int,
    count: int,
    settings: tuple = (parameters.n_neighbors, parameters.min_dist),
) -> tuple[pd.DataFrame, dict[str, float]]:
    """A map (x, y, label, group) and its four numbers, computed once."""
    parts = [data[corpus, effect] for effect in REPORT_ORDER[:number]]
    folders = [part.folder.name for part in parts]
    key = {"renders": folders, "clips_per_effect": count}
    load = partial(components, corpus, number, count)
    return maps.map_stage(load, key, parameters.seed, *settings)


# %%
grid = list(product(parameters.corpora, parameters.effects))
panels = {}
for corpus, number in progress(grid, len(grid), "maps"):
    panels[corpus, number] = umap_of(corpus, number, sizes[number])

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-umap-table", "caption": "The counterpart of the report's Table 1: UMAP of raw spectrograms with two to five effects, numbers of clips as in the table of provenance. Under each map: 5-NN accuracy, the same with the own person or song left out, silhouette, trustworthiness, chance, and the seed. The axes of a map have no unit. At most 400 points of each effect are drawn."}, "image": {"alt": "Grid of scatter plots, one row for each corpus, one column for two, three, four and five effects. With two effects the classes lie apart; with each further effect they overlap more."}}
shape = len(parameters.corpora), len(parameters.effects)
figure, axes = plt.subplots(
    *shape, figsize=(2.4 * shape[1], 2.9 * shape[0] + 0.4), squeeze=False
)
for ax, (corpus, number) in zip(axes.flat, grid, strict=True):
    points, values = panels[corpus, number]
    lines = [
        f"5-NN {values['knn5']:.2f}, unheard {values['knn5_grouped']:.2f}",
        f"silhouette {values['silhouette']:.2f}, "
        f"trust {values['trustworthiness']:.2f}",
        f"chance {1 / number:.2f}, seed {parameters.seed}",
    ]
    figures.umap_panel(
        ax,
        points[["x", "y"]],
        points["label"],
        "\n".join(lines),
        f"{names[corpus]}, {number} effects",
        most=400,
    )
figures.effect_legend(figure, axes)
plt.show()

# %% tags=["nbval-ignore-output", "hide-input"]
# 5-NN of the report's own figures, read from its pages
report = {
    "speech": {2: 0.988, 3: 0.936, 4: 0.739, 5: 0.629},
    "music": {2: 0.986, 3: 0.840, 4: 0.762, 5: 0.803},
}
titles = {"knn5": "5-NN", "knn5_grouped": "5-NN, unheard"}
rows = {}
for (corpus, number), (_, values) in panels.items():
    row = {"clips of each": sizes[number], **values, "chance": 1 / number}
    theirs = report.get(corpus, {}).get(number, np.nan)
    row["5-NN in the report's map"] = theirs
    rows[names[corpus], number] = row
    page.record_all(f"umap.{names[corpus]}.{number}fx", values)
table = pd.DataFrame(rows).T.rename_axis(["corpus", "effects"])
table["clips of each"] = table["clips of each"].astype(int)
page.table(table.rename(columns=titles), "numbers")

# %% [markdown]
# What we see: **it gets messy with more effects**. 5-NN on speech goes from {glue:text}`umap.speech.2fx.knn5:.3f` with two effects to
# {glue:text}`umap.speech.5fx.knn5:.3f` with five, unheard to {glue:text}`umap.speech.5fx.knn5_grouped:.3f`; on music from
# {glue:text}`umap.music.2fx.knn5:.3f` to {glue:text}`umap.music.5fx.knn5:.3f`, unheard to {glue:text}`umap.music.5fx.knn5_grouped:.3f`.
# (The last column was read from the report's figures: other effects, corpora, clips and levels. It compares in kind, not in size.)
#
# ## What the eye misses: the map is a map of voices, too

# %%
by_voice = {}
for corpus, name in names.items():
    points = panels[corpus, most_effects][0]
    groups = points["group"].nunique()
    accuracy = maps.knn_accuracy(points[["x", "y"]], points["group"])
    assert accuracy > 1 / groups + 0.1, f"{corpus}: no voices on the map"
    by_voice[corpus] = accuracy
    page.record(f"umap.{name}.groups", groups)
    page.record(f"umap.{name}.{most_effects}fx.voice_knn5", accuracy)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-umap-voices", "caption": "The last map of each row again, coloured by person or song, with the 5-NN accuracy of that colouring under each map; same seed. So many hues cannot be told apart by everyone: it is the number that says how much voices and songs lie together. The axes of a map have no unit."}, "image": {"alt": "One scatter plot for each corpus, each point in the colour of its voice or song; many voices and songs lie in patches of their own."}}
figure, axes = plt.subplots(
    1, shape[0], figsize=(3.6 * shape[0], 3.4), squeeze=False
)
for ax, (corpus, name) in zip(axes.flat, names.items(), strict=True):
    points = panels[corpus, most_effects][0]
    sns.scatterplot(
        points,
        x="x",
        y="y",
        hue="group",
        s=7,
        linewidth=0,
        palette="husl",
        legend=False,
        ax=ax,
    )
    groups = points["group"].nunique()
    ax.set(
        xticks=[],
        yticks=[],
        xlabel=f"5-NN {by_voice[corpus]:.2f}",
        ylabel="",
        title=f"{name}, {groups} voices or songs",
    )
    sns.despine(ax=ax, left=True, bottom=True)
plt.show()

# %% [markdown]
# What we see: 5-NN tells which of {glue:text}`umap.speech.groups` voices it is with {glue:text}`umap.speech.5fx.voice_knn5:.3f`, which of
# {glue:text}`umap.music.groups` songs with {glue:text}`umap.music.5fx.voice_knn5:.3f`. Part of what looks like an effect is a voice.
#
# ## Are fewer samples to blame? Are UMAP's settings?
#
# Two experiments: every number of effects with every number of clips, and UMAP's two settings on the largest number of effects. To
# compare two effects with five we take chance $1/k$ out of a share $a$ of right answers: **skill** is $(a - 1/k) / (1 - 1/k)$. If
# samples are to blame, the lines of {numref}`fig-umap-experiments` rise; if effects are, they lie apart. (More clips overlap more,
# which lifts 5-NN but not unheard.) We expect both, and UMAP's settings to change the picture more than the numbers.

# %%
cells = product(parameters.corpora, parameters.effects, parameters.grid_clips)
cells = list(cells)
measured = {}
for corpus, number, count in progress(cells, len(cells), "clips"):
    values = umap_of(corpus, number, count)[1]
    measured[names[corpus], number, count] = values
for (corpus, number), (_, values) in panels.items():
    measured[names[corpus], number, 0] = values  # 0: a panel of Table 1
shares = pd.DataFrame(measured).T[list(titles)]
chance = 1 / shares.index.get_level_values(1).to_numpy()[:, None]
skills = (shares - chance) / (1 - chance)
skills = skills.stack().unstack(2)  # (corpus, effects, measure) x clips

# %%
knobs = product(
    parameters.corpora,
    parameters.sweep_neighbors,
    parameters.sweep_min_dists,
)
knobs = list(knobs)
swept = {}
for corpus, n_neighbors, min_dist in progress(knobs, len(knobs), "sweep"):
    knob = n_neighbors, min_dist
    values = umap_of(corpus, most_effects, parameters.sweep_clips, knob)[1]
    swept[names[corpus], n_neighbors, min_dist] = values
swept = pd.DataFrame(swept).T[list(titles)]

# %% tags=["hide-input"]
pairs = list(product(names.values(), titles))
for name, measure in pairs:
    values = swept.loc[name][measure]
    page.record(f"umap.{name}.sweep.lowest_{measure}", values.min())
    page.record(f"umap.{name}.sweep.highest_{measure}", values.max())


def draw_skills(ax: plt.Axes, name: str, measure: str) -> None:
    """Skill over clips, a line for each number of effects; rings: Table 1."""
    lines = skills.xs((name, measure), level=(0, 2))
    counts = [sizes[number] for number in lines.index]
    ax.scatter(counts, lines[0], s=70, facecolors="none", edgecolors="#222222")
    sns.lineplot(
        lines.drop(columns=0).T,
        markers=True,
        dashes=False,
        palette="viridis",
        ax=ax,
        legend=False,
    )
    ax.set(
        xscale="log",
        xlabel="clips of each effect",
        ylabel="skill",
        title=f"{name}: {titles[measure]}",
    )
    ax.set_xticks(parameters.grid_clips, parameters.grid_clips)
    ax.minorticks_off()


def draw_sweep(ax: plt.Axes, name: str, measure: str) -> None:
    """Share of right answers over UMAP's two settings."""
    sns.heatmap(
        swept.loc[name][measure].unstack(),
        annot=True,
        fmt=".2f",
        cbar=False,
        cmap="viridis",
        vmin=swept.min(axis=None),
        vmax=swept.max(axis=None),
        ax=ax,
    )
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="min_dist / map units", ylabel="")


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-umap-experiments", "caption": "Above: skill (0: guessing, 1: no mistake) over the clips of each effect, a line for each number of effects, which come in the report's order; rings: the panels of Table 1, which change both at once. Below: share of right answers on maps of the most effects over UMAP's settings, one colour scale."}, "image": {"alt": "Four columns: 5-NN and 5-NN, unheard, on each corpus. Above, line plots of skill over clips of each effect, logarithmic: the lines of two, three, four and five effects lie one below the other; where clips are few they rise. Below, heat maps with a number in every cell: within each the numbers differ little, between them more."}}
width = 2.4 * len(pairs) + 0.8
figure, axes = plt.subplots(2, len(pairs), figsize=(width, 5.2), sharey="row")
for (top, below), pair in zip(axes.T, pairs, strict=True):
    draw_skills(top, *pair)
    draw_sweep(below, *pair)
axes[1, 0].set_ylabel("n_neighbors / points")
figure.legend(
    axes[0, 0].lines,
    sorted(parameters.effects),
    title="effects",
    loc="outside upper center",
    ncols=4,
    frameon=False,
)
figures.colour_bar(figure, axes[1, 0].collections[0], axes[1], "share right")
plt.show()

# %% [markdown]
# What we see: settings move 5-NN between {glue:text}`umap.speech.sweep.lowest_knn5:.3f` and
# {glue:text}`umap.speech.sweep.highest_knn5:.3f` on speech, between {glue:text}`umap.music.sweep.lowest_knn5:.3f` and
# {glue:text}`umap.music.sweep.highest_knn5:.3f` on music. No setting makes five effects tidy.
#
# ## Verdicts
#
# By rule, else *refined*. **Speech is better**: reproduced if it leads by at least 0.02 in every panel by 5-NN, 5-NN, unheard and
# silhouette; refuted if in at most half. **Messy with more than 3**: reproduced if, at the experiment's most clips, the step from three
# effects to four costs the most skill, by both measures on every corpus; refuted if nowhere. **Fewer samples**: reproduced if the clips
# that Table 1 has beyond these bring as much skill as the most effects for the fewest cost; refuted if nowhere half as much.

# %% tags=["hide-input"]
verdicts = {}


def judge(
    claim: str, key: str, hits: np.ndarray, refuted: bool, values: pd.Series
) -> None:
    """Write a claim's verdict down: hits (bool) say where it holds."""
    verdict = "refined"
    if hits.all():
        verdict = "reproduced"
    elif refuted:
        verdict = "refuted"
    numbers = []
    for name, value in values.items():
        title = titles.get(name, name.replace("_", " "))
        numbers.append(f"{title} {value:+.3f}")
    verdicts[claim] = {
        "verdict": verdict,
        "holds in": f"{hits.sum()} of {hits.size}",
        "numbers": ", ".join(numbers),
    }
    page.record(f"umap.verdict.{key}.holds_in", hits.sum())
    page.record_all(f"umap.verdict.{key}", values)


# %%
if {"speech", "music"} <= set(names.values()):
    lead = table.loc["speech"] - table.loc["music"]
    lead = lead[[*titles, "silhouette"]]
    hits = (lead >= 0.02).to_numpy()
    refuted = hits.mean() <= 0.5
    judge("speech is clearly better", "lead", hits, refuted, lead.mean())

# %%
most_clips = max(parameters.grid_clips)
if {2, 3, 4, 5} <= set(parameters.effects):
    by_effects = skills[most_clips].unstack(1)  # (corpus, measure) x effects
    steps = by_effects.diff(axis=1).dropna(axis=1)
    hits = (steps.idxmin(axis=1) == 4).to_numpy()
    refuted = not hits.any()
    step = steps.mean().rename("to_{}_effects".format)
    judge("messy with more than 3", "step", hits, refuted, step)

# %%
few_effects, few_clips = min(parameters.effects), min(parameters.grid_clips)
if few_effects < most_effects and max(sizes.values()) > most_clips:
    by_effects = skills[most_clips].unstack(1)
    counts = skills.index.get_level_values(1).map(sizes)
    beyond = (skills[0] - skills[most_clips])[counts > most_clips]
    within = skills[most_clips] - skills[few_clips]
    changes = pd.DataFrame(
        {
            "effects": by_effects[most_effects] - by_effects[few_effects],
            "clips_of_table": beyond.groupby(level=[0, 2]).mean(),
            "clips_of_experiment": within.groupby(level=[0, 2]).mean(),
        }
    )

# %%
if few_effects < most_effects and max(sizes.values()) > most_clips:
    part = (changes["clips_of_table"] / -changes["effects"]).to_numpy()
    claim = "fewer samples are to blame"
    refuted = (part < 0.5).all()
    judge(claim, "samples", part >= 1, refuted, changes.mean())

# %% tags=["nbval-ignore-output", "hide-input"]
rows = pd.DataFrame(verdicts).T.rename_axis("the report")
page.table(rows, "verdicts")

# %% [markdown]
# What we see: speech leads in {glue:text}`umap.verdict.lead.holds_in` of 12 comparisons, by {glue:text}`umap.verdict.lead.knn5:.3f` in mean
# 5-NN. The third effect changes skill by {glue:text}`umap.verdict.step.to_3_effects:+.3f`, the fourth by
# {glue:text}`umap.verdict.step.to_4_effects:+.3f`. Five effects instead of two change it by {glue:text}`umap.verdict.samples.effects:+.3f`,
# the larger samples of Table 1 by {glue:text}`umap.verdict.samples.clips_of_table:+.3f`, the experiment's most clips instead of its
# fewest by {glue:text}`umap.verdict.samples.clips_of_experiment:+.3f`. Fewer clips blur a map, more effects blur it more.
#
# ## The finding, asserted

# %%
assert (table["knn5_grouped"] > table["chance"] + 0.1).all(), "only chance"
assert (table["knn5"] > table["knn5_grouped"] - 0.02).all(), "unheard is easy"
assert (table["trustworthiness"] > 0.8).all(), "the maps lose the neighbours"
if {2, 5} <= set(parameters.effects) and max(sizes.values()) > most_clips:
    more = changes["effects"]
    assert (more < -0.1).all(), f"more effects are not harder: {dict(more)}"
    assert (part < 1).all(), f"fewer samples are to blame: {part}"
if {"speech", "music"} <= set(names.values()):
    assert (lead[list(titles)].mean() > 0).all(), "speech is not first"
print("Effects separate beyond chance, on unheard voices less,")
print("and less with more effects. Fewer samples are not to blame.")

# %% [markdown]
# ````{admonition} Exercise
# Is the separation lost in the map, or was it never in the spectrograms? Compute `maps.knn_accuracy` for the five-effect panel on
# 50 principal components instead of the map, with the own voice left out.
#
# ```{admonition} A solution
# :class: dropdown
# `x, labels, groups = components("speech", 5, 100)`, then `maps.knn_accuracy(x, labels, groups=groups)`. We expect a little more
# than on the map, but far from 1: UMAP does not lose most of it.
# ```
# ````
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
