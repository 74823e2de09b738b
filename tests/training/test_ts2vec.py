"""Arm `ts2vec`: crops overlap, what is near in time is no plain negative, and a slow twin has the same loss."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from moola.errors import MoolaError
from moola.models.model_files import weights_of
from moola.training.encoder_training import PretrainModule, build_pretraining
from moola.training.loop import FitPlan, fit
from moola.training.pretext_tasks import (
    MASKS,
    ArmSettings,
    Ts2VecArm,
    _crop,
    block_mask,
    contrast,
    draw_crops,
    edge_mask,
    nearness,
    patch_mask,
    random_mask,
)
from tests.networks_made import tiny_encoder
from tests.training.planted import targets_drawn
from tests.training.toys import N_BARS, as_tensors, toy_pretraining, toy_windows, view_of

PLAN = FitPlan(n_epochs=2, patience=0, weight_decay=0.01, seed=3)

SOME_CROPS = st.tuples(st.integers(1, 5), st.integers(2, 40), st.integers(0, 10**6))


def made(seed: int = 0) -> tuple[PretrainModule, Ts2VecArm]:
    module = build_pretraining(tiny_encoder(seed), ("ts2vec",), N_BARS, seed)
    arm = module.arms["ts2vec"]
    assert isinstance(arm, Ts2VecArm)
    return module, arm


def cross_entropy(vectors: list[np.ndarray], weights: list[float], anchor: int) -> float:
    """How much the guess of one vector at the others loses, against weights that are made to sum to 1."""
    others = [k for k in range(len(vectors)) if k != anchor]
    likeness = {k: float(vectors[anchor] @ vectors[k]) for k in others}
    highest = max(likeness.values())
    told = highest + math.log(sum(math.exp(value - highest) for value in likeness.values()))
    total = sum(weights[k] for k in others)
    return sum(weights[k] / total * (told - likeness[k]) for k in others)


def slow_contrast(first: np.ndarray, second: np.ndarray, near: np.ndarray, tau: float) -> float:
    """SoftCLT's hierarchical loss, one anchor at a time, over what a uniform guess loses."""
    total, blind, bars_each = 0.0, 0.0, 1
    n_windows = len(first)
    while True:
        n_steps = first.shape[1]
        if n_windows > 1:
            found = []
            for step in range(n_steps):
                vectors = [*first[:, step], *second[:, step]]
                for anchor in range(2 * n_windows):
                    weights = [near[anchor % n_windows, k % n_windows] for k in range(2 * n_windows)]
                    found.append(cross_entropy(vectors, weights, anchor))
            total += 0.5 * np.mean(found)
            blind += 0.5 * math.log(2 * n_windows - 1)
        if n_steps == 1:
            return total / blind
        found = []
        for window in range(n_windows):
            vectors = [*first[window], *second[window]]
            for anchor in range(2 * n_steps):
                apart = [abs(anchor % n_steps - k % n_steps) * bars_each for k in range(2 * n_steps)]
                weights = [2 / (1 + math.exp(tau * bars)) for bars in apart]
                found.append(cross_entropy(vectors, weights, anchor))
        total += 0.5 * np.mean(found)
        blind += 0.5 * math.log(2 * n_steps - 1)
        first, second = slowly_pooled(first), slowly_pooled(second)
        bars_each *= 2


def slowly_pooled(vectors: np.ndarray) -> np.ndarray:
    pairs = [np.maximum(vectors[:, 2 * k], vectors[:, 2 * k + 1]) for k in range(vectors.shape[1] // 2)]
    return np.stack(pairs, axis=1)


@pytest.mark.parametrize(("n_windows", "n_bars"), [(1, 2), (1, 7), (2, 5), (4, 8), (3, 9), (2, 1)])
@pytest.mark.parametrize("tau", [0.3, 1.5, 50.0])
def test_the_loss_is_what_a_loop_says(n_windows: int, n_bars: int, tau: float):
    rng = np.random.default_rng(n_windows + 10 * n_bars)
    first, second = rng.normal(size=(2, n_windows, n_bars, 3))
    near = nearness(rng.integers(0, 12, n_windows), 8, 2.0).astype(np.float64)
    found = contrast(torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(near), tau)
    assert found.item() == pytest.approx(slow_contrast(first, second, near, tau), rel=1e-6)


@pytest.mark.parametrize(("n_windows", "n_bars"), [(1, 6), (5, 11)])
def test_whoever_says_the_same_of_everything_loses_one(n_windows: int, n_bars: int):
    same = torch.full((n_windows, n_bars, 4), 0.7)
    near = torch.from_numpy(nearness(np.arange(n_windows) * 5, 105, 5.0))
    assert contrast(same, same, near, 1.5).item() == pytest.approx(1.0, rel=1e-5)


def test_whoever_tells_bars_and_windows_apart_loses_less():
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 8, 64))).float()
    near = torch.from_numpy(nearness(np.arange(6) * 500, 105, 5.0))
    told = contrast(vectors, vectors, near, 5.0).item()
    mixed = contrast(vectors, vectors.flip(0), near, 5.0).item()
    assert told < 0.2
    assert mixed > 1.0


