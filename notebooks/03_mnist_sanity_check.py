# %% [markdown]
# # Why does the same VAE draw the same digit for every input?
#
# ```{admonition} This page
# :class: tip
# **In**: full MNIST, 28 x 28 pixels in [0, 1]. **Out**: three trained VAEs, one table, the counterpart of the report's
# Figures 2 and 3. **Time**: half a minute on one CPU core at the quick setting, about two at the published one.
# **Number to expect**: at `beta = 1` a test error of 0.067, which is the error of the average digit, and a {term}`KL` of 0 {term}`nats <Nat>`.
# ```
#
# The report trained a VAE on spectrograms, saw one average picture whatever went in, and turned to MNIST to find out
# why. There it met the same thing at `beta = 1`, and not at `beta = 0`. This page repeats that check with one small
# convolutional VAE, puts the baselines beside it that were missing, and computes *before training* where the trouble
# has to start.

# %% tags=["parameters"]
preset: str = "small"  # architecture: small, week4_mnist (the report's, 53.0 M parameters)
latent: int = 16  # number of latent units
beta: float = 1.0  # weight of the KL term in the report's loss
epochs: int = 1  # passes over the training images
learning_rate: float = 1.0e-2  # peak step size of Adam
batch_size: int = 128  # images a step
train_images: int = 30000  # training images; the last 2,000 of MNIST's 60,000 choose the best epoch
logger: str = "csv"  # where curves go beside the CSV: csv, tensorboard, wandb, wandb_offline
seed: int = 1234  # of the weights, the order of images and the latent noise

# %%
import matplotlib.pyplot as plt
import pandas as pd
from lib import theory
from lib.book import figures
from lib.book import page as story
from lib.data.digits import load_digits
from lib.vae import evaluate as measures
from lib.vae import losses as objective
from lib.vae import train as training

parameters = story.begin("03_mnist_sanity_check", globals())

# %% [markdown]
# ## The loss, as it was asked about
#
# The report's loss takes the **mean** of the squared error over all pixels, and the **sum** of the KL over {term}`latent units <Latent unit>`:

# %%
story.source(objective.report_loss)

# %% [markdown]
# Here $x$ is an image with $N$ values, $\hat x$ its reconstruction and $q(z|x) = \mathcal N(\mu, \operatorname{diag} e^{\texttt{log\_var}})$ the
# encoder's answer. Read as a Gaussian VAE with pixel noise of a fixed variance $\sigma^2$,
#
# ```{math}
# :label: gaussian-elbo
# -\mathrm{ELBO} = \frac{\mathbb E_q\lVert x - \hat x\rVert^2}{2\sigma^2} + \mathrm{KL} + \frac N2 \ln(2\pi\sigma^2).
# ```
#
# The last term of {eq}`gaussian-elbo` does not depend on the net. Times $2\sigma^2/N$, the others are
# $\mathrm{MSE} + (2\sigma^2/N)\,\mathrm{KL}$: the report's loss, with
#
# ```{math}
# :label: implied-variance
# \beta = \frac{2\sigma^2}{N}, \qquad\text{that is}\qquad \sigma^2 = \frac{\beta N}{2}.
# ```
#
# Neither term is wrong. Dividing one by $N$ and not the other assumes a noise, and at `beta = 1` an absurd one. (For a single $z$ the same
# stands in {eq}`neg-elbo`, where [the page on the loss](05_the_loss_question) checks each step by numbers.)
#
# ## What we expect, before any training
#
# Describing a component of variance $\lambda$ until an error $D \le \lambda$ is left costs $\tfrac12 \ln(\lambda/D)$ nats
# {cite:p}`cover2006elements`. Its part of the loss is $D/N + \tfrac\beta2\ln(\lambda/D)$, which is smallest at $D = \beta N/2 = \sigma^2$. If
# $\lambda \le \sigma^2$, the cheapest is to spend nothing and leave $D = \lambda$. So a unit lives only while the variance it explains exceeds
# the noise {cite:p}`lucas2019dont`, and the largest eigenvalue $\lambda_1$ of the pixel covariance sets an edge,
#
# ```{math}
# :label: edge
# \beta_1 = \frac{2\lambda_1}{N}.
# ```
#
# For a linear VAE this is a theorem. A deep one could do better beyond the edge only with a code that removes more than $\beta N$ of squared
# error per nat, so for our net the edge is a prediction, and [](06_beta_ablation) tests it. It needs only {term}`PCA`:

