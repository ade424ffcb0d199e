"""Noise on labels: one Markov chain for every pi, and the formulas of the papers as special cases."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scidiff import posterior as post
from scidiff.layout import Layout
from scidiff.process import Categorical, Process
from scidiff.schedule import EDM, VE, Cosine, Polynomial, Straight, VPLinear, Warp
from scidiff.testing import GivenFieldNoise, check_process

PROCESSES = {
    "absorbing": Categorical.absorbing(2, Straight()),
    "absorbing, cosine": Categorical.absorbing(3, Cosine()),
    "uniform": Categorical.uniform(3, Cosine()),
    "marginal": Categorical((0.2, 0.5, 0.3), VPLinear()),
    "a zero in pi": Categorical((0.7, 0.3, 0.0), Straight()),
    "a warped clock": Categorical.uniform(2, Warp(Polynomial(), 2.0)),
}
INF = math.inf


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def one(*labels: int) -> tuple[torch.Tensor, Layout]:
    x = torch.tensor(labels)[:, None]
    return x, Layout(torch.ones(x.shape, dtype=torch.bool))


@pytest.mark.parametrize("name", PROCESSES)
def test_is_one_markov_chain(name: str) -> None:
    process = PROCESSES[name]
    assert isinstance(process, Process)
    check_process(process, labels=process.labels, data_labels=process.data_labels)


@pytest.mark.parametrize("pi", [(1 / 3,) * 3, (0.2, 0.5, 0.3), (0.7, 0.3, 0.0), (0.0, 0.0, 1.0)])
def test_churn_one_is_d3pm(pi: tuple[float, ...]) -> None:
    """Austin et al. 2021, equation 3: q(x_s|x_t,x_0) ~ (x_t Q_ts^T) * (x_0 Q_s), with the matrices written out."""
    process, t, s = Categorical(pi, Cosine()), 0.7, 0.4
    a_t, a_s = (float(process.schedule.retention(f64(u))) for u in (t, s))

    def matrix(a: float) -> torch.Tensor:
        return a * torch.eye(3).double() + (1 - a) * f64(*pi).expand(3, 3)

    q_ts, q_s, q_t = matrix(a_t / a_s), matrix(a_s), matrix(a_t)
    for x_0 in range(3):
        for x_t in range(3):
            if q_t[x_0, x_t] == 0:
                continue
            right = q_ts[:, x_t] * q_s[x_0] / q_t[x_0, x_t]
            certain = post.Categorical(torch.eye(3).double()[x_0].log()[None, None])
            found = process.bridge_law(torch.tensor([[x_t]]), certain, f64(t)[:, None], f64(s)[:, None], 1.0)[0, 0]
            torch.testing.assert_close(found, right, rtol=0, atol=1e-14)


def test_absorbing_kl_rate_is_the_weighted_cross_entropy_of_masked_diffusion() -> None:
    """Shi et al. 2024; Sahoo et al. 2024: -a'/(1 - a) log p(x_0) where masked, 0 elsewhere."""
    process, t = Categorical.absorbing(3, Cosine()), 0.35
    logits = torch.nn.functional.pad(f64(0.3, -1.0, 0.7), (0, 1), value=-INF).expand(6, 1, 4)
    x_0, layout = one(0, 1, 2, 0, 1, 2)
    x_t = torch.tensor([3, 3, 3, 0, 1, 2])[:, None]
    found = process.kl_rate(x_0, x_t, post.Categorical(logits), f64(t).expand(6), layout)
    a = math.cos(math.pi * t / 2) ** 2
    speed = math.pi / 2 * math.sin(math.pi * t) / (1 - a)
    nats = -f64(0.3, -1.0, 0.7).log_softmax(0)
    torch.testing.assert_close(found, torch.cat((speed * nats, torch.zeros(3).double())), rtol=1e-12, atol=1e-14)


def test_churn_zero_moves_no_more_than_it_must() -> None:
    """The law moves by total variation |a_s - a_t| TV(e_x0, pi); a coupling that moves less often than that does not exist."""
    process, t, s = Categorical((0.2, 0.5, 0.3), Straight()), 0.8, 0.5
    x_0 = 1
    q_t = process.diffuse_law(torch.tensor([[x_0]]), f64(0.0)[:, None], f64(t)[:, None])[0, 0]
    certain = post.Categorical(torch.eye(3).double()[x_0].log().expand(3, 1, 3))
    x_t, _ = one(0, 1, 2)
    law = process.bridge_law(x_t, certain, f64(t).expand(3, 1), f64(s).expand(3, 1), 0.0)[:, 0]
    moved = float((q_t * (1 - law.diagonal())).sum())
    assert moved == pytest.approx((t - s) * (1 - 0.5), abs=1e-15)


def test_churn_interpolates() -> None:
    process = PROCESSES["marginal"]
    posterior, (x_t, _) = post.Categorical(f64(0.1, 0.5, -0.2).expand(3, 1, 3)), one(0, 1, 2)
    t, s = f64(0.6).expand(3, 1), f64(0.3).expand(3, 1)
    laws = [process.bridge_law(x_t, posterior, t, s, churn) for churn in (0.0, 0.25, 1.0)]
    torch.testing.assert_close(laws[1], 0.75 * laws[0] + 0.25 * laws[2], rtol=0, atol=1e-15)