def test_hard_weights_are_those_of_ts2vec():
    """With weights that fall at once, each anchor has one positive: its counterpart in the other crop."""
    first, second = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 3, 1, 4)))
    near = torch.from_numpy(nearness(np.arange(3) * 105, 105, 1e6)).double()
    both = torch.cat([first, second])[:, 0]
    likeness = (both @ both.T).fill_diagonal_(-math.inf)
    plain = torch.nn.functional.cross_entropy(likeness, torch.tensor([3, 4, 5, 0, 1, 2]))
    assert contrast(first, second, near, 1e6).item() == pytest.approx(plain.item() / math.log(5))


@given(SOME_CROPS)
def test_crops_overlap_inside_the_window(drawn: tuple[int, int, int]):
    n_windows, n_bars, seed = drawn
    first, second, n_shared = draw_crops(n_windows, n_bars, np.random.default_rng(seed))
    assert n_shared >= max(n_bars / 4, min(n_bars, 2))
    for crop in (first, second):
        assert len(crop) == n_windows
        assert crop.min() >= 0
        assert crop.max() < n_bars
        assert (np.diff(crop, axis=1) == 1).all()
    assert (first[:, -n_shared:] == second[:, :n_shared]).all()


def test_crops_reach_every_length_and_move_from_window_to_window():
    rng = np.random.default_rng(0)
    drawn = [draw_crops(4, 16, rng) for _ in range(300)]
    assert {n_shared for *_, n_shared in drawn} == set(range(4, 17))
    assert {first.shape[1] for first, *_ in drawn} == {second.shape[1] for _, second, _ in drawn} == set(range(4, 17))
    assert any(len(set(first[:, 0])) > 1 for first, *_ in drawn)


@given(st.lists(st.integers(-500, 10**6), min_size=1, max_size=6), st.floats(0.01, 100))
def test_windows_near_in_time_are_positives_in_part(places: list[int], tau: float):
    near = nearness(np.array(places), 105, tau)
    for one, place in enumerate(places):
        for other, there in enumerate(places):
            far = min(tau * abs(place - there) / 105, 80.0)
            wanted = 1.0 if one == other else 1 / (1 + math.exp(far))
            assert near[one, other] == pytest.approx(wanted, rel=1e-5)


def test_what_shares_no_bar_counts_next_to_nothing_and_the_other_way_up_nothing():
    near = nearness(np.array([0, 20, 105, 10_000]), 105, ArmSettings().soft_tau_windows)
    assert near[0, 1] > 0.25
    assert near[0, 2] < 0.01
    assert near[0, 3] < 1e-30
    flipped = nearness(np.array([0, 20, 20]), 105, 5.0, np.array([True, True, False]))
    assert flipped[0, 1] == near[0, 1]
    assert flipped[0, 2] == flipped[1, 2] == 0
    assert (np.diag(flipped) == 1).all()


def test_hidden_bars_are_zeros_and_crops_are_cut_window_by_window():
    features = torch.arange(24.0).reshape(2, 4, 3) + 1
    hidden = torch.tensor([[False, True, False, False], [True, False, False, False]])
    cut = _crop(features, hidden, torch.tensor([[1, 2], [0, 1]]))
    assert cut.tolist() == [[[0, 0, 0], [7, 8, 9]], [[0, 0, 0], [16, 17, 18]]]


