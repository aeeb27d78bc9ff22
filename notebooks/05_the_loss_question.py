# %% [markdown]
# # Is the loss wrong, or is it beta?
#
# "Is there anything obviously wrong in this implementation of the VAE loss? Or is it purely a case of tuning beta?" This page derives
# the answer to the report's question and checks each step by numbers.
#
# Both terms, squared error and KL, are right, but their scales differ: a mean over the $N$ values of an example stands beside a sum over latent units. The weight of the KL stands for a
# {term}`noise variance`. From this variance and the eigenvalues of the data's covariance one can compute, before training, what such a loss makes of a *linear* VAE, whose two halves are linear.
#
# ```{glue:figure} key-05
# :name: fig-key-05
# :alt: Two plots with three curves each. KL falls to zero where beta reaches the edge. The error rises to one there. Every point lies on its curve.
#
# Lines: the prediction from eigenvalues. Points: linear VAEs, trained. Left the information in the code in nats, right the error as a share of the data's
# variance. The horizontal axis is beta as a multiple of each data set's predicted edge, the beta at which the code becomes empty.
# ```
#
# ```{admonition} This page
# :class: tip
# **In**: MNIST digits, dry speech, dry music; fifteen losses from public repositories. **Out**: the derivation, checked; the prediction compared with trained linear
# VAEs; the noise variance behind each public loss; a calculator of the prediction. **Time**: a minute on one CPU core at the quick setting, four at the published one.
# **Number to expect**: formula and trained linear VAE agree within 0.1 % on all three data sets.
# ```

# %% tags=["parameters"]
corpora: list = ["digits", "speech", "music"]  # digits and corpora of sound
latent: int = 16  # number of latent units
relative_betas: list = [1.3, 0.5, 0.1, 0.03]  # betas in units of each edge
train_images: int = 10000  # digits
train_clips: int = 200  # clips of sound
checked: int = 3  # how many of the public losses are tried in training
epochs: int = 12  # passes over the digits in each of these trainings
seed: int = 0  # seed of the optimisations and trainings

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from lib import ROOT, theory, vae
from lib.book import page, widgets
from lib.data.examples import load_examples
from lib.vae import losses
from sklearn.decomposition import PCA

parameters = page.begin("05_the_loss_question", globals())

# %% [markdown]
# ## Step 1: the lines of the report, term by term
#
# The report gives its loss as a formula, which is three lines of PyTorch. `mse_loss` averages over the batch *and* over the $N$ values of an example.
# The KL is averaged over the batch only, and *summed* over the latent units (`dim=1`).


# %%
def student_loss(x, x_hat, mu, log_var, beta):
    mse = torch.nn.functional.mse_loss(x_hat, x)
    kl = -0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp(), dim=1)
    return mse + beta * torch.mean(kl)


# %% [markdown]
# On random numbers it equals the function that [trained the collapsed VAE](03_mnist_sanity_check):

# %%
torch.manual_seed(parameters.seed)
x, x_hat = torch.rand(2, 8, 1, 28, 28, dtype=torch.float64)
mu, log_var = torch.randn(2, 8, 16, dtype=torch.float64)
beta = 0.3

student = student_loss(x, x_hat, mu, log_var, beta)
trained = losses.report(x, x_hat, mu, log_var, beta)
same_lines = bool(torch.isclose(student, trained))
print("the lines are those of lib.vae.losses.report:", same_lines)

