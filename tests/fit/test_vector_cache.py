"""Encoded windows on disk: the same bytes with and without, checked, bounded, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from moola.fit import linear_heads_fit
from moola.fit.linear_heads_fit import CACHE_ROOT, encoded, store_vectors, stored_vectors
from tests.networks_made import CPU, scaled_features, tiny_encoder

KIND = bytes(range(32))


@pytest.fixture(autouse=True)
def _a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def some(seed: int, n: int = 3) -> dict[bytes, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {bytes(rng.bytes(32)): rng.normal(size=(4, 2)).astype(np.float32) for _ in range(n)}


def files() -> list[Path]:
    return sorted(CACHE_ROOT.glob("*.vectors"))


def forget() -> None:
    linear_heads_fit._cached.clear()


def test_a_second_process_reads_what_the_first_encoded_and_gets_the_same_bytes(monkeypatch) -> None:
    scaled, encoder = scaled_features(1, 6), tiny_encoder()
    forget()
    without = encoded(encoder, scaled, CPU)
    assert not CACHE_ROOT.exists()
    forget()
    first = encoded(encoder, scaled[:4], CPU, on_disk=True)
    read: list[int] = []
    run = linear_heads_fit.run_encoder
    monkeypatch.setattr(linear_heads_fit, "run_encoder", lambda e, s, d: read.append(len(s)) or run(e, s, d))
    forget()
    again = encoded(encoder, scaled, CPU, on_disk=True)
    # The four that are on disk are not read by the encoder again.
    assert read == [2]
    assert first.tobytes() == without[:4].tobytes()
    assert again.tobytes() == without.tobytes()
    forget()
    encoded(tiny_encoder(5), scaled, CPU, on_disk=True)
    # Another encoder knows none of them.
    assert read == [2, 6]


def test_what_was_stored_comes_back_for_its_kind_alone() -> None:
    one, other = some(1), some(2)
    store_vectors(KIND, one)
    store_vectors(KIND, other)
    wanted = {*list(one)[:2], next(iter(other)), b"x" * 32}
    found = stored_vectors(KIND, wanted)
    assert found.keys() == wanted - {b"x" * 32}
    for name, vectors in found.items():
        assert (vectors == (one | other)[name]).all()
    assert stored_vectors(KIND[::-1], wanted) == {}


@pytest.mark.parametrize("place", [3, 20, 60, 90, -1], ids=["magic", "hash", "sizes", "keys", "vectors"])
def test_an_altered_file_is_removed_and_gives_nothing(place: int) -> None:
    made = some(3)
    store_vectors(KIND, made)
    (path,) = files()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    assert stored_vectors(KIND, set(made)) == {}
    # One that does not begin as such a file does is not looked at, and goes when its turn comes.
    assert files() == ([path] if place == 3 else [])


def test_a_file_cut_short_gives_nothing() -> None:
    made = some(3)
    store_vectors(KIND, made)
    (path,) = files()
    whole = path.read_bytes()
    for length in (0, 10, 50, 80, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert stored_vectors(KIND, set(made)) == {}
        path.write_bytes(whole)


def test_the_folder_stays_within_its_bound_and_the_latest_used_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [some(seed) for seed in range(3)]
    store_vectors(KIND, made[0])
    size = files()[0].stat().st_size
    monkeypatch.setattr(linear_heads_fit, "MAX_BYTES", 2 * size + 10)
    os.utime(files()[0], (1, 1))
    store_vectors(KIND, made[1])
    for path in files():
        os.utime(path, (2 if path.stat().st_mtime > 1 else 1,) * 2)
    # Reading the oldest makes it the latest.
    assert stored_vectors(KIND, set(made[0]))
    store_vectors(KIND, made[2])
    assert len(files()) == 2
    assert stored_vectors(KIND, set(made[0])).keys() == made[0].keys()
    assert stored_vectors(KIND, set(made[1])) == {}
    monkeypatch.setattr(linear_heads_fit, "MAX_BYTES", size)
    before = files()
    store_vectors(KIND, some(9, n=40))
    assert files() == before


def test_a_folder_that_cannot_be_written_to_changes_nothing() -> None:
    CACHE_ROOT.parent.mkdir(parents=True)
    CACHE_ROOT.write_text("a file where the folder would be")
    store_vectors(KIND, some(1))
    assert stored_vectors(KIND, set(some(1))) == {}


def test_train_keeps_windows_and_no_cache_keeps_none_with_the_same_model(sample, train, monkeypatch) -> None:
    for name in ("MOOLA_HIDDEN_DIM", "MOOLA_NUM_LAYERS", "MOOLA_EPOCHS"):
        monkeypatch.delenv(name)
    models = []
    for words in (("--no-cache",), (), ()):
        forget()
        before = len(files())
        answer = train("--pretrained-encoder", "base", *words)
        models.append((Path("artifacts/runs") / answer.last_line / "model.pkl").read_bytes())
        assert (len(files()) > before) == (len(models) == 2)
    assert models[0] == models[1] == models[2]
