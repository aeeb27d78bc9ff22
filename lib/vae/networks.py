"""The VAE of chapter 03, top to bottom: Encoder, reparameterise, Decoder, VAE.

Every other net of the book is a `VAE` as well: `lib.vae.presets` gives it another encoder and
decoder, `lib.vae.refined` and `lib.vae.conditional` override its methods.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

Shape = tuple[int, int]  # (bin, frame)


class Encoder(nn.Module):
    """Three convolutions that halve the picture, then one linear layer each for mu and log_var."""

    def __init__(self, shape: Shape, latent: int) -> None:
        super().__init__()
        bins, frames = halved(shape, 3)
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1)
        self.mu = nn.Linear(32 * bins * frames, latent)
        self.log_var = narrow(nn.Linear(32 * bins * frames, latent))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, bin, frame) -> mu, log_var of q(z | x), (batch, latent) each."""
        h = silu(self.conv1(x))  # (batch, 8, 14, 14) for a digit
        h = silu(self.conv2(h))  # (batch, 16, 7, 7)
        h = silu(self.conv3(h))  # (batch, 32, 4, 4)
        h = h.flatten(1)  # (batch, 512)
        return self.mu(h), self.log_var(h)


def reparameterise(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z = mu + sigma * noise, a sample of N(mu, exp(log_var)): (batch, latent).

    generator: one of the CPU, so that the noise is the same on every device.
    """
    device = "cpu" if generator else mu.device
    noise = torch.randn(mu.shape, generator=generator, device=device).to(mu.device)
    return mu + (0.5 * log_var).exp() * noise


class Decoder(nn.Module):
    """The mirror image of the encoder. Its last layer has no activation."""

    def __init__(self, shape: Shape, latent: int) -> None:
        super().__init__()
        self.sizes = [halved(shape, times) for times in range(4)]
        bins, frames = self.sizes[3]
        self.linear = nn.Linear(latent, 32 * bins * frames)
        self.conv1 = nn.ConvTranspose2d(32, 16, kernel_size=3, stride=2, padding=1)
        self.conv2 = nn.ConvTranspose2d(16, 8, kernel_size=3, stride=2, padding=1)
        self.conv3 = nn.ConvTranspose2d(8, 1, kernel_size=3, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """z (batch, latent) -> x_hat (batch, 1, bin, frame)."""
        h = self.linear(z)  # (batch, 512) for a digit
        h = h.unflatten(1, (32, *self.sizes[3]))  # (batch, 32, 4, 4)
        h = silu(self.conv1(h, output_size=self.sizes[2]))  # (batch, 16, 7, 7)
        h = silu(self.conv2(h, output_size=self.sizes[1]))  # (batch, 8, 14, 14)
        return self.conv3(h, output_size=self.sizes[0])  # (batch, 1, 28, 28)


class VAE(nn.Module):
    """A VAE of examples of one shape (bin, frame) with `latent` units."""

    def __init__(
        self,
        shape: Shape,
        latent: int,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.latent = latent
        self.encoder = encoder
        self.decoder = decoder

    def forward(
        self, x: Tensor, sample: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """x (batch, 1, bin, frame) -> x_hat of the same shape, mu and log_var (batch, latent).

        sample: z is drawn from the posterior; otherwise z = mu.
        """
        mu, log_var = self.encode(x)
        z = reparameterise(mu, log_var, generator) if sample else mu
        x_hat = self.decode(z, *self.condition(x))
        return x_hat, mu, log_var

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, bin, frame) -> mu, log_var (batch, latent)."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """z (batch, latent) -> x_hat (batch, 1, bin, frame)."""
        return self.decoder(z)

    def target(self, x: Tensor) -> Tensor:
        """The picture that x_hat is compared with: x itself, but for a conditional VAE."""
        return x

    def condition(self, x: Tensor) -> tuple[Tensor, ...]:
        """Further inputs of the decoder: none, unless a conditional VAE has some."""
        return ()


def halved(shape: Shape, times: int) -> Shape:
    """The size of a picture after so many convolutions of stride 2; odd sizes are rounded up."""
    return math.ceil(shape[0] / 2**times), math.ceil(shape[1] / 2**times)


def narrow(layer: nn.Linear) -> nn.Linear:
    """Let log_var start near -3: with little noise in z the decoder can use z at once."""
    nn.init.constant_(layer.bias, -3.0)
    with torch.no_grad():
        layer.weight.mul_(0.1)
    return layer
