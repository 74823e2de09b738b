import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.core.bars import upside_down
from moola.core.features import (
    FEATURE_NAMES,
    FEATURE_TYPE,
    FEATURE_VERSION,
    N_FEATURES,
    ZSCORE_CLIP,
    bar_ratios,
    mirrored_features,
    relative_features,
    rolling_zscores,
)
from tests.made import made_windows
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
