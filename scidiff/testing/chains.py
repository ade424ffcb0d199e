r"""What a sampler does to a law over label sequences, exactly: every random choice enumerated, no sampling.

With K labels at L positions there are S = K^L states. A step's draws depend on the state and on uniforms; :class:`BranchingWalk` follows
*every* outcome of *every* draw of a rule, row by row, and carries the probability of the branch. So a step is a transition matrix,
and a sampler the product of such matrices. :func:`check_branches` then makes the real sampler take every branch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scidiff.denoiser import Denoise
from scidiff.layout import Layout
from scidiff.posterior import Categorical as CategoricalPosterior
from scidiff.posterior import Posteriors
from scidiff.process import Categorical, Joint, State
from scidiff.sampling import Rule
from scidiff.testing.noise import GivenFieldNoise, GivenNoise
from scidiff.testing.oracles import CategoricalOracle
from scidiff.testing.walk import GridWalk, places

FIELD = "x"
_MAX_DRAWS = 8
_MAX_ROWS = 200_000


def states(labels: int, length: int) -> Int[Tensor, "state length"]:
    """All K^L sequences, the last position fastest."""
    return torch.tensor(list(itertools.product(range(labels), repeat=length)))


def exact_law(oracle: CategoricalOracle, t: float) -> Float[Tensor, " state"]:
    """q(x_t) over :func:`states`."""
    x = states(oracle.process.labels, oracle.length)
    layout = Layout(torch.ones(x.shape, dtype=torch.bool))
    return oracle.evidence(x, torch.full((len(x),), t, dtype=torch.float64), layout).flatten(1).sum(1)


def total_variation(p: Float[Tensor, " state"], q: Float[Tensor, " state"]) -> float:
    """Half the L1 distance: the largest difference in probability of any event."""
    return float((p - q).abs().sum() / 2)


@dataclass
class BranchingWalk(GridWalk):
    """Draws come out as prescribed; ``weight`` [batch] is the probability that they do. One field of labels.

    ``outcomes`` [use, batch, length]: what the first, second, ... draw of the step yields; ``middles``: by the draw's number, uniforms
    that make the branch come true.
    """

    outcomes: Int[Tensor, "use batch length"] = field(default_factory=lambda: torch.zeros(0, 0, 0, dtype=torch.long))
    uses: int = 0
    weight: Tensor = field(default_factory=lambda: torch.ones(0, dtype=torch.float64))
    middles: dict[int, Tensor] = field(default_factory=dict[int, Tensor])

    def restart(self, outcomes: Int[Tensor, "use batch length"]) -> None:
        """Begin a step: nothing drawn yet, probability one."""
        self.outcomes, self.uses, self.draws, self.middles = outcomes, 0, 0, {}
        self.weight = torch.ones(self.batch, dtype=torch.float64)

    def ask(self, x: State, t: float) -> Posteriors:
        """Rows in one state at one time get one answer: the denoiser is asked once for each state and step."""
        self.calls += 1
        process, time = self.process.fields[FIELD], self.times(t, x)
        assert isinstance(process, Categorical), "chains are enumerated for Categorical processes"
        digits = process.labels ** torch.arange(x[FIELD].shape[1])
        _, key = torch.unique(time, return_inverse=True)
        key = key * process.labels ** x[FIELD].shape[1] + (x[FIELD] * digits).sum(1)
        row = torch.zeros(int(key.max()) + 1, dtype=torch.long)
        row[key] = torch.arange(len(key))
        asked = row.unique()
        place = torch.zeros_like(key).scatter(0, asked, torch.arange(len(asked)))
        layouts = {FIELD: Layout(torch.ones_like(x[FIELD][asked], dtype=torch.bool))}
        answer = self.denoiser({FIELD: x[FIELD][asked]}, time[asked], layouts, self.condition)[FIELD]
        assert isinstance(answer, CategoricalPosterior), "labels need a Categorical posterior"
        self.latest = {FIELD: CategoricalPosterior(answer.logits[place[row[key]]])}
        return self.latest

    def bridge(self, x: State, posteriors: Posteriors, t: float, s: float, *, again: bool = False) -> State:
        process, posterior = self.process.fields[FIELD], posteriors[FIELD]
        assert isinstance(process, Categorical), "chains are enumerated for Categorical processes"
        assert isinstance(posterior, CategoricalPosterior), "labels need a Categorical posterior"
        clock_t, clock_s = (self.layouts[FIELD].clock(self.times(u, x)) for u in (t, s))
        return self._choose(process.bridge_law(x[FIELD], posterior, clock_t, clock_s, self.churn[FIELD]))

    def diffuse(self, x: State, s: float, t: float) -> State:
        process = self.process.fields[FIELD]
        assert isinstance(process, Categorical), "chains are enumerated for Categorical processes"
        clock_s, clock_t = (self.layouts[FIELD].clock(self.times(u, x)) for u in (s, t))
        return self._choose(process.diffuse_law(x[FIELD], clock_s, clock_t))

    def _choose(self, law: Float[Tensor, "batch length label"]) -> State:
        outcome = self.outcomes[self.uses]
        self.uses += 1
        self.draws += 1
        top = (law / law.sum(-1, keepdim=True)).cumsum(-1)
        bottom = torch.cat((torch.zeros_like(top[..., :1]), top[..., :-1]), -1)
        top, bottom = (edge.gather(-1, outcome[..., None])[..., 0] for edge in (top, bottom))
        self.weight = self.weight * (top - bottom).prod(1)
        self.middles[self.draws] = (bottom + top) / 2
        return {FIELD: outcome}


def unguided(oracle: CategoricalOracle) -> Denoise:
    return oracle


@dataclass(frozen=True)
class Chain:
    """A rule on the exact posteriors of a law over label sequences, at some churn; on what ``guide`` makes of them."""

    rule: Rule
    oracle: CategoricalOracle
    churn: float = 0.0
    guide: Callable[[CategoricalOracle], Denoise] = unguided

    def law(self, grid: Float[Tensor, " points"]) -> Float[Tensor, " state"]:
        """The law at grid[-1] > 0, started from the exact q at grid[0]."""
        now = exact_law(self.oracle, float(grid[0]))
        first = self.transitions(grid[:2], remembers=False)[0][0]
        pair = now[:, None] * first
        if len(grid) > 2:
            for matrix in self.transitions(grid, remembers=self.remembers(grid)):
                # matrix [before or 1, now, next]
                pair = torch.einsum("bn,bnm->nm", pair, matrix.expand(len(now), -1, -1))
        return pair.sum(0)

    def transitions(self, grid: Float[Tensor, " points"], *, remembers: bool) -> Float[Tensor, "step before now next"]:
        """P(next | now, before) of all steps; of all but the first where there are several. ``before`` is 1 if nothing is kept."""
        stops = places(grid, after_another=len(grid) > 2)
        count = len(states(self.oracle.process.labels, self.oracle.length))
        rows = count ** (1 + remembers + self._uses(stops, remembers=remembers))
        chunk = max(1, _MAX_ROWS // rows)
        return torch.cat([self._transitions(part, remembers=remembers) for part in stops.split(chunk)])

    def _transitions(self, stops: Float[Tensor, "step 3"], *, remembers: bool) -> Float[Tensor, "step before now next"]:
        x = states(self.oracle.process.labels, self.oracle.length)
        uses, steps = self._uses(stops, remembers=remembers), len(stops)
        shape = (steps, len(x) if remembers else 1, len(x), *[len(x)] * uses)
        walk, index = self.branches(stops, remembers=remembers)
        assert walk.uses == uses, "the number of a rule's draws must not depend on the state"
        last = index[-1]
        matrix = torch.zeros(steps * shape[1] * shape[2], len(x), dtype=torch.float64)
        row = torch.arange(matrix.shape[0]).repeat_interleave(len(x) ** uses)
        matrix.index_put_((row, last), walk.weight, accumulate=True)
        return matrix.reshape(steps, shape[1], len(x), len(x))

    def branches(self, stops: Float[Tensor, "step 3"], *, remembers: bool) -> tuple[BranchingWalk, Int[Tensor, "digit row"]]:
        """All branches of the steps: the walk that took them, and each row's state numbers (before, now, then one for each draw)."""
        x = states(self.oracle.process.labels, self.oracle.length)
        uses = self._uses(stops, remembers=remembers)
        sizes = (len(stops), len(x) if remembers else 1, len(x), *[len(x)] * uses)
        digits = torch.cartesian_prod(*[torch.arange(n) for n in sizes]).T
        walk = self._walk(stops[digits[0]], digits.shape[1])
        if remembers:
            walk.restart(x[digits[2]].expand(_MAX_DRAWS, -1, -1))
            self.rule(walk, {FIELD: x[digits[1]]}, 3.0, 2.0)
        walk.restart(x[digits[3:]])
        self.rule(walk, {FIELD: x[digits[2]]}, 2.0, 1.0)
        return walk, digits[1:]

    def _uses(self, stops: Float[Tensor, "step 3"], *, remembers: bool) -> int:
        return self._trial(stops, remembers=remembers).uses

    def remembers(self, grid: Float[Tensor, " points"]) -> bool:
        return self._trial(places(grid, after_another=True), remembers=False).remembered is not None

    def _trial(self, stops: Float[Tensor, "step 3"], *, remembers: bool) -> BranchingWalk:
        walk = self._walk(stops[:1], 1)
        nothing = torch.zeros(_MAX_DRAWS, 1, self.oracle.length, dtype=torch.long)
        for nominal in ((3.0, 2.0), (2.0, 1.0))[not remembers :]:
            walk.restart(nothing)
            self.rule(walk, {FIELD: nothing[0]}, *nominal)
        return walk

    def _walk(self, stops: Float[Tensor, "row 3"], rows: int) -> BranchingWalk:
        layout = Layout(torch.ones(rows, self.oracle.length, dtype=torch.bool))
        joint = Joint({FIELD: self.oracle.process})
        return BranchingWalk(self.guide(self.oracle), joint, {FIELD: layout}, GivenNoise(), {FIELD: self.churn}, places=stops)