def test_the_loss_encodes_both_crops_in_their_own_context():
    windows = toy_windows(n_windows=4)
    module, arm = made()
    targets = targets_drawn(arm, windows, np.random.default_rng(5))
    n_shared = int(targets["n_shared"])
    encoded = []
    for number, name in enumerate(("first", "second")):
        shown = np.where(targets["hidden"][number][..., None], 0, windows.features).astype(np.float32)
        cut = np.stack([window[bars] for window, bars in zip(shown, targets[name], strict=True)])
        encoded.append(module.encoder(torch.from_numpy(cut)).detach().double().numpy())
    wanted = slow_contrast(encoded[0][:, -n_shared:], encoded[1][:, :n_shared], targets["near"], arm.settings.soft_tau)
    assert arm.loss(view_of(module, windows), as_tensors(targets)).item() == pytest.approx(wanted, rel=1e-4)


def test_settings_reach_the_arm():
    soft = ArmSettings(soft_tau=0.1, soft_tau_windows=0.1)
    arm = build_pretraining(tiny_encoder(), ("ts2vec",), N_BARS, 0, soft).arms["ts2vec"]
    assert isinstance(arm, Ts2VecArm)
    assert arm.settings == soft
    windows = toy_windows(n_windows=3)
    assert targets_drawn(arm, windows, np.random.default_rng(0))["near"][0, 1] > 0.4


@pytest.mark.parametrize("n_windows", [1, 5])
def test_one_window_and_windows_all_alike_lose_something_finite(n_windows: int):
    windows = toy_windows(n_windows=1)
    windows = replace(
        windows, features=windows.features.repeat(n_windows, axis=0), position=windows.position.repeat(n_windows)
    )
    module, arm = made()
    loss = arm.loss(view_of(module, windows), as_tensors(targets_drawn(arm, windows, np.random.default_rng(0))))
    loss.backward()
    assert loss.item() == pytest.approx(1.0, abs=0.2)
    assert all(torch.isfinite(weight.grad).all() for weight in module.encoder.parameters())


def test_the_visible_batch_is_not_encoded_for_nothing():
    windows = toy_windows(n_windows=3)
    module, arm = made()
    view = view_of(module, windows)
    arm.loss(view, as_tensors(targets_drawn(arm, windows, np.random.default_rng(0))))
    assert "encoded" not in vars(view)
    assert view.encoded is view.encoded


def test_an_untrained_encoder_loses_one_and_training_less():
    objective = toy_pretraining("ts2vec", mask_ratio=0.0)
    with torch.no_grad():
        blind = np.mean([objective.losses(batch)[0]["loss"].item() for batch in objective.val_batches()])
    assert blind == pytest.approx(1.0, abs=0.1)
    features = torch.from_numpy(toy_windows().features)
    spread = objective.module.encoder(features).std(dim=(0, 1)).mean().item()
    state = fit(objective, replace(PLAN, n_epochs=8), lambda row: None)
    assert state.best_loss < 0.97 * blind
    assert objective.module.encoder(features).std(dim=(0, 1)).mean().item() > spread


def test_the_seed_decides_everything():
    def weights(seed: int) -> dict[str, torch.Tensor]:
        objective = toy_pretraining("ts2vec", seed, mask_ratio=0.0)
        fit(objective, replace(PLAN, seed=seed), lambda row: None)
        return weights_of(objective.module)

    once, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert any(not torch.equal(once[name], other[name]) for name in once)


RATIOS = st.floats(0.01, 0.99)

BARS = st.integers(2, 120)

SEEDS = st.integers(0, 10_000)


def runs_of(hidden: np.ndarray) -> list[tuple[int, int]]:
    """First and last bar of each run of hidden bars."""
    runs, first = [], None
    for bar, is_hidden in enumerate([*hidden.tolist(), False]):
        if is_hidden and first is None:
            first = bar
        if not is_hidden and first is not None:
            runs.append((first, bar - 1))
            first = None
    return runs


def test_the_strategies_by_name() -> None:
    assert {"random": random_mask, "block": block_mask, "patch": patch_mask, "edge": edge_mask} == MASKS


