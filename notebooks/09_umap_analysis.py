# %% [markdown]
# # Do raw spectrograms separate effects?
#
# The report drew the spectrogram of each processed clip as a point on a map, and judged by eye how well effects separate. It found speech better than music. The maps got messy with more than three effects, perhaps because
# there were fewer samples. Which of these three impressions hold when the maps are drawn again and measured?
#
# Effects separate much better than chance, but less well with more effects, and less well if neighbours of the same voice are ignored. Speech leads on average, but not in every comparison. Fewer clips blur a map too, but
# three more effects blur it more.
#
# ```{glue:figure} key-09
# :name: fig-key-09
# :alt: Grid of scatter plots, one row for each corpus, one column for two, three, four and five effects. With two effects the classes lie apart. With more effects they overlap more.
#
# Every point is one clip, its colour is the effect. The axes of a map have no unit: what counts is which points lie close together. The numbers under each map are explained below.
# ```
#
# ```{admonition} This page
# :class: tip
# **In**: clips of speech and music under two to five effects, random settings, equal loudness. **Out**: the eight panels of the
# report's Table 1 with seeds and numbers; two experiments; a verdict on each claim. **Time**: one minute on one CPU core at the quick
# setting, seven at the published one; no GPU. **Number to expect**: with two effects, the neighbours of about nine in ten points
# name the right effect (chance: one in two). With five effects on speech it is two in three at the published setting (chance: one in five).
# ```

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # rows of the table; folder:<path>
effects: list = [2, 3, 4, 5]  # columns: how many effects
clips_per_effect: list = [200, 200, 150, 100]  # one per column
clip_s: float = 2.03  # length of a clip, seconds
spectrogram: str = "log_mel"  # log_mel (96 bands, dB) or stft (2,049)
settings: str = "random"  # random: uniform; fixed: controls at 0.5
n_neighbors: int = 15  # UMAP's: small sees local, large sees global structure
min_dist: float = 0.1  # UMAP's: how tightly points may lie
grid_clips: list = [25, 50, 100]  # clips in the experiment, per effect
sweep_clips: int = 50  # clips in the sweep over UMAP's settings, per effect
sweep_neighbors: list = [5, 15, 50]  # n_neighbors of the sweep
sweep_min_dists: list = [0.0, 0.5]  # min_dist of the sweep
seed: int = 42  # seed of the clips, the settings, PCA and UMAP

# %%
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from lib.audio import REPORT_ORDER, REPORT_STFT, SpectrogramConfig
from lib.book import figures, page
from lib.data.clips import ClipConfig
from lib.data.rendering import RenderConfig, Rendering, render
from lib.embeddings import maps
from lib.runtime.progress import progress

parameters = page.begin("09_umap_analysis", globals())
names = {corpus: page.slug(corpus) for corpus in parameters.corpora}

# %% [markdown]
# ## Three claims and five effects
#
# Table 1 of the report shows eight maps: speech and music, each with two to five effects. The report says three things about them.
#
# - Speech "is clearly better at separating effect classes" than music.
# - The map "gets a little bit messy with more than 3" effects.
# - Perhaps the smaller number of samples is to blame. The maps with more effects had fewer clips per effect, so both changed together.
#
# We draw these eight maps with clips of our own. From here on, Table 1 is ours, unless we say "the report's". (`names`, above, has the short name of each corpus.)
#
# A map with $k$ effects shows the first $k$ of this list, which keeps the report's order:
#
# | | effect | what it does to a clip |
# |---|---|---|
# | 1 | delay | repeats the clip as echoes |
# | 2 | overdrive | distorts it by saturation |
# | 3 | multiband | compresses bass, middle and treble separately |
# | 4 | ambience | puts it in a room |
# | 5 | flanger | adds a copy with a short delay that slowly moves |
#
# The order matters: if accuracy falls most with the fourth effect, the maps cannot tell whether its place or the ambience is to blame.
#
# ## The clips
#
# Each effect gets clips of its own. All clips have the same {term}`loudness`; otherwise the volume alone could give an effect away. The {term}`settings <Settings>` of an effect
# are the values of its controls, and each clip gets random ones. No model is tested on new voices here, so all persons and songs take part (`split="all"`). Clips start at random places and may overlap. (`REPORT_STFT` is the report's kind of spectrogram.)

