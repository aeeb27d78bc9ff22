"""Collapse: components against scikit-learn, predictions against exact optima and the digits."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from lib import ROOT, theory
from lib.data.digits import load_digits
from lib.theory import collapse, components

SPECTRUM = np.array([5.0, 3.0, 1.5, 0.8, 0.2, 0.05])
DIGITS = [5.1168, 3.7413, 3.2527, 2.8416, 2.5671, 2.2736, 1.7251, 1.5205,
          1.4563, 1.2427, 1.1121, 1.0666, 0.9047, 0.8922, 0.8323, 0.7819]  # fmt: skip


def examples(n: int, n_values: int, seed: int = 0) -> np.ndarray:
    """Gaussian examples (n, n_values) with a mean and a falling spectrum."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_values)) * np.geomspace(3, 0.1, n_values)
    rotation = np.linalg.qr(rng.normal(size=(n_values, n_values)))[0]
    return x @ rotation + rng.normal(size=n_values)


def predict(sigma2: float, latents: int = 4) -> collapse.Prediction:
    return theory.predict(SPECTRUM, SPECTRUM.sum(), 6, latents, sigma2)


# By the covariance, by the products of examples, and by iteration.
@pytest.mark.parametrize(
    ("n", "n_values", "limit"), [(300, 20, 4096), (60, 150, 100), (1500, 160, 10), (200, 130, 10)]
)
def test_pca_agrees_with_scikit_learn(n, n_values, limit, monkeypatch) -> None:
    monkeypatch.setattr(components, "EXACT", limit)
    monkeypatch.setattr(components, "CHUNK", 8 * 7 * n_values)  # seven examples
    x, fresh = examples(n, n_values), examples(40, n_values, seed=1)
    raw = x.reshape(n, 2, -1) / 2 - 1  # Examples may have any shape.
    pca, again = (theory.pca(raw, 5, lambda chunk: 2 * chunk + 2) for _ in range(2))
    assert pca.eigenvalues.tobytes() == again.eigenvalues.tobytes()
    assert pca.components.tobytes() == again.components.tobytes()
    oracle = PCA(5, svd_solver="full").fit(x)
    rtol = 1e-6 if limit == 10 else 1e-9
    assert np.allclose(pca.eigenvalues, oracle.explained_variance_ * (n - 1) / n, rtol=rtol)
    assert np.isclose(pca.total_variance, x.var(0).sum())
    expected = np.mean((fresh - oracle.inverse_transform(oracle.transform(fresh))) ** 2)
    assert np.isclose(pca.mse(fresh / 2 - 1, 5), expected, rtol=rtol)
    assert np.isclose(pca.mse(fresh / 2 - 1, 0), np.mean((fresh - x.mean(0)) ** 2))
    assert np.allclose(pca.components @ pca.components.T, np.eye(5), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 30), st.integers(0, 1000))
def test_separable_components_are_orthonormal_and_never_better_than_pca(bins, frames, n, seed):
    x = np.random.default_rng(seed).normal(size=(n, bins, frames)) + 1
    most = min(n - 1, bins * frames)
    exact, separable = theory.pca(x, most), theory.separable_pca(x, most)
    assert np.allclose(separable.components @ separable.components.T, np.eye(most), atol=1e-9)
    assert separable.total_variance == pytest.approx(exact.total_variance)
    assert np.all(np.diff(separable.eigenvalues) <= 1e-9)
    assert np.allclose(separable.mean, exact.mean)
    for count in range(most + 1):
        discarded = separable.total_variance - separable.eigenvalues[:count].sum()
        error = separable.mse(x, count)
        assert error == pytest.approx(discarded / (bins * frames), abs=1e-9)
        assert error >= exact.mse(x, count) - 1e-9
    for component in separable.components:  # A product has rank one.
        assert np.allclose(np.linalg.svd(component.reshape(bins, frames))[1][1:], 0, atol=1e-9)


def test_on_separable_data_it_is_pca(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "CHUNK", 8 * 20 * 7)  # seven examples
    rng, bins, frames, n = np.random.default_rng(3), 5, 4, 60
    z = rng.normal(size=(n, bins * frames))
    z = np.linalg.qr(z - z.mean(0))[0] * math.sqrt(n)  # uncorrelated in this very sample
    scale = np.outer(0.7 ** np.arange(bins), 0.6 ** np.arange(frames))
    spectra, courses = (np.linalg.qr(rng.normal(size=(size, size)))[0] for size in (bins, frames))
    x = 2 + spectra @ (z.reshape(n, bins, frames) * scale) @ courses.T
    exact, separable = theory.pca(x, 20), theory.separable_pca(x, 20)
    assert np.allclose(separable.eigenvalues, np.sort(np.square(scale).ravel())[::-1])
    assert np.allclose(separable.eigenvalues, exact.eigenvalues)
    for count in (0, 7, 20):
        assert np.isclose(separable.mse(x, count), exact.mse(x, count))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.floats(3e-3, 6.0))
def test_prediction_is_the_optimum_of_the_exact_loss(latents: int, sigma2: float) -> None:
    """Each latent on its own axis: the expected loss in closed form, minimised over a fine grid.

    A posterior variance v leaves an error of variance * v and needs a KL of at least -ln(v) / 2.
    """
    prediction = predict(sigma2, latents)
    error, kl, active = SPECTRUM[latents:].sum(), 0.0, 0
    for variance in SPECTRUM[:latents]:
        v = np.exp(np.linspace(np.log(1e-4), 0, 200_001))
        best = v[np.argmin(variance * v - sigma2 * np.log(v))]
        error, kl, active = error + variance * best, kl - np.log(best) / 2, active + (best < 0.9999)
    assert prediction.sigma2 == sigma2
    assert np.isclose(prediction.mse_sampled, error / 6, rtol=1e-3)
    assert np.isclose(prediction.kl_nats, kl, rtol=1e-3, atol=1e-3)
    assert abs(prediction.active - active) <= (np.abs(SPECTRUM / sigma2 - 1) < 1e-3).sum()
    assert prediction.mse_mu <= prediction.mse_sampled + 1e-12


