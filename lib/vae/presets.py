"""The nets by the names that the parameters of the chapters use. Introduced by chapter 03.

`week4` and `week4_mnist` are the report's nets and `final` is the student's later one:
convolutions, ReLU and BatchNorm. `small` learns in seconds on one core. It has no BatchNorm:
without it the net learns faster on digits, and a collapsed net stays collapsed on new voices, whose
statistics would otherwise let some nats back in. `repair` spends 100,000 parameters where they help
most on digits. `mlp` and `linear` have no convolutions.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from lib import BadInput
from lib.config import did_you_mean
from lib.vae.conditional import ConditionalSpectrogramVAE, ConditionalVAE
from lib.vae.losses import log_var_cap
from lib.vae.networks import VAE, Decoder, Encoder, Shape, halved, narrow
from lib.vae.refined import RefinedVAE

Layer = Callable[[int], nn.Module]  # it follows a convolution to so many channels
DIGIT = 1024  # values of an example; above, it is a spectrogram and `small` has one block more


class Heads(nn.Module):
    """A net that ends in mu and log_var, each a linear function of its `width` outputs."""

    def __init__(self, body: nn.Module, width: int, latent: int) -> None:
        super().__init__()
        self.body = body
        self.mu = nn.Linear(width, latent)
        self.log_var = nn.Linear(width, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, bin, frame) -> mu, log_var (batch, latent)."""
        h = self.body(x)
        return self.mu(h), self.log_var(h)


class Capped(nn.Module):
    """An encoder whose units keep `floor` nats: log_var bends below a cap (delta-VAE)."""

    def __init__(self, encoder: nn.Module, floor: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.cap = log_var_cap(floor)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, bin, frame) -> mu, log_var (batch, latent)."""
        mu, log_var = self.encoder(x)
        return mu, self.cap - softplus(self.cap - log_var)


class Residual(nn.Module):
    """silu(h + convolution(silu(h))), at the size of h (batch, channel, bin, frame)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, h: Tensor) -> Tensor:
        """h (batch, channel, bin, frame) -> the same shape."""
        return silu(h + self.conv(silu(h)))


class AddMean(nn.Module):
    """x_hat + a learned picture, so that the mean of the data is a bias of the decoder."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1, *shape))

    def forward(self, x_hat: Tensor) -> Tensor:
        """x_hat (batch, 1, bin, frame) -> the same shape."""
        return x_hat + self.mean


def relu_norm(channels: int) -> nn.Module:
    """The report's order: BatchNorm comes after the activation."""
    return nn.Sequential(nn.ReLU(), nn.BatchNorm2d(channels))


def plain_silu(channels: int) -> nn.Module:
    """SiLU alone."""
    return nn.SiLU()


def conv_encoder(
    shape: Shape,
    latent: int,
    channels: Sequence[int],
    after: Layer,
    stride: int = 2,
    hidden: int | None = None,
) -> Heads:
    """A convolution per entry of `channels`, each followed by `after`; a hidden linear layer."""
    layers = []
    inputs = 1
    for outputs in channels:
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), after(outputs)]
        inputs = outputs
    layers.append(nn.Flatten())
    width = inputs * math.prod(sizes(shape, channels, stride)[-1])
    if hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
    return Heads(nn.Sequential(*layers), hidden or width, latent)


def conv_decoder(
    shape: Shape,
    latent: int,
    channels: Sequence[int],
    after: Layer,
    start: nn.Module,
    stride: int = 2,
    hidden: int | None = None,
) -> nn.Sequential:
    """The mirror image of `conv_encoder`; `start` is the activation before its convolutions."""
    shapes = sizes(shape, channels, stride)
    layers = []
    if hidden:
        layers += [nn.Linear(latent, hidden), nn.ReLU()]
    layers += [
        nn.Linear(hidden or latent, channels[-1] * math.prod(shapes[-1])),
        start,
        nn.Unflatten(1, (channels[-1], *shapes[-1])),
    ]
    for level in reversed(range(1, len(channels))):
        outputs = channels[level - 1]
        layers += [conv_to(shapes[level], channels[level], outputs, stride), after(outputs)]
    layers.append(conv_to(shape, channels[0], 1, stride))
    return nn.Sequential(*layers)


def conv_to(size: Shape, inputs: int, outputs: int, stride: int) -> nn.Module:
    """A transposed convolution to a given size, so that odd sizes come back as they were."""
    padding = [(length - 1) % stride for length in size]
    return nn.ConvTranspose2d(inputs, outputs, 3, stride, 1, output_padding=padding)


def sizes(shape: Shape, channels: Sequence[int], stride: int) -> list[Shape]:
    """(bin, frame) before the first convolution and after each."""
    if stride == 1:
        return [shape] * (len(channels) + 1)
    return [halved(shape, times) for times in range(len(channels) + 1)]


