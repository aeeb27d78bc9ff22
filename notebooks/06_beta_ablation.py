# %% [markdown]
# # Where is the edge of collapse?
#
# ```{admonition} This page
# :class: tip
# **In**: MNIST digits, dry speech, dry music. **Out**: the beta at which a convolutional VAE loses its code, found by bisection; KL and error over
# beta, measured and predicted; a test of the collapse alarm.
# **Time**: a grid of short trainings and a search for each corpus and seed; two CPU cores need about two minutes for the quick one,
# fifteen for the published one. **Number to expect**: edges within 15 % of $\beta_1 = 2\lambda_1/N$, on all three.
# ```
#
# "Or is it purely a case of tuning beta?" Beta has an edge, and PCA tells where it is. [The page before](05_the_loss_question) derives it for a
# *linear* VAE. Here nets with convolutions and nonlinearities are trained, and the edge is measured.

# %% tags=["parameters"]
corpora: list = ["digits", "speech", "music"]  # data sets: digits, speech, music, folder:<path>
betas: list = [1.0e-5, 1.0e-3, 5.0e-2, 1.0]  # weights of the KL term in the grid on digits
sound_betas: list = [1.0e-4, 1.0e-2, 1.0]  # the same for sound, whose edge lies higher
seeds: list = [1]  # each beta is trained, and each edge sought, once with each seed
sweep_seed: int = 1  # the one of the seeds with which beta is also walked up and down across the edge
bisections: int = 4  # halvings of the interval in which the edge is sought, 0 for no search
latent: int = 16  # number of latent units
epochs: int = 2  # passes over the training images
sound_epochs: int = 15  # passes over the training clips
train_images: int = 10000  # training images
train_clips: int = 600  # training clips
test_clips: int = 300  # test clips, and as many for validation
learning_rate: float = 3.0e-3  # peak step size of Adam
batch_size: int = 16  # images or clips a step

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lib import clips, render, spectrograms, story, theory, training
from lib.alarm import EMPTY_NATS
from lib.corpora import digits

parameters = story.begin("06_beta_ablation", globals())

# %% [markdown]
# ## The data sets
#
# Sound is taken as log-mel spectrograms of 48 bands and 48 frames, dry, standardised with one mean and one deviation for the whole
# training set, as in the report. Training, validation and test have different voices and songs.

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
# For a linear VAE at its optimum the unit of rank $k$ is alive only while $\beta < 2\lambda_k/N$ {cite:p}`lucas2019dont`, and the last goes
# out at $\beta_1 = 2\lambda_1/N$. Close to collapse a decoder answers almost linearly to its almost empty code, so a deep net should lose its code at the
# same place, unless something quite different from the linear solution pays better. The prediction needs PCA of the training set and nothing else.

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
# ## The search
#
# Close to the edge learning is slow: a unit grows or dies at a rate proportional to its distance from it (critical slowing down), and a cold start
# there measures patience, not the edge. So every search starts from a net that lives, trained at a quarter of the predicted edge. Each step
# takes the living net, trains it at a new beta, in rounds, until its code holds less than {glue:text}`ablation.empty_nats` nats or has stopped
# changing (by a tenth in a round), at most eight rounds. KL is that of the training set: the edge is a statement about the loss that is minimised.