# %%
layout = SpectrogramConfig()  # 96 mel bands, dB
if parameters.spectrogram == "stft":
    layout = REPORT_STFT
# number of effects on a map -> clips per effect
sizes = dict(zip(parameters.effects, parameters.clips_per_effect, strict=True))
most_effects = max(parameters.effects)


# %% [markdown]
# `place` is an effect's position in the list, counted from 0. The effect is on every map with more than `place` effects. We render as many clips as the largest of these maps needs; the other maps use the first of them.


# %%
def render_effect(corpus: str, place: int) -> Rendering:
    counts = [count for number, count in sizes.items() if number > place]
    clips = ClipConfig(
        corpus=corpus, split="all", clip_s=parameters.clip_s,
        seed=parameters.seed,
    )  # fmt: skip
    config = RenderConfig(
        clips=clips, spectrogram=layout, effects=(REPORT_ORDER[place],),
        settings=parameters.settings, clips_per_effect=max(counts),
    )  # fmt: skip
    return render(config)


# %%
data = {}
for corpus in parameters.corpora:
    for place in range(most_effects):
        data[corpus, place] = render_effect(corpus, place)

# %% [markdown]
# ## From a spectrogram to a point
#
# A spectrogram of 96 bands and 96 frames is a point with 9,216 coordinates. {term}`PCA` keeps the 50 directions in which the clips differ most. {term}`UMAP` {cite:p}`mcinnes2018umap` then places the clips in the plane: it looks up
# the nearest neighbours of each clip in these 50 dimensions, and moves the points until neighbours lie close together. Its two settings are `n_neighbors`, the number of neighbours that should stay close, and `min_dist`, the smallest
# distance between points.
#
# The function below does both steps. `reduce` is the PCA; rows that are already reduced pass through unchanged. We find the neighbours ourselves, because UMAP's own search is only approximate for many points.
# UMAP counts a point among its neighbours, so we look for one fewer. `_quiet_umap` gives the class UMAP, without its warnings.

# %%
page.source(maps.umap_2d)

# %% [markdown]
# ## Four numbers for a map
#
# | number | what it measures | range |
# |---|---|---|
# | {term}`5-NN` | accuracy if the five nearest other points vote on a point's effect: what the eye calls separation | chance to 1 |
# | {term}`5-NN, other voices` | the same, but only the five nearest points of other persons or songs vote | chance to 1 |
# | {term}`silhouette` {cite:p}`rousseeuw1987silhouettes` | distance to the nearest other class, compared with the distance within the point's own class | -1 to 1 |
# | {term}`trustworthiness` {cite:p}`venna2001neighborhood` | whether neighbours on the map are also neighbours in the 50 dimensions; it does not use the effects | about 1/2 (a random map) to 1 |
#
# *Chance* is $1/k$ for $k$ effects: all effects have equally many clips. We expect two effects to separate well, and less accuracy with more effects or if only other voices vote.
#
# The first function collects the clips of one map. `part.table` has one row per clip, with its effect and its *group*, a person or a song.


