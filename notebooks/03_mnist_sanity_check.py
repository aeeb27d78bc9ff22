# %% [markdown]
# # Why does the same VAE draw the same digit for every input?
#
# The [report](../intro) trained a variational autoencoder (VAE) on spectrograms and got one average picture back, whatever went in. On MNIST the same
# happened at `beta = 1` and not at `beta = 0`; {term}`beta` is the weight of the KL divergence in the loss. Is the VAE broken, or its loss?
#
# The VAE is sound, and so is each of the two terms of its loss. But the squared error is an average over 784 pixels, and the KL is a sum. At `beta = 1`
# the two are so far apart that describing the input costs more than it saves, and the network learns to ignore it.
#
# ```{glue:figure} key-03
# :name: fig-key-03
# :alt: Two rows of ten images. Above are handwritten digits. Below are ten copies of one grey blur, the average digit.
#
# Ten test digits, and what the VAE with the report's loss makes of them. Every input gets the average digit.
# ```
#
# ```{admonition} This page
# :class: tip
# **In**: full MNIST, 28 x 28 pixels in [0, 1]. **Out**: three trained VAEs, one table, the counterpart of the report's
# Figures 2 and 3. **Time**: half a minute on one CPU core at the quick setting (30,000 images), about two at the published one (58,000).
# **Number to expect**: at `beta = 1` a test error of 0.0675, which is the error of the average digit, and a KL of about 0.
# ```

# %% tags=["parameters"]
preset: str = "small"  # small, or week4_mnist (the report's, 53 M values)
latent: int = 16  # number of latent units
beta: float = 1.0  # weight of the KL term in the report's loss
epochs: int = 1  # passes over the training images
learning_rate: float = 1.0e-2  # peak step size of Adam
batch_size: int = 128  # images a step
train_images: int = 30000  # training images
logger: str = "csv"  # csv, tensorboard, wandb, wandb_offline
seed: int = 1234  # seed of the weights, the order of images, the latent noise

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch
from lib import theory, vae
from lib.book import figures, page
from lib.data.batches import ArrayDataset, Splits
from lib.data.digits import load_digits
from lib.vae import losses

parameters = page.begin("03_mnist_sanity_check", globals())

# %% [markdown]
# ## The data
#
# An example is one digit: $N = 784$ bytes, which `scale` maps to 0 to 1. The network trains on the first images of MNIST's training set, the last 2,000 choose the best
# epoch, and the 10,000 test images measure the result. (`page.begin` has checked the parameters. `key` names the data, so that a finished training on them is loaded, not repeated.)

# %%
x_train, _ = load_digits("train")
x_test, _ = load_digits("test")
data = Splits(
    train=ArrayDataset(x_train[: parameters.train_images], scale=1 / 255),
    validation=ArrayDataset(x_train[-2000:], scale=1 / 255),
    test=ArrayDataset(x_test, scale=1 / 255),
    key={"digits": parameters.train_images},
)

# %% [markdown]
# ## The network, top to bottom
#
# A VAE has two halves. The **encoder** looks at a picture $x$ and answers with a normal distribution for each {term}`latent unit` (a number of the code): a mean `mu`
# and the logarithm of a variance, `log_var`. Three convolutions of stride 2 halve the picture three times, to 4 x 4 for a digit. (Rows and columns are called `bins` and `frames`, as in a
# spectrogram.) Then one linear layer gives `mu` and another `log_var`, which `narrow` starts near -3, so that the code starts with little noise.

# %%
page.source(vae.Encoder)

# %% [markdown]
# The code $z$ is a sample of that distribution. It is written as `mu` plus noise times a standard deviation, so that gradients reach `mu` and `log_var`:
# the **reparameterisation** {cite:p}`kingma2014auto`. (With a `generator`, which draws on the CPU, the noise is the same on all devices.)

# %%
page.source(vae.reparameterise)

# %% [markdown]
# The **decoder** is the encoder's mirror image. From a code it draws a picture `x_hat`. A transposed convolution of stride 2 can turn 4 rows into 7 or 8, so `output_size` says
# which. `sizes` holds the size after zero to three halvings.

# %%
page.source(vae.Decoder)

# %% [markdown]
# ## The loss, as it was asked about
#
# The squared error between `x` and `x_hat` is small when the code says much about the input. The {term}`KL` divergence between the encoder's answer
# and a standard normal is small when the code says little. Averaged over examples, it bounds the information in the code from above, in {term}`nats <Nat>`.
# It has a closed form for each unit:

# %%
page.source(losses.kl_per_unit)

