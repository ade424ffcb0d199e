"""Law 4 for reals: guiding the oracle of some Gaussian data by a measurement or a tilt is the oracle of the data given it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Denoise
from scidiff.errors import UserError
from scidiff.guidance import AssumedVariance, Measurement, Tilt
from scidiff.guidance.measurement import root_matrix
from scidiff.layout import Layout
from scidiff.process import Gaussian, Joint
from scidiff.sampling import FirstOrder
from scidiff.schedule import Cosine, Straight, VPLinear
from scidiff.testing import (
    GaussianData,
    GaussianOracle,
    Measured,
    Moments,
    Setting,
    centred_gaussians,
    check_measurement,
    law_of_sampler,
    plain_gaussians,
    projection_matrix,
    some_measurements,
)
from scidiff.testing.oracles import tile_layout

EXACT = 1e-9
GAUSSIAN = Gaussian(Cosine())


def measure(denoiser: Denoise, matrix: Tensor, value: Tensor, noise: float) -> Measurement:
    return Measurement(denoiser, "x", matrix, value, noise)


def ask(denoiser: Denoise, x: Tensor, t: Tensor | float, layout: Layout) -> post.Gaussian:
    clock = torch.full((len(x),), t, dtype=torch.float64) if isinstance(t, float) else t
    found = denoiser({"x": x}, clock, {"x": layout})["x"]
    assert isinstance(found, post.Gaussian)
    return found


def test_law_4() -> None:
    check_measurement(measure)


@pytest.mark.parametrize("grid", [(1.0, 0.0), (1.0, 0.6, 0.0)], ids=len)
def test_data_given_a_measurement_are_sampled_exactly_in_any_number_of_steps(grid: tuple[float, ...]) -> None:
    data, layout = plain_gaussians()
    for measured in some_measurements(data):
        right = measured.conditioned(data)

        def guide(oracle: GaussianOracle, measured: Measured = measured) -> Denoise:
            return measured.guide(measure, replace(oracle, rooted=True), data.mean)

        start = Moments(*right.noised(GAUSSIAN.schedule, 1.0))
        found = law_of_sampler(Setting(FirstOrder(), GAUSSIAN, data, layout, 0.0, guide), torch.tensor(grid, dtype=torch.float64), start)
        assert torch.allclose(found.mean, right.mean.flatten(1), rtol=0, atol=EXACT)
        assert torch.allclose(found.covariance, right.covariance, rtol=0, atol=EXACT)


def test_two_measurements_in_turn_are_both_at_once() -> None:
    data, layout = plain_gaussians()
    both = some_measurements(data)[1]
    parts = [replace(both, matrix=both.matrix[i : i + 1], value=both.value[i : i + 1]) for i in (0, 1)]
    oracle = GaussianOracle(GAUSSIAN, data, rooted=True)
    x = torch.tensor([[[0.3], [-1.2]]], dtype=torch.float64)
    turn = ask(parts[1].guide(measure, parts[0].guide(measure, oracle, x), x), x, 0.5, layout)
    once = ask(both.guide(measure, oracle, x), x, 0.5, layout)
    assert torch.allclose(turn.mean, once.mean, rtol=0, atol=EXACT)
    assert turn.root is not None
    assert once.root is not None
    left, right = (root_matrix(root, x) for root in (turn.root, once.root))
    assert torch.allclose(left @ left.mT, right @ right.mT, rtol=0, atol=EXACT)
    # The log score of what is left is the normal's own density.
    x_0 = torch.tensor([[[1.0], [0.2]]], dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(once.mean[0, :, 0], right[0] @ right[0].T)
    assert float(once.log_score(x_0, layout)) == pytest.approx(-float(law.log_prob(x_0[0, :, 0])), abs=1e-9)


@pytest.mark.parametrize("rooted", [True, False])
def test_known_entries_and_clocks_of_their_own(rooted: bool) -> None:
    """One entry known, two at clocks of their own, and padding that A gives a weight: as data given y, seen under the same clocks. With a
    variance alone one free entry is as exact as with a root."""
    factor = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.3, 0, 0], [-0.2, 0.5, 0.9, 0], [0, 0, 0, 0]], dtype=torch.float64)
    data = GaussianData(torch.tensor([[[0.7], [-1.1], [0.2], [0.0]]]).double(), (factor @ factor.T)[None])
    known = torch.tensor([[True, not rooted, False, False]])
    layout = Layout(torch.tensor([[True, True, True, False]]), known=known)
    x, clock = torch.tensor([[[0.4], [-0.3], [1.2], [0.0]]]).double(), torch.tensor([[0.0, 0.3, 0.8, 0.0]]).double()
    measured = Measured(torch.tensor([[0.5, -1.0, 0.8, 0.0]]).double(), torch.tensor([1.1]).double(), 0.4)
    oracle = GaussianOracle(GAUSSIAN, data, rooted=rooted)
    matrix = measured.matrix.reshape(1, 1, 4, 1).clone()
    matrix[..., 3, 0] = 7.0
    found = ask(Measurement(oracle, "x", matrix, measured.value[None], 0.4), x, clock, layout)
    right = ask(replace(oracle, data=measured.conditioned(data)), x, clock, layout)
    assert torch.allclose(found.mean, right.mean, rtol=0, atol=EXACT)
    if right.variance is not None:
        assert found.variance is not None
        assert torch.allclose(found.variance[layout.free], right.variance[layout.free], rtol=0, atol=EXACT)


@pytest.mark.parametrize("schedule", [VPLinear(), Straight()], ids=str)
def test_a_variance_is_enough_where_the_covariance_is_diagonal(schedule: VPLinear) -> None:
    data = GaussianData(torch.tensor([[[0.7], [-1.1]]]).double(), torch.diag(torch.tensor([0.3, 2.0])).double()[None])
    layout = Layout(torch.ones(3, 2, dtype=torch.bool))
    x, oracle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).double()[..., None], GaussianOracle(Gaussian(schedule), data)
    for measured in some_measurements(data):
        for t in (0.1, 0.8):
            found = ask(measured.guide(measure, oracle, x), x, t, layout)
            right = ask(replace(oracle, data=measured.conditioned(data)), x, t, layout)
            assert torch.allclose(found.mean, right.mean, rtol=0, atol=EXACT)
            assert found.variance is not None
            assert right.variance is not None
            assert torch.allclose(found.variance, right.variance, rtol=0, atol=EXACT)


def silent(oracle: Denoise) -> Denoise:
    """The means alone, as most networks state them."""
    return lambda *asked: {f: post.Gaussian(p.mean) for f, p in oracle(*asked).items() if isinstance(p, post.Gaussian)}


@pytest.mark.parametrize("centred", [False, True])
def test_the_assumed_variance_is_exact_for_isotropic_data(centred: bool) -> None:
    """PiGDM's r_t^2, also modulo translations: there the assumption is about the normal whose projection the data are."""
    s, layout = 0.6, Layout(torch.ones(1, 3, dtype=torch.bool), centred=centred)
    subspace = projection_matrix(layout, 2)
    mean = (torch.tensor([0.9, -0.2, -0.5, 1.0, 0.3, 0.1]).double() @ subspace).reshape(1, 3, 2)
    data = GaussianData(mean, s**2 * subspace[None])
    oracle = GaussianOracle(GAUSSIAN, data)
    assumed = AssumedVariance(silent(oracle), Joint({"x": GAUSSIAN}), {"x": s})
    x = (torch.linspace(-1, 2, 6).double() @ subspace).reshape(1, 3, 2)
    for t in (0.1, 0.5, 0.9):
        ours, theirs = (ask(d, x, t, layout).variance for d in (assumed, oracle))
        assert ours is not None
        assert theirs is not None
        assert torch.allclose(ours, theirs, rtol=0, atol=EXACT)
        for measured in some_measurements(data):
            found = ask(measured.guide(measure, assumed, x), x, t, layout)
            right = ask(replace(oracle, data=measured.conditioned(data)), x, t, layout)
            assert torch.allclose(found.mean, right.mean, rtol=0, atol=EXACT)


