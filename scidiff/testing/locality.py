r"""Law 5: what a sample becomes depends on (seed, id) alone: not on the batch it is in, its place there, or how far it is padded.

A batch is computed whole; split; reordered; padded further; every sample must come out equal *to the bit*. The samplers run with
:class:`EntrywiseOracle`, a denoiser without sums over entries: then no rounding depends on a shape, and whatever differs is the noise.
Known entries must come back as they were given, to the bit, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scidiff import posterior as post
from scidiff.denoiser import Condition
from scidiff.layout import Layout
from scidiff.process import Categorical, Clocks, Gaussian, Joint, Layouts, State, field_clock
from scidiff.random import NoiseSource
from scidiff.sampling import Rule, sample

MakeNoise = Callable[[Int[Tensor, " batch"]], NoiseSource]
"""ids -> the noise of these samples, for one fixed seed."""

SIZES = (5, 1, 3, 7, 4, 2, 6, 5)
_IDS = (11, 3, 2**33 + 5, 0, 731, 5, 40, 41)
_PADDING = 4


@dataclass(frozen=True)
class EntrywiseOracle:
    """Posteriors of independent entries: reals N(mean, spread^2), labels ~ law. Exact for such data, and local: entry i of the answer
    depends on entry i of x_t alone. Implements :class:`~scidiff.denoiser.Denoise`."""

    process: Joint
    mean: float = 0.5
    spread: float = 0.8
    law: tuple[float, ...] = (0.5, 0.3, 0.2)

    def __call__(
        self, x_t: State, t: Clocks, layouts: Layouts, condition: Condition | None = None, previous: post.Posteriors | None = None
    ) -> post.Posteriors:
        return {f: self._field(f, x_t[f], layouts[f].clock(field_clock(t, f)), layouts[f]) for f in self.process.fields}

    def _field(self, field: str, x: Tensor, t: Tensor, layout: Layout) -> post.Posterior:
        process = self.process.fields[field]
        if isinstance(process, Gaussian):
            alpha, sigma = (f(t)[..., None].to(x) for f in (process.schedule.alpha, process.schedule.sigma))
            gain = alpha * self.spread**2 / (alpha**2 * self.spread**2 + sigma**2)
            return post.Gaussian(self.mean + gain * (x - alpha * self.mean)).replace(~layout.free, x)
        assert isinstance(process, Categorical), f"field {field!r}: only Gaussian and Categorical processes have this oracle"
        clean = torch.arange(len(self.law)).expand(*x.shape, -1)
        clock = t[..., None].expand(clean.shape)
        q = process.diffuse_law(clean, torch.zeros_like(clock), clock)
        likelihood = q.gather(-1, x[..., None, None].expand(*clean.shape, 1))[..., 0]
        logits = (likelihood * torch.tensor(self.law, dtype=torch.float64)).log()
        logits = torch.nn.functional.pad(logits, (0, process.labels - len(self.law)), value=-torch.inf)
        return post.Categorical(logits).replace(~layout.free, x)


def _ways(count: int) -> list[tuple[str, list[list[int]]]]:
    """Ways to split a batch into smaller ones: (name, places in each)."""
    everyone = list(range(count))
    return [
        ("one by one", [[i] for i in everyone[1::3]]),
        ("split 3 + rest", [everyone[:3], everyone[3:]]),
        ("reversed", [everyone[::-1]]),
        ("every other", [everyone[::2], everyone[1::2]]),
    ]


def check_streams(make: MakeNoise, *, field: str = "x", step: int = 3) -> None:
    """Law 5 for a noise source: normals (three channels) and uniforms of nodes and symmetric pairs. Also: equal for both orders of a pair;
    different for different ids, fields and steps; uniforms in [0, 1). Raises AssertionError naming what differed."""
    ids = torch.tensor(_IDS)
    for kind, build in (("nodes", Layout.nodes), ("pairs", Layout.symmetric_pairs)):
        draws = make(ids).at(field, step)
        full = build(torch.tensor(SIZES), max(SIZES))
        whole = [draws.normal(full, 3), draws.uniform(full)]
        assert bool(((whole[1] >= 0) & (whole[1] < 1)).all()), f"law 5: uniforms of {kind} must lie in [0, 1)"
        if kind == "pairs":
            assert all(torch.equal(v, v.transpose(1, 2)) for v in whole), "law 5: both orders of a pair must get the same noise"
        for way, parts in _ways(len(ids)):
            for places in parts:
                padded = build(torch.tensor(SIZES)[places], max(SIZES) + _PADDING)
                again = make(ids[places]).at(field, step)
                for name, old, new in (
                    ("normals", whole[0], again.normal(padded, 3)),
                    ("uniforms", whole[1], again.uniform(padded)),
                ):
                    _same(old, new, places, full.mask, f"law 5: {name} of {kind}, batch {way} and padded")
        flat = whole[0].flatten(1)[:, : 3 * min(SIZES)] if kind == "nodes" else torch.arange(len(ids))[:, None]
        assert len(flat.unique(dim=0)) == len(ids), f"law 5: two of the ids {_IDS} have the same noise"
        for other, name in (
            (make(ids + 1).at(field, step), "another id"),
            (make(ids).at(field + "'", step), "another field"),
            (make(ids).at(field, step + 1), "another step"),
        ):
            equal = (other.normal(full, 3) == whole[0])[full.mask].double().mean()
            assert float(equal) < 0.01, f"law 5: {name} must have noise of its own, {float(equal):.0%} of the normals are the same"


def _same(old: Tensor, new: Tensor, places: Sequence[int], mask: Tensor, what: str) -> None:
    """Compare the real entries of the samples at ``places`` of the whole batch with a smaller batch that holds just these."""
    for i, place in enumerate(places):
        n = SIZES[place]
        window = (slice(0, n),) * (mask.ndim - 1)
        a, b = old[(place, *window)], new[(i, *window)]
        same = a == b
        if mask.ndim == 3:
            same = same | torch.eye(n, dtype=torch.bool).reshape(n, n, *[1] * (same.ndim - 2))
        assert bool(same.all()), f"{what}: sample {place} differs at entry {(~same).nonzero()[0].tolist()}"


def example(process: Joint, places: Sequence[int], padding: int, dtype: torch.dtype, *, known: bool) -> tuple[State, Layouts]:
    """The samples at ``places`` of :data:`SIZES` as a batch: reals have two channels; with ``known``, a sample's first entry is given."""
    sizes = torch.tensor(SIZES)[list(places)]
    n = max(SIZES) + padding
    layout = Layout.nodes(sizes, n)
    if known:
        layout = layout.with_known((torch.arange(n) == 0) & layout.mask)
    reals = (torch.arange(n)[None, :, None] + 0.25 * torch.arange(2) + torch.tensor(list(places))[:, None, None]).to(dtype)
    labels = (torch.arange(n) + torch.tensor(list(places))[:, None]) % 3
    state = {f: reals * layout.mask[..., None] if isinstance(p, Gaussian) else labels * layout.mask for f, p in process.fields.items()}
    return state, dict.fromkeys(process.fields, layout)