# %% [markdown]
# The report adds the two as follows. Read the last line: the error is a **mean** over the 784 pixels, the KL is a **sum** over the units.

# %%
page.source(losses.report)

# %% [markdown]
# ## One training step
#
# We take one step by hand, on 128 digits, with a fresh network of the two halves above (the preset "small"):

# %%
torch.manual_seed(parameters.seed)
model = vae.build("small", (28, 28), latent=16)
rate = parameters.learning_rate
optimiser = torch.optim.Adam(model.parameters(), lr=rate)

x = data.train[:128]  # (128, 1, 28, 28)
mu, log_var = model.encode(x)  # (128, 16) each
z = vae.reparameterise(mu, log_var)
x_hat = model.decode(z)
loss = losses.report(x, x_hat, mu, log_var, beta=1.0)
loss.backward()
optimiser.step()

# %% [markdown]
# `vae.train`, below, repeats this step over shuffled batches, with a schedule for the step size. It finds the loss by its name, such as "report".
#
# ## What the weight means
#
# Suppose that the decoder means "the picture is `x_hat`, plus normal noise of variance $\sigma^2$ in every pixel". A VAE then maximises the evidence lower bound ({term}`ELBO`), or minimises
#
# ```{math}
# :label: gaussian-elbo
# -\mathrm{ELBO} = \frac{\mathbb E_q\lVert x - \hat x\rVert^2}{2\sigma^2} + \mathrm{KL} + \frac N2 \ln(2\pi\sigma^2).
# ```
#
# Here $\mathbb E_q$ is the mean over codes $z$ drawn from the encoder's answer. The last term of {eq}`gaussian-elbo` does not depend on the network. Multiply the others by $2\sigma^2/N$, and they become
# $\mathrm{MSE} + (2\sigma^2/N)\,\mathrm{KL}$. This is the report's loss, with
#
# ```{math}
# :label: implied-variance
# \beta = \frac{2\sigma^2}{N}, \qquad\text{that is}\qquad \sigma^2 = \frac{\beta N}{2}.
# ```
#
# So neither term is wrong. Every weight stands for a noise variance, and `beta = 1` for an absurd one: $\sigma^2 = 392$ for pixels between 0 and 1.
# ([The page on the loss](05_the_loss_question) checks this with numbers, for a single $z$: {eq}`neg-elbo`.)
#
# ## What we expect, before any training
#
# When does a code save more than it costs? Take one direction in which the data vary, with variance $\lambda$. Without a code, $\lambda$ is the squared error
# along it. To reduce it to $D < \lambda$, a code needs $\tfrac12 \ln(\lambda/D)$ nats {cite:p}`cover2006elements`.
# So the direction contributes $D/N + \tfrac\beta2\ln(\lambda/D)$ to the loss. The derivative in $D$ is zero at $D = \beta N/2$, which is $\sigma^2$ again.
#
# With $\lambda = 5$ and $\sigma^2 = 1$, for example, the best code leaves $D = 1$ of the 5 and spends 0.80 nats. With $\sigma^2 = 392$ the best $D$ would exceed
# the whole variance, so the best code spends nothing and leaves all 5. A unit is worth its nats only while the variance that it can explain exceeds
# $\sigma^2$ {cite:p}`lucas2019dont`.
#
# The largest variance in any direction is the first eigenvalue $\lambda_1$ of the pixels' covariance, which {term}`PCA` computes. So in a linear VAE, whose two halves are linear, no unit is worth its nats beyond the **edge**
#
# ```{math}
# :label: edge
# \beta_1 = \frac{2\lambda_1}{N}.
# ```
#
# That is a theorem. In the loss a nat costs $\beta$, and a unit of squared error costs $1/N$. So a code pays only if it removes more than $\beta N$ of squared error per nat.
# Beyond the edge no linear code does, but that of a deep network might. For our network {eq}`edge` is thus a prediction, and [](06_beta_ablation) tests it. The prediction needs only PCA of the training set
# (`prepare` scales the bytes, and `edge_beta` is {eq}`edge`):

# %%
pca = theory.pca(
    data.train.array, parameters.latent, prepare=data.train.prepare
)
n_values = len(pca.mean)  # N
edge = theory.edge_beta(pca.eigenvalues[0], n_values)
side = "beyond" if parameters.beta > edge else "below"
print(f"N = {n_values}; the predicted edge is near beta = {edge:.3f}")
print(f"beta = {parameters.beta:g} lies {side} it")

