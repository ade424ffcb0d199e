"""Law 5: the same sample to the bit, whatever batch it is computed in; known entries as given, for every rule and churn."""

from __future__ import annotations

import pytest
import torch

from scidiff.layout import Layout
from scidiff.process import Categorical, Gaussian, Joint
from scidiff.random import Noise
from scidiff.sampling import FirstOrder, Heun, Multistep, PredictorCorrector, Rule, sample, time_grid
from scidiff.schedule import EDM, Cosine, Straight, VPLinear
from scidiff.testing import EntrywiseOracle, check_sampler_locality, check_streams

RULES: list[Rule] = [FirstOrder(), Multistep(labels=True), Heun(), PredictorCorrector(Multistep())]


@pytest.mark.parametrize("churn", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_samples_do_not_depend_on_their_batch(rule: Rule, churn: float) -> None:
    process = Joint({"x": Gaussian(VPLinear()), "c": Categorical.absorbing(3, Straight())})
    check_sampler_locality(rule, process, time_grid(Straight(), 3), lambda ids: Noise(7, ids), churn)


def test_nor_do_they_in_float64_without_known_entries() -> None:
    process = Joint({"x": Gaussian(EDM()), "c": Categorical((0.2, 0.5, 0.3), Cosine())})
    check_sampler_locality(Heun(), process, time_grid(EDM(), 3, "karras"), lambda ids: Noise(7, ids), 1.0, dtype=torch.float64, known=False)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_streams_do_not_depend_on_their_batch(seed: int) -> None:
    check_streams(lambda ids: Noise(seed, ids))


def test_every_count_and_place_gets_the_same_normals() -> None:
    """Vector units work in blocks; no place in a block may change a bit."""
    whole = Noise(3, torch.arange(60)).at("x", 1).flat_normal(40)
    for first in range(0, 60, 7):
        for count in range(1, 41):
            part = Noise(3, torch.arange(first, min(first + count, 60))).at("x", 1).flat_normal(count)
            assert torch.equal(part, whole[first : first + count, :count])


def test_centred_positions_come_out_equal_to_rounding() -> None:
    """A mean over atoms is a sum, and padding may change the order of a sum: equal noise, then, and equal positions to rounding."""
    process, sizes, ids = Joint({"x": Gaussian(VPLinear())}), torch.tensor([5, 3, 7, 4]), torch.tensor([4, 9, 2, 31])

    def run(places: list[int], width: int) -> torch.Tensor:
        layout = Layout.nodes(sizes[places], width, centred=True)
        like = {"x": torch.zeros(len(places), width, 3, dtype=torch.float64)}
        oracle = EntrywiseOracle(process, mean=0.0)
        return sample(oracle, process, {"x": layout}, Noise(0, ids[places]), time_grid(VPLinear(), 8), Multistep(), like).state["x"]

    whole = run([0, 1, 2, 3], 7)
    for place in range(4):
        alone = run([place], int(sizes[place]))
        torch.testing.assert_close(alone[0], whole[place, : sizes[place]], rtol=0, atol=1e-12)
