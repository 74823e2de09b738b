"""The prior of heads on `base`: whose it is, where it stands beside another encoder, and files that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moola.errors import UntrustedFile
from moola.files import sha256_file
from moola.models.head_prior import PRIOR_FILE, HeadPrior, prior_of, read_prior, write_prior
from moola.models.model_files import BASE_NAME, read_encoder, weights_digest, write_encoder
from tests.networks_made import made_scaler, tiny_encoder


@pytest.fixture
def prior() -> HeadPrior:
    rng = np.random.default_rng(3)
    return HeadPrior("abc", (rng.normal(size=(4, 2)), rng.normal(size=(4, 3))), rng.normal(size=(12, 5)))


def test_the_shipped_one_is_that_of_base() -> None:
    base = read_encoder(BASE_NAME).encoder
    found = prior_of(base)
    assert found is not None
    assert found.encoder == weights_digest(base)
    assert {len(one) for one in found.pointers} == {base.output_dim}
    assert len(found.classes) == 3 * base.output_dim
    # Other heads come out of another prior: a deliberate change.
    assert sha256_file(PRIOR_FILE).startswith("2c90ad4135b3d0ed")
    assert PRIOR_FILE.stat().st_size < 1_000_000
    assert prior_of(tiny_encoder()) is None


def test_the_root_gives_the_covariance_in_part(prior: HeadPrior) -> None:
    scale = np.array([1.0, 2.0, 0.5, 1.0])
    root = prior.pointer_root(1, scale)
    known = (prior.pointers[1] * scale[:, None]) @ (prior.pointers[1] * scale[:, None]).T
    np.testing.assert_allclose(root @ root, 0.7 * np.eye(4) + 0.3 * 4 * known / np.trace(known), atol=1e-12)
    np.testing.assert_allclose(root, root.T, atol=1e-12)
    assert np.trace(prior.class_root(np.ones(12)) @ prior.class_root(np.ones(12))) == pytest.approx(12)


def test_beside_another_encoder_it_counts_for_its_own_values_alone(prior: HeadPrior) -> None:
    wide = prior.placed(2, 7)
    root = wide.pointer_root(0, np.ones(7))
    np.testing.assert_allclose(root[2:6, 2:6], prior.pointer_root(0, np.ones(4)))
    others = [0, 1, 6]
    np.testing.assert_allclose(root[others], np.eye(7)[others], atol=1e-12)
    of_class = wide.class_root(np.ones(21))
    own = np.concatenate([part + np.arange(2, 6) for part in (0, 7, 14)])
    np.testing.assert_allclose(of_class[np.ix_(own, own)], prior.class_root(np.ones(12)), atol=1e-12)
    np.testing.assert_allclose(np.delete(of_class, own, axis=0), np.delete(np.eye(21), own, axis=0), atol=1e-12)


def test_base_is_known_beside_another(tmp_path: Path) -> None:
    write_encoder(tmp_path / "own.pt", tiny_encoder(), made_scaler(), 105, {})
    for place, named in enumerate([(BASE_NAME, tmp_path / "own.pt"), (tmp_path / "own.pt", BASE_NAME)]):
        pair = read_encoder(named).encoder
        found = prior_of(pair)
        assert found is not None
        own = pair.output_dim - 320
        known = (found.pointers[0] != 0).any(axis=1)
        assert known.tolist() == ([True] * 320 + [False] * own if place == 0 else [False] * own + [True] * 320)


def test_a_file_is_read_back_and_one_that_is_not_whole_is_refused(prior: HeadPrior, tmp_path: Path) -> None:
    path = tmp_path / "prior.pt"
    content = write_prior(path, prior, {"definitions": 3})
    again = read_prior(path)
    assert again.encoder == "abc"
    np.testing.assert_allclose(again.classes, prior.classes, rtol=1e-6)
    path.write_bytes(content[:-20])
    with pytest.raises(UntrustedFile):
        read_prior(path)
    for broken in (
        replace(prior, classes=prior.classes[:-1]),
        replace(prior, pointers=(prior.pointers[0], prior.pointers[1][:2])),
        replace(prior, classes=np.full((12, 5), np.nan)),
        replace(prior, classes=np.zeros((12, 5))),
    ):
        write_prior(path, broken, {})
        with pytest.raises(UntrustedFile, match="factors that cannot be used"):
            read_prior(path)
