import numpy as np
import pytest

from moola.core.features import RobustScaler


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
