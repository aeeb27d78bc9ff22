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
corpora: list = [
    "speech",
    "music",
]  # rows of the table: speech, music, folder:<path>
effects: list = [
    2,
    3,
    4,
    5,
]  # columns: how many effects, in the report's order
clips_per_effect: list = [
    200,
    200,
    150,
    100,
]  # clips of each effect, a number for each column
clip_s: float = 2.03  # length of a clip, seconds
spectrogram: str = "log_mel"  # log_mel (96 bands, dB) or stft (the report's: 2,049 bins, power 0.3)
settings: str = (
    "random"  # random: uniform over every control's range; fixed: all at 0.5
)
n_neighbors: int = 15  # of UMAP: small sees local, large sees global structure
min_dist: float = 0.1  # of UMAP: how tightly points may lie
grid_clips: list = [
    25,
    50,
    100,
]  # of the experiment: clips of each effect, whatever the number of effects
sweep_clips: int = (
    50  # of the sweep over UMAP's settings: clips of each effect, all effects
)
sweep_neighbors: list = [5, 15, 50]  # n_neighbors of the sweep
sweep_min_dists: list = [0.0, 0.5]  # min_dist of the sweep
seed: int = 42  # of the clips, the settings, PCA and UMAP

# %%
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from lib.audio import spectrograms
from lib.audio.effects import REPORT_ORDER
from lib.book import figures
from lib.book import page as story
from lib.data import clips
from lib.data import rendering as render
from lib.embeddings import maps as embeddings

parameters = story.begin("09_umap_analysis", globals())
names = {corpus: story.slug(corpus) for corpus in parameters.corpora}

# %% [markdown]
# ## The maps
#
# Each effect is rendered once, and a panel takes the first clips. No two effects share a draw. All clips are equally loud, so that
# volume tells nothing. All voices and songs take part: nothing is trained here. Clips are drawn at random places and overlap when many
# are drawn. A spectrogram of 96 bands and 96 frames is a point with 9,216 coordinates. PCA keeps the first 50, UMAP
# {cite:p}`mcinnes2018umap` lays their neighbourhoods out in the plane. A second run gives the same bits.

# %%
layout = (
    spectrograms.REPORT_STFT
    if parameters.spectrogram == "stft"
    else spectrograms.SpectrogramConfig()
)
sizes = dict(
    zip(parameters.effects, parameters.clips_per_effect, strict=True)
)  # clips of each, by number of effects


def rendered(corpus: str, effect: str) -> render.Rendering:
    place = REPORT_ORDER.index(effect)
    most = max(
        count for number, count in sizes.items() if place < number
    )  # what the largest panel needs
    source = clips.ClipConfig(
        corpus=corpus,
        split="all",
        clip_s=parameters.clip_s,
        seed=parameters.seed,
    )
    drawn = {
        "effects": (effect,),
        "settings": parameters.settings,
        "clips_per_effect": most,
    }
    return render.render(
        render.RenderConfig(clips=source, spectrogram=layout, **drawn)
    )


few, many, low, high = (
    end(of)
    for of in (parameters.grid_clips, parameters.effects)
    for end in (min, max)
)
data = {
    (corpus, effect): rendered(corpus, effect)
    for corpus in parameters.corpora
    for effect in REPORT_ORDER[:high]
}
story.source(embeddings.umap_2d)

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
    parts = [data[corpus, effect] for effect in REPORT_ORDER[:number]]
    x = np.concatenate(
        [part.spectrograms[:count] for part in parts]
    )  # (clip, band, frame)
    tables = pd.concat([part.table[:count] for part in parts])
    return (
        embeddings.reduce(x, parameters.seed),
        tables["effect"].to_numpy(),
        tables["group"].to_numpy(),
    )


def panel(
    corpus: str, number: int, count: int, *umap: float
) -> tuple[pd.DataFrame, dict]:  # n_neighbors, min_dist
    key = {
        "renders": [
            data[corpus, e].folder.name for e in REPORT_ORDER[:number]
        ],
        "clips_per_effect": count,
    }
    settings = umap or (parameters.n_neighbors, parameters.min_dist)
    return embeddings.map_stage(
        lambda: components(corpus, number, count),
        key,
        parameters.seed,
        *settings,
    )


