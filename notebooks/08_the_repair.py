# %% [markdown]
# # What repairs a collapsed VAE, and what cannot?
#
# ```{admonition} This page
# :class: tip
# **In**: digits, dry speech, dry music. **Out**: each remedy of the literature beside the cause that it treats; a VAE without a beta on digits and on voices and songs
# never heard. **Time**: two minutes on two CPU cores at the quick setting, seven at the published one.
# **Number to expect**: digits with 16 latents, sampled error below .0095 and a negative ELBO below -650 nats; on sound, errors below PCA's.
# ```
#
# A VAE can collapse because its loss is minimal there, or because training did not get away from there. Remedies for the second do not cure the first. The
# [edge](06_beta_ablation) tells which of the two it is.

# %% tags=["parameters"]
corpora: list = ["speech", "music"]  # corpora of sound
seeds: list = [1]  # of the final trainings
remedy_images: int = 4000  # digits on which the remedies are compared
epochs: int = 1  # passes over 58,000 digits of the repaired net
train_clips: int = 400  # clips in the training set
test_clips: int = 100  # clips of test voices or songs; as many for validation
sound_epochs: int = 3  # passes over the training clips of the refined net
small_epochs: int = 0  # passes of the plain net beside it, 0 to leave it out
binarised_epochs: int = 0  # 0 leaves binarised digits out (full: 300)

# %%
from dataclasses import replace
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from lib import theory, vae
from lib.audio import spectrograms
from lib.book import figures
from lib.book import page as story
from lib.data import equaliser, examples
from lib.data.batches import ArrayDataset, Splits
from lib.data.digits import load_digits
from lib.vae.evaluation import importance_nll

parameters = story.begin("08_the_repair", globals())

# %% [markdown]
# ## It is not the optimiser
#
# We expect: beyond the edge every schedule ends in collapse, since the schedule's last weight is what counts. Even a net that already reconstructs well forgets
# everything once its beta is set to 1. Below the edge collapse is a failure to get going, and there {term}`warm-up` {cite:p}`bowman2016generating,sonderby2016ladder` and
# cycles {cite:p}`fu2019cyclical` can help. {term}`Free bits` {cite:p}`kingma2016improved` and the floor of delta-VAE {cite:p}`razavi2019preventing` change the objective itself.

# %% tags=["hide-input"]
x_train, x_test = load_digits("train")[0], load_digits("test")[0]
everything = Splits(
    train=ArrayDataset(x_train[:58000], 1 / 255),
    validation=ArrayDataset(x_train[-2000:], 1 / 255),
    test=ArrayDataset(x_test, 1 / 255),
    key={"digits": 58000},
)
few = replace(
    everything,
    train=ArrayDataset(x_train[: parameters.remedy_images], 1 / 255),
    key={"digits": parameters.remedy_images},
)
pca = theory.pca(everything.train.array, 16, everything.train.prepare)
edge = theory.edge_beta(pca.eigenvalues[0], 784)
mse_mean, mse_pca = pca.mse(x_test, 0), pca.mse(x_test, 16)


class Trained(NamedTuple):
    """A finished run, and what its net does on the test set."""

    run: vae.Run
    metrics: dict


def remedy(**choice) -> Trained:
    """The small net trained for two short passes with one remedy."""
    config = vae.TrainingConfig(
        preset="small",
        latent=16,
        seed=1,
        epochs=2,
        batch_size=32,
        learning_rate=5e-3,
        **choice,
    )
    run = vae.train(config, few)
    return Trained(run, vae.evaluate(run, few))


