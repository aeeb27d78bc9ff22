"""Conditional VAEs: shapes, the untrained answer, what z can do, what encoder and decoder see."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import vae
from lib.vae.conditional import ConditionalSpectrogramVAE, ConditionalVAE

NETS = ("conditional_spectrogram", "conditional_spectrogram_paired")
SIZE = st.integers(1, 40)


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def net(preset: str, shape: tuple[int, int], latent: int = 5) -> ConditionalSpectrogramVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return vae.build(preset, shape, latent).eval()


def trained_a_little(preset: str) -> ConditionalSpectrogramVAE:
    """With weights in the last layer, which starts at zero."""
    model = net(preset, (26, 19))
    with torch.no_grad():
        for parameter in model.up2.parameters():
            parameter.copy_(noise(*parameter.shape, seed=1) / 4)
    return model


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(NETS), SIZE, SIZE, st.integers(1, 3), st.integers(1, 5))
def test_any_size_comes_back_and_untrained_it_is_the_dry_one(preset, bins, frames, batch, latent):
    model, x = net(preset, (2 * bins, frames), latent), torch.randn(batch, 1, 2 * bins, frames)
    wet, dry = x.chunk(2, 2)
    with torch.no_grad():
        mu, log_var = model.encode(x)
        assert mu.shape == log_var.shape == (batch, latent) and (log_var <= 0).all()
        assert torch.equal(model.target(x), wet) and torch.equal(model.condition(x)[0], dry)
        for z in (mu, torch.zeros_like(mu)):
            assert torch.equal(model.decode(z, dry), dry)
        assert torch.equal(model(x, sample=False)[0], dry)


@pytest.mark.parametrize("preset", NETS)
def test_a_gradient_reaches_every_weight(preset: str) -> None:
    model, x = trained_a_little(preset), noise(3, 1, 26, 19)
    x_hat, mu, log_var = model(x, generator=torch.Generator().manual_seed(0))
    error = (x_hat - model.target(x)).square().mean()
    (error + mu.square().mean() + log_var.square().mean()).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("preset", NETS)
def test_the_decoder_sees_z_and_dry_and_only_the_paired_encoder_sees_dry(preset: str) -> None:
    model, x = trained_a_little(preset), noise(2, 1, 26, 19, seed=2)
    wet, dry = x.chunk(2, 2)
    other = torch.cat([wet, dry + 1], 2)
    with torch.no_grad():
        z = model.encode(x)[0]
        assert torch.equal(model.encode(other)[0], z) == (preset == "conditional_spectrogram")
        change = model.decode(z, dry) - dry
        assert not torch.allclose(model.decode(z + 1, dry) - dry, change, atol=1e-3)
        assert not torch.allclose(model.decode(z, dry.flip(3)) - dry.flip(3), change, atol=1e-3)


def test_z_acts_on_every_frame_alike() -> None:
    """An even picture gets an even answer, but for the ends, where the convolutions see padding."""
    model = net("conditional_spectrogram", (16, 160))
    dry = noise(1, 1, 8, 1).expand(-1, -1, -1, 160)
    with torch.no_grad():
        for parameter in model.up2.parameters():
            parameter.normal_()
        answer = model.decode(noise(1, 5), dry)[0, 0, :, 40:120]
    answer = answer.unflatten(1, (20, 4))  # every fourth frame is the same: the stride
    assert torch.allclose(answer, answer[:, :1].expand_as(answer), atol=1e-4)


def test_a_blind_encoder_sees_the_wet_row_alone_and_the_decoder_the_dry_one() -> None:
    x = noise(4, 1, 3, 11)
    for preset, seen in (("conditional", (0,)), ("conditional_paired", (0, 2))):
        model = vae.build(preset, (3, 11)).eval()
        assert isinstance(model, ConditionalVAE) and model.latent == 64
        mu, log_var = model.encode(x)
        assert (log_var <= 0).all()  # no posterior is wider than the prior
        answer = model.decode(mu, *model.condition(x))
        assert answer.shape == model.target(x).shape and torch.equal(model.target(x), x[:, :, 2:])
        for row in range(3):
            other = x.clone()
            other[:, 0, row] += 1
            assert torch.equal(model.encode(other)[0], mu) == (row not in seen)
            assert torch.equal(model.decode(mu, *model.condition(other)), answer) == (row != 1)