@pytest.mark.parametrize("latents", [2, 6])
@pytest.mark.parametrize("relative", [0.1, 0.2, 0.7, 1.5, 10])
def test_a_linear_vae_trained_on_the_exact_loss_ends_there(latents: int, relative: float) -> None:
    eigenvalues, n_values = np.array([4.0, 2.0, 1.0, 0.5, 0.1]), 8  # Three of eight are 0.
    sigma2, padded = relative * 4.0, np.append(eigenvalues, np.zeros(3))
    expected = theory.predict(padded, eigenvalues.sum(), n_values, latents, sigma2)
    assert expected.active == min(latents, int((eigenvalues > sigma2).sum()))
    for seed in (0, 1):
        optimum = theory.optimise(eigenvalues, n_values, latents, sigma2, seed)
        assert optimum["active"] == expected.active
        assert optimum["kl"] == pytest.approx(expected.kl_nats, rel=1e-3, abs=1e-6)
        assert optimum["mse"] == pytest.approx(expected.mse_sampled, rel=1e-3)


def test_collapse_from_the_edge_on_and_not_before() -> None:
    sigma2 = theory.sigma2_of("mean-sum", theory.edge_beta(SPECTRUM[0], 6), 6, 4)
    above, below = predict(sigma2 * 1.001), predict(sigma2 * 0.999)
    assert (above.active, above.kl_nats) == (0, 0)
    assert above.mse_sampled == above.mse_mu == pytest.approx(SPECTRUM.sum() / 6)
    assert below.active == 1 and below.kl_nats > 0
    assert predict(3.0).active == 1  # A unit at the water level, the second eigenvalue, is dead.


def test_calibrated_sigma2_is_the_noise_variance_of_probabilistic_pca() -> None:
    assert theory.calibrated_sigma2(SPECTRUM, SPECTRUM.sum(), 6, 4) == pytest.approx(0.125)
    x = examples(400, 8)
    pca = theory.pca(x, 8)
    oracle = PCA(3, svd_solver="full").fit(x).noise_variance_ * 399 / 400
    sigma2 = theory.calibrated_sigma2(pca.eigenvalues, pca.total_variance, 8, 3)
    assert sigma2 == pytest.approx(oracle)


@pytest.mark.parametrize(
    ("beta", "active", "kl", "mse"),
    [
        (0.0115, 1, 0.0633, 0.066475),
        (0.0062, 5, 0.8391, 0.060405),
        (0.0025, 12, 4.4553, 0.046644),
        (1e-4, 16, 29.925, 0.028093),
    ],
)
def test_digits_table(beta: float, active: int, kl: float, mse: float) -> None:
    """Computed once by L-BFGS on the exact loss of a linear VAE with 16 latents on MNIST."""
    sigma2 = theory.sigma2_of("mean-sum", beta, 784, 16)
    prediction = theory.predict(DIGITS, 52.725, 784, 16, sigma2)
    assert prediction.active == active
    assert prediction.kl_nats == pytest.approx(kl, rel=1e-3)
    assert prediction.mse_sampled == pytest.approx(mse, rel=1e-4)


def test_digits_spectrum_and_edge() -> None:
    (images, _), (test, _) = load_digits("train"), load_digits("test")
    pca = theory.pca(images, 16, lambda chunk: chunk / 255)
    assert np.allclose(pca.eigenvalues, DIGITS, atol=1e-4)
    assert pca.total_variance == pytest.approx(52.725, abs=1e-3)
    assert theory.edge_beta(pca.eigenvalues[0], 784) == pytest.approx(0.01305, abs=1e-5)
    sigma2 = theory.calibrated_sigma2(pca.eigenvalues, pca.total_variance, 784, 16)
    assert theory.weight_of("mean-sum", sigma2, 784, 16) == pytest.approx(7.1e-5, abs=5e-7)
    assert pca.mse(test, 0) == pytest.approx(0.06747, abs=1e-5)
    assert pca.mse(test, 16) == pytest.approx(0.0269, abs=5e-5)


@pytest.mark.parametrize(
    ("reduction", "unit"),
    [("mean-sum", 6.0), ("mean-mean", 2.0), ("sum-sum", 0.5), ("half-sum-sum", 1.0)],
)
def test_sigma2_is_the_weight_times_that_of_weight_one(reduction: str, unit: float) -> None:
    assert theory.sigma2_of(reduction, 0.7, 12, 3) == pytest.approx(0.7 * unit, rel=1e-12)
    assert theory.weight_of(reduction, 0.7, 12, 3) == pytest.approx(0.7 / unit, rel=1e-12)


def test_the_table_of_public_losses_is_complete() -> None:
    table = pd.read_csv(ROOT / "data/losses.csv", dtype=str, keep_default_na=False)
    assert len(table) >= 10 and table["key"].is_unique and table["name"].is_unique
    assert (table[["path", "lines", "as_of", "data"]] != "").all(axis=None)
    assert table["repository"].str.fullmatch(r"[\w.-]+/[\w.-]+").all()
    assert table["commit"].str.fullmatch(r"[0-9a-f]{40}|pypi [\w.]+").all()
    for row in table.itertuples():
        weight = float(row.weight) * float(row.kl_factor)
        assert theory.sigma2_of(row.reduction, weight, int(row.n_values), int(row.latents)) > 0