def check_branches(chain: Chain, grid: Float[Tensor, " points"]) -> None:
    """Feed every branch's uniforms to the real walk: the process must draw what the branch foretold. So the enumerated law is the
    law of what is drawn, not of a formula beside it. Raises AssertionError naming the first branch that came out otherwise."""
    remembers = chain.remembers(grid) and len(grid) > 2
    stops = places(grid, after_another=len(grid) > 2)
    x = states(chain.oracle.process.labels, chain.oracle.length)
    for part in stops.split(1):
        foretold, digits = chain.branches(part, remembers=remembers)
        draws = {(FIELD, n): GivenFieldNoise(uniforms=u) for n, u in foretold.middles.items()}
        walk = GridWalk(chain.guide(chain.oracle), foretold.process, foretold.layouts, GivenNoise(), foretold.churn, places=foretold.places)
        if remembers:
            chain.rule(walk, {FIELD: x[digits[0]]}, 3.0, 2.0)
        walk.noise, walk.draws = GivenNoise(draws), 0
        drawn = chain.rule(walk, {FIELD: x[digits[1]]}, 2.0, 1.0)[FIELD]
        # A branch of probability zero has no uniforms that lead to it; the thinnest ones are within rounding of that.
        wrong = (drawn != x[digits[-1]]).any(1) & (foretold.weight > 1e-12)
        assert not bool(wrong.any()), (
            f"law 2: step {part.tolist()} at churn {chain.churn}: {int(wrong.sum())} of {len(wrong)} branches were drawn otherwise than "
            f"their law says; the first is {x[digits[-1]][wrong][0].tolist()}, drawn {drawn[wrong][0].tolist()}"
        )