grid = list(product(parameters.corpora, parameters.effects))
panels = {
    (c, number): panel(c, number, sizes[number])
    for c, number in story.progress(grid, len(grid), "maps")
}

# %% mystnb={"figure": {"name": "fig-umap-table", "caption": "The counterpart of the report's Table 1: UMAP of raw spectrograms with two to five effects, numbers of clips as in the table of provenance. Under each map: 5-NN accuracy, the same with the own person or song left out, silhouette, trustworthiness, chance, and the seed. The axes of a map have no unit. At most 400 points of each effect are drawn."}, "image": {"alt": "Grid of scatter plots, one row for each corpus, one column for two, three, four and five effects. With two effects the classes lie apart; with each further effect they overlap more."}}
shape = len(parameters.corpora), len(parameters.effects)
figure, axes = plt.subplots(
    *shape, figsize=(2.4 * shape[1], 2.9 * shape[0] + 0.4), squeeze=False
)
for ax, (corpus, number) in zip(axes.flat, grid, strict=True):
    points, of = panels[corpus, number]
    text = f"5-NN {of['knn5']:.2f}, unheard {of['knn5_grouped']:.2f}\nsilhouette {of['silhouette']:.2f}, "
    text += f"trust {of['trustworthiness']:.2f}\nchance {1 / number:.2f}, seed {parameters.seed}"
    figures.umap_panel(
        ax,
        points[["x", "y"]],
        points["label"],
        text,
        f"{names[corpus]}, {number} effects",
        most=400,
    )
figures.effect_legend(figure, axes)
plt.show()

# %% tags=["nbval-ignore-output"]
report = {
    "speech": {2: 0.988, 3: 0.936, 4: 0.739, 5: 0.629},
    "music": {2: 0.986, 3: 0.840, 4: 0.762, 5: 0.803},
}
titles = {"knn5": "5-NN", "knn5_grouped": "5-NN, unheard"}
rows = {}
for (corpus, number), (_, numbers) in panels.items():
    theirs = {
        "5-NN in the report's map": report.get(corpus, {}).get(number, np.nan)
    }
    rows[names[corpus], number] = {
        "clips of each": sizes[number],
        **numbers,
        "chance": 1 / number,
        **theirs,
    }
    for measure, value in numbers.items():
        story.record(f"umap.{names[corpus]}.{number}fx.{measure}", value)
table = (
    pd.DataFrame(rows)
    .T.rename_axis(["corpus", "effects"])
    .astype({"clips of each": int})
)
table.rename(columns=titles).style.format(precision=3, na_rep="-").set_uuid(
    "numbers"
)

# %% [markdown]
# What we see: **it gets messy with more effects**. 5-NN on speech goes from {glue:text}`umap.speech.2fx.knn5:.3f` with two effects to
# {glue:text}`umap.speech.5fx.knn5:.3f` with five, unheard to {glue:text}`umap.speech.5fx.knn5_grouped:.3f`; on music from
# {glue:text}`umap.music.2fx.knn5:.3f` to {glue:text}`umap.music.5fx.knn5:.3f`, unheard to {glue:text}`umap.music.5fx.knn5_grouped:.3f`.
# (The last column was read from the report's figures: other effects, corpora, clips and levels. It compares in kind, not in size.)
#
# ## What the eye misses: the map is a map of voices, too