good = remedy(beta=0.0)
below = 0.4 * edge
tried = {
    ("scale", "none: the report's loss, beta = 1"): remedy(beta=1.0),
    ("scale", "a good start: weights of beta = 0, then beta = 1"): remedy(
        beta=1.0, start=good.run.folder.name
    ),
    ("scale", "KL warm-up to beta = 1"): remedy(
        beta=1.0, beta_schedule="warm_up"
    ),
    ("scale", "cyclical, last beta = 1"): remedy(
        beta=1.0, beta_schedule="cyclical"
    ),
    ("scale", "free bits, beta = 1, 0.5 nats a unit"): remedy(
        loss="free_bits", beta=1.0, floor=0.5
    ),
    ("scale", "delta-VAE's floor, beta = 1, 0.5 nats a unit"): remedy(
        loss="delta", beta=1.0, floor=0.5
    ),
    ("scale", "both terms summed"): remedy(beta=1.0, loss="sum_sum"),
    ("scale", "calibrated"): remedy(loss="calibrated"),
    ("patience", "none: beta = 0.4 edges"): remedy(beta=below),
    ("patience", "KL warm-up to 0.4 edges"): remedy(
        beta=below, beta_schedule="warm_up"
    ),
    ("patience", "cyclical, last beta = 0.4 edges"): remedy(
        beta=below, beta_schedule="cyclical"
    ),
    ("patience", "a good start: weights of beta = 0, then 0.4 edges"): remedy(
        beta=below, start=good.run.folder.name
    ),
}
compared = (
    pd.DataFrame({key: each.metrics for key, each in tried.items()})
    .T[["kl", "active_units", "mse_mu", "mse_sampled"]]
    .astype(float)
)
compared["of the mean's error"] = compared["mse_mu"] / mse_mean
compared.index.names = ["what is wrong", "remedy"]

# %% tags=["nbval-ignore-output", "hide-input"]
names = [
    "none",
    "good_start",
    "warm_up",
    "cyclical",
    "free_bits",
    "delta",
    "summed",
    "calibrated",
    "below.none",
    "below.warm_up",
    "below.cyclical",
    "below.good_start",
]
for name, (_, row) in zip(names, compared.iterrows(), strict=True):
    for column in ("kl", "active_units", "mse_mu"):
        story.record(f"remedy.{name}.{column}", row[column])
compared.style.set_uuid("remedies").format(
    {"kl": "{:.3f}", "active_units": "{:.0f}"}, precision=4
).set_caption(
    f"Test set. The mean image's error is {mse_mean:.4f}. One seed; 16 latent units; equal numbers of steps."
)

# %% [markdown]
# **What we see.** Started from weights that reconstruct, `beta = 1` ends at {glue:text}`remedy.good_start.kl:.4f` nats; warm-up at {glue:text}`remedy.warm_up.kl:.4f`,
# cycles at {glue:text}`remedy.cyclical.kl:.4f`. Collapse is where this loss is smallest, so no path leads elsewhere. With free bits the code holds
# {glue:text}`remedy.free_bits.kl:.1f` nats, {glue:text}`remedy.free_bits.active_units:.0f` units are active and the error is {glue:text}`remedy.free_bits.mse_mu:.4f`: nats that
# cost nothing are allowed, not made to say something. The floor of delta-VAE in its simplest form holds {glue:text}`remedy.delta.kl:.1f` nats with
# {glue:text}`remedy.delta.active_units:.0f` active units. A KL above zero is no proof of a code.
# At 0.4 edges a constant beta gives {glue:text}`remedy.below.none.kl:.2f` nats, warm-up {glue:text}`remedy.below.warm_up.kl:.2f`, cycles
# {glue:text}`remedy.below.cyclical.kl:.2f`, a good start {glue:text}`remedy.below.good_start.kl:.2f`; the linear optimum is {glue:text}`remedy.below.linear_kl:.2f`.
# So below the edge schedules and a good start do help.

# %% tags=["nbval-ignore-output", "hide-input"]
story.record(
    "remedy.below.linear_kl",
    theory.predict(
        pca.eigenvalues, pca.total_variance, 784, 16, below * 784 / 2
    ).kl_nats,
)

# %% [markdown]
# ## The repair on digits
#
# The calibrated objective has no beta {cite:p}`rybkin2021simple`. The net may have 100,000 parameters: three convolutions of 16, 32 and 48 channels,
# and in the decoder a residual block after each transposed one. Sizes and step size were chosen on the last 2,000 training images.

# %%
repaired = {}
for seed in parameters.seeds:
    config = vae.TrainingConfig(
        preset="repair",
        loss="calibrated",
        seed=seed,
        epochs=parameters.epochs,
        batch_size=64,
        learning_rate=1e-2,
    )
    run = vae.train(config, everything)
    repaired[seed] = Trained(run, vae.evaluate(run, everything))