# %% tags=["nbval-ignore-output", "hide-input"]
page.record("mnist.edge_predicted", edge)
page.record("mnist.lambda1", pca.eigenvalues[0])
page.record("mnist.beta1.sigma2", parameters.beta * n_values / 2)
page.record("mnist.beta1.edges_out", parameters.beta / edge)

# %% [markdown]
# The first eigenvalue is {glue:text}`mnist.lambda1:.2f`, so the edge lies at $\beta_1 =$ {glue:text}`mnist.edge_predicted:.4f`. The weight of this run is
# {glue:text}`mnist.beta1.edges_out:.0f` times larger and assumes a noise variance of {glue:text}`mnist.beta1.sigma2:.0f`. We expect
# *complete {term}`collapse`* at this weight (no information in the code, one picture for every input) and none at `beta = 0`.
#
# Another loss needs no weight. It *calibrates* $\sigma^2$: it is the report's loss with $\beta = 2\sigma^2/N$, where $\sigma^2$ is the mean squared error of the batch
# itself {cite:p}`rybkin2021simple`. `detach` makes the weight a constant; otherwise a smaller error would be rewarded twice, by its own term and by a lower weight. (`beta` is not used; all losses take
# the same arguments.)

# %%
page.source(losses.calibrated)

# %% [markdown]
# ## Three trainings, two baselines
#
# The three trainings share network, data, seed and number of steps (`common`); only the loss differs. `vae.evaluate` measures a finished run on the test set,
# and `run.model()` is its network after the best epoch.

# %%
names = ["preset", "latent", "epochs", "learning_rate", "batch_size"]
common = parameters.model_dump(include={*names, "logger", "seed"})
configs = {
    "beta1": vae.TrainingConfig(loss="report", beta=parameters.beta, **common),
    "beta0": vae.TrainingConfig(loss="report", beta=0.0, **common),
    "calibrated": vae.TrainingConfig(loss="calibrated", **common),
}
models, metrics = {}, {}
for name, config in configs.items():
    run = vae.train(config, data)
    metrics[name] = vae.evaluate(run, data)
    models[name] = run.model()

# %% [markdown]
# The mean image (PCA with 0 components) is the best answer of a model that never looks at its input. PCA with as many components as the VAE has latent
# units is the best *linear* code for the training set. The table counts a unit as *active* if the variance of its `mu` over the test set exceeds 0.01 {cite:p}`burda2016importance`.

# %%
mse_mean = pca.mse(x_test, 0)
mse_pca = pca.mse(x_test, parameters.latent)

# %% tags=["nbval-ignore-output", "hide-input"]
columns = ["mse_mu", "mse_sampled", "kl", "active_units"]
labels = {
    "beta1": f"VAE, beta = {parameters.beta:g}",
    "beta0": "VAE, beta = 0",
    "calibrated": "VAE, calibrated",
}
rows = {}
for name, label in labels.items():
    values = {column: metrics[name][column] for column in columns}
    rows[label] = values
    page.record(f"mnist.{name}.mse", values["mse_mu"])
    for column in columns[1:]:
        page.record(f"mnist.{name}.{column}", values[column])
rows["mean image"] = {"mse_mu": mse_mean}
rows[f"PCA, {parameters.latent} components"] = {"mse_mu": mse_pca}
page.record("mnist.mean_image.mse", mse_mean)
page.record("mnist.pca.mse", mse_pca)
page.table(
    pd.DataFrame(rows).T[columns].astype(float),
    "mnist",
    "Test set, 10,000 images. mse_mu: squared error with z = mu. mse_sampled:"
    " with z drawn from the encoder's answer. kl: nats per image.",
    digits=4,
)

# %% [markdown]
# **What we see.** With the report's loss the test error is {glue:text}`mnist.beta1.mse:.4f`, and the mean image has
# {glue:text}`mnist.mean_image.mse:.4f`. The KL is {glue:text}`mnist.beta1.kl:.4f` nats, and the number of active units is
# {glue:text}`mnist.beta1.active_units:.0f`. By all three numbers, the network has learned the average and nothing else.
#
# At `beta = 0` the error is {glue:text}`mnist.beta0.mse:.4f`, where PCA has {glue:text}`mnist.pca.mse:.4f`. So the network can reconstruct. But `beta = 0` is no VAE: its
# {glue:text}`mnist.beta0.kl:.0f` nats of KL cost nothing, and nothing ties the code to a standard normal from which one could draw new digits.
#
# The calibrated loss reaches {glue:text}`mnist.calibrated.mse:.4f`, although it charges for its {glue:text}`mnist.calibrated.kl:.1f` nats of KL.
#
# ## The pictures of the report
#
# The pictures use `z = mu`, without noise.

