"""The linear VAE's optimum found by descent against the one that the theory predicts."""

import numpy as np
import pytest

from lib.theory import collapse as theory
from lib.theory import linear_vae as linear

VALUES, N = np.array([4.0, 2.0, 1.0, 0.5, 0.1]), 8  # of eight, three eigenvalues are 0
EDGE = theory.edge(4.0, N)


@pytest.mark.parametrize("latents", [2, 6])
@pytest.mark.parametrize("beta", [0.1 * EDGE, 0.2 * EDGE, 0.7 * EDGE, 1.5 * EDGE, 10 * EDGE])
def test_descent_ends_where_the_theory_says(latents: int, beta: float) -> None:
    expected = theory.predict(np.append(VALUES, np.zeros(3)), VALUES.sum(), N, latents, beta)
    found = linear.optimum(VALUES, N, latents, beta)
    assert found["active"] == expected.active == min(latents, int((VALUES > beta * N / 2).sum()))
    assert found["kl"] == pytest.approx(expected.kl_nats, rel=1e-3, abs=1e-6)
    assert found["mse"] == pytest.approx(expected.mse_sampled, rel=1e-3)


def test_another_start_ends_there_too() -> None:
    ends = [linear.optimum(VALUES, N, 3, 0.3 * EDGE, seed) for seed in (0, 1, 2)]
    for end in ends[1:]:
        assert end == pytest.approx(ends[0], rel=1e-3)