# %% [markdown]
# ## Step 2: where N/2 hides
#
# Let the decoder stand for the distribution $\mathcal N(\hat x, \sigma^2 I)$: the picture $\hat x$ plus noise of variance $\sigma^2$ in every value. With one code drawn for each example, the negative {term}`ELBO` is, in nats,
#
# ```{math}
# :label: neg-elbo
# -\mathrm{ELBO} = \underbrace{\frac{\lVert x-\hat x\rVert^2}{2\sigma^2}}_{\text{error}} + \underbrace{\frac N2\ln(2\pi\sigma^2)}_{\text{constant}} + \mathrm{KL}.
# ```
#
# Multiply {eq}`neg-elbo` by $2\sigma^2/N$. Error and KL become $\mathrm{MSE} + \frac{2\sigma^2}{N}\mathrm{KL}$. This is the report's loss with $\beta = 2\sigma^2/N$. So a weight $\beta$
# implies the noise variance $\sigma^2 = \beta N/2$, as in {eq}`implied-variance`. A decoder of unit variance, $\sigma^2 = 1$, thus needs $\beta = 2/N$: the weight 1 is larger by the factor $N/2$.
#
# The check takes the likelihood from `torch.distributions`. If the claim holds, the report's loss times $N/(2\sigma^2)$, plus the constant of {eq}`neg-elbo`, is the negative ELBO.

# %%
N = 784
sigma2 = beta * N / 2
decoder = torch.distributions.Normal(x_hat, sigma2**0.5)
log_likelihood = decoder.log_prob(x).flatten(1).sum(1).mean()
kl = losses.kl_sum_latent(mu, log_var).mean()
neg_elbo = kl - log_likelihood

constant = N / 2 * np.log(2 * np.pi * sigma2)
rescaled = student * N / (2 * sigma2) + constant
same_elbo = bool(torch.isclose(rescaled, neg_elbo))
print("the loss is the negative ELBO at sigma2 = beta N / 2:", same_elbo)

# %% [markdown]
# ## Step 3: from the loss to PCA
#
# If the decoder is *linear*, $\hat x = Wz + m$, this model is probabilistic PCA {cite:p}`tipping1999probabilistic`. With $K$ latent units the best $W$ spans the first $K$
# principal components, and the best $\sigma^2$ is the mean of the eigenvalues that are left out. So we need the eigenvalues of each data set. Sound is taken as
# {term}`log-mel spectrograms <Log-mel spectrogram>` of 48 bands and 48 frames.
#
# `load_examples` takes the number of training examples and, for sound, of clips held out (0 here). At most `most` eigenvalues are not zero: $n$ examples minus their mean span at most $n - 1$ directions, and an example has only $N$ values. `train.prepare` scales or standardises the stored values.

# %%
examples, pcas = {}, {}
for corpus in parameters.corpora:
    count = parameters.train_clips
    if corpus == "digits":
        count = parameters.train_images
    train = load_examples(corpus, count, 0).train
    most = min(len(train) - 1, train.array[0].size)  # all there are
    examples[corpus] = train
    pcas[corpus] = theory.pca(train.array, most, train.prepare)

# %% [markdown]
# `theory.calibrated_sigma2` returns the mean of the eigenvalues left out. Is this the noise variance of probabilistic PCA? We compare it with scikit-learn's PCA on up to 3,000 examples. (`train[...]` gives them already prepared.) Two conventions differ, and `theirs` is corrected for both. scikit-learn divides the
# covariance by $n - 1$ where we divide by $n$. And it averages over $\min(n, N) - K$ eigenvalues where we average over $N - K$, zeros included.

# %%
train = examples[parameters.corpora[0]]
x = train[range(min(len(train), 3000))]
x = x.flatten(1).double().numpy()
n, n_values = x.shape
peer = PCA(parameters.latent, svd_solver="full").fit(x)
discarded = min(n, n_values) - parameters.latent
theirs = peer.noise_variance_ * (n - 1) / n
theirs *= discarded / (n_values - parameters.latent)

pca = theory.pca(x, parameters.latent)
ours = theory.calibrated_sigma2(
    pca.eigenvalues, pca.total_variance, n_values, parameters.latent
)
same_noise = bool(np.isclose(ours, theirs))
print("the calibrated sigma2 is pPCA's noise variance:", same_noise)

