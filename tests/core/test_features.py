from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core import features as bar_features
from moola.core.bars import upside_down
from moola.core.features import (
    FEATURE_NAMES,
    FEATURE_TYPE,
    FEATURE_VERSION,
    N_FEATURES,
    ZSCORE_CLIP,
    BarFeatures,
    RobustScaler,
    bar_ratios,
    mirrored_features,
    relative_features,
    rolling_zscores,
)
from moola.core.seeds import derive_seed, generator
from moola.core.windows import take_windows
from tests.made import made_windows, random_walk_bars
from tests.oracles import naive_features
from tests.strategies import tick_windows


def test_names_stand_in_the_order_of_the_contract():
    kinds = ("open", "high", "low", "close")
    ratios = ("body_ratio", "upper_wick_ratio", "lower_wick_ratio")
    assert (*(f"log_return_{k}" for k in kinds), *ratios, *(f"zscore_{k}" for k in kinds)) == FEATURE_NAMES
    assert (N_FEATURES, FEATURE_TYPE, FEATURE_VERSION) == (11, "relative_11d", 1)


def test_features_equal_the_naive_loop_on_windows_of_105_bars():
    ohlc = made_windows(3, seed=5).ohlc
    expected = np.array([naive_features(window.tolist()) for window in ohlc])
    np.testing.assert_allclose(relative_features(ohlc), expected, rtol=1e-9, atol=1e-10)


@given(tick_windows())
def test_features_equal_the_naive_loop_on_short_windows_and_flat_bars(ohlc):
    np.testing.assert_allclose(relative_features(ohlc)[0], naive_features(ohlc[0].tolist()), rtol=1e-9, atol=1e-10)


def test_features_of_two_bars_worked_out_by_hand():
    ohlc = np.array([[[10.0, 14.0, 9.0, 12.0], [12.0, 16.0, 8.0, 9.0]]])
    first, second = relative_features(ohlc)[0]
    assert first.tolist() == [0, 0, 0, 0, 2 / 5, 2 / 5, 1 / 5, 0, 0, 0, 0]
    assert second[:4] == pytest.approx(np.log([12 / 10, 16 / 14, 8 / 9, 9 / 12]))
    assert second[4:7].tolist() == [3 / 8, 4 / 8, 1 / 8]
    assert second[7:].tolist() == [1, 1, -1, -1]


def test_zscore_forgets_the_twenty_first_bar_back():
    close = np.array([1000.0] + [1.0, 2.0] * 10)
    zscore = rolling_zscores(close[None, :, None])[0, :, 0]
    assert zscore[19] == pytest.approx((1.0 - close[:20].mean()) / close[:20].std())
    assert zscore[20] == pytest.approx(1.0)


def test_the_largest_zscore_that_twenty_bars_can_have_is_within_the_clip():
    spike = np.array([1.0] * 19 + [1e9])
    assert ZSCORE_CLIP == 10.0
    assert rolling_zscores(spike[None, :, None])[0, -1, 0] == pytest.approx(np.sqrt(19))


@given(tick_windows(), st.floats(1e-4, 1e4))
def test_features_do_not_depend_on_the_price_scale(ohlc, factor):
    np.testing.assert_allclose(relative_features(ohlc * factor), relative_features(ohlc), rtol=1e-7, atol=1e-8)


@given(tick_windows(), tick_windows(), st.data())
def test_bars_after_t_change_nothing_at_or_before_t(ohlc, other, data):
    n_bars = min(ohlc.shape[1], other.shape[1])
    t = data.draw(st.integers(0, n_bars - 1))
    changed = np.concatenate([ohlc[:, : t + 1], other[:, t + 1 :]], axis=1)
    assert np.array_equal(relative_features(changed)[:, : t + 1], relative_features(ohlc)[:, : t + 1])


@pytest.mark.parametrize("price", [0.1, 1.1, 99.99, 1e-5, 7e6])
def test_constant_prices_give_exact_zeros(price):
    assert not relative_features(np.full((2, 105, 4), price)).any()


def test_each_window_is_computed_from_its_own_bars_alone():
    ohlc = made_windows(4).ohlc
    alone = np.concatenate([relative_features(ohlc[i : i + 1]) for i in range(4)])
    assert np.array_equal(relative_features(ohlc), alone)


def test_single_precision_prices_are_computed_in_double():
    ohlc = made_windows(1).ohlc.astype(np.float32)
    features = relative_features(ohlc)
    assert features.dtype == np.float64
    assert np.array_equal(features, relative_features(ohlc.astype(np.float64)))


