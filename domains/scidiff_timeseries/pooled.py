"""One fit for a whole panel: for many series that are too short for a base law each, such as 48 hours of thousands of patients.

Each channel has one transform, law, level and volatility, all series one correlation; a new series gets the panel's. Candidates are
compared by what a pooled fit is for: entries of some windows are hidden (10, 50, 90 % of them, or all of the second half), and predicted
from the rest by the law's exact quantiles. The least quantile losses in the data's own unit win, relative to the best for each of these
questions. A walk's start is the spread between series. How many innovations the panel's volatility is worth beside a window's own is
compared as well: of few values little is learned. So is the correlation of channels: places of one city share their days, but not every
jump from hour to hour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from scidiff_timeseries.candidates import walking_laws
from scidiff_timeseries.correlation import correlation
from scidiff_timeseries.hiding import hidden
from scidiff_timeseries.law import BaseLaw, Part, condition
from scidiff_timeseries.selection import LEVELS, ChannelFit, SeriesFit
from scidiff_timeseries.transforms import Transform, candidates

Array = NDArray[np.float64]
PRIORS = (0.5, 4.0, 32.0)
_COMPARED = 160
_JOINT = 24
_CHUNK = 512
_SHARES = (0.1, 0.5, 0.9)
_STEP = 0.01
_DIFFUSE = 0.5
_JITTER = 1e-10
_NORMAL = torch.special.ndtri(torch.from_numpy(LEVELS)).numpy()


def pooled_laws(seasons: Sequence[int], length: int) -> list[BaseLaw]:
    """Those of single series whose seasons the windows hold twice, and offsets of whole series around which values wander."""
    found = walking_laws([m for m in seasons if 2 * m <= length])
    for memory in (0.5, 0.8, 0.9, 0.95, 0.98):
        for noise in (0.02, 0.3):
            parts = (
                Part(kind="level", weight=1e-3),
                Part(kind="wander", weight=1.0, memory=memory),
                Part(kind="noise", weight=noise),
            )
            found.append(BaseLaw(name=f"offset, wander {memory}, noise {noise}", parts=parts, decay=0.99))
    return found


def pooled_fit(
    tables: Sequence[Array],
    seasons: Sequence[int],
    length: int,
    *,
    alike: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> SeriesFit:
    """The one fit of all series, values [time, channel] each, from windows of ``length`` steps.

    ``alike``: the channels are the same quantity at several places, and share their transform and law. ``progress`` is told how many
    channels are done.
    """
    windows = windows_of(tables, length)
    each = np.moveaxis(windows, 2, 0)  # [channel, window, time]
    shared = _choose(each.reshape(-1, windows.shape[1]), seasons, seed) if alike else None
    channels: list[ChannelFit] = []
    for number, rows in enumerate(each):
        chosen = shared if alike else _choose(rows, seasons, seed)
        fit = None if chosen is None else _fit(rows, chosen.transform, chosen.law)
        channels.append(_resting(rows) if fit is None else fit)
        if progress is not None:
            progress(number + 1)
    return _joined(windows, tuple(channels), seed)


def _joined(windows: Array, channels: tuple[ChannelFit, ...], seed: int) -> SeriesFit:
    """With the correlation that predicts hidden entries best: none, that of innovations (fast) or of values (slow), shared by all that
    moves or less by what moves fast."""
    alone = SeriesFit(channels=channels, correlation=tuple(map(tuple, np.eye(len(channels)).tolist())))
    if len(channels) == 1:
        return alone
    blank = np.zeros((windows.shape[1], 2))
    x = np.stack([fit.transform.forward(windows[:, :, c], blank) - fit.centre for c, fit in enumerate(channels)], -1)
    z = np.stack([_standardised(windows[:, :, c], fit) for c, fit in enumerate(channels)], -1)
    deviation = np.sqrt(np.mean(np.where(np.isfinite(x), x, 0.0) ** 2, (0, 1)))
    fast, slow = (correlation(table.reshape(-1, len(channels))) for table in (z, x / np.where(deviation > 0, deviation, 1.0)))
    options = [alone] + [
        alone.model_copy(update={"correlation": r, "shared": share})
        for r, share in ((fast, 1.0), (slow, 1.0), (fast, 0.5), (slow, 0.5), (slow, 0.25))
    ]
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(windows))[:_JOINT]
    masks = [_hidden(np.isfinite(windows[k]), number, seed) for number, k in enumerate(order)]
    seen = [windows[:, :, c][np.isfinite(windows[:, :, c])] for c in range(len(channels))]
    unit = [float(values.std()) or 1.0 if len(values) else 1.0 for values in seen]
    losses = [[_joint_loss(option, windows[k], mask, unit) for k, mask in zip(order, masks, strict=True)] for option in options]
    return options[int(_relative(np.array(losses)).argmin())]


def _relative(losses: Array) -> Array:
    """[...]: of losses [..., window], the mean over the kinds of questions, which take turns, of sum / least sum: none outweighs others."""
    kinds = len(_SHARES) + 1
    sums = np.stack([losses[..., kind::kinds].sum(-1) for kind in range(min(kinds, losses.shape[-1]))], -1)
    least = sums.reshape(-1, sums.shape[-1]).min(0)
    return (sums[..., least > 0] / least[least > 0]).mean(-1) if (least > 0).any() else np.zeros(sums.shape[:-1])


def _joint_loss(fit: SeriesFit, y: Array, asked: NDArray[np.bool_], unit: Sequence[float]) -> float:
    """The sum over the asked entries of a window [time, channel] of their quantile losses, each in its channel's unit."""
    blank, count = np.zeros((len(y), 2)), len(unit)
    x = np.stack([one.transform.forward(y[:, c], blank) for c, one in enumerate(fit.channels)], 1)
    centre, volatility = (torch.tensor([getattr(one, name) for one in fit.channels]).double() for name in ("centre", "volatility"))
    known, free = torch.from_numpy(np.isfinite(y) & ~asked), torch.from_numpy(asked)
    law = condition(fit.system, torch.from_numpy(x), known, free, centre, volatility)
    deviation = law.unit * law.spread.diagonal().clamp(min=0).sqrt()
    q = law.mean.numpy() + _NORMAL[:, None] * deviation.numpy()
    channel, truth, total = (law.free % count).numpy(), y.flatten()[law.free.numpy()], 0.0
    for c, one in enumerate(fit.channels):
        mine = channel == c
        made = one.transform.inverse(q[:, mine], np.zeros((int(mine.sum()), 2)))
        total += float(np.abs((made - truth[mine]) * ((truth[mine] <= made) - LEVELS[:, None])).sum()) / unit[c]
    return total


