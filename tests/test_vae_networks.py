"""The nets: the report's parameter counts, any size in and out, errors that say what is right."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import vae
from lib.vae import losses

PLAIN = st.sampled_from([name for name in vae.PRESETS if not name.startswith("conditional")])
SIZE = st.integers(1, 40)


def size(model: vae.VAE) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("preset", "shape", "millions"),
    [("week4", (2049, 65), 227.5), ("week4_mnist", (28, 28), 53.0), ("final", (2049, 129), 14.3)],
)
def test_parameters_as_in_the_report(preset: str, shape: tuple, millions: float) -> None:
    with torch.device("meta"):
        model = vae.build(preset, shape)
    assert round(size(model) / 1e6, 1) == millions


@settings(max_examples=25, deadline=None)
@given(PLAIN, SIZE, SIZE, st.integers(1, 3), st.integers(1, 5))
def test_output_has_the_shape_of_the_input(preset, bins, frames, batch, latent) -> None:
    with torch.device("meta"):  # shapes only: nothing is computed
        model = vae.build(preset, (bins, frames), latent).eval()
        x = torch.empty(batch, 1, bins, frames)
        mu, log_var = model.encode(x)
        assert model.decode(mu).shape == x.shape
    assert mu.shape == log_var.shape == (batch, latent)


def leaves(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [layer for layer in model.modules() if not list(layer.children())]


def test_report_order_of_layers() -> None:
    """Conv, ReLU, BatchNorm; a bare transposed convolution ends it; stride 2, 1 on digits."""
    model = vae.build("week4", (33, 17), 4)
    names = [type(layer).__name__ for layer in leaves(model.encoder.body)]
    assert names == ["Conv2d", "ReLU", "BatchNorm2d"] * 3 + ["Flatten"]
    names = [type(layer).__name__ for layer in leaves(model.decoder)]
    block = ["ConvTranspose2d", "ReLU", "BatchNorm2d"]
    assert names == ["Linear", "ReLU", "Unflatten"] + block * 2 + block[:1]
    assert model.encoder.body[0].stride == (2, 2)
    digits = leaves(vae.build("week4_mnist", (8, 8), 4).encoder.body)
    assert digits[0].stride == (1, 1)
    assert [type(layer).__name__ for layer in digits[-3:]] == ["Flatten", "Linear", "ReLU"]


def test_forward_samples_from_the_posterior() -> None:
    model = vae.build("small", (9, 7), 3).eval()
    x = torch.rand(4, 1, 9, 7)
    with torch.inference_mode():
        x_hat, mu, log_var = model(x, generator=torch.Generator().manual_seed(3))
        noise = torch.randn((4, 3), generator=torch.Generator().manual_seed(3))
        assert torch.equal(x_hat, model.decode(mu + (log_var / 2).exp() * noise))
        assert torch.equal(model(x, sample=False)[0], model.decode(mu))
        size = (20_000, 3)
        generator = torch.Generator().manual_seed(1)
        many = vae.reparameterise(mu[0].expand(size), log_var[0].expand(size), generator)
    assert torch.allclose(many.mean(0), mu[0], atol=0.01)
    assert torch.allclose(many.var(0), log_var[0].exp(), rtol=0.05)


def test_the_mlp_is_that_of_kingma_and_welling_2014() -> None:
    mlp = vae.build("mlp", (28, 28))
    widths = [layer.weight.shape for layer in mlp.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [(400, 784), (20, 400), (20, 400), (400, 20), (784, 400)]
    assert size(mlp) == sum(out * (into + 1) for out, into in widths)


@pytest.mark.parametrize(("preset", "affine"), [("linear", True), ("mlp", False)])
def test_linear_is_affine_and_the_others_are_not(preset: str, affine: bool) -> None:
    model = vae.build(preset, (5, 7), 3).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    generator = torch.Generator().manual_seed(0)
    for function, size in ((lambda x: model.encode(x)[0], (4, 1, 5, 7)), (model.decode, (4, 3))):
        a, b = torch.randn(2, *size, generator=generator, dtype=torch.float64)
        mixed = 1.7 * function(a) - 0.7 * function(b)
        assert torch.allclose(function(1.7 * a - 0.7 * b), mixed, rtol=1e-9, atol=1e-9) == affine
    if affine:  # the mean of the data is a parameter
        mean = model.decoder[0].bias.view(5, 7) + model.decoder[-1].mean
        assert torch.allclose(model.decode(0 * a), mean)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["small", "repair", "week4", "linear"]),
    st.floats(1e-3, 2),
    st.floats(-50, 50),
    st.floats(-3, 3),
)
def test_under_a_floor_no_input_gets_less(preset, floor, bias, scale) -> None:
    model = vae.build(preset, (6, 9), 3, floor).eval()
    with torch.no_grad():
        heads = model.encoder.encoder  # within the cap
        heads.mu.weight.zero_()
        heads.mu.bias.zero_()
        heads.log_var.bias.fill_(bias)
        x = 10**scale * torch.randn(16, 1, 6, 9, generator=torch.Generator().manual_seed(1))
        kl = losses.kl_per_unit(*model.double().encode(x.double()))
    assert kl.min() >= floor * (1 - 1e-9) - 1e-9
