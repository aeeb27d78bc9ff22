"""The prediction: eigenvalues against scikit-learn, the formula against an exact optimum and against the digits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from lib import BadInput
from lib.theory import collapse as theory
from lib.theory import linear_vae as linear

SPECTRUM = np.array([5.0, 3.0, 1.5, 0.8, 0.2, 0.05])


def examples(n: int, n_values: int, seed: int = 0) -> np.ndarray:
    """Gaussian examples (n, n_values) with a mean and a falling spectrum."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_values)) * np.geomspace(3, 0.1, n_values) @ np.linalg.qr(
        rng.normal(size=(n_values, n_values))
    )[0] + rng.normal(size=n_values)


@pytest.mark.parametrize(
    ("n", "n_values", "limit"), [(300, 20, 4096), (60, 150, 100), (1500, 160, 10), (200, 130, 10)]
)
def test_pca_agrees_with_scikit_learn(
    n: int, n_values: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the covariance, by the products of examples, and in increments; the examples may have any shape."""
    monkeypatch.setattr(theory, "EXACT", limit)
    monkeypatch.setattr(theory, "CHUNK", 8 * 7 * n_values)  # seven examples
    x, fresh = examples(n, n_values), examples(40, n_values, seed=1)
    found, oracle = theory.pca(x.reshape(n, 2, -1), 5), PCA(5, svd_solver="full").fit(x)
    rtol = 1e-6 if limit == 10 else 1e-9
    assert np.allclose(found.values, oracle.explained_variance_ * (n - 1) / n, rtol=rtol)
    assert np.isclose(found.total, x.var(0).sum())
    expected = np.mean((fresh - oracle.inverse_transform(oracle.transform(fresh))) ** 2)
    assert np.isclose(found.mse(fresh, 5), expected, rtol=rtol)
    assert np.isclose(found.mse(fresh, 0), np.mean((fresh - x.mean(0)) ** 2))
    assert np.allclose(found.components @ found.components.T, np.eye(5), atol=1e-9)


@pytest.mark.parametrize(("n", "n_values", "limit"), [(90, 20, 4096), (30, 60, 40), (300, 60, 10)])
def test_pca_prepares_each_chunk(
    n: int, n_values: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each of the three ways, and bit by bit the same when it is asked again."""
    monkeypatch.setattr(theory, "EXACT", limit)
    monkeypatch.setattr(theory, "CHUNK", 8 * 7 * n_values)
    x = np.random.default_rng(0).integers(0, 256, (n, n_values), dtype=np.uint8)

    def prepare(chunk: np.ndarray) -> np.ndarray:
        return np.sqrt(chunk / 255 + 1)

    found, again, oracle = (
        theory.pca(x, 3, prepare),
        theory.pca(x, 3, prepare),
        theory.pca(prepare(x), 3),
    )
    assert found.total == pytest.approx(prepare(x).var(0).sum()) and np.allclose(
        found.mean, prepare(x).mean(0)
    )
    assert np.allclose(found.values, oracle.values, rtol=1e-6)
    assert np.allclose(np.abs((found.components * oracle.components).sum(1)), 1, atol=1e-4)
    assert (
        found.values.tobytes() == again.values.tobytes()
        and found.components.tobytes() == again.components.tobytes()
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.floats(1e-3, 2.0))
def test_prediction_is_the_optimum_of_the_exact_loss(latents: int, beta: float) -> None:
    """Each latent on its own axis: the expected loss of a linear VAE in closed form, minimised over a fine grid."""
    n_values, level = 6, beta * 3
    found = theory.predict(SPECTRUM, SPECTRUM.sum(), n_values, latents, beta)
    mse, kl, active = SPECTRUM[latents:].sum(), 0.0, 0
    for variance in SPECTRUM[
        :latents
    ]:  # posterior variance v leaves an error of variance * v, KL >= -ln(v) / 2
        v = np.exp(np.linspace(np.log(1e-4), 0, 200_001))
        best = v[np.argmin(variance * v / n_values - beta * np.log(v) / 2)]
        mse, kl, active = mse + variance * best, kl - np.log(best) / 2, active + (best < 1 - 1e-4)
    assert np.isclose(found.mse_sampled, mse / n_values, rtol=1e-3)
    assert np.isclose(found.kl_nats, kl, rtol=1e-3, atol=1e-3)
    assert abs(found.active - active) <= (np.abs(SPECTRUM / level - 1) < 1e-3).sum()
    assert found.sigma2 == pytest.approx(level)
    assert found.mse_mu <= found.mse_sampled + 1e-12


@pytest.mark.parametrize("beta", [0.2, 0.7, 1.2, 1.8])
def test_prediction_is_what_a_linear_vae_learns(beta: float) -> None:
    reached = linear.optimum(SPECTRUM, 6, 4, beta)
    found = theory.predict(SPECTRUM, SPECTRUM.sum(), 6, 4, beta)
    assert reached["active"] == found.active
    assert reached["kl"] == pytest.approx(found.kl_nats, rel=1e-3, abs=1e-4)
    assert reached["mse"] == pytest.approx(found.mse_sampled, rel=1e-4)


def test_collapse_from_the_edge_on_and_not_before() -> None:
    edge = theory.edge(SPECTRUM[0], 6)
    above = theory.predict(SPECTRUM, SPECTRUM.sum(), 6, 4, edge * 1.001)
    below = theory.predict(SPECTRUM, SPECTRUM.sum(), 6, 4, edge * 0.999)
    assert (above.active, above.kl_nats) == (0, 0)
    assert above.mse_sampled == above.mse_mu == pytest.approx(SPECTRUM.sum() / 6)
    assert below.active == 1 and below.kl_nats > 0


def test_calibrated_beta_is_where_the_error_is_sigma2() -> None:
    """A fixed point: at beta* the sampled MSE over N values equals the sigma2 that beta* implies, as in pPCA."""
    beta = theory.calibrated_beta(SPECTRUM, SPECTRUM.sum(), 6, 4)
    assert theory.predict(SPECTRUM, SPECTRUM.sum(), 6, 4, beta).sigma2 == pytest.approx(
        SPECTRUM[4:].mean()
    )
    data = examples(400, 8)
    found = theory.pca(data, 8)
    oracle = PCA(3, svd_solver="full").fit(data).noise_variance_ * 399 / 400
    assert theory.calibrated_beta(found.values, found.total, 8, 3) * 8 / 2 == pytest.approx(oracle)


DIGITS = [5.1168, 3.7413, 3.2527, 2.8416, 2.5671, 2.2736, 1.7251, 1.5205, 1.4563, 1.2427, 1.1121, 1.0666, 0.9047,
          0.8922, 0.8323, 0.7819]  # fmt: skip


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
    """Found once by L-BFGS on the exact expected loss of a linear VAE with 16 latents on MNIST, in float64."""
    found = theory.predict(DIGITS, 52.725, 784, 16, beta)
    assert found.active == active
    assert found.kl_nats == pytest.approx(kl, rel=1e-3) and found.mse_sampled == pytest.approx(
        mse, rel=1e-4
    )


def test_digits_spectrum_and_edge() -> None:
    from lib.data import corpora

    images, _ = corpora.digits("train")
    found = theory.pca(images, 16, lambda chunk: chunk / 255)
    assert np.allclose(found.values, DIGITS, atol=1e-4) and found.total == pytest.approx(
        52.725, abs=1e-3
    )
    assert theory.edge(found.values[0], 784) == pytest.approx(0.01305, abs=1e-5)
    assert theory.calibrated_beta(found.values, found.total, 784, 16) == pytest.approx(
        7.1e-5, abs=5e-7
    )
    test, _ = corpora.digits("test")
    assert found.mse(test, 0) == pytest.approx(0.06747, abs=1e-5)
    assert found.mse(test, 16) == pytest.approx(0.0269, abs=5e-5)


def test_bad_input_is_named() -> None:
    with pytest.raises(BadInput, match="beta = 0"):
        theory.predict(SPECTRUM, SPECTRUM.sum(), 6, 4, 0)
    with pytest.raises(BadInput, match="too few for 7 latents"):
        theory.predict(SPECTRUM, SPECTRUM.sum(), 9, 7, 0.1)
    with pytest.raises(BadInput, match="count = 9"):
        theory.pca(examples(20, 5), 9)
    with pytest.raises(BadInput, match="latents = 6"):
        theory.calibrated_beta(SPECTRUM, SPECTRUM.sum(), 6, 6)
    with pytest.raises(BadInput, match="count = 7: .* 1 to 6"):
        theory.separable_pca(examples(20, 6).reshape(20, 2, 3), 7)
    for few in (0, 1):
        for one in (theory.pca, theory.separable_pca):
            with pytest.raises(BadInput, match=f"training set of {few}: .* 2 or more examples"):
                one(np.ones((few, 2, 3)), 1)
    broken = examples(20, 5)
    broken[3, 2] = np.nan
    with pytest.raises(BadInput, match="NaN"):
        theory.pca(broken, 2)
    with pytest.raises(BadInput, match="components = 4"):
        theory.pca(examples(20, 5), 3).mse(examples(20, 5), 4)


@pytest.mark.parametrize("reduction", theory.REDUCTIONS)
def test_the_weight_of_a_variance_gives_that_variance(reduction: str) -> None:
    weight = theory.weight_of(reduction, 0.7, 12, 3)
    assert theory.sigma2_of(reduction, weight, 12, 3) == pytest.approx(0.7, rel=1e-12)
    assert theory.weight_of(reduction, 1.4, 12, 3) == pytest.approx(2 * weight, rel=1e-12)


ALL = "choose one of mean-sum, mean-mean, sum-sum, half-sum-sum"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ("mean-sun", 1.0, 12, 3),
            f"reduction 'mean-sun' is not known; did you mean 'mean-sum'? {ALL}",
        ),
        (("?", 1.0, 12, 3), f"reduction '?' is not known; {ALL}"),
        ((None, 1.0, 12, 3), f"reduction None is not known; {ALL}"),
        (("mean-sum", 1.0, 0, 3), "n_values = 0, latents = 3: must be 1 or more"),
        (("mean-sum", 1.0, 12, 0), "n_values = 12, latents = 0: must be 1 or more"),
        *(
            (
                ("mean-sum", beta, 12, 3),
                f"weight (beta) = {beta}: must be above 0 and finite; at 0 the KL has no bound",
            )
            for beta in (0.0, -1.0, np.inf, np.nan, 1e308)
        ),
    ],
)
def test_a_loss_without_a_variance_is_refused_by_name(given: tuple, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        theory.sigma2_of(*given)
    assert str(caught.value) == said


def test_a_unit_at_the_water_level_is_not_active() -> None:
    found = theory.predict(
        SPECTRUM, SPECTRUM.sum(), 6, 4, 1.0
    )  # a level of 3, the second eigenvalue
    assert (found.beta, found.sigma2, found.active) == (1.0, 3.0, 1)
    with pytest.raises(BadInput, match="beta = inf: the prediction needs a finite beta above 0"):
        theory.predict(SPECTRUM, SPECTRUM.sum(), 6, 4, np.inf)