def small(shape: Shape, latent: int | None = None) -> VAE:
    """The net of chapter 03; on spectrograms it has four blocks, a learned mean and 64 units."""
    if math.prod(shape) <= DIGIT:
        latent = latent or 16
        return VAE(shape, latent, Encoder(shape, latent), Decoder(shape, latent))
    latent = latent or 64
    channels = (8, 16, 32, 64)
    encoder = conv_encoder(shape, latent, channels, plain_silu)
    decoder = conv_decoder(shape, latent, channels, plain_silu, nn.Identity())
    decoder.append(AddMean(shape))
    return VAE(shape, latent, encoder, decoder)


def report_net(
    shape: Shape,
    latent: int,
    channels: Sequence[int] = (8, 16, 32),
    stride: int = 2,
    hidden: int | None = None,
) -> VAE:
    """A net of the report: convolutions, ReLU and BatchNorm."""
    encoder = conv_encoder(shape, latent, channels, relu_norm, stride, hidden)
    decoder = conv_decoder(shape, latent, channels, relu_norm, nn.ReLU(), stride, hidden)
    return VAE(shape, latent, encoder, decoder)


def repair(shape: Shape, latent: int = 16) -> VAE:
    """The net of chapter 08: a residual block after each transposed convolution but the last."""
    channels = (16, 32, 48)
    encoder = conv_encoder(shape, latent, channels, plain_silu)
    narrow(encoder.log_var)
    decoder = conv_decoder(shape, latent, channels, Residual, nn.SiLU())
    return VAE(shape, latent, encoder, decoder)


def mlp(shape: Shape, latent: int = 20) -> VAE:
    """The multilayer perceptron of Kingma and Welling 2014: 784-400-20 on digits."""
    n_values = math.prod(shape)
    encoder = Heads(nn.Sequential(nn.Flatten(), nn.Linear(n_values, 400), nn.ReLU()), 400, latent)
    decoder = nn.Sequential(
        nn.Linear(latent, 400),
        nn.ReLU(),
        nn.Linear(400, n_values),
        nn.Unflatten(1, (1, *shape)),
    )
    return VAE(shape, latent, encoder, decoder)


def linear(shape: Shape, latent: int = 16) -> VAE:
    """The linear VAE of chapter 05, whose optimum `lib.theory.collapse` knows."""
    n_values = math.prod(shape)
    encoder = Heads(nn.Flatten(), n_values, latent)
    narrow(encoder.log_var)
    columns = nn.Linear(latent, n_values)
    nn.init.normal_(columns.weight, std=n_values**-0.5)  # columns of length one
    decoder = nn.Sequential(columns, nn.Unflatten(1, (1, *shape)), AddMean(shape))
    return VAE(shape, latent, encoder, decoder)


PRESETS: dict[str, Callable[..., VAE]] = {
    "small": small,
    "week4": partial(report_net, latent=1024),
    "week4_mnist": partial(report_net, latent=512, stride=1, hidden=1024),
    "repair": repair,
    "mlp": mlp,
    "linear": linear,
    "final": partial(report_net, latent=128, channels=(4, 8, 16, 32)),
    "refined": RefinedVAE,
    "conditional": ConditionalVAE,
    "conditional_paired": partial(ConditionalVAE, paired=True),
    "conditional_spectrogram": ConditionalSpectrogramVAE,
    "conditional_spectrogram_paired": partial(ConditionalSpectrogramVAE, paired=True),
}


def build(preset: str, shape: Shape, latent: int | None = None, floor: float = 0.0) -> VAE:
    """The net of a preset for examples of shape (bin, frame).

    latent: the number of units; None for the preset's own. floor: nats below which the KL of a unit
    cannot fall. BadInput: an unknown preset, a shape or number of units that is not positive, a
    floor that the net cannot have.
    """
    if preset not in PRESETS:
        raise BadInput(f"preset = {preset!r}: {did_you_mean(preset, PRESETS)}")
    if len(shape) != 2 or min(shape) < 1:
        raise BadInput(f"shape = {tuple(shape)}: must be (bin, frame), both at least 1")
    if latent is not None and latent < 1:
        raise BadInput(f"latent = {latent}: must be 1 or more")
    options = {} if latent is None else {"latent": latent}
    model = PRESETS[preset](shape, **options)
    if floor > 0:
        if not isinstance(model.encoder, Encoder | Heads):
            raise BadInput(
                f"floor = {floor:g}: preset {preset!r} has no floor; take another, or a floor of 0"
            )
        model.encoder = Capped(model.encoder, floor)
    return model