# %%
def components(
    corpus: str, number: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first clips of each effect as 50 components, effects, groups."""
    parts = [data[corpus, place] for place in range(number)]
    x = np.concatenate([part.spectrograms[:count] for part in parts])
    table = pd.concat([part.table[:count] for part in parts])
    x = maps.reduce(x, parameters.seed)  # PCA
    return x, table["effect"].to_numpy(), table["group"].to_numpy()


# %% [markdown]
# The next function returns a map (columns x, y, label, group) and its four numbers. `maps.map_stage` keeps them on disk. It calls `load` only if this map was not made before. (`progress`, below, shows how many maps are done.)

# %%
SETTINGS = (parameters.n_neighbors, parameters.min_dist)


def umap_of(
    corpus: str, number: int, count: int, settings: tuple = SETTINGS
) -> tuple[pd.DataFrame, dict[str, float]]:
    def load():
        return components(corpus, number, count)

    parts = [data[corpus, place] for place in range(number)]
    folders = [part.folder.name for part in parts]
    key = {"renders": folders, "clips_per_effect": count}
    return maps.map_stage(load, key, parameters.seed, *settings)


# %%
grid = list(product(parameters.corpora, parameters.effects))
panels = {}
for corpus, number in progress(grid, len(grid), "maps"):
    panels[corpus, number] = umap_of(corpus, number, sizes[number])

# %% tags=["nbval-ignore-output", "hide-input"] mystnb={"figure": {"name": "fig-umap-table", "caption": "The counterpart of the report's Table 1: UMAP of raw spectrograms with two to five effects. Under each map: 5-NN accuracy, the same where only other persons or songs vote, silhouette, trustworthiness, chance, and the seed. The axes of a map have no unit. At most 400 points of each effect are drawn; the table of provenance has the numbers of clips."}, "image": {"alt": "Grid of scatter plots, one row for each corpus, one column for two, three, four and five effects. With two effects the classes lie apart; with each further effect they overlap more."}}
rows, columns = len(parameters.corpora), len(parameters.effects)
figure, axes = plt.subplots(
    rows, columns, figsize=(2.4 * columns, 2.9 * rows + 0.4), squeeze=False
)
for ax, (corpus, number) in zip(axes.flat, grid, strict=True):
    points, values = panels[corpus, number]
    lines = [
        f"5-NN {values['knn5']:.2f}, "
        f"other voices {values['knn5_grouped']:.2f}",
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
page.key_figure(figure)
plt.show()

# %% tags=["nbval-ignore-output", "hide-input"]
# 5-NN on the points of the report's own figures, read from its pages
report = {
    "speech": {2: 0.988, 3: 0.936, 4: 0.739, 5: 0.629},
    "music": {2: 0.986, 3: 0.840, 4: 0.762, 5: 0.803},
}
titles = {"knn5": "5-NN", "knn5_grouped": "5-NN, other voices"}
rows = {}
for (corpus, number), (_, values) in panels.items():
    row = {"clips per effect": sizes[number], "chance": 1 / number, **values}
    row["report's 5-NN"] = report.get(corpus, {}).get(number, np.nan)
    rows[names[corpus], number] = row
    page.record_all(f"umap.{names[corpus]}.{number}fx", values)
table = pd.DataFrame(rows).T.rename_axis(["corpus", "effects"])
table["clips per effect"] = table["clips per effect"].astype(int)
page.table(
    table.rename(columns=titles),
    "numbers",
    "Four numbers for each map. Last column: 5-NN on the report's own map.",
)

# %% [markdown]
# **What we see.** The more effects, the lower the accuracy. On speech, 5-NN goes from {glue:text}`umap.speech.2fx.knn5:.3f` with two effects (chance 0.500) to
# {glue:text}`umap.speech.5fx.knn5:.3f` with five (chance 0.200). On music it goes from {glue:text}`umap.music.2fx.knn5:.3f` to {glue:text}`umap.music.5fx.knn5:.3f`.
#
# If only other persons or songs vote, the accuracy with five effects is {glue:text}`umap.speech.5fx.knn5_grouped:.3f` on speech and {glue:text}`umap.music.5fx.knn5_grouped:.3f` on music.
#
# The last column is 5-NN for the points that we read from the report's own figures. The report's plug-ins, recordings, numbers of clips and sound levels were others. So we compare only the trend: this accuracy falls
# with more effects too, except on music from four to five.
#
# ## The map of effects is a map of voices, too
#
# A spectrogram also shows who speaks. Do voices lie together on a map of effects? We let the five nearest points vote on the *person or song* instead of the effect.

# %%
by_voice = {}
for corpus in parameters.corpora:
    points = panels[corpus, most_effects][0]
    plane, groups = points[["x", "y"]], points["group"]
    by_voice[corpus] = maps.knn_accuracy(plane, groups)
    beyond = by_voice[corpus] - 1 / groups.nunique()
    words = f"{corpus}: the map shows voices, too"
    page.finding(words, beyond > 0.1, beyond)

# %% tags=["nbval-ignore-output", "hide-input"]
rows = {}
for corpus, name in names.items():
    count = panels[corpus, most_effects][0]["group"].nunique()
    page.record(f"umap.{name}.groups", count)
    page.record(f"umap.{name}.{most_effects}fx.voice_knn5", by_voice[corpus])
    rows[name] = {
        "persons or songs": str(count),
        "chance": 1 / count,
        "5-NN of persons or songs": by_voice[corpus],
    }
page.table(
    pd.DataFrame(rows).T,
    "voices",
    "How often the five nearest points name the person or song.",
)

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-umap-voices", "caption": "The last map of each row again, coloured by person or song, with the 5-NN accuracy of that colouring and chance under each map; same seed. So many hues cannot be told apart by everyone: it is the number that says how much voices and songs lie together. The axes of a map have no unit."}, "image": {"alt": "One scatter plot for each corpus, each point in the colour of its voice or song; many voices and songs lie in patches of their own."}}
figure, axes = plt.subplots(
    1, len(names), figsize=(3.6 * len(names), 3.4), squeeze=False
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
    count = points["group"].nunique()
    ax.set(
        xticks=[],
        yticks=[],
        xlabel=f"5-NN {by_voice[corpus]:.2f}, chance {1 / count:.2f}",
        ylabel="",
        title=f"{name}, {count} voices or songs",
    )
    sns.despine(ax=ax, left=True, bottom=True)
plt.show()

# %% [markdown]
# **What we see.** The neighbours name which of {glue:text}`umap.speech.groups` persons speaks with an accuracy of {glue:text}`umap.speech.5fx.voice_knn5:.3f`, and which of
# {glue:text}`umap.music.groups` songs plays with {glue:text}`umap.music.5fx.voice_knn5:.3f`. Both are far above chance. So clips lie
# together by voice as well as by effect. Votes of the same voice make the effect easier to guess: in the table of the maps, "5-NN, other voices" is the lower number.
#
# ## Are fewer samples to blame? Are UMAP's settings?
#
# The first experiment separates samples from effects: it draws every number of effects with every number of clips in `grid_clips`. The second varies the two settings of UMAP on maps with the most effects.
#
# Chance differs between two effects and five, so we remove it from the accuracy $a$: the *skill* is $(a - 1/k) / (1 - 1/k)$, 0 for guessing and 1 for no mistake.
#
# If the number of samples is to blame, skill rises with the clips along each line of {numref}`fig-umap-experiments` (upper row). If the number of effects is to blame, the lines lie apart. More clips per recording overlap more. That raises 5-NN, but not "5-NN, other voices". We expect samples and effects to play a part, and UMAP's settings to change the numbers little.
# (`titles` has the two 5-NN measures and their names.)


# %%
def skill_rows(corpus: str, number: int, count: int, values: dict) -> list:
    """Skill of a map with this many effects, by both 5-NN measures."""
    rows = []
    for measure in titles:
        skill = (values[measure] - 1 / number) / (1 - 1 / number)
        rows.append((names[corpus], number, measure, count, skill))
    return rows


def skill_series(rows: list) -> pd.Series:
    columns = ["corpus", "effects", "measure", "clips", "skill"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.set_index(columns[:-1])["skill"]


# %%
cells = product(parameters.corpora, parameters.effects, parameters.grid_clips)
cells = list(cells)
rows = []
for corpus, number, count in progress(cells, len(cells), "clips"):
    values = umap_of(corpus, number, count)[1]
    rows += skill_rows(corpus, number, count, values)
skills = skill_series(rows).unstack("clips")

rows = []
for (corpus, number), (_, values) in panels.items():
    rows += skill_rows(corpus, number, sizes[number], values)
panel_skills = skill_series(rows).reset_index("clips")

# %% [markdown]
# `skills` has one row for each corpus, number of effects and measure, and one column for each number of clips. `panel_skills` has the maps of Table 1 in the same rows, with their clips and skill as columns. Now the sweep over UMAP's settings:

# %%
knobs = product(
    parameters.corpora,
    parameters.sweep_neighbors,
    parameters.sweep_min_dists,
)
knobs = list(knobs)
sweep = {}
for corpus, n_neighbors, min_dist in progress(knobs, len(knobs), "sweep"):
    knob = n_neighbors, min_dist
    values = umap_of(corpus, most_effects, parameters.sweep_clips, knob)[1]
    sweep[names[corpus], n_neighbors, min_dist] = values
sweep = pd.DataFrame(sweep).T[list(titles)]

# %% tags=["hide-input"]
pairs = list(product(names.values(), titles))
for name, measure in pairs:
    values = sweep.loc[name][measure]
    page.record(f"umap.{name}.sweep.lowest_{measure}", values.min())
    page.record(f"umap.{name}.sweep.highest_{measure}", values.max())


def draw_skills(ax: plt.Axes, name: str, measure: str) -> None:
    """Skill over clips, a line for each number of effects; rings: Table 1."""
    key = {"key": (name, measure), "level": ("corpus", "measure")}
    rings = panel_skills.xs(**key)
    look = {"s": 70, "facecolors": "none", "edgecolors": "#222222"}
    ax.scatter(rings["clips"], rings["skill"], **look)
    lines = skills.xs(**key).T
    look = {"markers": True, "dashes": False, "palette": "viridis"}
    sns.lineplot(lines, legend=False, ax=ax, **look)
    labels = {"xlabel": "clips per effect", "ylabel": "skill"}
    ax.set(xscale="log", title=f"{name}: {titles[measure]}", **labels)
    ax.set_xticks(parameters.grid_clips, parameters.grid_clips)
    ax.minorticks_off()


def draw_sweep(ax: plt.Axes, name: str, measure: str) -> None:
    """Share of right answers over UMAP's two settings."""
    values = sweep.loc[name][measure].unstack()
    low, high = sweep.min(axis=None), sweep.max(axis=None)
    look = {"annot": True, "fmt": ".2f", "cbar": False, "cmap": "viridis"}
    sns.heatmap(values, vmin=low, vmax=high, ax=ax, **look)
    ax.tick_params(axis="y", rotation=0)
    ax.set(xlabel="min_dist / map units", ylabel="")


# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-umap-experiments", "caption": "Above: skill (0: guessing, 1: no mistake) over the clips per effect, a line for each number of effects, which come in the report's order; rings: the maps of Table 1, which change both at once. Below: share of right answers on maps of the most effects over UMAP's settings, one colour scale; chance is one divided by the number of effects."}, "image": {"alt": "Four columns: 5-NN and 5-NN with votes of other voices, on each corpus. Above, line plots of skill over clips per effect, logarithmic: the lines of two, three, four and five effects lie one below the other; where clips are few they rise. Below, heat maps with a number in every cell: within each the numbers differ little, between them more."}}
width = 2.4 * len(pairs) + 0.8
figure, axes = plt.subplots(2, len(pairs), figsize=(width, 5.2), sharey="row")
for (top, below), (name, measure) in zip(axes.T, pairs, strict=True):
    draw_skills(top, name, measure)
    draw_sweep(below, name, measure)
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
# **What we see.** UMAP's settings move 5-NN between {glue:text}`umap.speech.sweep.lowest_knn5:.3f` and {glue:text}`umap.speech.sweep.highest_knn5:.3f` on speech with five effects (chance 0.200). On music
# they move it between {glue:text}`umap.music.sweep.lowest_knn5:.3f` and {glue:text}`umap.music.sweep.highest_knn5:.3f`. None of these settings brings five effects near the accuracy of two. We judge the upper row in the next section.
#
# ## The rules of the verdicts
#
# Each claim gets one test. If it is neither reproduced nor refuted, it is *refined*: it holds in part.
#
# | claim | test | reproduced if | refuted if |
# |---|---|---|---|
# | speech is clearly better | lead of speech over music in 5-NN, 5-NN with other voices, and silhouette, on each of the four maps: 12 comparisons | the lead is at least 0.02 in all 12 | it is at least 0.02 in 6 or fewer |
# | messy with more than 3 | change of skill from two effects to three, three to four, four to five, on the first experiment's maps with the most clips; 2 measures, 2 corpora: 4 cases | the step to four effects costs most in all 4 | it costs most in none |
# | fewer samples are to blame | *loss*: skill lost from two effects to five, on the same maps; *gain*: skill in Table 1 minus skill on the same maps, where Table 1 has more clips; 4 cases | the gain is at least as large as the loss in all 4 | it is less than half of the loss in all 4 |
#
# The third rule asks how much skill the larger samples of Table 1 add. It does not ask how much smaller samples lose.
#
# For the first claim, `table` is the table of the maps above, and `lead` its rows of speech minus those of music.


# %%
def verdict(holds: np.ndarray, refuted: bool) -> str:
    """holds: for each comparison, whether the claim holds there."""
    if holds.all():
        return "reproduced"
    if refuted:
        return "refuted"
    return "refined"


claims = {}

# %%
if {"speech", "music"} <= set(names.values()):
    lead = table.loc["speech"] - table.loc["music"]
    lead = lead[["knn5", "knn5_grouped", "silhouette"]]
    holds = (lead >= 0.02).to_numpy()
    claims["lead"] = {
        "claim": "speech is clearly better",
        "holds": holds,
        "verdict": verdict(holds, refuted=holds.mean() <= 0.5),
        "numbers": lead.mean(),
    }

# %% [markdown]
# For the second claim, `steps` holds the change of skill with each further effect; the lowest of them is the most costly step.

# %%
most_clips = max(parameters.grid_clips)
by_effects = skills[most_clips].unstack("effects")
if {2, 3, 4, 5} <= set(parameters.effects):
    steps = by_effects.diff(axis="columns")[[3, 4, 5]]
    holds = (steps.idxmin(axis="columns") == 4).to_numpy()
    step_means = steps.mean()
    step_means.index = ["to_3_effects", "to_4_effects", "to_5_effects"]
    claims["step"] = {
        "claim": "messy with more than 3",
        "holds": holds,
        "verdict": verdict(holds, refuted=not holds.any()),
        "numbers": step_means,
    }

# %% [markdown]
# For the third claim, `judge_samples` says whether the parameters allow the test. `loss` is the change of skill from the fewest effects to the most, so in the code it is negative. `gain` is the change from the experiment's maps with the most clips to Table 1. `experiment` is the change from
# its maps with the fewest clips to those with the most, and no verdict depends on it. All three are computed for each corpus and measure; `gain` and `experiment` are means over the numbers of effects.

# %%
few_effects, few_clips = min(parameters.effects), min(parameters.grid_clips)
cases = ["corpus", "measure"]
judge_samples = few_effects < most_effects and max(sizes.values()) > most_clips
if judge_samples:
    loss = by_effects[most_effects] - by_effects[few_effects]
    larger = panel_skills["clips"] > most_clips
    gain = (panel_skills["skill"] - skills[most_clips])[larger]
    gain = gain.groupby(cases).mean()
    experiment = skills[most_clips] - skills[few_clips]
    experiment = experiment.groupby(cases).mean()

# %%
if judge_samples:
    part = (gain / -loss).to_numpy()  # share of the loss
    numbers = {
        "effects": loss.mean(),
        "clips_of_table": gain.mean(),
        "clips_of_experiment": experiment.mean(),
    }
    claims["samples"] = {
        "claim": "fewer samples are to blame",
        "holds": part >= 1,
        "verdict": verdict(part >= 1, refuted=(part < 0.5).all()),
        "numbers": pd.Series(numbers),
    }

# %% tags=["nbval-ignore-output", "hide-input"]
words = titles | {
    "effects": f"{most_effects} effects instead of {few_effects}",
    "clips_of_table": "larger samples of Table 1",
    "clips_of_experiment": f"{most_clips} clips instead of {few_clips}",
}
rows = {}
for key, claim in claims.items():
    holds, numbers = claim["holds"], claim["numbers"]
    page.record(f"umap.verdict.{key}.holds_in", holds.sum())
    page.record_all(f"umap.verdict.{key}", numbers)
    texts = []
    for name, value in numbers.items():
        title = words.get(name, name.replace("_", " "))
        texts.append(f"{title} {value:+.3f}")
    rows[claim["claim"]] = {
        "verdict": claim["verdict"],
        "holds in": f"{holds.sum()} of {holds.size}",
        "mean changes": "; ".join(texts),
    }
page.table(
    pd.DataFrame(rows).T.rename_axis("claim"),
    "verdicts",
    "First row: lead of speech over music. Others: changes of skill.",
)

# %% [markdown]
# **What we see.** Speech leads by at least 0.02 in {glue:text}`umap.verdict.lead.holds_in` of 12 comparisons. Its mean lead is {glue:text}`umap.verdict.lead.knn5:.3f` in 5-NN and
# {glue:text}`umap.verdict.lead.knn5_grouped:.3f` in 5-NN with other voices.
#
# On average over the four cases, the third effect changes the skill by {glue:text}`umap.verdict.step.to_3_effects:+.3f`, the fourth by {glue:text}`umap.verdict.step.to_4_effects:+.3f`, the fifth by {glue:text}`umap.verdict.step.to_5_effects:+.3f`.
#
# Five effects instead of two change it by {glue:text}`umap.verdict.samples.effects:+.3f`, and the larger samples of Table 1 by {glue:text}`umap.verdict.samples.clips_of_table:+.3f`. Within the experiment, the most clips
# instead of the fewest change it by {glue:text}`umap.verdict.samples.clips_of_experiment:+.3f`. So fewer clips blur a map, and three more effects blur it more.
#
# ## The finding, asserted
#
# On every map "5-NN, other voices" must exceed chance by 0.1, but may not exceed 5-NN by more than 0.02. Trustworthiness must exceed 0.8. In every case five effects must have at least 0.1 less skill than two, and the gain be smaller than this loss.
# Speech must lead on average in both 5-NN measures. The verdicts are not asserted.

# %%
chance = table["chance"]
beyond = (table["knn5_grouped"] - chance).min()
page.finding("effects separate beyond chance", beyond > 0.1, beyond)
easier = (table["knn5_grouped"] - table["knn5"]).max()
page.finding("other voices are not easier", easier <= 0.02, easier)
least = table["trustworthiness"].min()
page.finding("the maps keep the neighbours", least > 0.8, least)

# %%
if {2, 5} <= set(parameters.effects) and judge_samples:
    harder = (loss < -0.1).all()
    page.finding("five effects are harder than two", harder, loss.max())
    most = max(part)
    page.finding("larger samples gain less than that", most < 1, most)
if {"speech", "music"} <= set(names.values()):
    least = lead[list(titles)].mean().min()
    page.finding("speech leads in mean 5-NN", least > 0, least)

# %% [markdown]
# ````{admonition} Exercise
# Do the effects mix only on the map, or already in the spectrograms? Compute `maps.knn_accuracy` for the five-effect panel on
# 50 principal components instead of the map. Pass `groups`, so that a point's own person or song has no vote.
#
# ```{admonition} A solution
# :class: dropdown
# `x, labels, groups = components("speech", 5, sizes[5])`, then `maps.knn_accuracy(x, labels, groups=groups)`. We expect a little more
# than the map's "5-NN, other voices", but far from 1: then the effects mix already in the spectrograms, and UMAP lost little.
# ```
# ````
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