# %% [markdown]
# ## Step 4: reverse water-filling
#
# The principal components are uncorrelated, and the expected loss of a linear VAE depends on the covariance alone. So each component can be looked at by itself. Suppose that the code leaves a squared error $D \le \lambda$ in a component of variance $\lambda$. As on [the page on digits](03_mnist_sanity_check), this costs
# $\frac12\ln(\lambda/D)$ nats {cite:p}`cover2006elements`, so the component adds $D/N + \frac\beta2\ln(\lambda/D)$ to the loss.
#
# Which $D$ is best? We try 200,000 values for a noise variance $\sigma^2$ below $\lambda$ and for one above it. The cell multiplies the loss by $N/(2\sigma^2)$, which does not move its minimum.

# %%
eigenvalue = 3.0
D = np.linspace(1e-3, eigenvalue, 200_000)
best = []
for sigma2 in (1.2, 4.0):
    loss = D / (2 * sigma2) + 0.5 * np.log(eigenvalue / D)
    best.append(D[np.argmin(loss)])
    print(f"sigma2 = {sigma2}: the best error is D = {best[-1]:.3f}")

# %% [markdown]
# So the best error is $D = \min(\lambda, \sigma^2)$: the derivative is zero at $D = \sigma^2$, but $D$ cannot exceed $\lambda$. Think of the eigenvalues as columns in a basin that is filled with water up to the level $s = \sigma^2 = \beta N/2$, the
# {term}`water level` {cite:p}`cover2006elements`. A component above the level is described until the error $s$ is left. One below it is given up, and its whole variance is left. We add this up over the components. Of these $K$ latent units can describe only $K$:
#
# ```{math}
# :label: water
# \begin{aligned}
# \text{active} &= \#\{k \le K: \lambda_k > s\}, \qquad \mathrm{KL} = \sum_{\text{active}} \tfrac12 \ln\frac{\lambda_k}{s},\\
# N\cdot\mathrm{MSE} &= \sum_{k\le K} \min(\lambda_k, s) + \sum_{k>K}\lambda_k.
# \end{aligned}
# ```
#
# When $s$ reaches the largest eigenvalue, no unit is active. This happens at the {term}`edge` {eq}`edge`, $\beta_1 = 2\lambda_1/N$ {cite:p}`lucas2019dont`.
#
# ## Does a trained linear VAE end there?
#
# Because the expected loss depends on the covariance alone, it can be written down without sampling and without batches. L-BFGS minimises it in float64
# from random weights. `theory.optimise` does this, and `theory.predict` is {eq}`water`.
#
# We compare the two at several multiples of each data set's edge. At `relative` times the edge the water level is `relative` times $\lambda_1$. `size` holds what both functions need, $N$, $K$ and $\sigma^2$; `positive` drops eigenvalues that are zero up to rounding.

# %%
rows = []
for corpus, pca in pcas.items():
    n_values = len(pca.mean)
    positive = pca.eigenvalues > 1e-9 * pca.eigenvalues[0]
    for relative in parameters.relative_betas:
        sigma2 = relative * pca.eigenvalues[0]
        size = (n_values, parameters.latent, sigma2)
        formula = theory.predict(pca.eigenvalues, pca.total_variance, *size)
        trained = theory.optimise(
            pca.eigenvalues[positive], *size, seed=parameters.seed
        )
        rows.append((corpus, relative, formula, trained))

# %% tags=["hide-input"]
table = pd.DataFrame(
    {
        "data": [row[0] for row in rows],
        "beta / edge": [row[1] for row in rows],
        "units": [row[2].active for row in rows],
        "units, trained": [row[3]["active"] for row in rows],
        "KL": [row[2].kl_nats for row in rows],
        "KL, trained": [row[3]["kl"] for row in rows],
        "MSE": [row[2].mse_sampled for row in rows],
        "MSE, trained": [row[3]["mse"] for row in rows],
    }
)
kl_error = (table["KL, trained"] - table["KL"]).abs()
kl_error = kl_error / table["KL"].clip(lower=1e-2)
mse_error = (table["MSE, trained"] / table["MSE"] - 1).abs()
largest_error = np.maximum(kl_error, mse_error).groupby(table["data"]).max()
equal_units = bool((table["units"] == table["units, trained"]).all())
print(f"{len(table)} optima; active units equal at all of them: {equal_units}")