def check_sampler_locality(
    rule: Rule,
    process: Joint,
    grid: Float[Tensor, " points"],
    make: MakeNoise,
    churn: float,
    *,
    dtype: torch.dtype = torch.float32,
    known: bool = True,
) -> None:
    """Law 5 for a whole run of ``sample`` from the prior: the same samples however they are batched; known entries as given.

    Raises AssertionError naming the field, the way of batching and the sample that differed.
    """
    ids, everyone = torch.tensor(_IDS), list(range(len(_IDS)))

    def run(places: list[int], padding: int) -> State:
        like, layouts = example(process, places, padding, dtype, known=known)
        end = sample(EntrywiseOracle(process), process, layouts, make(ids[places]), grid, rule, like, churn=churn).state
        for f in process.fields:
            given = ~layouts[f].free
            assert torch.equal(end[f][given], like[f][given]), f"law 5: field {f!r}: known entries and padding must come back as given"
        return end

    whole = run(everyone, 0)
    for way, parts in _ways(len(_IDS)):
        for places in parts:
            again = run(places, _PADDING)
            for f in process.fields:
                mask = torch.ones(1, max(SIZES), dtype=torch.bool)
                _same(whole[f], again[f], places, mask, f"law 5: {rule} at churn {churn}: field {f!r}, batch {way} and padded")
