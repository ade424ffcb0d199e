"""The order of examples: a function of (seed, epoch), every example at most once an epoch, like sizes together; the average by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from scidiff.errors import UserError
from scidiff.train.ema import update_ema
from scidiff.train.order import batches_per_epoch, epoch_batches


@given(examples=st.integers(1, 400), data=st.data(), seed=st.integers(0, 2**40), epoch=st.integers(0, 2**20))
def test_full_batches_of_different_examples(examples: int, data: st.DataObject, seed: int, epoch: int) -> None:
    batch = data.draw(st.integers(1, examples))
    sizes = torch.randint(1, 30, (examples,), generator=torch.Generator().manual_seed(epoch))
    batches = epoch_batches(seed, epoch, sizes, batch)
    assert batches.shape == (examples // batch, batch) == (batches_per_epoch(examples, batch), batch)
    assert len(batches.unique()) == batches.numel()
    assert 0 <= int(batches.min()) <= int(batches.max()) < examples
    assert torch.equal(batches, epoch_batches(seed, epoch, sizes.clone(), batch))


def test_every_example_is_seen_in_the_long_run() -> None:
    """What one epoch leaves over is in another one; so is every example, equally often."""
    sizes = torch.arange(50) % 7 + 3
    counts = sum(torch.bincount(epoch_batches(0, epoch, sizes, 8).flatten(), minlength=50) for epoch in range(400))
    assert isinstance(counts, torch.Tensor)
    # 48 of 50 an epoch: binomial with mean 384 and a standard deviation of 3.9.
    assert bool(((counts - 384).abs() < 5 * 3.92).all())


def test_epochs_and_seeds_differ() -> None:
    sizes = torch.full((300,), 5)
    orders = {tuple(epoch_batches(seed, epoch, sizes, 10).flatten().tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_sizes_do_not_choose_the_examples() -> None:
    """They say who shares a batch, not who is seen in the epoch."""
    flat, mixed = torch.full((303,), 5), torch.randint(1, 30, (303,), generator=torch.Generator().manual_seed(0))
    assert set(epoch_batches(3, 1, flat, 10).flatten().tolist()) == set(epoch_batches(3, 1, mixed, 10).flatten().tolist())


def test_a_batch_holds_like_sizes() -> None:
    """Within a pool the sorted batches do not overlap: a batch's largest is at most the next one's smallest."""
    sizes = torch.randint(1, 30, (10 * 32,), generator=torch.Generator().manual_seed(0))
    batches = sizes[epoch_batches(0, 0, sizes, 10)]  # one pool
    low, high = batches.amin(1).sort().values, batches.amax(1).sort().values
    assert bool((high[:-1] <= low[1:]).all())
    padding = float((batches.amax(1, keepdim=True) - batches).double().mean())
    shuffled = sizes[torch.randperm(320, generator=torch.Generator().manual_seed(1))].reshape(-1, 10)
    assert padding < 0.1 * float((shuffled.amax(1, keepdim=True) - shuffled).double().mean())


def test_batches_of_an_epoch_come_in_no_order_of_size() -> None:
    sizes = torch.arange(320)
    first = epoch_batches(0, 0, sizes, 10).amin(1).tolist()
    assert first != sorted(first)
    assert first != sorted(first, reverse=True)


@pytest.mark.parametrize("batch", [0, 11, -1])
def test_a_batch_larger_than_the_data_is_refused(batch: int) -> None:
    with pytest.raises(UserError, match=rf"batch_size must lie between 1 and the number of training examples \(10\), got {batch}"):
        batches_per_epoch(10, batch)


def test_the_average_by_hand() -> None:
    """d = min(decay, (1 + s)/(10 + s)): 0.1 at step 0, from then on (2/11, 3/12) the decay itself, 0.15."""
    module, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    wanted = 5.0
    nn.init.constant_(average.weight, wanted)
    for step, (value, d) in enumerate([(1.0, 0.1), (-2.0, 0.15), (4.0, 0.15)]):
        nn.init.constant_(module.weight, value)
        update_ema(average, module, 0.15, step)
        wanted = d * wanted + (1 - d) * value
        assert average.weight.item() == pytest.approx(wanted, rel=1e-6)
        assert module.weight.item() == value