# %%
def trained(corpus: str, seed: int, beta: float, start: training.Run | None = None, on: str = "test") -> training.Run:
    """A net trained at this beta, from new weights or from those of a finished run, and measured."""
    epochs = parameters.epochs if corpus == "digits" else parameters.sound_epochs
    config = training.TrainingConfig(
        preset="small", latent=parameters.latent, beta=beta, seed=seed, epochs=epochs if start is None else max(1, epochs // 3),
        learning_rate=parameters.learning_rate / (1 if start is None else 3), batch_size=parameters.batch_size,
        start=start and start.fitted.folder.name,
    )
    sets = data[corpus]
    return training.run(config, sets["train"], sets["validation"], sets[on], identity[corpus] | {"measured": on}, story.progress)


def settled(corpus: str, seed: int, beta: float, start: training.Run, rounds: int = 8) -> tuple[training.Run, int]:
    """The net after as many rounds at this beta as it takes to die or to stay as it is, and their number."""
    run, before = start, np.inf
    for done in range(1, rounds + 1):
        run = trained(corpus, seed + 100 * done, beta, run, on="train")
        kl = run.metrics["kl"]
        if kl < EMPTY_NATS or abs(kl / before - 1) < 0.1:
            break
        before = kl
    return run, done


def search(corpus: str, seed: int) -> list[dict]:
    """Bisection on beta, in its logarithm, between a quarter of the predicted edge and four times it."""
    low, high = 0.25 * predicted[corpus]["edge"], 4 * predicted[corpus]["edge"]
    alive, steps = trained(corpus, seed, low, on="train"), []
    for _ in range(parameters.bisections):
        beta = float(np.sqrt(low * high))
        run, rounds = settled(corpus, seed, beta, alive)
        steps.append({"corpus": corpus, "seed": seed, "beta": beta, "kl": run.metrics["kl"], "rounds": rounds})
        if run.metrics["kl"] >= EMPTY_NATS:
            low, alive = beta, run
        else:
            high = beta
        steps[-1]["edge"] = float(np.sqrt(low * high))
    return steps


searched = pd.DataFrame([step for c in parameters.corpora for s in parameters.seeds for step in search(c, s)])
searched["relative"] = searched["beta"] / searched["corpus"].map({c: p["edge"] for c, p in predicted.items()})

# %% tags=["nbval-ignore-output", "hide-input"]
story.record("ablation.empty_nats", EMPTY_NATS)
found = searched.groupby(["corpus", "seed"])["edge"].last() if len(searched) else pd.Series(dtype=float)
table = {}
for corpus, p in predicted.items():
    name = f"theory.{story.slug(corpus)}"
    story.record(f"{name}.lambda1", p["spectrum"][0])
    story.record(f"{name}.edge_predicted", p["edge"])
    if len(found):
        story.record(f"{name}.edge_measured", found[corpus].mean())
        story.record(f"{name}.edge_ratio", found[corpus].mean() / p["edge"])
        spread = found[corpus].std() if len(found[corpus]) > 1 else 0.0
        story.record(f"{name}.edge_measured_std", spread)
        table[corpus] = {"predicted": p["edge"], "measured": found[corpus].mean(), "std over seeds": spread, "ratio": found[corpus].mean() / p["edge"]}
pd.DataFrame(table).T.style.set_uuid("edges").format("{:.4g}").set_caption("Edge of collapse, as a weight beta of the report's loss.")

# %% [markdown]
# **What we see.** The measured edge is {glue:text}`theory.digits.edge_ratio:.2f` of the predicted one on digits,
# {glue:text}`theory.speech.edge_ratio:.2f` on speech and {glue:text}`theory.music.edge_ratio:.2f` on music. A linear VAE crosses the line of
# {glue:text}`ablation.empty_nats` nats at 0.90, so a ratio near 1 is not the edge of linear theory exactly: below it the nets hold more nats than a linear VAE,
# and just above it the noise of small batches keeps a remnant of the first unit alive.
#
# ## A jump or a kink?
#
# Li et al. report that the KL jumps at the transition {cite:p}`li2025phase`. Linear theory has a kink: the KL is continuous, $\tfrac12\ln(\beta_1/\beta)$ just below the
# edge. A jump would show as hysteresis: walking beta up from a living net and down from a dead one would give two branches. So we walk both ways.

# %%
steps = {"up": (0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2), "down": (1.1, 1.0, 0.95, 0.9, 0.8, 0.7, 0.5)}


def sweep(corpus: str, seed: int) -> list[dict]:
    """The KL while beta, in units of the predicted edge, is walked up across it and down again."""
    run, rows = trained(corpus, seed, 0.25 * predicted[corpus]["edge"], on="train"), []
    for way, relatives in steps.items():
        for relative in relatives:
            run, rounds = settled(corpus, seed, relative * predicted[corpus]["edge"], run)
            rows.append({"corpus": corpus, "way": way, "relative": relative, "kl": run.metrics["kl"], "rounds": rounds})
    return rows


swept = pd.DataFrame([row for c in parameters.corpora if parameters.bisections and parameters.sweep_seed in parameters.seeds for row in sweep(c, parameters.sweep_seed)])
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