@given(st.sampled_from(list(MASKS)), SEEDS, BARS, RATIOS, st.integers(1, 130))
@example("patch", 0, 105, 0.15, 105)
def test_every_window_has_a_hidden_bar_and_one_that_is_not(
    strategy: str, seed: int, n_bars: int, ratio: float, patch_bars: int
) -> None:
    try:
        mask = MASKS[strategy](np.random.default_rng(seed), 6, n_bars, ratio, patch_bars)
    except MoolaError:
        # A patch as long as the window may also be refused, but never hide nothing.
        assert strategy == "patch"
        assert patch_bars >= n_bars
        return
    assert mask.shape == (6, n_bars)
    assert mask.dtype == bool
    assert mask.any(axis=1).all()
    assert not mask.all(axis=1).any()


@given(st.sampled_from(["random", "block", "edge"]), SEEDS, BARS, RATIOS)
def test_bars_are_hidden_in_the_share_asked_for(strategy: str, seed: int, n_bars: int, ratio: float) -> None:
    hidden = MASKS[strategy](np.random.default_rng(seed), 5, n_bars, ratio, 7).sum(axis=1)
    assert len(set(hidden.tolist())) == 1
    wanted = min(max(n_bars * ratio, 1), n_bars - 1)
    assert abs(hidden[0] - wanted) <= 0.5


@given(SEEDS, BARS, RATIOS)
def test_a_block_is_one_run(seed: int, n_bars: int, ratio: float) -> None:
    for window in block_mask(np.random.default_rng(seed), 5, n_bars, ratio, 7):
        assert len(runs_of(window)) == 1


@given(SEEDS, st.integers(4, 120), RATIOS, st.integers(1, 60))
def test_patches_are_hidden_whole_in_the_share_asked_for(seed: int, n_bars: int, ratio: float, patch_bars: int) -> None:
    patch_bars = min(patch_bars, n_bars // 2)
    patches = [range(first, min(first + patch_bars, n_bars)) for first in range(0, n_bars, patch_bars)]
    n_wanted = min(max(len(patches) * ratio, 1), len(patches) - 1)
    for window in patch_mask(np.random.default_rng(seed), 5, n_bars, ratio, patch_bars):
        hidden = [patch for patch in patches if window[patch.start]]
        assert abs(len(hidden) - n_wanted) <= 0.5
        assert sorted(bar for patch in hidden for bar in patch) == np.flatnonzero(window).tolist()


def test_the_last_patch_may_be_shorter() -> None:
    mask = patch_mask(np.random.default_rng(0), 200, 10, 0.3, 4)
    hidden = {tuple(np.flatnonzero(window).tolist()) for window in mask}
    assert hidden == {(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)}


@pytest.mark.parametrize(("strategy", "patch_bars"), [("random", 7), ("patch", 3)])
def test_every_bar_is_hidden_equally_often(strategy: str, patch_bars: int) -> None:
    mask = MASKS[strategy](np.random.default_rng(1), 4000, 30, 0.2, patch_bars)
    share = mask.mean(axis=0)
    assert share.min() > 0.17
    assert share.max() < 0.23


def test_a_block_starts_everywhere_equally_often() -> None:
    mask = block_mask(np.random.default_rng(1), 4000, 20, 0.25, 7)
    counts = np.bincount(mask.argmax(axis=1), minlength=16)
    assert len(counts) == 16
    assert counts.min() > 190
    assert counts.max() < 310


def test_an_edge_is_the_first_or_the_last_bars_equally_often() -> None:
    mask = edge_mask(np.random.default_rng(1), 4000, 20, 0.25, 7)
    hidden = {tuple(np.flatnonzero(window).tolist()) for window in mask}
    assert hidden == {(0, 1, 2, 3, 4), (15, 16, 17, 18, 19)}
    assert 0.47 < mask[:, 0].mean() < 0.53


@pytest.mark.parametrize("strategy", [name for name in MASKS if name != "edge"])
def test_the_seed_decides_and_windows_differ(strategy: str) -> None:
    def draw(seed: int) -> np.ndarray:
        return MASKS[strategy](np.random.default_rng(seed), 20, 60, 0.15, 7)

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()
    assert len({window.tobytes() for window in draw(1)}) > 3


def test_random_bars_do_not_hang_together() -> None:
    mask = random_mask(np.random.default_rng(0), 500, 40, 0.5, 7)
    together = (mask[:, 1:] & mask[:, :-1]).mean()
    assert together == pytest.approx(0.5 * 19 / 39, abs=0.02)
