import numpy as np
import pytest

from moola.core.seeds import derive_seed, generator


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