@given(
    st.lists(st.sampled_from([0.0, 1e-9, 0.2, 1.0]), min_size=2, max_size=4).filter(any),
    st.floats(0.01, 1),
    st.floats(0, 0.99),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.data(),
)
def test_bridge_laws_are_laws(weights: list[float], t: float, share: float, churn: float, data: st.DataObject) -> None:
    k = len(weights)
    process = Categorical(f64(*weights) / sum(weights), Straight())
    logits = data.draw(st.lists(st.sampled_from([-INF, -200.0, 0.0, 3.0]), min_size=k, max_size=k).filter(lambda v: max(v) > -INF))
    x_t = torch.tensor([[data.draw(st.integers(0, k - 1))]])
    law = process.bridge_law(x_t, post.Categorical(f64(*logits)[None, None]), f64(t)[:, None], f64(share * t)[:, None], churn)
    assert float(law.sum()) == pytest.approx(1, abs=1e-12)
    assert float(law.min()) >= 0


@given(
    st.lists(st.sampled_from([0.0, 0.2, 1.0]), min_size=3, max_size=3).filter(any),
    st.floats(0.01, 0.99),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_zeros_in_pi_make_no_nan_nor_a_nan_gradient(weights: list[float], t: float, x_0: int, x_t: int) -> None:
    """0/0 = 0 in the loss and in its gradient; also where a float32 softmax would have underflowed."""
    process = Categorical(f64(*weights) / sum(weights), Straight())
    (clean, layout), noised = one(x_0), torch.tensor([[x_t]])
    for values in ((0.0, 1.0, 2.0), (0.0, 150.0, -20.0)):
        logits = torch.tensor(values).reshape(1, 1, 3).requires_grad_(True)
        rate = process.kl_rate(clean, noised, post.Categorical(logits), f64(t), layout)
        rate.sum().backward()
        assert bool(torch.isfinite(rate).all())
        assert logits.grad is not None
        assert bool(torch.isfinite(logits.grad).all())


def test_kl_rate_is_minimal_at_the_true_posterior() -> None:
    """Its expectation under p is a proper score: the gradient with respect to the logits vanishes at p."""
    process, t = PROCESSES["a zero in pi"], f64(0.4).expand(3)
    logits = f64(0.2, -0.3, 0.5)
    x_0, layout = one(0, 1, 2)
    for x_t in (0, 1):
        q = process.diffuse_law(x_0, torch.zeros(3, 1).double(), t[:, None])[:, 0, x_t]
        weight = logits.softmax(0) * q / (logits.softmax(0) * q).sum()
        free = weight.log().requires_grad_(True)
        rate = process.kl_rate(x_0, torch.full((3, 1), x_t), post.Categorical(free.expand(3, 1, 3)), t, layout)
        (grad,) = torch.autograd.grad((weight * rate).sum(), free)
        torch.testing.assert_close(grad, torch.zeros(3).double(), rtol=0, atol=1e-14)


def test_a_clean_entry_costs_nothing_even_on_a_clock_of_infinite_speed() -> None:
    process = Categorical.uniform(3, Warp(Straight(), 0.5))
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    layout = Layout(torch.ones(1, 2, dtype=torch.bool)).with_known(torch.tensor([[True, False]]))
    x = torch.tensor([[0, 1]])
    process.kl_rate(x, x, post.Categorical(logits), f64(0.5), layout).sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert bool((logits.grad[0, 0] == 0).all())


def test_kl_prior_is_infinite_where_absorbing_noise_does_not_absorb_all() -> None:
    x, layout = one(0)
    assert float(Categorical.absorbing(2, VPLinear()).kl_prior(x, layout)) == INF
    assert float(Categorical.absorbing(2, Straight()).kl_prior(x, layout)) == 0


def test_cross_entropy_skips_padding_and_known_entries() -> None:
    logits = torch.tensor([[[0.0, -INF], [0.3, 0.9], [-INF, 0.0]]], dtype=torch.float64)
    layout = Layout.nodes(torch.tensor([2]), 3).with_known(torch.tensor([[True, False, False]]))
    nats = Categorical.cross_entropy(torch.tensor([[1, 1, 0]]), post.Categorical(logits), layout)
    assert float(nats) == pytest.approx(-float(f64(0.3, 0.9).log_softmax(0)[1]), rel=1e-14)


def test_certain_marks_labels_that_noise_cannot_make() -> None:
    assert Categorical.absorbing(2, Straight()).certain(torch.tensor([[0, 1, 2]])).tolist() == [[True, True, False]]


def test_known_entries_and_padding_do_not_move() -> None:
    process = Categorical.absorbing(3, Straight())
    layout = Layout.nodes(torch.tensor([3]), 4).with_known(torch.tensor([[True, False, False, False]]))
    x = torch.tensor([[1, 3, 3, 2]])
    noise, posterior = (
        GivenFieldNoise(uniforms=torch.full((1, 4), 0.999).double()),
        post.Categorical(torch.tensor([0.0, 0.0, 5.0, -INF]).expand(1, 4, 4)),
    )
    for moved, right in (
        (process.prior(layout, noise, x), [[1, 3, 3, 2]]),
        (process.diffuse(torch.tensor([[1, 0, 0, 2]]), f64(0.0), f64(1.0), layout, noise), [[1, 3, 3, 2]]),
        (process.bridge(x, posterior, f64(1.0), f64(0.0), layout, noise), [[1, 2, 2, 2]]),
    ):
        assert moved.tolist() == right


@pytest.mark.parametrize("schedule", [VE(), EDM()])
def test_schedules_that_never_noise_labels_are_refused(schedule: VE | EDM) -> None:
    with pytest.raises(ValueError, match="never be noised"):
        Categorical.uniform(3, schedule)


@pytest.mark.parametrize("pi", [(0.5, 0.4), (1.2, -0.2)])
def test_a_pi_that_is_no_law_is_refused(pi: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        Categorical(pi, Straight())