# %% tags=["hide-input", "nbval-ignore-output"] mystnb={"figure": {"name": "fig-exact", "caption": "Lines: what the eigenvalues predict. Points: linear VAEs optimised on their exact loss. Left the KL, right the error in units of the variance, over beta in units of each data set's edge."}, "image": {"alt": "Two plots with three curves each. KL falls to zero where beta reaches the edge; the error rises to one there. Every point lies on its curve."}}
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
fine = np.geomspace(min(parameters.relative_betas) / 1.2, 1.6, 200)
palette = sns.color_palette(n_colors=len(pcas))
for number, (corpus, pca) in enumerate(pcas.items()):
    look = {"color": palette[number]}
    n_values = len(pca.mean)
    kl, mse = [], []
    for relative in fine:
        formula = theory.predict(
            pca.eigenvalues,
            pca.total_variance,
            n_values,
            parameters.latent,
            relative * pca.eigenvalues[0],
        )
        kl.append(formula.kl_nats)
        mse.append(formula.mse_sampled)
    scale = n_values / pca.total_variance
    left.plot(fine, kl, **look)
    right.plot(fine, np.array(mse) * scale, **look)
    rows = table[table["data"] == corpus]
    look["marker"] = "os^Dv"[number % 5]
    points = dict(look, linestyle="none", label=corpus)
    left.plot(rows["beta / edge"], rows["KL, trained"], **points)
    right.plot(rows["beta / edge"], rows["MSE, trained"] * scale, **points)
left.set(xscale="log", yscale="symlog", ylabel="KL (nats per example)")
right.set(xscale="log", ylabel="MSE / variance")
for ax in (left, right):
    ax.set_xlabel("beta / predicted edge")
left.legend()
page.key_figure(figure)
plt.show()

# %% tags=["nbval-ignore-output", "hide-cell"]
for corpus, error in largest_error.items():
    name = f"theory.{page.slug(corpus)}.linear_max_rel_error"
    page.record(name, error)
page.table(table, "exact", "Formula and trained linear VAE.", 4)

# %% [markdown]
# **What we see.** The largest relative difference, in KL or squared error, is {glue:text}`theory.digits.linear_max_rel_error:.1e` on digits,
# {glue:text}`theory.speech.linear_max_rel_error:.1e` on speech and {glue:text}`theory.music.linear_max_rel_error:.1e` on music. (Where the predicted KL is below 0.01 nats, its difference is divided by 0.01 nats.)
# At all of these betas the trained linear VAE ends where the formula {eq}`water` says.
#
# ## The weights of public losses
#
# Public VAEs add the same two terms with other {term}`reductions <Reduction>`: each term may be a mean or a sum. So the same weight, `beta = 1`, is a different noise variance in each:

# %% tags=["hide-input"]
rows = []
for name, reduction in theory.REDUCTIONS.items():
    digits = theory.sigma2_of(name, 1.0, 784, 16)
    spectrogram = theory.sigma2_of(name, 1.0, 9216, 64)
    rows.append((name, reduction.words, digits, spectrogram))
columns = ["reduction", "loss", "digit, K = 16", "spectrogram, K = 64"]
page.table(
    pd.DataFrame(rows, columns=columns).set_index("reduction"),
    "reductions",
    "sigma2 at weight 1, for 784 values and 16 units, and for 9,216 and 64.",
)

