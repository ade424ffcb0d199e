r"""Conformance of a noise process on labels: its verbs and ends must be those of *one* Markov chain.

The process must draw by inversion of one uniform an entry (:meth:`FieldNoise.uniform`). Then its laws are read off what it draws, to the
last bits (:func:`~scidiff.testing.noise.drawn_law`), without knowing what it is made of. With Q the matrices of q(x_t|x_s) and
B those of the bridge:

1. *ends*: a step of no length changes nothing; a bridge to s = 0 returns the posterior's mode.
2. *semigroup*: Q(0,s) Q(s,t) = Q(0,t).
3. *marginals*: the bridge with the true x_0 leads from q(x_t|x_0) to q(x_s|x_0), at any churn; at churn 1 it also has the chain's joint
   law; with a posterior it is the mixture of the bridges of the labels that are possible.
4. *kl_rate* is the limit of KL(bridge with x_0 || bridge with the posterior)/(t - s), and ``kl_prior`` is KL(q(x_1|x_0) || p(x_1)).
5. *reconstruction* is the negative log of a law that sums to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scidiff.layout import Layout
from scidiff.posterior import Categorical as CategoricalPosterior
from scidiff.process import Process
from scidiff.testing.noise import GivenFieldNoise, drawn_law
from scidiff.testing.reals import CHURNS, PLACES, RATE_TOLERANCE, SMALL_STEP

LAW_TOLERANCE = 1e-12
Times = Float[Tensor, " place"]


@dataclass(frozen=True)
class LabelProbe:
    """One process with ``labels`` labels, of which the first ``data_labels`` can be clean, and a law over those to try it with."""

    process: Process
    labels: int
    data_labels: int
    guess: Float[Tensor, " data_label"]

    def diffuse(self, s: Times, t: Times) -> Float[Tensor, "place label label"]:
        """Q(s, t)[place, k, l] = P(x_t = l | x_s = k)."""
        x = torch.arange(self.labels).repeat(len(s))

        def draw(copies: int, noise: GivenFieldNoise) -> Tensor:
            s_all, t_all = (u.repeat_interleave(self.labels).repeat(copies) for u in (s, t))
            return self.process.diffuse(x.repeat(copies)[:, None], s_all, t_all, _layout(copies * len(x)), noise)

        return self._law(draw, len(x)).reshape(-1, self.labels, self.labels)

    def prior(self) -> Float[Tensor, " label"]:
        return self._law(lambda n, noise: self.process.prior(_layout(n), noise, torch.zeros(n, 1, dtype=torch.long)), 1)[0]

    def bridge(
        self, t: Times, s: Times, churn: float, posterior: Float[Tensor, "place case label label"]
    ) -> Float[Tensor, "place case label label"]:
        """B[place, case, k, l] = P(x_s = l | x_t = k) with the posterior [place, case, k] over x_0."""
        shape = posterior.shape
        x, logits = torch.arange(self.labels).repeat(shape[0] * shape[1]), posterior.reshape(-1, 1, self.labels).log()

        def draw(copies: int, noise: GivenFieldNoise) -> Tensor:
            law = CategoricalPosterior(logits.repeat(copies, 1, 1))
            t_all, s_all = (u.repeat_interleave(shape[1] * self.labels).repeat(copies) for u in (t, s))
            return self.process.bridge(x.repeat(copies)[:, None], law, t_all, s_all, _layout(copies * len(x)), noise, churn)

        return self._law(draw, len(x)).reshape(shape)

    def _law(self, draw: Callable[[int, GivenFieldNoise], Tensor], rows: int) -> Float[Tensor, "row label"]:
        def flat(u: Tensor) -> Tensor:
            return draw(len(u), GivenFieldNoise(uniforms=u.reshape(-1, 1))).reshape(u.shape)

        return drawn_law(flat, self.labels, (rows,))

    def certain(self, places: int) -> Float[Tensor, "place case label label"]:
        """One case for each clean label, for sure; whatever x_t is."""
        each = torch.eye(self.labels, dtype=torch.float64)[: self.data_labels, None].expand(-1, self.labels, -1)
        return each.expand(places, -1, -1, -1)

    def possible(self, q_t: Float[Tensor, "place data_label label"]) -> Float[Tensor, "place 1 label label"]:
        """One case: the guess, kept to the clean labels that x_t can have come from."""
        law = self.guess * (q_t.mT > 0)
        total = law.sum(-1, keepdim=True)
        law = torch.where(total > 0, law / total.clamp(min=1e-300), self.guess)
        return torch.nn.functional.pad(law, (0, self.labels - self.data_labels))[:, None]


def _layout(rows: int) -> Layout:
    return Layout(torch.ones(rows, 1, dtype=torch.bool))


def _times(t: float, layout: Layout) -> Tensor:
    return torch.full((layout.batch,), t, dtype=torch.float64)


def check_label_process(process: Process, labels: int, data_labels: int | None = None) -> None:
    """All of the statements above. Raises AssertionError with the place and the numbers."""
    clean = labels if data_labels is None else data_labels
    guess = torch.arange(1.0, clean + 1, dtype=torch.float64).square()
    probe = LabelProbe(process, labels, clean, guess / guess.sum())
    s, t = torch.tensor(PLACES, dtype=torch.float64).T
    q_s, q_t, step = probe.diffuse(torch.zeros_like(s), s), probe.diffuse(torch.zeros_like(t), t), probe.diffuse(s, t)
    for place in t.tolist():
        _check_ends(probe, place)
    _equal(q_s @ step, q_t, "semigroup: Q(0,s) Q(s,t)")
    for churn in CHURNS:
        _check_marginals(probe, (q_s[:, :clean], q_t[:, :clean], step), s, t, churn)
    _check_rate(probe, torch.tensor([0.3, 0.7], dtype=torch.float64))
    _check_prior(probe)
    _check_reconstruction(probe)


def _check_ends(probe: LabelProbe, t: float) -> None:
    x, lay = torch.arange(probe.labels)[:, None], _layout(probe.labels)
    time, noise = _times(t, lay), GivenFieldNoise(uniforms=torch.full((probe.labels, 1), 0.999, dtype=torch.float64))
    padded = torch.nn.functional.pad(probe.guess, (0, probe.labels - probe.data_labels))
    law = CategoricalPosterior(padded.log().expand(probe.labels, 1, -1))
    assert torch.equal(probe.process.diffuse(x, time, time, lay, noise), x), f"ends: diffuse from t = {t} to itself changed labels"
    assert torch.equal(probe.process.bridge(x, law, time, time, lay, noise), x), f"ends: bridge from t = {t} to itself changed labels"
    end = probe.process.bridge(x, law, time, torch.zeros_like(time), lay, noise)
    assert torch.equal(end, law.point()), (
        f"ends: bridge from t = {t} to 0 must return the posterior's mode {law.point().tolist()}, got {end.tolist()}"
    )


def _check_marginals(probe: LabelProbe, chain: tuple[Tensor, Tensor, Tensor], s: Times, t: Times, churn: float) -> None:
    (q_s, q_t, step), where = chain, f"at churn {churn}"
    each = probe.bridge(t, s, churn, probe.certain(len(t)))
    _equal(torch.einsum("pat,pats->pas", q_t, each), q_s, f"marginals: the bridge from q(x_t|x_0) {where}")
    if churn == 1:
        _equal(q_t[..., None] * each, q_s[:, :, None, :] * step.mT[:, None], f"marginals: the joint law of (x_t, x_s) given x_0 {where}")
    posterior = probe.possible(q_t)
    mixture = torch.einsum("pta,pats->pts", posterior[:, 0, :, : probe.data_labels], each)
    found = probe.bridge(t, s, churn, posterior)[:, 0]
    reached = (q_t.sum(1) > 0)[..., None]
    _equal(found * reached, mixture * reached, f"marginals: the bridge with a posterior must be the mixture over x_0 {where}")


def _check_rate(probe: LabelProbe, t: Times) -> None:
    q_t = probe.diffuse(torch.zeros_like(t), t)[:, : probe.data_labels]
    x_0, x_t = (torch.arange(n) for n in q_t.shape[1:])
    x_0 = x_0.repeat_interleave(probe.labels).repeat(len(t))[:, None]
    x_t = x_t.repeat(probe.data_labels * len(t))[:, None]
    lay, times = _layout(len(x_0)), t.repeat_interleave(q_t[0].numel())
    certain, guess = probe.certain(len(t)), probe.possible(q_t)

    def rate(law: Tensor) -> Tensor:
        posterior = CategoricalPosterior(law.reshape(len(x_0), 1, -1).log())
        return probe.process.kl_rate(x_0, x_t, posterior, times, lay).reshape(q_t.shape)

    def discrete(h: float) -> Tensor:
        right, wrong = probe.bridge(t, t - h, 1.0, certain), probe.bridge(t, t - h, 1.0, guess)
        return (torch.xlogy(right, right) - torch.xlogy(right, wrong.clamp(min=1e-300))).sum(-1) / h

    zero, found = rate(certain), rate(guess.expand_as(certain))
    limit, can = 2 * discrete(SMALL_STEP / 2) - discrete(SMALL_STEP), q_t > 0
    assert bool((zero[can].abs() < 1e-9).all()), f"kl_rate with the true x_0 at t = {t.tolist()} is {zero.tolist()}, must be 0"
    worst = float(((found - limit).abs() / limit.abs().clamp(min=0.01))[can].max())
    assert worst <= RATE_TOLERANCE, (
        f"kl_rate [t, x_0, x_t] at t = {t.tolist()} is\n{found}\nnats per unit time; "
        f"KL(bridge with x_0 || bridge with the posterior)/(t - s) tends to\n{limit}"
    )


def _check_prior(probe: LabelProbe) -> None:
    q_1, prior = probe.diffuse(torch.zeros(1).double(), torch.ones(1).double())[0, : probe.data_labels], probe.prior()
    right = (torch.xlogy(q_1, q_1) - torch.xlogy(q_1, prior)).sum(1)
    x_0: Int[Tensor, "case 1"] = torch.arange(probe.data_labels)[:, None]
    found = probe.process.kl_prior(x_0, _layout(probe.data_labels))
    same = torch.where(torch.isinf(right), found == right, (found - right).abs() <= 1e-10)
    assert bool(same.all()), f"kl_prior is {found.tolist()} nats; KL(q(x_1|x_0) || p(x_1)) is {right.tolist()}"


def _check_reconstruction(probe: LabelProbe, t: float = 1e-2) -> None:
    x_0 = torch.arange(probe.data_labels)[:, None]
    lay, padded = _layout(len(x_0)), torch.nn.functional.pad(probe.guess, (0, probe.labels - probe.data_labels))
    nats = probe.process.reconstruction(x_0, x_0, CategoricalPosterior(padded.log().expand(len(x_0), 1, -1)), _times(t, lay), lay)
    total = float(torch.exp(-nats).sum())
    assert abs(total - 1) < 1e-9, f"reconstruction: the probabilities exp(-nats) of all clean labels sum to {total}, must be 1"


def _equal(found: Tensor, right: Tensor, what: str) -> None:
    worst = float((found - right).abs().max())
    assert worst <= LAW_TOLERANCE, f"{what}: off by {worst:.2e} (places (s, t): {PLACES})\nfound\n{found}\nmust be\n{right}"
