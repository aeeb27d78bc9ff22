"""VAEs whose decoder is told the dry clip, so that z is left with the effect. Introduced by story 08.

p(wet | z, dry): what the dry clip tells, voice, words, notes, need not go through z, and every nat in z costs (Sohn,
Lee and Yan 2015). An example holds wet and dry one above the other; `target` is the wet part, `told` the dry one.
"""

import torch
from torch import Tensor, nn

from lib import BadInput
from lib.vae.networks import VAE


class ToldVAE(VAE):
    """A conditional VAE of prints (batch, 1, row, value), see `lib.audio.cepstra`: from the wet print to that of the pair.

    The encoder, a linear map and a net beside it, hears the wet print alone or, `paired`, that of the pair as well.
    No posterior is wider than the prior: its variance is at most 1, which no optimum exceeds.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        latent: int,
        paired: bool = False,
        hidden: int = 384,
        told: int = 64,
    ):
        if shape[0] != 3:
            raise BadInput(f"shape = {tuple(shape)}: prints have the rows wet, dry and pair")
        super().__init__((1, shape[1]), latent)
        values, self.paired = shape[1], paired
        heard = values * (1 + paired)
        self.straight = nn.Linear(heard, latent)
        self.encoder = nn.Sequential(
            nn.Dropout(0.2),
            nn.Linear(heard, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
        )
        self.mu, self.log_var = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        nn.init.constant_(self.log_var.bias, -3.0)
        with torch.no_grad():
            self.log_var.weight.mul_(0.1)
        self.hear = nn.Sequential(nn.Linear(values, told), nn.SiLU())
        self.decoder = nn.Sequential(
            nn.Linear(latent + told, hidden), nn.SiLU(), nn.Linear(hidden, values)
        )

    def target(self, x: Tensor) -> Tensor:
        """The print of the pair, (batch, 1, 1, value)."""
        return x[:, :, 2:]

    def told(self, x: Tensor) -> tuple[Tensor, ...]:
        """The dry print, (batch, value)."""
        return (x[:, 0, 1],)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, row, value) -> mu and log_var of the posterior, (batch, latent) each."""
        heard = x[:, 0, ::2].flatten(1) if self.paired else x[:, 0, 0]
        h = self.encoder(heard)
        return self.straight(heard) + self.mu(h), -nn.functional.softplus(-self.log_var(h))

    def decode(self, z: Tensor, dry: Tensor) -> Tensor:
        """z (batch, latent) and dry print (batch, value) -> the pair's print (batch, 1, 1, value)."""
        return self.decoder(torch.cat([z, self.hear(dry)], 1))[:, None, None]


class Film(nn.Module):
    """x * (1 + tanh(scale)) + shift, with scale and shift of z for each channel and row, the same in every frame.

    Feature-wise linear modulation, Perez et al. 2018. x (batch, channel, row, frame), z (batch, latent).
    """

    def __init__(self, latent: int, channels: int, rows: int):
        super().__init__()
        self.linear, self.size = nn.Linear(latent, 2 * channels * rows), (2, channels, rows, 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        scale, shift = self.linear(z).unflatten(1, self.size).unbind(1)
        return x * (1 + scale.tanh()) + shift


class ToldPictureVAE(VAE):
    """A conditional VAE of pictures (batch, 1, 2 bin, frame): the wet spectrogram's bins, then the dry one's.

    x_hat = dry + net(dry, z), where net starts at zero. z acts by `Film`, on every frame alike: it can tell what is
    done to a clip and hardly when. The encoder hears the wet picture, as mean and deviation of its features over time.
    """

    def __init__(
        self, shape: tuple[int, int], latent: int, paired: bool = False, channels: int = 16
    ):
        if len(shape) != 2 or shape[0] % 2 or shape[0] < 2:
            raise BadInput(
                f"shape = {tuple(shape)}: must be (bins of the wet and of the dry picture, frame)"
            )
        super().__init__((shape[0] // 2, shape[1]), latent)
        self.paired, c = paired, channels
        rows = [-(-self.shape[0] // 2**level) for level in range(4)]
        self.encoder = nn.Sequential(
            nn.Conv2d(1 + paired, c, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(c, 2 * c, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(2 * c, 3 * c, 3, (2, 1), 1),
            nn.SiLU(),
        )
        self.mu, self.log_var = (nn.Linear(2 * 3 * c * rows[3], latent) for _ in range(2))
        nn.init.constant_(self.log_var.bias, -3.0)
        with torch.no_grad():
            self.log_var.weight.mul_(0.1)
        self.down = nn.ModuleList([nn.Conv2d(1, c, 5, 2, 2), nn.Conv2d(c, 2 * c, 3, 2, 1)])
        self.across = nn.Conv2d(
            2 * c, 2 * c, (3, 7), 1, (1, 3)
        )  # seven frames: the reach of an echo
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(2 * c, c, 4, 2, 1), nn.ConvTranspose2d(c, 1, 4, 2, 1)]
        )
        self.films = nn.ModuleList(
            [Film(latent, k * c, rows[level]) for k, level in ((1, 1), (2, 2), (2, 2), (1, 1))]
        )
        for parameter in self.up[1].parameters():
            nn.init.zeros_(parameter)

    def target(self, x: Tensor) -> Tensor:
        """The wet picture, (batch, 1, bin, frame)."""
        return x[:, :, : self.shape[0]]

    def told(self, x: Tensor) -> tuple[Tensor, ...]:
        """The dry picture, (batch, 1, bin, frame)."""
        return (x[:, :, self.shape[0] :],)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (batch, 1, 2 bin, frame), or its wet half -> mu and log_var of the posterior, (batch, latent) each."""
        wet = self.target(x)
        h = self.encoder(torch.cat([wet, wet - self.told(x)[0]], 1) if self.paired else wet)
        h = torch.cat([h.mean(3), (h.var(3, correction=0) + 1e-6).sqrt()], 1).flatten(1)
        return self.mu(h), -nn.functional.softplus(-self.log_var(h))

    def decode(self, z: Tensor, dry: Tensor) -> Tensor:
        """z (batch, latent) and dry picture (batch, 1, bin, frame) -> wet picture of the same shape."""
        silu = nn.functional.silu
        fine = silu(self.films[0](self.down[0](dry), z))
        coarse = silu(self.films[1](self.down[1](fine), z))
        coarse = coarse + silu(self.films[2](self.across(coarse), z))
        fine = silu(
            self.films[3](fine + self.up[0](coarse)[..., : fine.shape[2], : fine.shape[3]], z)
        )
        return dry + self.up[1](fine)[..., : self.shape[0], : self.shape[1]]


def build(preset: str, shape: tuple[int, int], latent: int | None) -> VAE:
    """The net of a preset of this module; latent: as many as its own where None."""
    net, own = (ToldPictureVAE, 32) if "picture" in preset else (ToldVAE, 64)
    return net(shape, own if latent is None else latent, paired=preset.endswith("paired"))