def _hidden(observed: NDArray[np.bool_], number: int, seed: int) -> NDArray[np.bool_]:
    """10, 50, 90 % or the second half of what is observed [time, channel], in turns."""
    if number % (len(_SHARES) + 1) < len(_SHARES):
        return hidden(observed, _SHARES[number % (len(_SHARES) + 1)], seed=seed, number=number)
    return observed & (np.arange(len(observed)) >= len(observed) // 2)[:, None]


def windows_of(tables: Sequence[Array], length: int) -> Array:
    """All series cut into windows [window, time, channel] of ``length`` (or of the longest series' length, if that is less) from the end
    on, padded with NaN in front; windows without values are left out."""
    length = min(length, max(len(table) for table in tables))
    cut: list[Array] = []
    for table in tables:
        count = max(-(-len(table) // length), 1)
        padded = np.full((count * length, table.shape[1]), np.nan)
        padded[len(padded) - len(table) :] = table
        cut += [window for window in padded.reshape(count, length, -1) if np.isfinite(window).any()]
    return np.stack(cut) if cut else np.full((1, length, tables[0].shape[1]), np.nan)


def _choose(rows: Array, seasons: Sequence[int], seed: int) -> ChannelFit | None:
    """The best transform and law for windows [window, time] of one channel; None where nothing varies."""
    enough = rows[np.isfinite(rows).sum(1) >= 2]
    seen = enough[np.isfinite(enough)]
    if not len(seen) or seen.std() == 0:
        return None
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(enough))[:_COMPARED]
    trial, laws = _Trial.of(enough[order], seed), pooled_laws(seasons, rows.shape[1])
    transforms = candidates(seen, np.zeros((len(seen), 2)), np.inf)
    if any(transform.name == "log" for transform in transforms):  # between it and none: linear below the median
        transforms.append(Transform(name="asinh", unit=float(np.median(seen))))
    fits = [fit for transform in transforms for law in laws if (fit := _fit(enough[order], transform, law)) is not None]
    if not fits:
        return None
    losses = np.array([trial.losses(fit) for fit in fits])
    best, prior = divmod(int(_relative(losses).argmin()), len(PRIORS))
    return fits[best].model_copy(update={"law": fits[best].law.model_copy(update={"prior": PRIORS[prior]})})


def _fit(rows: Array, transform: Transform, law: BaseLaw) -> ChannelFit | None:
    """Level and volatility over all windows, and the walks' starts from the spread of all values; None where nothing varies."""
    x = transform.forward(rows, np.zeros((rows.shape[1], 2)))
    seen = x[np.isfinite(x)]
    if not len(seen):
        return None
    centre, variance, volatility = float(seen.mean()), float(seen.var()), 0.0
    for _ in range(2):  # the starts depend on the volatility, and which innovations count on the starts
        z, usable = _innovations(x - centre, law)
        volatility = math.sqrt(float((usable * z**2).sum()) / max(int(usable.sum()), 1))
        if volatility <= 0:
            return None
        law = law.started(variance / volatility**2)
    return ChannelFit(transform=transform, law=law, centre=centre, volatility=volatility)


def _resting(rows: Array) -> ChannelFit:
    """For channels of which nothing is known, or which do not move."""
    seen = rows[np.isfinite(rows)]
    level = float(seen.mean()) if len(seen) else 0.0
    return ChannelFit(transform=Transform(), law=pooled_laws((), 1)[0], centre=level, volatility=max(1e-6 * abs(level), 1e-12))


def _innovations(x: Array, law: BaseLaw) -> tuple[Array, NDArray[np.bool_]]:
    found = [_whitened(law, torch.from_numpy(x[i : i + _CHUNK]), torch.isfinite(torch.from_numpy(x[i : i + _CHUNK])))[:2]
             for i in range(0, len(x), _CHUNK)]  # fmt: skip
    return np.concatenate([z.numpy() for z, _ in found]), np.concatenate([usable.numpy() for _, usable in found])


def _standardised(rows: Array, fit: ChannelFit) -> Array:
    """Innovations over the panel's volatility, NaN where there is none."""
    z, usable = _innovations(fit.transform.forward(rows, np.zeros((rows.shape[1], 2))) - fit.centre, fit.law)
    return np.where(usable, z / fit.volatility, np.nan)


def _whitened(
    law: BaseLaw, x: Float[Tensor, "row time"], known: Bool[Tensor, "row time"]
) -> tuple[Float[Tensor, "row time"], Bool[Tensor, "row time"], Float[Tensor, "row time time"]]:
    """(innovations at scale 1, which are not diffuse, Cholesky factors): unknown entries are 0 and independent of all others."""
    m, length = known.double(), x.shape[1]

    def factor(one: BaseLaw) -> Tensor:
        k = one.covariance(length) * (1 + _JITTER * torch.eye(length, dtype=torch.float64))
        return torch.linalg.cholesky(m[:, :, None] * k * m[:, None] + torch.diag_embed(1 - m))

    root, nearby = factor(law), factor(law.model_copy(update={"start": law.start * (1 + _STEP)}))
    z = torch.linalg.solve_triangular(root, torch.where(known, x, 0.0)[..., None], upper=False)[..., 0]
    share = 2 * (nearby.diagonal(dim1=1, dim2=2) / root.diagonal(dim1=1, dim2=2)).log() / math.log1p(_STEP)
    usable = known & (share < _DIFFUSE)
    return z * usable, usable, root


@dataclass(frozen=True)
class _Trial:
    """Windows [window, time] in the data's own unit, of which some entries are hidden."""

    y: Array
    asked: NDArray[np.bool_]

    @classmethod
    def of(cls, y: Array, seed: int) -> _Trial:
        return cls(y, np.stack([_hidden(np.isfinite(row)[:, None], number, seed)[:, 0] for number, row in enumerate(y)]))

    def losses(self, fit: ChannelFit) -> Array:
        """Sums of the quantile losses, [prior, window], for each of :data:`PRIORS`."""
        zero = np.zeros((self.y.shape[1], 2))
        x, law = torch.from_numpy(fit.transform.forward(self.y, zero) - fit.centre), fit.law
        known = torch.from_numpy(np.isfinite(self.y) & ~self.asked)
        z, usable, root = _whitened(law, x, known)
        all_z = torch.linalg.solve_triangular(root, torch.where(known, x, 0.0)[..., None], upper=False)
        k = law.covariance(x.shape[1])
        half = torch.linalg.solve_triangular(root, known.double()[:, :, None] * k, upper=False)
        mean = (half.mT @ all_z)[..., 0].numpy()
        deviation = (k.diagonal() - half.square().sum(1)).clamp(min=0).sqrt().numpy()
        anchor = self.asked.argmax(1)[:, None]
        weight = law.decay ** np.abs(np.arange(x.shape[1]) - anchor) * usable.numpy()
        found: list[Array] = []
        for prior in PRIORS:
            scale = np.sqrt(((weight * z.numpy() ** 2).sum(1) + prior * fit.volatility**2) / (weight.sum(1) + prior))
            q = fit.centre + mean + _NORMAL[:, None, None] * deviation * np.maximum(scale, 1e-3 * fit.volatility)[:, None]
            q = fit.transform.inverse(q, zero)
            miss = np.abs((q - self.y) * ((self.y <= q) - LEVELS[:, None, None]))
            found.append(np.where(self.asked, miss, 0.0).sum((0, 2)))
        return np.stack(found)