# %%
x_train, _ = load_digits("train")
x_test, _ = load_digits("test")
train = training.ArrayDataset(
    x_train[: parameters.train_images], scale=1 / 255
)
validation = training.ArrayDataset(x_train[-2000:], scale=1 / 255)
test = training.ArrayDataset(x_test, scale=1 / 255)

pca = theory.pca(
    x_train[: parameters.train_images],
    parameters.latent,
    prepare=lambda x: x / 255,
)
values = x_train[0].size  # N
edge = theory.edge_beta(pca.eigenvalues[0], values)
print(
    f"N = {values}; the edge of collapse is predicted near beta = {edge:.3f}"
)
print(
    f"beta = {parameters.beta:g} lies {'beyond' if parameters.beta > edge else 'below'} it"
)

# %% tags=["nbval-ignore-output", "hide-input"]
story.record("mnist.edge_predicted", edge)
story.record("mnist.lambda1", pca.eigenvalues[0])
story.record("mnist.beta1.sigma2", parameters.beta * values / 2)
story.record("mnist.beta1.edges_out", parameters.beta / edge)

# %% [markdown]
# The first eigenvalue is {glue:text}`mnist.lambda1:.2f`, so the edge is at $\beta_1 =$ {glue:text}`mnist.edge_predicted:.4f`.
# The weight on this page lies {glue:text}`mnist.beta1.edges_out:.0f` edges out: by {eq}`implied-variance` it assumes noise of variance
# {glue:text}`mnist.beta1.sigma2:.0f` on pixels between 0 and 1. We expect complete {term}`collapse` at this weight, none at `beta = 0`, and none with the
# {term}`calibrated objective` {cite:p}`rybkin2021simple`. It is the same loss with $\beta = 2\sigma^2/N$, where $\sigma^2$ is the batch's own error;
# `detach` keeps the net from lowering the weight instead of the error:

# %%
story.source(objective.calibrated_loss)

# %% [markdown]
# ## Three trainings, two baselines
#
# The same net, data, seed and number of steps; only the objective differs. Beside them stand the mean image, which looks at
# nothing, and PCA with as many components as the VAE has latent units, which is the best any *linear* code can do.

# %%
common = parameters.model_dump(
    include={
        "preset",
        "latent",
        "epochs",
        "learning_rate",
        "batch_size",
        "logger",
        "seed",
    }
)
objectives = {
    "beta": dict(objective="report", beta=parameters.beta),
    "beta0": dict(objective="report", beta=0.0),
    "calibrated": dict(objective="calibrated"),
}
runs = {}
for name, choice in objectives.items():
    config = training.TrainingConfig(**common, **choice)
    runs[name] = training.run(
        config,
        train,
        validation,
        test,
        data_key={"digits": parameters.train_images},
        progress=story.progress,
    )

# %%
mse_mean, mse_pca = pca.mse(x_test, 0), pca.mse(x_test, parameters.latent)

labels = {
    "beta": f"VAE, beta = {parameters.beta:g}",
    "beta0": "VAE, beta = 0",
    "calibrated": "VAE, calibrated",
}
columns = ["mse_mu", "mse_sampled", "kl", "active_units"]
table = pd.DataFrame(
    {
        labels[name]: {c: run.metrics[c] for c in columns}
        for name, run in runs.items()
    }
    | {
        "mean image": {"mse_mu": mse_mean},
        f"PCA, {parameters.latent} components": {"mse_mu": mse_pca},
    }
).T[columns]

# %% tags=["nbval-ignore-output", "hide-input"]
story.record("mnist.mean_image.mse", mse_mean)
story.record("mnist.pca.mse", mse_pca)
for name, key in {
    "beta": "beta1",
    "beta0": "beta0",
    "calibrated": "calibrated",
}.items():
    metrics = runs[name].metrics
    for short, long in {
        "mse": "mse_mu",
        "mse_sampled": "mse_sampled",
        "kl": "kl",
        "active_units": "active_units",
    }.items():
        story.record(f"mnist.{key}.{short}", metrics[long])
table.style.set_uuid("mnist").format(
    {
        "mse_mu": "{:.4f}",
        "mse_sampled": "{:.4f}",
        "kl": "{:.3f}",
        "active_units": "{:.0f}",
    },
    na_rep="",
).set_caption(
    "Test set, 10,000 images. mse_mu: error with z = mu; mse_sampled: with z drawn from q(z|x); kl: nats an image."
)

