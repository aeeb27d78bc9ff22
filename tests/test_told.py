"""The nets that are told the dry clip: shapes, the untrained answer, what z can do, and what an encoder may hear."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import BadInput
from lib.vae import conditional as told
from lib.vae import networks as vae

NETS = ("told_picture", "told_picture_paired")


def net(preset: str, shape: tuple[int, int], latent: int = 5, seed: int = 0) -> told.ToldPictureVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return vae.build(preset, shape, latent).eval()


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(NETS),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 3),
    st.integers(1, 5),
)
def test_any_size_comes_back_and_the_untrained_net_returns_the_dry_picture(
    preset: str, bins: int, frames: int, batch: int, latent: int
) -> None:
    model, x = net(preset, (2 * bins, frames), latent), torch.randn(batch, 1, 2 * bins, frames)
    wet, dry = x.chunk(2, 2)
    with torch.no_grad():
        mu, log_var = model.encode(x)
        assert mu.shape == log_var.shape == (batch, latent) and (log_var <= 0).all()
        assert torch.equal(model.target(x), wet) and torch.equal(model.told(x)[0], dry)
        for z in (mu, torch.zeros_like(mu)):
            assert torch.equal(model.decode(z, dry), dry)
        assert torch.equal(model(x, sample=False)[0], dry)


def trained_a_little(preset: str) -> told.ToldPictureVAE:
    """With weights in the last layer, which starts at zero."""
    model = net(preset, (26, 19))
    with torch.no_grad():
        for parameter in model.up[1].parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 4
            )
    return model


@pytest.mark.parametrize("preset", NETS)
def test_a_gradient_reaches_every_weight(preset: str) -> None:
    model, x = (
        trained_a_little(preset),
        torch.randn(3, 1, 26, 19, generator=torch.Generator().manual_seed(0)),
    )
    x_hat, mu, log_var = model(x, generator=torch.Generator().manual_seed(0))
    (
        (x_hat - model.target(x)).square().mean() + mu.square().mean() + log_var.square().mean()
    ).backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().max() > 0
        for parameter in model.parameters()
    )


@pytest.mark.parametrize("preset", NETS)
def test_the_decoder_hears_z_and_dry_and_only_the_paired_encoder_hears_dry(preset: str) -> None:
    model, x = (
        trained_a_little(preset),
        torch.randn(2, 1, 26, 19, generator=torch.Generator().manual_seed(2)),
    )
    wet, dry = x.chunk(2, 2)
    other = torch.cat([wet, dry + 1], 2)
    with torch.no_grad():
        z = model.encode(x)[0]
        assert torch.equal(model.encode(other)[0], z) == (preset == "told_picture")
        change = model.decode(z, dry) - dry
        assert not torch.allclose(model.decode(z + 1, dry) - dry, change, atol=1e-3)
        assert not torch.allclose(model.decode(z, dry.flip(3)) - dry.flip(3), change, atol=1e-3)


def test_z_acts_on_every_frame_alike() -> None:
    """On a picture that does not change, the answer changes near its ends only, where the convolutions see padding."""
    model, dry = net("told_picture", (16, 160)), torch.randn(1, 1, 8, 1).expand(-1, -1, -1, 160)
    with torch.no_grad():
        for parameter in model.up[1].parameters():
            parameter.normal_()
        answer = model.decode(torch.randn(1, 5), dry)[0, 0, :, 40:120].unflatten(1, (20, 4))
    assert torch.allclose(
        answer, answer[:, :1].expand_as(answer), atol=1e-4
    )  # every fourth frame, the stride


@pytest.mark.parametrize("shape", [(9, 8), (0, 8), (8, 0), (8,)])
def test_a_shape_that_is_no_pair_is_refused(shape: tuple) -> None:
    with pytest.raises(BadInput, match="shape = "):
        vae.build("told_picture", shape)


def test_prints_are_told_by_their_own_net() -> None:
    model = vae.build("told_paired", (3, 11))
    x = torch.randn(4, 1, 3, 11)
    assert isinstance(model, told.ToldVAE) and model.latent == 64
    assert model(x)[0].shape == model.target(x).shape == (4, 1, 1, 11)
    with pytest.raises(BadInput, match="wet, dry and pair"):
        vae.build("told", (2, 11))


def test_a_blind_encoder_of_prints_hears_the_wet_row_alone_and_the_decoder_the_dry_one() -> None:
    x = torch.randn(4, 1, 3, 11)
    for preset, heard in (("told", (0,)), ("told_paired", (0, 2))):
        model = vae.build(preset, (3, 11)).eval()
        mu, log_var = model.encode(x)
        assert (log_var <= 0).all()  # no posterior is wider than the prior
        for row in range(3):
            other = x.clone()
            other[:, 0, row] += 1
            assert torch.equal(model.encode(other)[0], mu) == (row not in heard)
            same = torch.equal(
                model.decode(mu, *model.told(other)), model.decode(mu, *model.told(x))
            )
            assert same == (row != 1)
        assert torch.equal(model.target(x), x[:, :, 2:])
