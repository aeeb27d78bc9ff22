"""The VAEs, for any (bin, frame) size, and the presets that the pages name. Introduced by story 03.

    x (batch, 1, bin, frame) -> conv blocks -> flatten [-> hidden] -> mu, log_var (batch, latent)
    z (batch, latent) [-> hidden] -> linear -> transposed conv blocks -> x_hat (batch, 1, bin, frame)

A block is conv (kernel 3, padding 1), activation and, in the report's nets, BatchNorm. The decoder mirrors the encoder;
each transposed convolution is padded to the size that the encoder saw, so odd sizes come back as they were. The last
one has neither norm nor activation. `week4` and `week4_mnist` are the report's nets, `final` the student's later one.
`small` is ours, made to learn in seconds on one core. It has no BatchNorm: without it, it learns faster on digits, and
a collapsed net stays so on voices it never heard, where running statistics of other voices would let nats back in.
`repair` spends 100,000 parameters where they help most on digits; `refined` starts at the linear optimum and improves
what it draws; `linear` and `mlp` have no convolutions.
"""

import difflib
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from lib import BadInput
from lib.theory.components import Pca
from lib.vae import losses as objective

DIGIT = 1024  # up to so many values an example is as easy as a digit; beyond, `small` grows a block and has 64 latents


@dataclass(frozen=True)
class Preset:
    """A net but for its input size."""

    channels: tuple[int, ...]  # of the blocks, outermost first
    latent: int
    stride: int = 2
    hidden: int | None = (
        None  # width of a linear layer + ReLU before the heads, mirrored in the decoder
    )
    activation: type[nn.Module] = nn.ReLU
    residual: bool = False  # a residual block after each transposed convolution but the last
    norm: bool = True  # BatchNorm after each activation but the last
    linear_relu: bool = True  # activation after the decoder's last linear layer
    average: bool = False  # the decoder adds a learned picture, so that the mean of the data is a bias and no detour
    log_var: float | None = (
        None  # where log_var starts, by the bias of its layer; None: as PyTorch draws it
    )
    floor: float = (
        0.0  # nats below which no unit's KL can fall, since its variance is capped (delta-VAE)
    )


PRESETS = {
    "small": Preset(
        (8, 16, 32), latent=16, activation=nn.SiLU, norm=False, linear_relu=False, log_var=-3.0
    ),
    "week4": Preset((8, 16, 32), latent=1024),
    "week4_mnist": Preset((8, 16, 32), latent=512, stride=1, hidden=1024),
    "repair": Preset(
        (16, 32, 48), latent=16, activation=nn.SiLU, residual=True, norm=False, log_var=-3.0
    ),
    "mlp": Preset((), latent=20, hidden=400, norm=False, linear_relu=False),
    "linear": Preset((), latent=16, norm=False, linear_relu=False, average=True, log_var=-3.0),
    "final": Preset((4, 8, 16, 32), latent=128),
}
REFINED_LATENT = 64
OTHERS = (
    "refined",
    "told",
    "told_paired",
    "told_picture",
    "told_picture_paired",
)  # "refined", and those of lib.vae.conditional
SMALL_LARGE = Preset(
    (8, 16, 32, 64), latent=64, activation=nn.SiLU, norm=False, linear_relu=False, average=True
)


