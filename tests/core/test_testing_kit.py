"""Who tests the testers: the kit's oracles against brute force, its probes against known laws, its checks on a third party's parts.

(That its checks catch what they are for: test_planted_faults.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from scidiff import posterior as post
from scidiff.layout import Layout
from scidiff.process import Categorical, Gaussian, Joint, State
from scidiff.random import Noise, draw_categorical
from scidiff.sampling import FirstOrder, Walk
from scidiff.schedule import EDM, Cosine, Schedule, Straight, VPLinear
from scidiff.testing import (
    FIRST_ORDER,
    CategoricalOracle,
    EntrywiseOracle,
    GaussianData,
    GaussianOracle,
    GivenNoise,
    MixtureOracle,
    Moments,
    ProductOracle,
    centred_gaussians,
    check_process,
    check_rule,
    check_schedule,
    check_streams,
    drawn_law,
    exact_law,
    order,
    plain_gaussians,
    plain_labels,
    projection_matrix,
    states,
    total_variation,
)
from scidiff.testing.oracles import tile_layout


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def conditional(data: GaussianData, alpha: Tensor, noise: Tensor, x_t: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """E and Cov of x_0 given x_t = diag(alpha) x_0 + N(0, noise), textbook formula by least squares."""
    s, m, a, x = (v.numpy() for v in (data.covariance[0], data.mean[0].flatten(), torch.diag(alpha), x_t))
    gain = np.linalg.lstsq(a @ s @ a.T + noise.numpy(), a @ s, rcond=1e-13)[0].T
    return m + gain @ (x - a @ m), s - gain @ a @ s


@pytest.mark.parametrize("schedule", [VPLinear(), EDM(), Straight()], ids=str)
def test_gaussian_oracle_is_the_conditional_law(schedule: Schedule) -> None:
    data, layout = plain_gaussians()
    x_t = f64(0.4, -2.0)
    for clock in (f64(0.6, 0.6), f64(0.6, 0.2), f64(0.0, 0.7)):
        known = layout.with_known((clock == 0)[None])
        oracle = GaussianOracle(Gaussian(schedule), data)
        found = oracle({"x": x_t[None, :, None]}, clock[None], {"x": known})["x"]
        assert isinstance(found, post.Gaussian)
        mean, covariance = conditional(data, schedule.alpha(clock), torch.diag(schedule.sigma(clock) ** 2), x_t)
        assert found.mean.flatten().tolist() == pytest.approx(mean.tolist(), abs=1e-9)
        assert found.variance is not None
        free = clock > 0
        assert found.variance.flatten()[free].tolist() == pytest.approx(covariance.diagonal()[free.numpy()].tolist(), abs=1e-9)
    at_once = GaussianOracle(Gaussian(schedule), data, which=torch.tensor([2, 0]))
    both = at_once({"x": x_t[None, :, None].expand(2, 2, 1)}, f64(0.6, 0.6), {"x": tile_layout(layout, 2)})["x"]
    one = GaussianOracle(Gaussian(schedule), GaussianData(data.mean[2:], data.covariance[2:]))
    assert torch.allclose(both.mean[0], one({"x": x_t[None, :, None]}, f64(0.6), {"x": layout})["x"].mean[0], rtol=0, atol=1e-14)  # type: ignore[union-attr]


def test_gaussian_oracle_in_the_zero_mean_subspace() -> None:
    data, layout = centred_gaussians()
    p, schedule = projection_matrix(layout, 2), Cosine()
    x_t = p @ torch.linspace(-1, 1.5, 6, dtype=torch.float64)
    found = GaussianOracle(Gaussian(schedule), data)({"x": x_t.reshape(1, 3, 2)}, f64(0.5), {"x": layout})["x"]
    half = f64(0.5)
    mean, _ = conditional(data, schedule.alpha(half).expand(6), schedule.sigma(half) ** 2 * p, x_t)
    assert isinstance(found, post.Gaussian)
    assert found.mean.flatten().tolist() == pytest.approx(mean.tolist(), abs=1e-9)


def test_gaussian_oracle_ignores_padding() -> None:
    data, _ = plain_gaussians()
    padded = GaussianData(torch.cat((data.mean[:1], f64(9.0)[None, None].expand(1, 1, 1)), 1), torch.eye(3).double()[None].clone())
    padded.covariance[:, :2, :2] = data.covariance[:1]
    layout = Layout.nodes(torch.tensor([2]), 3)
    x = f64(0.4, -2.0, 0.0).reshape(1, 3, 1)
    found = GaussianOracle(Gaussian(VPLinear()), padded)({"x": x}, f64(0.6), {"x": layout})["x"].mean  # type: ignore[union-attr]
    right = GaussianOracle(Gaussian(VPLinear()), data)({"x": x[:, :2]}, f64(0.6), {"x": Layout(layout.mask[:, :2])})["x"].mean  # type: ignore[union-attr]
    torch.testing.assert_close(found[:, :2], right, rtol=0, atol=1e-12)
    assert float(found[0, 2]) == 0


@pytest.mark.parametrize("process", [Categorical.absorbing(3, Cosine()), Categorical((0.2, 0.5, 0.3), Straight())], ids=str)
def test_categorical_oracle_is_bayes_rule_summed_by_hand(process: Categorical) -> None:
    joint, clock = plain_labels(3), f64(0.3, 0.7)
    layout = Layout(torch.ones(1, 2, dtype=torch.bool))
    for x_t in states(process.labels, 2).tolist():
        table = np.zeros((3, 3))
        for i in range(3):
            for j in range(3):
                q = 1.0
                for x_0, x, t in ((i, x_t[0], 0.3), (j, x_t[1], 0.7)):
                    a = float(process.schedule.retention(f64(t)))
                    q *= a * (x_0 == x) + (1 - a) * process.pi[x]
                table[i, j] = float(joint[i, j]) * q
        found = CategoricalOracle(process, joint)({"x": torch.tensor([x_t])}, clock[None], {"x": layout})["x"]
        assert isinstance(found, post.Categorical)
        law = found.probabilities[0, :, :3]
        if table.sum() > 0:
            assert law[0].tolist() == pytest.approx((table.sum(1) / table.sum()).tolist(), abs=1e-14)
            assert law[1].tolist() == pytest.approx((table.sum(0) / table.sum()).tolist(), abs=1e-14)
        assert bool(torch.isfinite(law).all())


def test_mixture_oracle_is_bayes_rule_on_a_grid() -> None:
    law, centres, spread = f64(0.35, 0.65), f64(-0.6, 0.5), 0.9
    gaussian, categorical = Gaussian(VPLinear()), Categorical((0.3, 0.5, 0.2), Cosine())
    oracle, t = MixtureOracle(gaussian, categorical, law, centres[:, None], spread), 0.3
    a, s = (float(f(f64(t))) for f in (VPLinear().alpha, VPLinear().sigma))
    kept = categorical.diffuse_law(torch.arange(2)[:, None], torch.zeros(2, 1).double(), f64(t).expand(2, 1))[:, 0]
    grid = torch.linspace(-9, 9, 20001, dtype=torch.float64)
    for x, c_t in ((0.3, 0), (-1.0, 1), (0.8, 2)):
        density = (
            law[:, None]
            * kept[:, c_t, None]
            * torch.exp(-0.5 * ((grid - centres[:, None]) / spread) ** 2 - 0.5 * ((x - a * grid) / s) ** 2)
        )
        layout = Layout(torch.ones(1, 1, dtype=torch.bool))
        found = oracle({"x": f64(x).reshape(1, 1, 1), "c": torch.tensor([[c_t]])}, f64(t), {"x": layout, "c": layout})
        real, label = found["x"], found["c"]
        assert isinstance(real, post.Gaussian)
        assert isinstance(label, post.Categorical)
        assert float(real.mean) == pytest.approx(float((density * grid).sum() / density.sum()), abs=1e-9)
        assert label.probabilities[0, 0, :2].tolist() == pytest.approx((density.sum(1) / density.sum()).tolist(), abs=1e-9)


def test_entrywise_oracle_is_the_exact_one_for_independent_entries() -> None:
    process = Joint({"x": Gaussian(VPLinear()), "c": Categorical.uniform(3, Straight())})
    layout = Layout(torch.ones(1, 2, dtype=torch.bool))
    state: State = {"x": f64(0.4, -2.0).reshape(1, 2, 1), "c": torch.tensor([[0, 2]])}
    data = GaussianData(torch.full((1, 2, 1), 0.5, dtype=torch.float64), 0.64 * torch.eye(2).double()[None])
    law = f64(0.5, 0.3, 0.2)
    exact = ProductOracle(
        {
            "x": GaussianOracle(Gaussian(VPLinear()), data),
            "c": CategoricalOracle(Categorical.uniform(3, Straight()), law[:, None] * law, "c"),
        }
    )
    layouts = {"x": layout, "c": layout}
    found, right = (oracle(state, f64(0.6), layouts) for oracle in (EntrywiseOracle(process), exact))
    torch.testing.assert_close(found["x"].mean, right["x"].mean)  # type: ignore[union-attr]
    torch.testing.assert_close(found["c"].probabilities, right["c"].probabilities)  # type: ignore[union-attr]


def test_drawn_law_reads_thresholds_to_the_last_bits() -> None:
    p = f64(0.0, 1e-12, 0.3, 0.0, 0.7 - 1e-12)
    found = drawn_law(lambda u: draw_categorical(p.expand(*u.shape, 5), u), 5, ())
    torch.testing.assert_close(found, p, rtol=0, atol=2e-16)
    assert found[[0, 3]].tolist() == [0, 0]


def test_drawn_law_refuses_what_is_no_inversion() -> None:
    with pytest.raises(AssertionError, match="rise with their uniform"):
        drawn_law(lambda u: (u * 4).long() % 2, 2, ())


def test_laws_and_distances_by_hand() -> None:
    law = exact_law(CategoricalOracle(Categorical.uniform(3, Straight()), plain_labels(3)), 1.0)
    torch.testing.assert_close(law, torch.full((9,), 1 / 9, dtype=torch.float64))
    assert total_variation(f64(0.5, 0.5, 0.0), f64(0.25, 0.5, 0.25)) == 0.25
    a, b = Moments(f64(0.0)[None], f64(4.0)[None, None]), Moments(f64(3.0)[None], f64(1.0)[None, None])
    assert float(a.wasserstein(b)) == pytest.approx(math.sqrt(9 + 1))
    assert a.distance(b) == pytest.approx(math.sqrt(9 + 9))
    assert order((10, 20, 40), (1.0, 0.25, 0.0625)) == pytest.approx(2)


def test_draws_that_were_not_given_are_neutral() -> None:
    layout = Layout.nodes(torch.tensor([2]), 3)
    draws = GivenNoise().at("x", 4)
    assert torch.equal(draws.normal(layout, 2), torch.zeros(1, 3, 2, dtype=torch.float64))
    assert torch.equal(draws.uniform(layout), torch.full((1, 3), 0.5, dtype=torch.float64))


@dataclass(frozen=True)
class Linear(Schedule):
    """A third party's schedule: alpha = 1, sigma = 3 t."""

    def _alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), 3 * t

    def _derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), torch.full_like(t, 3.0)

    def _log_snr(self, t: Tensor) -> Tensor:
        return -2 * torch.log(3 * t)

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.exp(-0.5 * log_snr.double()) / 3


class TwoNoises(Gaussian):
    """A third party's process: the same law as :class:`Gaussian`, its noise turned around."""

    def diffuse(self, x_s, s, t, layout, noise, coupling=None):  # type: ignore[no-untyped-def]
        return super().diffuse(x_s, s, t, layout, noise, lambda x, z, lay: -z)


class Midpoint:
    """A third party's rule: one first-order step to the middle, one bridge with what is asked there (order 2 at churn 0)."""

    def __call__(self, walk: Walk, x: State, t: float, s: float) -> State:
        middle = (t + s) / 2
        x_m = walk.bridge(x, walk.ask(x, t), t, middle)
        return walk.bridge(x, walk.ask(x_m, middle), t, s)


def test_third_parties_can_prove_their_parts() -> None:
    check_schedule(Linear())
    check_process(TwoNoises(Linear()))
    check_streams(lambda ids: Noise(99, ids))
    check_rule(Midpoint(), (2.0, 0.25), churns=(0.0,))


def test_our_own_rule_passes_as_a_third_partys() -> None:
    check_rule(FirstOrder(), FIRST_ORDER, churns=(0.5,))