def test_prices_given_are_left_unchanged():
    ohlc = made_windows(1).ohlc
    before = ohlc.copy()
    relative_features(ohlc)
    assert np.array_equal(ohlc, before)


@given(tick_windows())
def test_the_three_ratios_of_a_bar_with_range_sum_to_one(ohlc):
    ratios = bar_ratios(ohlc)
    has_range = ohlc[:, :, 1] > ohlc[:, :, 2]
    assert ratios[~has_range].sum() == 0
    np.testing.assert_allclose(ratios[has_range].sum(axis=-1), 1.0, rtol=1e-9)
    assert (ratios >= 0).all()


@given(tick_windows())
def test_the_log_returns_of_a_mirror_are_exact(ohlc):
    turned = mirrored_features(relative_features(ohlc))[..., :4]
    np.testing.assert_allclose(turned, relative_features(upside_down(ohlc))[..., :4], rtol=0, atol=1e-12)


@given(tick_windows())
def test_a_mirror_of_a_mirror_is_the_window_and_what_is_given_stays(ohlc):
    features = relative_features(ohlc)
    before = features.copy()
    assert np.array_equal(mirrored_features(mirrored_features(features)), features)
    assert np.array_equal(features, before)


def test_a_mirror_is_that_of_the_prices_upside_down_where_bars_are_small():
    rng = np.random.default_rng(0)
    # Bars of about 0.1 percent, as on hourly EURUSD: windows differ from one by a few percent at most.
    step = rng.normal(0, 1e-3, (5, 105))
    close = 1.1 * np.exp(step.cumsum(axis=1))
    open_ = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    wick = 1 + rng.uniform(0, 5e-4, (2, 5, 105))
    ohlc = np.stack([open_, np.maximum(open_, close) * wick[0], np.minimum(open_, close) / wick[1], close], axis=-1)
    turned, slow = mirrored_features(relative_features(ohlc)), relative_features(upside_down(ohlc))
    np.testing.assert_allclose(turned[..., :4], slow[..., :4], atol=1e-12)
    # Shares of a range bend by the range over the price.
    np.testing.assert_allclose(turned[..., 4:7], slow[..., 4:7], atol=2e-3)
    np.testing.assert_allclose(turned[..., 7:], slow[..., 7:], atol=0.1)
    assert np.abs(turned[..., 7:] - slow[..., 7:]).mean() < 0.01


def test_a_mirror_keeps_the_type_of_the_numbers():
    features = relative_features(made_windows(1).ohlc)
    assert mirrored_features(features.astype(np.float32)).dtype == np.float32
    assert mirrored_features(features).dtype == np.float64


@given(tick_windows(), st.data())
def test_any_window_has_the_features_of_the_naive_loop(ohlc, data):
    bars = ohlc[0]
    window_bars = data.draw(st.integers(1, len(bars)))
    first = np.array(data.draw(st.lists(st.integers(0, len(bars) - window_bars), min_size=1, max_size=4)))
    found = BarFeatures(bars).windows(first, window_bars)
    expected = [naive_features(bars[one : one + window_bars].tolist()) for one in first]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 3])
def test_overlapping_windows_of_real_length(stride):
    bars = random_walk_bars(300).ohlc
    first = np.arange(0, 196, stride)
    expected = relative_features(take_windows(bars, first, 105))
    np.testing.assert_allclose(BarFeatures(bars).windows(first, 105), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 7, 20, 64])