# %% tags=["nbval-ignore-output"] mystnb={"figure": {"name": "fig-digits-beta1", "caption": "Ten test digits above their reconstructions with the report's loss, the counterpart of the report's Figure 2. The title of each is its mean squared error; one grey scale from 0 to 1. Beyond the edge every input gets the same average digit."}, "image": {"alt": "Two rows of ten images. Above: handwritten digits 7 2 1 0 4 1 4 9 5 9. Below: ten copies of one grey blur, the average digit."}}
x = data.test[:10]
x_hat = vae.reconstruct(models["beta1"], x)
figure = figures.reconstruction_grid(x[:, 0], x_hat[:, 0])
page.key_figure(figure)
plt.show()

# %% mystnb={"figure": {"name": "fig-digits-beta0", "caption": "The same digits at beta = 0, the counterpart of the report's Figure 3."}, "image": {"alt": "Two rows of ten images. Above: handwritten digits. Below: slightly blurred copies of the same digits."}}
x_hat = vae.reconstruct(models["beta0"], x)
figures.reconstruction_grid(x[:, 0], x_hat[:, 0])
plt.show()

# %% mystnb={"figure": {"name": "fig-digits-calibrated", "caption": "The same digits with the calibrated loss: a VAE with its KL term, and no beta to tune."}, "image": {"alt": "Two rows of ten images. Above: handwritten digits. Below: slightly blurred copies of the same digits."}}
x_hat = vae.reconstruct(models["calibrated"], x)
figures.reconstruction_grid(x[:, 0], x_hat[:, 0])
plt.show()

# %% [markdown]
# ## Is it really one picture?
#
# We average over the pixels each pixel's standard deviation over all 10,000 reconstructions, and compare it with
# the same number for the test images. (`labels` holds the names of the table's rows.)

# %%
x = data.test[:]
spread_of_data = float(x.std(dim=0).mean())
spread = {}
for name, model in models.items():
    x_hat = vae.reconstruct(model, x)
    spread[name] = float(x_hat.std(dim=0).mean())
    alike = spread[name] < spread_of_data / 100
    print(f"{labels[name]}: varies less than a hundredth as much: {alike}")

# %% [markdown]
# ## The finding, asserted
#
# Collapse is asserted where `beta` exceeds 1.5 edges: the error is within 1 % of the mean image's, the KL below 0.01 nats, no unit active, the spread below a
# hundredth of that of the digits. The reconstructions of the other two nets must vary more than that. At `beta = 0` the error must be below that of PCA. With the calibrated loss the error with $z$ sampled must be below PCA's too, and most units must be active.

# %%
if parameters.beta > 1.5 * edge:  # beyond the edge nothing may be left
    values = metrics["beta1"]
    error = values["mse_mu"] / mse_mean
    page.finding("beyond: the mean image", abs(error - 1) < 0.01, error)
    empty = values["kl"] < 0.01 and values["active_units"] == 0
    page.finding("beyond: the code is empty", empty, values["kl"])
    alike = spread["beta1"] / spread_of_data
    page.finding("beyond: all outputs are alike", alike < 0.01, alike)

# %%
error = metrics["beta0"]["mse_mu"] / mse_pca
page.finding("beta = 0 is better than PCA", error < 1, error)
differ = min(spread["beta0"], spread["calibrated"]) / spread_of_data
page.finding("both others: outputs differ", differ > 0.01, differ)
values = metrics["calibrated"]
error = values["mse_sampled"] / mse_pca
page.finding("calibrated is better than PCA", error < 1, error)
units = values["active_units"]
most = units > parameters.latent / 2
page.finding("calibrated: most units are active", most, units)

# %% [markdown]
# ```{admonition} Exercise
# Run this page with `papermill notebooks/03_mnist_sanity_check.ipynb out.ipynb -p beta 0.01`, just below the edge. Which number in the table
# tells you first that the code is not empty?
# ```
#
# ```{admonition} A solution
# :class: dropdown
# The KL. At `beta = 0.01` the noise variance is 3.92, so one eigenvalue lies above it. With all 58,000 images the best linear code spends $\tfrac12\ln(5.12/3.92) = 0.13$ nats.
# With 30,000 images, where $\lambda_1 = 5.27$, it spends 0.15 nats. With `z = mu` its error is only 4 % below the mean image's. So close to the edge, learning is slow: a short training reaches
# less, and may spread the nats over several units. [](06_beta_ablation) follows the whole curve.
# ```
#
# ## Provenance

# %% tags=["nbval-ignore-output"]
page.provenance(parameters)