class VAE(nn.Module):
    """What every net here can do. shape: (bin, frame) of an example; latent: units; encode and decode are its own."""

    shape: tuple[int, int]
    latent: int

    def __init__(self, shape: tuple[int, int], latent: int):
        super().__init__()
        if len(shape) != 2 or min(shape) < 1:
            raise BadInput(f"shape = {tuple(shape)}: must be (bin, frame), both at least 1")
        if latent < 1:
            raise BadInput(f"latent = {latent}: must be 1 or more")
        self.shape, self.latent = (int(shape[0]), int(shape[1])), latent

    def forward(
        self, x: Tensor, sample: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (batch, 1, bin, frame) -> x_hat of the same shape, mu and log_var (batch, latent).

        sample: z is drawn from the posterior, else z = mu; generator: of the CPU, so the noise is the same anywhere.
        """
        mu, log_var = self.encode(x)
        return (
            self.decode(draw(mu, log_var, generator) if sample else mu, *self.told(x)),
            mu,
            log_var,
        )

    def target(self, x: Tensor) -> Tensor:
        """What decode should return for an example: the example itself, unless a net says otherwise."""
        return x

    def told(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the decoder is told beside z: nothing, unless a net says otherwise."""
        return ()


class Residual(nn.Module):
    """x + convolution(activation(x)), at the size of x (batch, channel, bin, frame)."""

    def __init__(self, channels: int, activation: type[nn.Module]):
        super().__init__()
        self.inner = nn.Sequential(activation(), nn.Conv2d(channels, channels, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _zero(layer: nn.Module) -> nn.Module:
    """The layer with weights and bias at zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ConvVAE(VAE):
    """The VAE of the report for inputs (batch, 1, bin, frame) of any size."""

    def __init__(self, shape: tuple[int, int], preset: Preset):
        super().__init__(shape, preset.latent)
        channels, stride, latent, hidden = (
            preset.channels,
            preset.stride,
            preset.latent,
            preset.hidden,
        )
        sizes = [self.shape]  # (bin, frame) before each block and after the last
        blocks, width = [], 1
        for channel in channels:
            blocks += [nn.Conv2d(width, channel, 3, stride, 1), *_after(channel, preset)]
            sizes.append(tuple(-(-size // stride) for size in sizes[-1]))
            width = channel
        flat = width * math.prod(sizes[-1])
        inner = hidden or flat
        self.encoder = nn.Sequential(
            *blocks, nn.Flatten(), *([nn.Linear(flat, hidden), nn.ReLU()] if hidden else [])
        )
        self.mu = nn.Linear(inner, latent)
        self.log_var = nn.Linear(inner, latent)
        if (
            preset.log_var is not None
        ):  # starts with little noise in z, so that the decoder hears something at once
            nn.init.constant_(self.log_var.bias, preset.log_var)
            with torch.no_grad():
                self.log_var.weight.mul_(0.1)
        blocks = [nn.Linear(latent, hidden), nn.ReLU()] if hidden else []
        blocks += [
            nn.Linear(hidden or latent, flat),
            *([preset.activation()] if preset.linear_relu else []),
        ]
        blocks.append(nn.Unflatten(1, (width, *sizes[-1])))
        for i in reversed(range(len(channels))):
            channel = channels[i - 1] if i else 1
            extra = tuple(
                big - stride * (small - 1) - 1
                for big, small in zip(sizes[i], sizes[i + 1], strict=True)
            )
            blocks.append(
                nn.ConvTranspose2d(channels[i], channel, 3, stride, 1, output_padding=extra)
            )
            blocks += [Residual(channel, preset.activation)] if preset.residual and i else []
            blocks += _after(channel, preset) if i else []
        self.decoder = nn.Sequential(*blocks)
        if not channels and not hidden:  # a linear decoder starts with columns of length one
            nn.init.normal_(self.decoder[0].weight, std=flat**-0.5)
        self.average = nn.Parameter(torch.zeros(1, *self.shape)) if preset.average else None
        self.cap = objective.log_var_cap(preset.floor)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, bin, frame) -> mu and log_var of the posterior, (batch, latent) each."""
        h = self.encoder(x)
        log_var = self.log_var(h)  # under a cap it bends towards it, and keeps its gradient
        return self.mu(h), log_var if math.isinf(self.cap) else self.cap - nn.functional.softplus(
            self.cap - log_var
        )

    def decode(self, z: Tensor) -> Tensor:
        """z (batch, latent) -> x_hat (batch, 1, bin, frame)."""
        x_hat = self.decoder(z)
        return x_hat if self.average is None else x_hat + self.average


class RefinedVAE(VAE):
    """The linear VAE at its optimum, frozen, and convolutions that improve its picture.

    mu = A (x - mean); one learned log_var a unit; y = mean + W z, x_hat = y + refine(y). `start_from` a PCA first:
    mean, W and A are those of probabilistic PCA (Tipping and Bishop 1999), so training starts where PCA ends.
    """

    def __init__(self, shape: tuple[int, int], latent: int):
        super().__init__(shape, latent)
        for name, rows in {"mean": (), "W": (latent,), "A": (latent,)}.items():
            self.register_buffer(name, torch.zeros(*rows, math.prod(self.shape)))
        self.log_var = nn.Parameter(torch.zeros(latent))
        self.refine = nn.Sequential(
            nn.Conv2d(1, 16, 5, 2, 2),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(32, 32, 3, 1, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.SiLU(),
            _zero(nn.ConvTranspose2d(16, 1, 4, 2, 1)),
        )

    def start_from(self, pca: Pca) -> None:
        """Take the linear optimum for as many latents as pca has components."""
        rest = pca.total_variance - pca.eigenvalues.sum()
        if not rest > 1e-12 * pca.total_variance:
            raise BadInput(
                f"latent = {self.latent}: 'refined' needs fewer than the directions of the training set"
            )
        s = rest / (len(pca.mean) - self.latent)  # noise variance
        scale = np.sqrt(np.maximum(pca.eigenvalues - s, 0))[:, None]
        new = {
            "mean": pca.mean,
            "W": pca.components * scale,
            "A": pca.components * scale / pca.eigenvalues[:, None],
        }
        new |= {"log_var": np.log(np.minimum(s / pca.eigenvalues, 1))}
        self.load_state_dict(
            {name: torch.from_numpy(value).float() for name, value in new.items()}, strict=False
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, bin, frame) -> mu and log_var of the posterior, (batch, latent) each."""
        mu = (x.flatten(1) - self.mean) @ self.A.T
        return mu, self.log_var.expand_as(mu)

    def decode(self, z: Tensor) -> Tensor:
        """z (batch, latent) -> x_hat (batch, 1, bin, frame)."""
        y = (self.mean + z @ self.W).view(-1, 1, *self.shape)
        return y + self.refine(y)[..., : self.shape[0], : self.shape[1]]


def _after(channels: int, preset: Preset) -> list[nn.Module]:
    """What follows a convolution, in the report's order."""
    return [preset.activation(), *([nn.BatchNorm2d(channels)] if preset.norm else [])]


def draw(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z ~ N(mu, exp(log_var)), reparameterised: (batch, latent)."""
    noise = torch.randn(mu.shape, generator=generator, device=None if generator else mu.device)
    return mu + (0.5 * log_var).exp() * noise.to(mu.device)


def build(
    preset: str, shape: tuple[int, int], latent: int | None = None, floor: float = 0.0
) -> VAE:
    """The net of a preset for inputs of shape (bin, frame); latent: another number of latents than the preset's own.

    floor: nats below which no unit's KL can fall.

    `small` has three blocks and 16 latents up to DIGIT values, beyond that four blocks and 64 latents.
    """
    if preset == "refined":
        if floor > 0:
            raise BadInput(
                f"floor = {floor:g}: preset 'refined' has no floor; take another preset, or a floor of 0"
            )
        return RefinedVAE(shape, REFINED_LATENT if latent is None else latent)
    if preset in OTHERS[1:]:
        from lib.vae import conditional as told  # which builds on this module

        return told.build(preset, shape, latent)
    if preset not in PRESETS:
        close = difflib.get_close_matches(str(preset), [*PRESETS, *OTHERS], n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise BadInput(
            f"preset = {preset!r}: {hint}known presets are {', '.join([*PRESETS, *OTHERS])}"
        )
    chosen = SMALL_LARGE if preset == "small" and math.prod(shape) > DIGIT else PRESETS[preset]
    return ConvVAE(
        shape, replace(chosen, latent=chosen.latent if latent is None else latent, floor=floor)
    )