# %% [markdown]
# **What we see.** With the report's loss the test error is {glue:text}`mnist.beta1.mse:.4f`; the mean image, which never looks at its
# input, has {glue:text}`mnist.mean_image.mse:.4f`. The KL is {glue:text}`mnist.beta1.kl:.4f` nats and
# {glue:text}`mnist.beta1.active_units:.0f` of the latent units are active in the sense of {cite:t}`burda2016importance`.
# At `beta = 0` the error with $z=\mu$ is {glue:text}`mnist.beta0.mse:.4f`, below PCA's {glue:text}`mnist.pca.mse:.4f`: the net can reconstruct.
# But `beta = 0` is no VAE: nothing ties the code to the prior, and its KL of {glue:text}`mnist.beta0.kl:.0f` nats was free. The calibrated
# objective reaches {glue:text}`mnist.calibrated.mse:.4f`, and pays for its {glue:text}`mnist.calibrated.kl:.1f` nats.
#
# ## The pictures of the report

# %% mystnb={"figure": {"name": "fig-digits-beta1", "caption": "Ten test digits above their reconstructions with the report's loss, the counterpart of the report's Figure 2. The title of each is its mean squared error; one grey scale from 0 to 1. Beyond the edge every input gets the same average digit."}, "image": {"alt": "Two rows of ten images. Above: handwritten digits 7 2 1 0 4 1 4 9 5 9. Below: ten copies of one grey blur, the average digit."}}
shown = test.__getitems__(range(10))
drawn = {
    name: measures.reconstruct(run.fitted.model(), shown)
    for name, run in runs.items()
}
figures.reconstruction_grid(shown[:, 0], drawn["beta"][:, 0])
plt.show()

# %% mystnb={"figure": {"name": "fig-digits-beta0", "caption": "The same digits at beta = 0, the counterpart of the report's Figure 3."}, "image": {"alt": "Two rows of ten images. Above: handwritten digits. Below: slightly blurred copies of the same digits."}}
figures.reconstruction_grid(shown[:, 0], drawn["beta0"][:, 0])
plt.show()

# %% mystnb={"figure": {"name": "fig-digits-calibrated", "caption": "The same digits with the calibrated objective: a VAE with its KL term, and no beta to tune."}, "image": {"alt": "Two rows of ten images. Above: handwritten digits. Below: slightly blurred copies of the same digits."}}
figures.reconstruction_grid(shown[:, 0], drawn["calibrated"][:, 0])
plt.show()

# %% [markdown]
# ## Is it really one picture?
#
# "All alike" is a claim that can be measured: the standard deviation over the ten thousand reconstructions, pixel by pixel, beside
# that of the test images themselves.

# %%
test_images = test.__getitems__(range(len(test)))
spread = {
    name: float(
        measures.reconstruct(run.fitted.model(), test_images).std(dim=0).mean()
    )
    for name, run in runs.items()
}
spread_of_data = float(test_images.std(dim=0).mean())
print(
    "reconstructions vary less than a hundredth as much as the images:",
    {labels[n]: s < spread_of_data / 100 for n, s in spread.items()},
)

# %% [markdown]
# ## The finding, asserted

# %%
collapsed, free, calibrated = (
    runs[name].metrics for name in ("beta", "beta0", "calibrated")
)
if parameters.beta > 1.5 * edge:  # beyond the edge there must be nothing left
    assert abs(collapsed["mse_mu"] / mse_mean - 1) < 0.01, "not the mean image"
    assert collapsed["kl"] < 0.01 and collapsed["active_units"] == 0, (
        "the code is not empty"
    )
    assert spread["beta"] < spread_of_data / 100, "the reconstructions differ"
assert free["mse_mu"] < mse_pca, "beta = 0 does not beat PCA"
assert (
    calibrated["mse_sampled"] < mse_pca
    and calibrated["active_units"] > parameters.latent / 2
)
print(
    "asserted: collapse where it was predicted; none at beta = 0; none when sigma is calibrated"
)

# %% [markdown]
# ```{admonition} Exercise
# Run this page with `papermill notebooks/03_mnist_sanity_check.ipynb out.ipynb -p beta 0.01`, just below the edge. Which number in the table
# tells you first that the VAE is alive?
# ```
#
# ```{admonition} A solution
# :class: dropdown
# The KL. Linear theory predicts one unit, about 0.15 nats, and an error only 4 % below the mean image's. A short training reaches less, and may
# spread it over several units: so close to the edge, learning is slow. [](06_beta_ablation) follows the whole curve.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
story.provenance(parameters)
