import pytest

from moola.augment.synthesis import n_variants, staged_ratios


@pytest.mark.parametrize(
    ("stages", "n_epochs", "ratios"),
    [
        ((), 4, ()),
        ((0.25, 0.5, 1.0), 6, (0.25, 0.25, 0.5, 0.5, 1.0, 1.0)),
        ((0.25, 0.5, 1.0), 3, (0.25, 0.5, 1.0)),
        ((0.25, 0.5), 5, (0.25, 0.25, 0.25, 0.5, 0.5)),
        ((2.0,), 2, (2.0, 2.0)),
    ],
)
def test_stages_share_the_epochs_evenly(stages, n_epochs, ratios):
    assert staged_ratios(stages, n_epochs) == ratios


def test_every_stage_is_reached_and_lengths_differ_by_one_at_most():
    for n_stages in range(1, 6):
        for n_epochs in range(n_stages, 30):
            ratios = staged_ratios(tuple(map(float, range(n_stages))), n_epochs)
            counts = [ratios.count(stage) for stage in range(n_stages)]
            assert max(counts) - min(counts) <= 1
            assert list(ratios) == sorted(ratios)


@pytest.mark.parametrize(("ratio", "made"), [(0.0, 1), (0.25, 1), (0.5, 2), (1.0, 4), (2.0, 4)])
def test_more_are_made_where_more_are_drawn_up_to_four(ratio, made):
    assert n_variants(ratio) == made
