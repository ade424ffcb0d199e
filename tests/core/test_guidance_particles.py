"""Law 4, particle guidance: the expected weighted law, by enumeration of every draw and every resampling; then with real noise.

E[1/K sum_p w_p 1{x_p = k}] = P(x = k) exp(r(k)), for any number of particles, any threshold and any rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from scidiff import posterior as post
from scidiff.errors import UserError
from scidiff.guidance import Particles, particles, steer
from scidiff.layout import Layout
from scidiff.process import Categorical, Clocks, Gaussian, Joint, Layouts, State
from scidiff.random import Noise, NoiseSource
from scidiff.sampling import FirstOrder, Multistep, Rule, sample
from scidiff.schedule import Cosine, Straight
from scidiff.testing import CategoricalOracle, Chain, EntrywiseOracle, even_grid, exact_law, states

EXACT = 1e-12
PROCESS = Categorical((0.4, 0.6), Straight())
# The mode of the posterior depends on the state already at t = 0.9, so that the first estimates of the reward differ.
LAWS = {1: torch.tensor([0.5, 0.5], dtype=torch.float64), 2: torch.tensor([[0.35, 0.15], [0.1, 0.4]], dtype=torch.float64)}


def reward(state: State, layouts: Layouts) -> Tensor:
    """log 3 for some states, 0 for others: weights are then ratios of small numbers, and resampling changes at multiples of their sums."""
    x = state["x"]
    return math.log(3.0) * ((x[:, 0] == 1) if x.shape[1] == 1 else (x[:, 0] == x[:, 1])).double()


@dataclass(frozen=True)
class Enumerated(Joint):
    """Draws come out as ``outcomes`` [draw][row, length] prescribes; ``chances`` collects the probability of each."""

    outcomes: list[Tensor] = field(default_factory=list)
    chances: list[Tensor] = field(default_factory=list)

    def prior(self, layouts: Layouts, noise: NoiseSource, like: State, step: int = 0) -> State:
        return self._chosen(torch.tensor(PROCESS.pi, dtype=torch.float64).expand(*like["x"].shape, -1))

    def bridge(self, x_t: State, posteriors: post.Posteriors, t: Clocks, s: Clocks, layouts: Layouts, *rest: object) -> State:
        posterior = posteriors["x"]
        assert isinstance(posterior, post.Categorical)
        return self._chosen(PROCESS.bridge_law(x_t["x"], posterior, layouts["x"].clock(t), layouts["x"].clock(s)))

    def _chosen(self, law: Tensor) -> State:
        outcome = self.outcomes[len(self.chances)]
        self.chances.append(law.gather(-1, outcome[..., None])[..., 0].prod(1))
        return {"x": outcome}


@dataclass(frozen=True)
class Coins(Noise):
    """The uniforms of resampling, by step."""

    uniforms: dict[int, Tensor] = field(default_factory=dict)

    def scalar(self, field: str, step: int) -> Tensor:
        return self.uniforms[step]


def expected(rule: Rule, length: int, count: int, grid: Tensor, coins: int, threshold: float = 1.0, lookahead: float = 1.0) -> Tensor:
    """E[1/K sum_p w_p 1{x_p = k}] for every state k. Each coin takes the middles of ``coins`` equal parts of [0, 1): exact where what the
    coin decides changes at their edges only."""
    x, steps = states(2, length), len(grid) - 1
    tossed = steps - 1 if count > 1 else 0
    digits = torch.cartesian_prod(*[torch.arange(len(x))] * (count * (steps + 1)), *[torch.arange(coins)] * tossed)
    draws, sides = digits.split([count * (steps + 1), tossed], 1)
    process = Enumerated({"x": PROCESS}, [x[part].flatten(0, 1) for part in draws.split(count, 1)])
    half = torch.full((len(digits),), 0.5, dtype=torch.float64)
    uniforms = {n: (sides[:, n - 1] + 0.5) / coins if tossed else half for n in range(1, steps)}
    layouts = {"x": Layout(torch.ones(len(digits), length, dtype=torch.bool))}
    like = {"x": torch.zeros(len(digits), length, dtype=torch.long)}
    oracle = CategoricalOracle(PROCESS, LAWS[length])
    found = steer(
        oracle, process, layouts, Coins(0, torch.arange(len(digits)), uniforms), grid, rule, like, reward,
        particles=count, threshold=threshold, lookahead=lookahead,
    )  # fmt: skip
    chance = torch.stack(process.chances).prod(0).reshape(-1, count).prod(1) / coins**tossed
    assert float(chance.sum()) == pytest.approx(1.0, abs=1e-12)
    weight = chance[:, None] * found.log_weights.exp() / count
    place = (found.state["x"] * 2 ** torch.arange(length - 1, -1, -1)).sum(1)
    return torch.zeros(len(x), dtype=torch.float64).index_add(0, place, weight.flatten())


def target(length: int, grid: Tensor) -> Tensor:
    """P(x) exp(r(x)), P by transition matrices from the prior."""
    chain, x = Chain(FirstOrder(), CategoricalOracle(PROCESS, LAWS[length]), 1.0), states(2, length)
    law = torch.tensor(PROCESS.pi, dtype=torch.float64)[x].prod(1)
    for n in range(len(grid) - 1):
        law = law @ chain.transitions(grid[n : n + 2], remembers=False)[0][0]
    return law * reward({"x": x}, {}).exp()


# length, particles, grid, coins: the sums of weights 1 and 3 (of their ratios, where weights were equal before) divide the coins.
CASES = {
    "one particle": (2, 1, even_grid(3), 1),
    "two particles, two positions": (2, 2, even_grid(2), 2),
    "three particles": (1, 3, even_grid(2), 35),
    "two resamplings": (1, 2, even_grid(3), 10),
}


@pytest.mark.parametrize("case", CASES)
def test_the_expected_weighted_law_is_the_tilted_one(case: str) -> None:
    length, count, grid, coins = CASES[case]
    assert torch.allclose(expected(FirstOrder(), length, count, grid, coins), target(length, grid), rtol=0, atol=EXACT)


def test_where_the_sampler_is_exact_the_tilted_law_is_the_datas() -> None:
    """At one position, from t = 1: P is q(x_0.2) itself."""
    grid = even_grid(3, (1.0, 0.2))
    right = exact_law(CategoricalOracle(PROCESS, LAWS[1]), 0.2) * reward({"x": states(2, 1)}, {}).exp()
    assert torch.allclose(expected(FirstOrder(), 1, 2, grid, 10), right, rtol=0, atol=EXACT)


@pytest.mark.parametrize(("threshold", "lookahead"), [(0.0, 1.0), (0.9, 1.0), (1.0, 0.0)])
def test_whenever_particles_are_resampled(threshold: float, lookahead: float) -> None:
    """ESS is 1.6 of 2 for weights 1 and 3, 1.22 for 1 and 9."""
    found = expected(FirstOrder(), 1, 2, even_grid(3), 20, threshold, lookahead)
    assert torch.allclose(found, target(1, even_grid(3)), rtol=0, atol=EXACT)


def test_what_a_rule_remembers_follows_its_particle() -> None:
    """A multistep rule extrapolates from the posterior before: after resampling, its ancestor's."""
    grid, rule = even_grid(3), Multistep(labels=True)
    assert torch.allclose(expected(rule, 1, 2, grid, 10), expected(rule, 1, 1, grid, 1), rtol=0, atol=EXACT)