size = sum(
    p.numel() for p in repaired[parameters.seeds[0]].run.model().parameters()
)
scores = (
    pd.DataFrame(
        {f"seed {seed}": each.metrics for seed, each in repaired.items()}
    )
    .T[["mse_sampled", "mse_mu", "kl", "neg_elbo"]]
    .astype(float)
)
scores["cpu_s"] = [each.run.card["cpu_seconds"] for each in repaired.values()]

# %% tags=["nbval-ignore-output", "hide-input"]
for name, value in {
    "mse": scores["mse_sampled"].mean(),
    "mse_worst": scores["mse_sampled"].max(),
    "neg_elbo": scores["neg_elbo"].mean(),
    "neg_elbo_worst": scores["neg_elbo"].max(),
    "cpu_seconds": scores["cpu_s"].max(),
    "parameters": size,
    "pca_mse": mse_pca,
}.items():
    story.record(f"repair.mnist.{name}", value)
scores.style.set_uuid("digits").format(
    {"kl": "{:.1f}", "neg_elbo": "{:.0f}", "cpu_s": "{:.0f}"}, precision=5
).set_caption(
    f"Test set. neg_elbo in nats an image at sigma^2 = mse_sampled. PCA with 16 components: {mse_pca:.4f}; mean image: {mse_mean:.4f}."
)

# %% mystnb={"figure": {"name": "fig-repair-digits", "caption": "Ten test digits above what the repaired VAE makes of them, z drawn from q. The title of each is its mean squared error."}, "image": {"alt": "Two rows of ten digits. The lower row repeats the upper one, only slightly softer."}}
shown = everything.test[range(10)]
figures.reconstruction_grid(
    shown[:, 0],
    vae.reconstruct(
        repaired[parameters.seeds[0]].run.model(), shown, sample=True
    )[:, 0],
)
plt.show()

# %% [markdown]
# The sampled error is {glue:text}`repair.mnist.mse:.4f`, PCA's with as many components {glue:text}`repair.mnist.pca_mse:.4f`; the negative ELBO, {eq}`neg-elbo`, is
# {glue:text}`repair.mnist.neg_elbo:.0f` nats, with {glue:text}`repair.mnist.parameters:.0f` parameters and at most {glue:text}`repair.mnist.cpu_seconds:.0f` CPU-seconds.
#
# ## The repair on voices and songs never heard
#
# On sound the enemy is another one: few voices. A net that fits the training voices better than PCA can still lose to PCA on new ones. Two things help. A *random
# equaliser* in training, a smooth curve over the bands, another for each clip, is what a new microphone does. And a *linear start*: the linear optimum is known, so the
# `refined` net begins at probabilistic PCA, with components that are products of a spectrum and a course in time, and learns only a convolutional
# correction of its picture and the {term}`posterior` variances.

# %%
rows, finals = [], {}
for corpus in parameters.corpora:
    data = examples.load_examples(
        corpus,
        parameters.train_clips,
        parameters.test_clips,
        spectrograms.SpectrogramConfig(),
        seed=1234,
    )
    heard = data.train[np.arange(len(data.train))]
    equal = equaliser.equalised(heard, 0.2, torch.Generator().manual_seed(0))[
        :, 0
    ].numpy()
    linear = {
        "PCA, 64 components": theory.pca(
            data.train.array, 64, data.train.prepare
        ),
        "PCA of equalised clips": theory.pca(equal, 64),
        "separable PCA of equalised clips": theory.separable_pca(equal, 64),
    }
    x_new = data.test[np.arange(len(data.test))][:, 0].numpy()
    rows.append(
        (
            corpus,
            "mean spectrogram",
            0,
            linear["PCA, 64 components"].mse(data.test.array, 0),
            np.nan,
            np.nan,
            np.nan,
        )
    )
    for name, found in linear.items():
        prepared = data.test.array if found.prepare else x_new
        rows.append(
            (corpus, name, 0, found.mse(prepared, 64), np.nan, np.nan, np.nan)
        )
    plans = [
        ("refined VAE", "refined", parameters.sound_epochs, 0.2, seed)
        for seed in parameters.seeds
    ]
    plans += [
        (
            "small VAE",
            "small",
            parameters.small_epochs,
            0.0,
            parameters.seeds[0],
        ),
        (
            "small VAE, equaliser",
            "small",
            parameters.small_epochs,
            0.2,
            parameters.seeds[0],
        ),
    ]
    for name, preset, passes, equalise, seed in plans:
        if passes:
            config = vae.TrainingConfig(
                preset=preset,
                latent=64,
                loss="calibrated",
                equalise=equalise,
                seed=seed,
                epochs=passes,
                batch_size=16,
                learning_rate=3e-3,
            )
            run = vae.train(config, data)
            metrics = vae.evaluate(run, data)
            rows.append(
                (
                    corpus,
                    name,
                    seed,
                    metrics["mse_mu"],
                    metrics["mse_sampled"],
                    metrics["kl"],
                    run.card["cpu_seconds"],
                )
            )
            finals.setdefault(
                corpus, (data.test, run)
            ) if preset == "refined" else None
