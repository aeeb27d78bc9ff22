"""Conditional VAEs of chapters 10 and 12: the decoder sees the dry clip, z tells the effect.

The model is p(wet | z, dry) (Sohn, Lee and Yan 2015). Voice, words and notes are in the dry clip,
need not go through z, and every nat in z costs. An example x holds the wet and the dry clip in one
array; `target` and `condition` take it apart.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from lib import BadInput
from lib.vae.networks import VAE, Shape, narrow


class ConditionalVAE(VAE):
    """A conditional VAE of cepstral features (batch, 1, row, value): rows wet, dry, difference.

    The encoder sees the wet row, or with `paired` the difference too: a linear map plus a net. The
    decoder sees z and the dry row, and draws the difference. No posterior is wider than the prior,
    since no optimum has a variance above 1. `lib.audio.cepstra` calls the difference row PAIR.
    """

    def __init__(self, shape: Shape, latent: int = 64, paired: bool = False) -> None:
        if shape[0] != 3:
            raise BadInput(f"shape = {tuple(shape)}: the rows of an example are wet, dry and pair")
        values = shape[1]
        super().__init__((1, values), latent)
        self.paired = paired
        inputs = 2 * values if paired else values
        self.straight = nn.Linear(inputs, latent)
        self.encoder = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(inputs, 384),
            nn.SiLU(),
            nn.Linear(384, 384),
            nn.SiLU(),
        )
        self.mu = nn.Linear(384, latent)
        self.log_var = narrow(nn.Linear(384, latent))
        self.embed_dry = nn.Sequential(nn.Linear(values, 64), nn.SiLU())
        self.decoder = nn.Sequential(
            nn.Linear(latent + 64, 384),
            nn.SiLU(),
            nn.Linear(384, values),
        )

    def target(self, x: Tensor) -> Tensor:
        """The difference features, (batch, 1, 1, value)."""
        return x[:, :, 2:]

    def condition(self, x: Tensor) -> tuple[Tensor]:
        """The features of the dry clip, (batch, value)."""
        return (x[:, 0, 1],)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, row, value) -> mu, log_var (batch, latent)."""
        wet = x[:, 0, 0]
        features = x[:, 0, ::2].flatten(1) if self.paired else wet
        h = self.encoder(features)
        mu = self.straight(features) + self.mu(h)
        return mu, at_most_zero(self.log_var(h))

    def decode(self, z: Tensor, dry: Tensor) -> Tensor:
        """z (batch, latent), dry features (batch, value) -> difference (batch, 1, 1, value)."""
        h = torch.cat([z, self.embed_dry(dry)], dim=1)
        return self.decoder(h)[:, None, None]


class Film(nn.Module):
    """h * (1 + tanh(scale)) + shift, where z gives scale and shift per channel and row.

    Feature-wise linear modulation, Perez et al. 2018.
    """

    def __init__(self, latent: int, channels: int, rows: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent, 2 * channels * rows)
        self.size = (2, channels, rows, 1)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """h (batch, channel, row, frame), z (batch, latent) -> the shape of h."""
        scale, shift = self.linear(z).unflatten(1, self.size).unbind(1)
        return h * (1 + scale.tanh()) + shift


class ConditionalSpectrogramVAE(VAE):
    """A conditional VAE of log-mel spectrograms (batch, 1, 2 bin, frame): first wet, then dry bins.

    x_hat = dry + net(dry, z), where net starts at zero. z acts through `Film` on every frame alike,
    so it can say what is done to a clip and hardly when. The encoder keeps mean and deviation over
    time of its features; it sees the wet spectrogram, and with `paired` its difference from the dry
    one too.
    """

    def __init__(self, shape: Shape, latent: int = 32, paired: bool = False) -> None:
        if shape[0] % 2:
            raise BadInput(f"shape = {tuple(shape)}: must be (bins of wet and of dry, frame)")
        bins = shape[0] // 2
        super().__init__((bins, shape[1]), latent)
        self.paired = paired
        half, quarter, eighth = -(-bins // 2), -(-bins // 4), -(-bins // 8)
        self.encoder = nn.Sequential(
            nn.Conv2d(2 if paired else 1, 16, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(32, 48, 3, (2, 1), 1),
            nn.SiLU(),
        )
        self.mu = nn.Linear(2 * 48 * eighth, latent)
        self.log_var = narrow(nn.Linear(2 * 48 * eighth, latent))
        self.down1 = nn.Conv2d(1, 16, 5, 2, 2)
        self.down2 = nn.Conv2d(16, 32, 3, 2, 1)
        self.across = nn.Conv2d(32, 32, (3, 7), 1, (1, 3))  # seven frames: the reach of an echo
        self.up1 = nn.ConvTranspose2d(32, 16, 4, 2, 1)
        self.up2 = nn.ConvTranspose2d(16, 1, 4, 2, 1)
        self.film1 = Film(latent, 16, half)
        self.film2 = Film(latent, 32, quarter)
        self.film3 = Film(latent, 32, quarter)
        self.film4 = Film(latent, 16, half)
        nn.init.zeros_(self.up2.weight)
        nn.init.zeros_(self.up2.bias)

    def target(self, x: Tensor) -> Tensor:
        """The wet spectrogram, (batch, 1, bin, frame)."""
        return x[:, :, : self.shape[0]]

    def condition(self, x: Tensor) -> tuple[Tensor]:
        """The dry spectrogram, (batch, 1, bin, frame)."""
        return (x[:, :, self.shape[0] :],)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, 2 bin, frame) -> mu, log_var (batch, latent). Unpaired, wet bins will do."""
        wet = self.target(x)
        if self.paired:
            (dry,) = self.condition(x)
            wet = torch.cat([wet, wet - dry], dim=1)
        h = self.encoder(wet)  # (batch, 48, bin / 8, frame / 4)
        mean = h.mean(3)
        deviation = (h.var(3, correction=0) + 1e-6).sqrt()
        h = torch.cat([mean, deviation], dim=1).flatten(1)
        return self.mu(h), at_most_zero(self.log_var(h))

    def decode(self, z: Tensor, dry: Tensor) -> Tensor:
        """z (batch, latent), dry (batch, 1, bin, frame) -> the wet spectrogram, shaped like dry."""
        bins, frames = self.shape
        fine = silu(self.film1(self.down1(dry), z))  # (batch, 16, bin / 2, frame / 2)
        coarse = silu(self.film2(self.down2(fine), z))  # (batch, 32, bin / 4, frame / 4)
        coarse = coarse + silu(self.film3(self.across(coarse), z))
        up = self.up1(coarse)[..., : fine.shape[2], : fine.shape[3]]
        fine = silu(self.film4(fine + up, z))
        return dry + self.up2(fine)[..., :bins, :frames]


def at_most_zero(log_var: Tensor) -> Tensor:
    """A smooth bound: no variance above 1, (batch, latent)."""
    return -softplus(-log_var)