# %% [markdown]
# We read fifteen public losses at their source on 2026-11-25; file, lines, and commit or release stand in `data/losses.csv`. For each we compute the noise variance that its weight
# implies for *its own* data and latents (`sigma2`), and by {eq}`water` what the same loss does to a linear VAE on *digits*, with 784 pixels and the latents of this page (the columns *on digits*).

# %%
digits = load_examples("digits", parameters.train_images, 0)
pca = theory.pca(digits.train.array, parameters.latent, digits.train.prepare)

# %%
public = pd.read_csv(ROOT / "data" / "losses.csv")
public["weight"] *= public["kl_factor"]  # some write the KL without its 1/2
public["KL measured"] = np.nan  # filled in below
for place, row in public.iterrows():
    loss = (row["reduction"], row["weight"])
    own = theory.sigma2_of(*loss, row["n_values"], row["latents"])
    sigma2 = theory.sigma2_of(*loss, 784, parameters.latent)
    formula = theory.predict(
        pca.eigenvalues, pca.total_variance, 784, parameters.latent, sigma2
    )
    public.loc[place, "sigma2"] = own
    public.loc[place, "sigma2 on digits"] = sigma2
    public.loc[place, "units on digits"] = formula.active
    public.loc[place, "KL on digits"] = formula.kl_nats

# %% tags=["nbval-ignore-output", "hide-input"]
worth = pca.total_variance / (
    2 * theory.sigma2_of("mean-sum", 1.0, 784, parameters.latent)
)
page.record("loss.digits.total", pca.total_variance)
page.record("loss.digits.worth_nats", worth)

# %% [markdown]
# **In nats.** At the report's `beta = 1` digits get $\sigma^2 = 392$. The whole squared error of the average digit, summed over its pixels, is
# {glue:text}`loss.digits.total:.1f`; divided by $2\sigma^2$ it is worth {glue:text}`loss.digits.worth_nats:.3f` nats. A perfect code could save no more than that. Telling two equally frequent kinds of digits apart already costs $\ln 2 = 0.69$ nats. A code that says less costs less, but it also saves less. For a linear VAE {eq}`water` says that no code pays: the empty code is the optimum of this loss.
#
# Does the prediction hold in ordinary training? We train *linear* VAEs on digits with these losses, by Adam and in batches. Losses that agree in reduction and weight are trained once (`distinct`), and of these we train only the first `checked`.
#
# The prediction uses the eigenvalues of the training set, so the KL is measured on that set, too: `trained_on` puts it in the place of the test set, and the changed `key` keeps these runs apart from those measured on the real test set. `loss_names` turns the name of a reduction, such as `mean-sum`, into the name of our loss, such as `report`. The last two lines of the loop enter the KL in every row with the same reduction and weight.

# %%
loss_names = {name: loss for loss, name in losses.REDUCTIONS.items()}
trained_on = replace(
    digits, test=digits.train, key=digits.key | {"measured": "train"}
)
distinct = public.drop_duplicates(["reduction", "weight"])
for _, row in distinct[: parameters.checked].iterrows():
    config = vae.TrainingConfig(
        preset="linear", latent=parameters.latent, seed=parameters.seed,
        loss=loss_names[row["reduction"]], beta=row["weight"],
        epochs=parameters.epochs, batch_size=64, learning_rate=1e-2,
    )  # fmt: skip
    run = vae.train(config, trained_on)
    kl = vae.evaluate(run, trained_on)["kl"]
    same = public[["reduction", "weight"]] == row[["reduction", "weight"]]
    public.loc[same.all(axis="columns"), "KL measured"] = kl

# %% tags=["nbval-ignore-output", "hide-input"]
for _, row in public.iterrows():
    page.record(f"decoder.{row['key']}.sigma2", row["sigma2"])
    page.record(f"decoder.{row['key']}.kl_predicted", row["KL on digits"])
    if pd.notna(row["KL measured"]):
        page.record(f"decoder.{row['key']}.kl_measured", row["KL measured"])