unheard = pd.DataFrame(
    rows,
    columns=[
        "corpus",
        "model",
        "seed",
        "mse_mu",
        "mse_sampled",
        "kl",
        "cpu_s",
    ],
)

# %% tags=["nbval-ignore-output", "hide-input"]
best = {}
for corpus in parameters.corpora:
    mine = (
        unheard[unheard["corpus"] == corpus]
        .groupby("model")[["mse_mu", "mse_sampled", "kl", "cpu_s"]]
        .agg(["mean", "std"])
    )
    best[corpus] = {
        name: mine.loc[name, ("mse_mu", "mean")] for name in mine.index
    }
    name = f"repair.{story.slug(corpus)}"
    story.record(f"{name}.mse", best[corpus]["refined VAE"])
    story.record(
        f"{name}.mse_sampled", mine.loc["refined VAE", ("mse_sampled", "mean")]
    )
    story.record(f"{name}.mean_mse", best[corpus]["mean spectrogram"])
    story.record(f"{name}.pca_mse", best[corpus]["PCA, 64 components"])
    story.record(
        f"{name}.pca_equalised_mse", best[corpus]["PCA of equalised clips"]
    )
    story.record(
        f"{name}.linear_start_mse",
        best[corpus]["separable PCA of equalised clips"],
    )
    if len(parameters.seeds) > 1:
        story.record(
            f"{name}.mse_std", mine.loc["refined VAE", ("mse_mu", "std")]
        )
unheard.groupby(["corpus", "model"], sort=False)[
    ["mse_mu", "mse_sampled", "kl", "cpu_s"]
].agg(["mean", "std"]).dropna(axis="columns", how="all").style.set_uuid(
    "unheard"
).format(precision=4, na_rep="").format_index(escape="html").set_caption(
    "Voices and songs never heard; error in units of the training set's variance, mean and standard deviation over seeds; kl in nats a clip."
)

# %% mystnb={"figure": {"name": "fig-repair-sound", "caption": "Clips of voices and songs that were never heard, above the reconstructions of the refined VAE. Standardised dB, one colour scale; the titles give the mean squared error."}, "image": {"alt": "Two rows of six spectrograms, three of speech and three of music. Below each original stands a softer version with the same pauses, bands and onsets."}}
originals, drawn = [], []
for test_clips, run in finals.values():
    some = test_clips[np.linspace(0, len(test_clips) - 1, 3).astype(int)]
    originals.append(some[:, 0])
    drawn.append(vae.reconstruct(run.model(), some)[:, 0])
figures.reconstruction_grid(
    torch.cat(originals),
    torch.cat(drawn),
    config=spectrograms.SpectrogramConfig(),
    label="standardised dB",
)
plt.show()