def test_what_is_stated_is_not_assumed_over() -> None:
    data, layout = plain_gaussians()
    for rooted in (True, False):
        oracle = GaussianOracle(GAUSSIAN, data, rooted=rooted)
        x = torch.zeros(1, 2, 1, dtype=torch.float64)
        found, right = (ask(d, x, 0.5, layout) for d in (AssumedVariance(oracle, Joint({"x": GAUSSIAN})), oracle))
        assert (found.variance is None) == (right.variance is None) == rooted
        assert found.variance is None or torch.equal(found.variance, right.variance)


def test_a_variance_alone_is_not_exact_for_correlated_data() -> None:
    """The negative control: what a root is for."""
    data, layout = plain_gaussians()
    measured, x = some_measurements(data)[0], torch.zeros(1, 2, 1, dtype=torch.float64)
    right = ask(GaussianOracle(GAUSSIAN, measured.conditioned(data)), x, 0.5, layout)
    found = ask(measured.guide(measure, GaussianOracle(GAUSSIAN, data), x), x, 0.5, layout)
    assert float((found.mean - right.mean).abs().max()) > 0.01


@pytest.mark.parametrize("setting", [plain_gaussians(), centred_gaussians()], ids=["plain", "centred"])
def test_a_linear_tilt_shifts_gaussian_data_by_their_covariance(setting: tuple[GaussianData, Layout]) -> None:
    """N(m, S) times exp(g x) is N(m + S g, S)."""
    data, layout = setting
    slope = torch.linspace(-1.0, 0.7, data.dim).double()
    shifted = replace(data, mean=data.mean + torch.einsum("lij,j->li", data.covariance, slope).reshape(data.mean.shape))
    which, many = torch.arange(data.laws), tile_layout(layout, data.laws)
    x = many.project(torch.linspace(-1, 1, data.laws * data.dim).double().reshape(data.mean.shape))
    oracle = GaussianOracle(GAUSSIAN, data, "x", which, rooted=True)
    for t in (0.1, 0.9):
        found = ask(Tilt(oracle, "x", lambda x_0: x_0.flatten(1) @ slope), x, t, many)
        right = ask(replace(oracle, data=shifted), x, t, many)
        assert torch.allclose(found.mean, right.mean, rtol=0, atol=EXACT)
        assert found.root is not None