columns = ["reduction", "weight", "sigma2", "sigma2 on digits"]
columns += ["units on digits", "KL on digits", "KL measured"]
page.table(
    public.set_index("name")[columns].astype({"units on digits": int}),
    "decoder",
    "Losses of public repositories. sigma2: for their own data; the columns"
    " to its right: the same loss on digits. KL in nats per digit.",
).format("{:.3g}", subset=["weight", "sigma2", "sigma2 on digits"])

# %% [markdown]
# **What we see.** The implied variances go from {glue:text}`decoder.musikalkemist_audio.sigma2:.4f` to {glue:text}`decoder.world_models_keras.sigma2:.0f`, for what is called one model. On digits
# some of these losses, like the report's, leave a linear VAE no active unit, and others leave it all of them. A weight says nothing without its reductions.
#
# Where the KL was measured, it lies within a fifth of the prediction, or both are below 0.05 nats. We except one loss, Beta-VAE on CelebA. Its $\sigma^2$ of
# {glue:text}`decoder.beta_vae_celeba.sigma2:.1f` lies within 15 % of the largest eigenvalue of the digits ({glue:text}`03_mnist_sanity_check.ipynb::mnist.lambda1:.1f` on [the page on digits](03_mnist_sanity_check); it depends a little on the number of images). So close to the
# edge a short training with mini-batches does not show whether a code survives. The prediction is {glue:text}`decoder.beta_vae_celeba.kl_predicted:.3f` nats; the table has a measured value only if `checked` is large enough to include this loss.
#
# ## The calculator
#
# Choose data, reduction, beta and latents. The calculator shows the eigenvalues and the water level, and what a linear VAE would make of the examples. `average-spectrogram predict DATA` computes the same prediction for your own data.

# %% tags=["nbval-ignore-output", "hide-input"]
choices = []
for corpus, train in examples.items():
    pictures = {}
    for place in np.linspace(0, len(train) - 1, 3).astype(int).tolist():
        pictures[f"example {place}"] = train[place].numpy()
    choice = widgets.calculator_dataset(
        corpus,
        f"{corpus}, {len(train)} examples",
        pcas[corpus],
        len(train),
        train.shape,
        pictures,
        corpus != "digits",
    )
    choices.append(choice)
widgets.calculator(choices, parameters.latent)

# %% [markdown]
# ## The answer, asserted
#
# The first two assertions are the steps of the derivation, the next two compare formula and trained linear VAE. The last one is about the public losses that were trained, with the tolerances given above. It leaves out a loss within 15 % of the edge.

# %%
assert same_lines and same_elbo and same_noise, "a step does not hold"
assert np.allclose(best, [1.2, eigenvalue], rtol=1e-3), "another minimum"
page.finding("formula and optimum: active units", equal_units)
largest = largest_error.max()
page.finding("formula and optimum: KL, error", largest < 1e-3, largest)

# %%
measured = public.dropna(subset="KL measured")
ratio = measured["KL measured"] / measured["KL on digits"].clip(lower=1e-9)
close = (ratio - 1).abs() < 0.2
both = measured[["KL measured", "KL on digits"]]
empty = (both < 0.05).all(axis="columns")
at_edge = (measured["sigma2 on digits"] / pca.eigenvalues[0] - 1).abs() < 0.15
right = close | empty | at_edge
words = "the KL of public losses is predicted, away from the edge"
page.finding(words, right.all(), right.mean() if len(right) else None)

# %% [markdown]
# ```{admonition} Exercise
# A loss takes `mse_loss(...)` with its default reduction and `kl.mean()` over batch and 256 latents, at 3 x 32 x 32 pixels, weight 0.1. What is $\sigma^2$?
# ```
#
# ```{admonition} A solution
# :class: dropdown
# $\sigma^2 = \beta N/(2K) = 0.1\cdot 3072/512 = 0.6$. The KL is averaged, too, and its mean over 256 latents happens to undo most of the mean over 3,072 values.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