# %% [markdown]
# **What we see.** On speech the refined VAE has {glue:text}`repair.speech.mse:.3f`, PCA {glue:text}`repair.speech.pca_mse:.3f`, on music
# {glue:text}`repair.music.mse:.3f` against {glue:text}`repair.music.pca_mse:.3f`. Most of the gain on speech is the equaliser's: PCA of equalised clips has
# {glue:text}`repair.speech.pca_equalised_mse:.3f`, the separable linear start {glue:text}`repair.speech.linear_start_mse:.3f`. On music equalising does little
# ({glue:text}`repair.music.pca_equalised_mse:.3f`) and the linear start has {glue:text}`repair.music.linear_start_mse:.3f`. So what carries over to unheard voices and songs is mostly a
# better linear basis and not the convolutions, whose correction is small on both. This is no triumph of depth over PCA.
#
# ```{warning}
# The recipe was chosen on training and validation persons and songs, and tested on these test groups when it was fixed; they were looked at again in each published run. There are two test persons and
# five test songs, and the seeds change weights, order, noise and equaliser only. Other persons would move these numbers by more than other seeds do.
# ```
#
# ## Binarised digits
#
# The standard multilayer perceptron, 784-400-20, on digits whose pixels are drawn black or white. There is no $\sigma^2$ in a Bernoulli decoder, and no
# scale to get wrong. It is trained on the importance-weighted bound of five draws a digit, and $-\ln p(x)$ is estimated by 200 importance samples
# {cite:p}`burda2016importance`. The goal is 89.5 nats a digit or less. That takes long and is left to the full run: this one made
# {glue:text}`repair.binarised.epochs` passes.

# %% tags=["nbval-ignore-output"]
story.record("repair.binarised.epochs", parameters.binarised_epochs)
if parameters.binarised_epochs:
    config = vae.TrainingConfig(
        preset="mlp",
        loss="bernoulli",
        samples=5,
        seed=1,
        epochs=parameters.binarised_epochs,
        batch_size=128,
        learning_rate=3e-3,
    )
    mlp = vae.train(config, everything)
    binary = (
        np.random.default_rng(2024).random(x_test.shape) < x_test / 255
    ).astype(np.uint8)
    story.record(
        "repair.binarised.nll",
        importance_nll(mlp.model(), ArrayDataset(binary)),
    )

# %% [markdown]
# ## The finding, asserted

# %%
beyond = compared.loc["scale"]
for name in (
    "none: the report's loss, beta = 1",
    "a good start: weights of beta = 0, then beta = 1",
    "KL warm-up to beta = 1",
    "cyclical, last beta = 1",
):
    assert (
        beyond.loc[name, "kl"] < 0.05
        and abs(beyond.loc[name, "of the mean's error"] - 1) < 0.02
    ), f"{name}: not collapsed"
for name in ("both terms summed", "calibrated"):
    assert (
        beyond.loc[name, "kl"] > 1
        and beyond.loc[name, "of the mean's error"] < 0.8
    ), f"{name}: collapsed"
assert (
    beyond.loc["delta-VAE's floor, beta = 1, 0.5 nats a unit", "kl"] > 7.9
), "no floor under the KL"
mark = (
    (0.0095, -650) if parameters.epochs >= 3 else (0.0125, -560)
)  # after one pass; not the same net
assert (
    scores["mse_sampled"].max() < mark[0]
    and scores["neg_elbo"].max() < mark[1]
    and size <= 100_000
), "digits miss the mark"
for corpus in parameters.corpora:
    assert (
        best[corpus]["refined VAE"]
        < best[corpus]["PCA, 64 components"]
        < best[corpus]["mean spectrogram"]
    ), f"{corpus}: not below PCA"
print(
    "asserted: schedules and starts do not cure a wrong scale; the right scale does; better than PCA on digits, and on voices and songs never heard"
)

# %% [markdown]
# ```{admonition} Exercise
# The floor of delta-VAE holds eight nats at `beta = 1`, and yet the reconstructions are the average. What do those nats say?
# ```
#
# ```{admonition} A solution
# :class: dropdown
# Nothing about the input: the variance of every unit is capped below the prior's 1, the same for all inputs, and that alone costs half a nat a unit. The mean could
# carry a message at once, but at $\sigma^2 = 392$ no message repays what its mean costs. Look at active units beside the KL.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
story.provenance(parameters)