# %% mystnb={"figure": {"name": "fig-umap-voices", "caption": "The last map of each row again, coloured by person or song, with the 5-NN accuracy of that colouring under each map; same seed. So many hues cannot be told apart by everyone: it is the number that says how much voices and songs lie together. The axes of a map have no unit."}, "image": {"alt": "One scatter plot for each corpus, each point in the colour of its voice or song; many voices and songs lie in patches of their own."}}
figure, axes = plt.subplots(
    1, shape[0], figsize=(3.6 * shape[0], 3.4), squeeze=False
)
for ax, (corpus, name) in zip(axes.flat, names.items(), strict=True):
    points = panels[corpus, high][0]
    groups, by_voice = (
        points["group"].nunique(),
        embeddings.knn_accuracy(points[["x", "y"]], points["group"]),
    )
    assert by_voice > 1 / groups + 0.1, (
        f"{corpus}: the map does not know voices"
    )
    story.record(f"umap.{name}.groups", groups)
    story.record(f"umap.{name}.{high}fx.voice_knn5", by_voice)
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
    ax.set(
        xticks=[],
        yticks=[],
        xlabel=f"5-NN {by_voice:.2f}",
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

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-umap-experiments", "caption": "Above: skill (0: guessing, 1: no mistake) over the clips of each effect, a line for each number of effects, which come in the report's order; rings: the panels of Table 1, which change both at once. Below: share of right answers on maps of the most effects over UMAP's settings, one colour scale."}, "image": {"alt": "Four columns: 5-NN and 5-NN, unheard, on each corpus. Above, line plots of skill over clips of each effect, logarithmic: the lines of two, three, four and five effects lie one below the other; where clips are few they rise. Below, heat maps with a number in every cell: within each the numbers differ little, between them more."}}
cells = list(
    product(parameters.corpora, parameters.effects, parameters.grid_clips)
)
knobs = list(
    product(
        parameters.corpora,
        parameters.sweep_neighbors,
        parameters.sweep_min_dists,
    )
)
shares = {
    cell: panel(*cell)[1]
    for cell in story.progress(cells, len(cells), "clips")
}
shares |= {
    (corpus, number, 0): of for (corpus, number), (_, of) in panels.items()
}  # 0: as in Table 1
shares = pd.DataFrame(shares).T.rename(index=names, level=0)[list(titles)]
chance = 1 / shares.index.get_level_values(1).to_numpy()[:, None]
skills = (
    ((shares - chance) / (1 - chance)).stack().unstack(2)
)  # (corpus, effects, measure) x clips
swept = {
    (c, *at): panel(c, high, parameters.sweep_clips, *at)[1]
    for c, *at in story.progress(knobs, label="sweep")
}
swept = pd.DataFrame(swept).T.rename(index=names, level=0)[list(titles)]
pairs, scale = (
    list(product(names.values(), titles)),
    {"vmin": swept.min(axis=None), "vmax": swept.max(axis=None)},
)
figure, axes = plt.subplots(
    2, len(pairs), figsize=(2.4 * len(pairs) + 0.8, 5.2), sharey="row"
)
for (top, below), (name, measure) in zip(axes.T, pairs, strict=True):
    lines = skills.xs((name, measure), level=(0, 2))
    top.scatter(
        [sizes[number] for number in lines.index],
        lines[0],
        s=70,
        facecolors="none",
        edgecolors="#222222",
    )
    sns.lineplot(
        lines.drop(columns=0).T,
        markers=True,
        dashes=False,
        palette="viridis",
        ax=top,
        legend=False,
    )
    top.set(
        xscale="log",
        xlabel="clips of each effect",
        ylabel="skill",
        title=f"{name}: {titles[measure]}",
    )
    top.set_xticks(parameters.grid_clips, parameters.grid_clips)
    top.minorticks_off()
    values = swept.loc[name][measure].unstack()
    sns.heatmap(
        values,
        annot=True,
        fmt=".2f",
        cbar=False,
        cmap="viridis",
        ax=below,
        **scale,
    )
    below.tick_params(axis="y", rotation=0)
    below.set(
        xlabel="min_dist / map units",
        ylabel="n_neighbors / points" if below is axes[1, 0] else "",
    )
    story.record(f"umap.{name}.sweep.lowest_{measure}", values.min(axis=None))
    story.record(f"umap.{name}.sweep.highest_{measure}", values.max(axis=None))
figure.legend(
    axes[0, 0].lines,
    lines.index,
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

# %% tags=["nbval-ignore-output"]
verdicts = []
if {"speech", "music"} <= set(names.values()):
    lead = (table.loc["speech"] - table.loc["music"])[[*titles, "silhouette"]]
    hits = (lead >= 0.02).to_numpy()
    verdicts.append(
        (
            "speech is clearly better",
            "lead",
            hits,
            hits.mean() <= 0.5,
            lead.mean(),
        )
    )
if {2, 3, 4, 5} <= set(parameters.effects):
    steps = (
        skills[many].unstack(1).diff(axis=1).dropna(axis=1)
    )  # (corpus, measure) x effects reached
    hits, step = (
        (steps.idxmin(axis=1) == 4).to_numpy(),
        steps.mean().rename("to_{}_effects".format),
    )
    verdicts.append(
        ("messy with more than 3", "step", hits, not hits.any(), step)
    )
if low < high and max(sizes.values()) > many:
    beyond = (skills[0] - skills[many])[
        [sizes[number] > many for _, number, _ in skills.index]
    ]
    equal, within = skills[many].unstack(1), skills[many] - skills[few]
    changes = {
        "effects": equal[high] - equal[low],
        "clips_of_table": beyond.groupby(level=[0, 2]).mean(),
    }
    changes = pd.DataFrame(
        changes | {"clips_of_experiment": within.groupby(level=[0, 2]).mean()}
    )  # of skill
    part = (changes["clips_of_table"] / -changes["effects"]).to_numpy()
    verdicts.append(
        (
            "fewer samples are to blame",
            "samples",
            part >= 1,
            (part < 0.5).all(),
            changes.mean(),
        )
    )
rows = {}
for claim, key, hits, refuted, values in verdicts:
    word = "reproduced" if hits.all() else "refuted" if refuted else "refined"
    text = ", ".join(
        f"{titles.get(name, name.replace('_', ' '))} {value:+.3f}"
        for name, value in values.items()
    )
    rows[claim] = {
        "verdict": word,
        "holds in": f"{hits.sum()} of {hits.size}",
        "numbers": text,
    }
    for name, value in {"holds_in": hits.sum(), **values}.items():
        story.record(f"umap.verdict.{key}.{name}", value)
pd.DataFrame(rows).T.rename_axis("the report").style.set_uuid("verdicts")

# %% [markdown]
# What we see: speech leads in {glue:text}`umap.verdict.lead.holds_in` of 12 comparisons, by {glue:text}`umap.verdict.lead.knn5:.3f` in mean
# 5-NN. The third effect changes skill by {glue:text}`umap.verdict.step.to_3_effects:+.3f`, the fourth by
# {glue:text}`umap.verdict.step.to_4_effects:+.3f`. Five effects instead of two change it by {glue:text}`umap.verdict.samples.effects:+.3f`,
# the larger samples of Table 1 by {glue:text}`umap.verdict.samples.clips_of_table:+.3f`, the experiment's most clips instead of its
# fewest by {glue:text}`umap.verdict.samples.clips_of_experiment:+.3f`. Fewer clips blur a map, more effects blur it more.
#
# ## The finding, asserted

# %%
assert (table["knn5_grouped"] > table["chance"] + 0.1).all(), (
    "no better than chance"
)
assert (table["knn5"] > table["knn5_grouped"] - 0.02).all(), (
    "unheard is easier"
)
assert (table["trustworthiness"] > 0.8).all(), "the maps lose the neighbours"
if {2, 5} <= set(parameters.effects) and max(sizes.values()) > many:
    assert (changes["effects"] < -0.1).all(), (
        f"more effects are not harder: {changes['effects'].to_dict()}"
    )
    assert (part < 1).all(), f"fewer samples are to blame: {part}"
assert (
    not {"speech", "music"} <= set(names.values())
    or (lead[[*titles]].mean() > 0).all()
), "speech is not first"
print(
    "Effects separate beyond chance, less on unheard voices and with more effects; fewer samples are not to blame."
)

# %% [markdown]
# ````{admonition} Exercise
# Is the separation lost in the map, or was it never in the spectrograms? Compute `embeddings.knn_accuracy` for the five-effect panel on
# 50 principal components instead of the map, with the own voice left out.
#
# ```{admonition} A solution
# :class: dropdown
# `x, labels, groups = components("speech", 5, 100)`, then `embeddings.knn_accuracy(x, labels, groups=groups)`. We expect a little more
# than on the map, but far from 1: UMAP does not lose most of it.
# ```
# ````
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
story.provenance(parameters)