def test_each_sample_has_its_own_measurement_and_particles_share_it() -> None:
    data, layout = plain_gaussians()
    oracle, x = GaussianOracle(GAUSSIAN, data, rooted=True), torch.linspace(-1, 1, 8).double().reshape(4, 2, 1)
    matrix, value = torch.tensor([[[1.0, 0.0]], [[0.5, -1.0]]]).double()[..., None], torch.tensor([[0.3], [2.0]]).double()
    found = ask(Measurement(oracle, "x", matrix, value, 0.2), x, 0.5, tile_layout(layout, 4))
    for row in range(4):
        one = Measurement(oracle, "x", matrix[row // 2][None], value[row // 2][None], 0.2)
        assert torch.allclose(found.mean[row], ask(one, x[row : row + 1], 0.5, layout).mean[0], rtol=0, atol=1e-12)


def test_what_cannot_be_is_refused() -> None:
    data, layout = plain_gaussians()
    oracle, x = GaussianOracle(GAUSSIAN, data), torch.zeros(1, 2, 1, dtype=torch.float64)
    matrix, value = torch.ones(1, 1, 2, 1).double(), torch.ones(1, 1).double()
    with pytest.raises(UserError, match="no standard deviation for x"):
        AssumedVariance(oracle, Joint({"x": GAUSSIAN}), {"y": 1.0})
    with pytest.raises(UserError, match="noise must be positive"):
        Measurement(oracle, "x", matrix, value, 0.0)
    with pytest.raises(UserError, match="A has 1 rows for 2 values"):
        Measurement(oracle, "x", matrix, torch.ones(1, 2).double(), 1.0)
    for denoiser, message in (
        (Measurement(oracle, "y", matrix, value, 1.0), "no such field"),
        (Measurement(oracle, "x", torch.ones(1, 1, 3, 1).double(), value, 1.0), r"A is over \(3, 1\)"),
        (Measurement(oracle, "x", matrix.expand(2, -1, -1, -1), value, 1.0), "2 rows for a batch of 1"),
        (Measurement(silent(oracle), "x", matrix, value, 1.0), "AssumedVariance"),
        (Tilt(silent(oracle), "x", lambda x_0: x_0.flatten(1).sum(1)), "AssumedVariance"),
        (Tilt(oracle, "x", torch.zeros(1, 2, 3)), "reals a function"),
    ):
        with pytest.raises(UserError, match=message):
            ask(denoiser, x, 0.5, layout)
    pairs = Layout.symmetric_pairs(torch.tensor([2]), 2)
    with pytest.raises(UserError, match="fields of nodes"):
        Measurement(oracle, "x", torch.ones(1, 1, 2, 2, 1).double(), value, 1.0).change(
            {"x": post.Gaussian(torch.zeros(1, 2, 2, 1).double(), torch.ones(1, 2, 2, 1).double())}, torch.tensor([0.5]), {"x": pairs}
        )
