"""Dropout by bytes: the right share, the mean kept, nothing when judged, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from moola.models.heads import ByteDropout


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.999])
def test_the_share_is_dropped_and_the_mean_is_kept(share: float) -> None:
    torch.manual_seed(0)
    dropped = ByteDropout(share)(torch.ones(200, 105, 7))
    assert float((dropped == 0).float().mean()) == pytest.approx(share, abs=0.005)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.05)
    assert len(dropped.unique()) == 2


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (ByteDropout(0.5)(torch.ones(400_000)) > 0).double()
    for lag in range(1, 17):
        both = float((kept[lag:] * kept[:-lag]).mean())
        assert both == pytest.approx(0.25, abs=0.005)


def test_the_seed_decides_and_judging_changes_nothing() -> None:
    values, dropout = torch.randn(3, 5, 2), ByteDropout(0.4)
    told = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        told.append(dropout(values))
    assert torch.equal(told[0], told[1])
    assert not torch.equal(told[0], told[2])
    assert dropout.eval()(values) is values
    assert ByteDropout(0.0)(values) is values


def test_gradients_pass_where_values_did() -> None:
    torch.manual_seed(0)
    values = torch.ones(1000, requires_grad=True)
    dropped = ByteDropout(0.3)(values)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())