def test_pieces_of_the_table_change_nothing_but_rounding(size, monkeypatch):
    bars, first = random_walk_bars(150).ohlc, np.arange(40)
    whole = BarFeatures(bars).windows(first, 105)
    monkeypatch.setattr(bar_features, "BARS_AT_A_TIME", size)
    np.testing.assert_allclose(BarFeatures(bars).windows(first, 105), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_how_many_windows_are_mended_at_once_changes_no_bit(size, monkeypatch):
    features, first = BarFeatures(random_walk_bars(150).ohlc), np.arange(40)
    whole = features.windows(first, 105)
    monkeypatch.setattr(bar_features, "HEADS_AT_A_TIME", size)
    assert features.windows(first, 105).tobytes() == whole.tobytes()


def test_bars_with_nineteen_before_them_are_taken_from_the_table_as_they_are():
    features, first = BarFeatures(random_walk_bars(150).ohlc), np.arange(0, 45, 3)
    found = features.windows(first, 105)
    assert found[:, 19:].tobytes() == take_windows(features.whole, first + 19, 86).tobytes()
    assert not np.array_equal(found[:, 18, 7:], take_windows(features.whole, first + 18, 1)[:, 0, 7:])


def test_no_window_sees_a_bar_outside_it():
    bars = random_walk_bars(160).ohlc
    other = random_walk_bars(160, seed=9).ohlc
    mixed = np.concatenate([other[:30], bars[30:135], other[135:]])
    first = np.array([30])
    found = [BarFeatures(one).windows(first, 105) for one in (bars, mixed)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-9)


def test_no_windows_and_constant_prices():
    assert BarFeatures(random_walk_bars(120).ohlc).windows(np.array([], dtype=int), 105).shape == (0, 105, 11)
    assert not BarFeatures(np.full((200, 4), 1.1)).windows(np.arange(90), 105).any()


def test_turned_features_are_the_same_bytes_as_those_of_turned_bars():
    bars, first = random_walk_bars(5000).ohlc, np.arange(0, 4800, 7)
    found = BarFeatures(bars, turned=True).windows(first, 105)
    assert found.tobytes() == BarFeatures(upside_down(bars)).windows(first, 105).tobytes()


def test_center_is_the_median_and_scale_the_normal_spread():
    features = np.random.default_rng(0).normal([3.0, -1e-4], [2.0, 3e-4], (60, 105, 2))
    scaler = RobustScaler.fit(features)
    assert scaler.center == pytest.approx([3.0, -1e-4], rel=0.1)
    assert scaler.scale == pytest.approx([2.0, 3e-4], rel=0.05)


def test_quartiles_worked_out_by_hand():
    features = np.array([99.0, 0.0, 1.0, 2.0, 3.0, 4.0]).reshape(1, 6, 1)
    scaler = RobustScaler.fit(features)
    assert scaler.center.tolist() == [2.0]
    assert scaler.scale == pytest.approx([2.0 / 1.3489795])


def test_the_first_bar_of_each_window_is_left_out():
    features = np.random.default_rng(1).normal(size=(5, 20, 3))
    changed = features.copy()
    changed[:, 0] = 1e6
    assert np.array_equal(RobustScaler.fit(features).center, RobustScaler.fit(changed).center)
    assert np.array_equal(RobustScaler.fit(features).scale, RobustScaler.fit(changed).scale)


def test_outliers_do_not_move_the_fit():
    features = np.random.default_rng(2).normal(scale=1e-3, size=(10, 51, 1))
    changed = features.copy()
    changed[0, 1] = 1e6
    assert RobustScaler.fit(changed).scale == pytest.approx(RobustScaler.fit(features).scale, rel=0.02)


def test_a_feature_that_never_varies_is_centred_and_not_divided():
    scaler = RobustScaler.fit(np.full((2, 5, 1), 7.0))
    assert (scaler.center.tolist(), scaler.scale.tolist()) == ([7.0], [1.0])
    assert not scaler.transform(np.full((2, 5, 1), 7.0)).any()


def test_a_feature_that_seldom_varies_falls_back_to_its_deviation():
    features = np.zeros((1, 101, 1))
    features[0, 1] = 10.0
    assert RobustScaler.fit(features).scale == pytest.approx([features[:, 1:].std()])


def test_what_networks_see_is_single_precision_scaled_and_clipped():
    scaler = RobustScaler(np.array([1.0, 0.0]), np.array([2.0, 1e-4]))
    seen = scaler.transform(np.array([[[5.0, 2e-4], [-1e9, 1e9]]]))
    assert seen.dtype == np.float32
    assert seen.tolist() == [[[2.0, 2.0], [-8.0, 8.0]]]


@pytest.mark.parametrize(
    ("seed", "purpose", "derived"), [(17, ("masks", 3), 6776088048718402280), (0, (), 3456079177858693020)]
)
def test_a_seed_is_the_same_on_every_machine(seed, purpose, derived):
    assert derive_seed(seed, *purpose) == derived


def test_seeds_differ_by_seed_and_by_every_word_of_the_purpose():
    names = [(1, "a"), (2, "a"), (1, "b"), (1, "a", 0), (1, "a", 1), (1,)]
    assert len({derive_seed(*name) for name in names}) == len(names)


def test_seeds_fit_a_signed_64_bit_number():
    seeds = [derive_seed(seed) for seed in range(200)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**60


def test_a_generator_repeats_itself_and_nobody_elses_numbers():
    first = generator(17, "masks").random(4)
    assert np.array_equal(first, generator(17, "masks").random(4))
    assert not np.isin(generator(17, "order").random(4), first).any()
