import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moola.augment import training_ranges
from tests.augment.sources_made import cut_table, source_of

SPANS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 15)), min_size=1, max_size=12)


def spans_of(pairs):
    return np.array([(first, first + length) for first, length in pairs], dtype=np.int64).reshape(-1, 2)


@given(SPANS, SPANS)
def test_ranges_hold_every_clean_training_window_and_no_held_out_bar(train, held_out):
    train, held_out = spans_of(train), spans_of(held_out)
    ranges = training_ranges(train, held_out)
    held_bars = {bar for first, last in held_out for bar in range(first, last + 1)}
    for first, last in ranges:
        assert not held_bars & set(range(first, last + 1))
    for first, last in train:
        clean = not held_bars & set(range(first, last + 1))
        inside = [low <= first and last <= high for low, high in ranges]
        assert sum(inside) == (1 if clean else 0)
    # Nothing beyond the windows themselves: an embargo around held-out windows is kept.
    assert set(ranges.ravel().tolist()) <= set(train.ravel().tolist())


def test_a_forward_chain_has_one_range_that_ends_before_val():
    train, val = spans_of([(0, 10), (8, 10), (30, 10)]), spans_of([(45, 10), (60, 10)])
    assert training_ranges(train, val).tolist() == [[0, 40]]
    assert training_ranges(train[[2, 0, 1]], val[::-1]).tolist() == [[0, 40]]
    assert training_ranges(train, np.empty((0, 2), dtype=np.int64)).tolist() == [[0, 40]]


def test_the_shortest_and_longest_expansion_come_from_rows_with_pointers():
    table, _ = cut_table(4)
    lengths = (table.expansion_end - table.expansion_start + 1).tolist()
    assert source_of(table).expansion_bars() == (min(lengths), max(lengths))
    table.expansion_start[:] = -1
    table.expansion_end[:] = -1
    assert source_of(table).expansion_bars() == (0, 0)
