from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from moola.augment import AUGMENTATIONS, Source, can_mirror, class_swaps, synthesise, windows_of
from moola.core.bars import price_problems
from moola.core.features import relative_features
from moola.errors import InvalidData, WrongUsage
from tests.made import made_windows
from tests.strategies import tick_windows

TABLE = made_windows(6)
SAME = {"consolidation": "consolidation", "retracement": "retracement"}
ENTRY = AUGMENTATIONS["mirror"]
NO_LOT = np.random.default_rng(0)


def mirror(window, swaps=SAME):
    return ENTRY.make(window, Source((), swaps), NO_LOT)


def labelled(*names):
    return replace(TABLE.take(np.arange(len(names))), label=np.array(names, dtype=object))


def test_the_mirror_turns_every_return_around_and_swaps_the_wicks():
    for window in windows_of(TABLE):
        made = mirror(window)
        np.testing.assert_allclose(made.ohlc[:, [0, 2, 1, 3]] * window.ohlc, 1.0, rtol=1e-14)
        real, mirrored = relative_features(window.ohlc[None])[0], relative_features(made.ohlc[None])[0]
        np.testing.assert_allclose(mirrored[:, [0, 1, 2, 3]], -real[:, [0, 2, 1, 3]], atol=1e-12)
        # 1/p stretches a bar's parts a little differently: equal to the order of a bar's range.
        np.testing.assert_allclose(mirrored[:, [4, 5, 6]], real[:, [4, 6, 5]], atol=0.02)
        rises = np.sign(made.ohlc[:, 3] - made.ohlc[:, 0])
        assert np.array_equal(rises, -np.sign(window.ohlc[:, 3] - window.ohlc[:, 0]))


@pytest.mark.slow
@given(tick_windows())
def test_mirrored_windows_obey_the_bar_rules_and_keep_their_label(ohlc):
    window = replace(windows_of(TABLE)[0], ohlc=ohlc[0], start_bar=-1, end_bar=-1)
    made = mirror(window)
    assert price_problems(made.ohlc) == []
    assert ENTRY.keeps_label(window, made, Source((), SAME)) is None


def test_mirrored_twice_is_the_window_itself():
    swaps = class_swaps(["bear", "bull"], ("bull:bear",))
    for window in windows_of(labelled("bull", "bear", "bull")):
        twice = mirror(mirror(window, swaps), swaps)
        np.testing.assert_allclose(twice.ohlc, window.ohlc, rtol=1e-14)
        assert twice.label == window.label


def test_pointers_times_and_parent_stay_with_the_window():
    made = synthesise(TABLE, ())
    for name in ("expansion_start", "expansion_end", "start_us", "end_us", "symbol", "label"):
        assert np.array_equal(getattr(made, name), getattr(TABLE, name))
    assert made.window_id == [f"{name}~mirror" for name in TABLE.window_id]
    assert made.extra["parent"].to_list() == TABLE.window_id
    # To the bit what the mirror has always made.
    assert np.array_equal(made.ohlc, (1.0 / TABLE.ohlc)[:, :, [0, 2, 1, 3]])


def test_the_windows_given_are_left_unchanged():
    before = TABLE.ohlc.copy()
    synthesise(TABLE, ())
    assert np.array_equal(TABLE.ohlc, before)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda window, made: replace(made, start_bar=window.start_bar + 1),
        lambda _window, made: replace(made, ohlc=made.ohlc * np.linspace(1.0, 1.001, len(made))[:, None]),
        lambda window, made: replace(made, ohlc=window.ohlc),
        lambda _window, made: replace(made, label="other"),
    ],
)
def test_the_declared_check_sees_what_is_no_mirror(spoil):
    window = windows_of(TABLE)[0]
    made = mirror(window)
    assert ENTRY.keeps_label(window, made, Source((), SAME)) is None
    assert ENTRY.keeps_label(window, spoil(window, made), Source((), SAME)) == "it is not a mirror"


def test_old_features_are_not_carried_over():
    made = synthesise(TABLE.with_features(), ())
    assert np.array_equal(made.features, relative_features(made.ohlc))
    assert not np.allclose(made.features, TABLE.with_features().features)


def test_the_undirected_classes_alone_mirror_by_themselves():
    assert class_swaps(["bull", "consolidation", "retracement"], ()) == SAME
    made = synthesise(labelled("bull", "consolidation", "bull", "retracement"), ())
    assert made.window_id == ["made_0001~mirror", "made_0003~mirror"]
    assert made.label.tolist() == ["consolidation", "retracement"]


def test_classes_that_may_have_a_direction_are_refused_by_default():
    with pytest.raises(InvalidData, match=r"bear, bull may have a direction.*--mirror-classes same"):
        synthesise(labelled("bull", "bear"), ())


@pytest.mark.parametrize(
    ("mirror_classes", "labels"),
    [
        (("same",), ["bull", "bear", "flat"]),
        (("bull:bear",), ["bear", "bull"]),
        (("bear:bull", "flat:flat"), ["bear", "bull", "flat"]),
    ],
)
def test_classes_are_swapped_as_asked_and_others_left_out(mirror_classes, labels):
    assert synthesise(labelled("bull", "bear", "flat"), mirror_classes).label.tolist() == labels


@pytest.mark.parametrize("pair", ["bull:moon", "bull", "bull:", ":", "bull:bear:flat", "SAME"])
def test_what_names_no_two_classes_is_wrong_usage(pair):
    with pytest.raises(WrongUsage, match="--mirror-classes must be `same` or swaps"):
        class_swaps(["bear", "bull", "flat"], (pair,))


def test_a_class_with_two_mirrors_is_wrong_usage():
    with pytest.raises(WrongUsage):
        class_swaps(["bear", "bull", "flat"], ("bull:bear", "bull:flat"))


def test_windows_without_a_label_are_never_mirrored():
    assert len(synthesise(labelled("consolidation", None), ())) == 1


def test_relative_files_without_bars_are_refused():
    with pytest.raises(InvalidData, match="must have the bars of the windows"):
        synthesise(replace(TABLE.with_features(), ohlc=None), ())


def test_whether_there_is_anything_to_mirror():
    assert can_mirror(TABLE, ())
    assert not can_mirror(replace(TABLE.with_features(), ohlc=None), ())
    assert not can_mirror(labelled("bull", "bear"), ())
    assert can_mirror(labelled("bull", "bear"), ("same",))