def broken_memory(posteriors: post.Posteriors, rows: Tensor) -> post.Posteriors:
    return posteriors


def weights_forgotten(log_weights: Tensor, uniform: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    ancestors, after = RESAMPLE(log_weights, uniform, threshold)
    return ancestors, after - after


def weights_kept(log_weights: Tensor, uniform: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    return RESAMPLE(log_weights, uniform, threshold)[0], log_weights


def estimates_stay(ancestors: Tensor, walk: object, x: State, worth: Tensor) -> tuple[State, Tensor]:
    return FOLLOW(ancestors, walk, x, worth)[0], worth


def one_coin_for_all(log_weights: Tensor, uniform: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    return RESAMPLE(log_weights, torch.zeros_like(uniform), threshold)


RESAMPLE, FOLLOW = particles.resample, particles._follow


FAULTS = {
    "resample": (weights_forgotten, weights_kept, one_coin_for_all),
    "_follow": (estimates_stay,),
    "_take": (broken_memory,),
}


@pytest.mark.parametrize(("part", "fault"), [(part, fault) for part, faults in FAULTS.items() for fault in faults])
def test_planted_faults_are_caught(part: str, fault: object, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Multistep(labels=True) if part == "_take" else FirstOrder()
    right = expected(rule, 1, 1, even_grid(3), 1)
    monkeypatch.setattr(particles, part, fault)
    assert float((expected(rule, 1, 2, even_grid(3), 10) - right).abs().max()) > 1e-3


@pytest.mark.parametrize("case", ["two particles, two positions", "three particles"])
def test_in_every_case_something_is_resampled(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    length, count, grid, coins = CASES[case]
    monkeypatch.setattr(particles, "resample", weights_forgotten)
    assert float((expected(FirstOrder(), length, count, grid, coins) - target(length, grid)).abs().max()) > 1e-3


def test_with_real_noise_the_mean_lies_within_its_own_error() -> None:
    """400 samples of 16 particles, resampled often: each state's mean weight within four standard errors, and the normaliser's."""
    oracle, grid, count = CategoricalOracle(PROCESS, LAWS[2]), even_grid(6), 400
    layouts, like = {"x": Layout(torch.ones(count, 2, dtype=torch.bool))}, {"x": torch.zeros(count, 2, dtype=torch.long)}
    noise = Noise(0, torch.arange(count))
    found = steer(
        oracle, Joint({"x": PROCESS}), layouts, noise, grid, FirstOrder(), like, reward, particles=16, threshold=0.95
    )
    place = (found.state["x"] * torch.tensor([2, 1])).sum(1).reshape(count, 16)
    each = (found.log_weights.exp()[..., None] * torch.nn.functional.one_hot(place, 4)).mean(1)
    each = torch.cat((each, found.log_normaliser.exp()[:, None]), 1)
    right = target(2, grid)
    right = torch.cat((right, right.sum()[None]))
    assert bool(((each.mean(0) - right).abs() < 4 * each.std(0) / math.sqrt(count)).all())
    # One particle of each sample, drawn by weight: the tilted law, within four standard errors of a binomial.
    drawn = (found.draw(noise)["x"] * torch.tensor([2, 1])).sum(1)
    law, share = right[:4] / right[4], torch.bincount(drawn, minlength=4) / count
    assert bool(((share - law).abs() < 4 * (law * (1 - law) / count).sqrt()).all())


BOTH = Joint({"x": Gaussian(Cosine()), "c": Categorical.absorbing(3, Straight())})
SIZES = torch.tensor([3, 2, 4])


def example(places: list[int], padding: int = 4) -> tuple[Noise, State, Layouts]:
    layout = Layout.nodes(SIZES[places], padding).with_known((torch.arange(padding) == 0).expand(len(places), padding))
    like = {"x": torch.zeros(len(places), padding, 2, dtype=torch.float64), "c": torch.zeros(len(places), padding, dtype=torch.long)}
    return Noise(5, torch.tensor([7, 731, 12])[places]), like, {"x": layout, "c": layout}


def liking(state: State, layouts: Layouts) -> Tensor:
    return layouts["x"].sum(state["x"][..., 0]) + layouts["c"].sum((state["c"] == 1).double())


def steered(places: list[int], padding: int = 4, count: int = 3) -> Particles:
    noise, like, layouts = example(places, padding)
    grid = even_grid(4, (1.0, 0.0))
    return steer(EntrywiseOracle(BOTH), BOTH, layouts, noise, grid, FirstOrder(), like, liking, particles=count, threshold=1.0)


def test_one_particle_is_the_sample_to_the_bit() -> None:
    noise, like, layouts = example([0, 1, 2])
    plain = sample(EntrywiseOracle(BOTH), BOTH, layouts, noise, even_grid(4, (1.0, 0.0)), FirstOrder(), like)
    found = steered([0, 1, 2], count=1)
    assert all(torch.equal(found.state[f], plain.state[f]) for f in plain.state)
    assert torch.allclose(found.log_weights[:, 0], liking(plain.state, layouts), rtol=0, atol=1e-12)
    assert found.calls == plain.calls == 4
    assert steered([0, 1, 2]).calls == 12


def test_a_samples_particles_depend_on_its_id_alone() -> None:
    """Split, reordered, padded further: the same particles and weights to the bit."""
    whole = steered([0, 1, 2])
    for places in ([2], [1, 0]):
        part = steered(places, padding=6)
        for i, place in enumerate(places):
            n = int(SIZES[place])
            for f, x in part.state.items():
                assert torch.equal(x.unflatten(0, (-1, 3))[i, :, :n], whole.state[f].unflatten(0, (-1, 3))[place, :, :n])
            assert torch.equal(part.log_weights[i], whole.log_weights[place])
    assert len(whole.log_weights.unique()) > 3


@dataclass(frozen=True)
class Conditioned:
    """Wants one row of ``own`` for each row of the batch, and ``common`` as it was given."""

    def __call__(self, x_t: State, t: Clocks, layouts: Layouts, condition: object = None, previous: object = None) -> post.Posteriors:
        assert isinstance(condition, dict)
        assert condition["common"].tolist() == [1.0, 2.0]
        assert condition["own"].tolist() == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]
        return EntrywiseOracle(BOTH)(x_t, t, layouts)


def test_conditions_are_repeated_for_the_particles() -> None:
    noise, like, layouts = example([0, 1, 2])
    condition = {"own": torch.arange(3.0), "common": torch.tensor([1.0, 2.0])}
    found = steer(
        Conditioned(), BOTH, layouts, noise, even_grid(2), FirstOrder(), like, liking, particles=2, condition=condition
    )
    assert found.log_weights.shape == (3, 2)


def test_rewards_that_are_no_numbers() -> None:
    """On the way they change nothing; at the end -inf is weight zero, NaN an error; and a sample without any weight cannot be drawn."""
    noise, like, layouts = example([0, 1, 2])
    grid = even_grid(3, (1.0, 0.0))

    def run(final: float) -> Particles:
        asked: list[int] = []

        def strange(state: State, many: Layouts) -> Tensor:
            asked.append(len(state["c"]))
            good = liking(state, many)
            return torch.where(torch.arange(len(good)) % 3 > 0, good, math.nan if len(asked) < 3 else final)

        return steer(EntrywiseOracle(BOTH), BOTH, layouts, noise, grid, FirstOrder(), like, strange, particles=3)

    found = run(-math.inf)
    assert bool(torch.isneginf(found.log_weights[:, 0]).all())
    assert bool(torch.isfinite(found.log_weights[:, 1:]).all())
    assert bool(torch.isfinite(found.log_normaliser).all())
    first = {f: x[0::3] for f, x in found.state.items()}
    assert all(not torch.equal(found.draw(noise)["x"][i], first["x"][i]) for i in range(3))
    for final in (math.nan, math.inf):
        with pytest.raises(UserError, match=r"NaN or \+inf"):
            run(final)
    lost = Particles(found.state, torch.full_like(found.log_weights, -math.inf), 9)
    assert lost.log_normaliser.tolist() == [-math.inf] * 3
    with pytest.raises(UserError, match=r"sample\(s\) \[7, 731, 12\]"):
        lost.draw(noise)


def test_bad_numbers_are_refused() -> None:
    noise, like, layouts = example([0])
    for threshold in (-0.1, 1.1):
        with pytest.raises(UserError, match="threshold"):
            steer(EntrywiseOracle(BOTH), BOTH, layouts, noise, even_grid(2), FirstOrder(), like, liking, particles=2, threshold=threshold)
