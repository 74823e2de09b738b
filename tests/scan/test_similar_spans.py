"""Similar spans: planted copies are found once each, upside down where asked; what is kept is used; what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moola.core.bars import Bars, upside_down
from moola.core.features import RobustScaler
from moola.errors import InvalidData, WrongUsage
from moola.files import sha256_file
from moola.models.model_files import BASE_NAME, EncoderFile, read_encoder, weights_digest
from moola.models.network import EncoderArchitecture, build_encoder
from moola.models.span_metric import METRIC_FILE, read_metric
from moola.scan import similar_spans as module
from moola.scan.similar_spans import runs_of, similar_spans, window_firsts
from tests.made import HOUR_US, random_walk_bars

LENGTH, BEFORE = 14, 30
PLANTED, TURNED = (120, 300, 420), 520


def planted_bars(seed: int = 0) -> Bars:
    """Return a random walk with the same bars in three places and upside down in a fourth, as to their returns."""
    bars = random_walk_bars(640, seed)
    piece = random_walk_bars(BEFORE + LENGTH + 20, seed + 50).ohlc
    drift = np.where(np.arange(len(piece)) < BEFORE, 0.0, 3e-3).cumsum()
    piece = piece * np.exp(np.minimum(drift, 3e-3 * LENGTH))[:, None]
    ohlc = bars.ohlc.copy()
    for spot, turned in [*((one, False) for one in PLANTED), (TURNED, True)]:
        first, rest = spot - BEFORE, spot - BEFORE + len(piece)
        laid = upside_down(piece[None])[0] if turned else piece
        laid = laid / laid[0, 0] * ohlc[first - 1, 3]
        after = ohlc[rest:] / ohlc[rest - 1, 3] * laid[-1, 3]
        ohlc[first:rest], ohlc[rest:] = laid, after
    return replace(bars, ohlc=ohlc)


AT = (PLANTED[0], PLANTED[0] + LENGTH - 1)


@pytest.fixture(scope="module")
def base() -> EncoderFile:
    return read_encoder(BASE_NAME)


@pytest.fixture(scope="module")
def tiny() -> EncoderFile:
    """An encoder without a learned metric, which reads in a moment."""
    encoder = build_encoder(EncoderArchitecture("bilstm", 11, 8, 1), 3)
    return EncoderFile(encoder, RobustScaler(np.zeros(11), np.full(11, 0.01)), 105, {}, 1)


def near(found, spot: int) -> bool:
    return any(abs(first - spot) <= 2 and abs(last - spot - LENGTH + 1) <= 2 for first, last in found.bar)


@pytest.mark.slow
def test_copies_are_found_and_upside_down_where_asked(base):
    bars = planted_bars()
    found = similar_spans(bars, AT, base, 3)
    assert all(near(found, spot) for spot in (*PLANTED[1:], TURNED))
    assert found.mirrored[np.abs(found.bar[:, 0] - TURNED) <= 2].all()
    assert found.mirrored.sum() == 1
    assert (found.similarity > 0.8).all()
    upright = similar_spans(bars, AT, base, 20, mirror=False)
    assert not upright.mirrored.any()
    assert near(upright, PLANTED[1])
    assert upright.similarity[2] < found.similarity[2]
    taken = np.zeros(len(bars), dtype=int)
    for first, last in [*upright.bar, AT]:
        taken[first : last + 1] += 1
    assert taken.max() == 1
    assert (np.diff(upright.similarity) <= 0).all()
    assert upright.n_bars == len(bars)


def test_kept_vectors_give_the_same_are_read_again_where_damaged_and_bounded(tiny, tmp_path, monkeypatch, caplog):
    bars = planted_bars(1)

    def found(of=bars):
        return similar_spans(of, AT, tiny, 5, folder=tmp_path)

    first, again = found(), found()
    assert (first.n_from_folder, again.n_from_folder) == (0, 1)
    assert np.array_equal(first.bar, again.bar)
    assert np.array_equal(first.similarity, again.similarity)
    (kept,) = tmp_path.glob("*.npy")
    whole = kept.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 1
    for content in (whole[:-100], bytes(altered)):
        kept.write_bytes(content)
        after = found()
        assert after.n_from_folder == 0
        assert np.array_equal(after.similarity, first.similarity)
        assert kept.read_bytes() == whole
    assert "is not as it was written" in caplog.text
    assert found(replace(bars, ohlc=bars.ohlc * 2)).n_from_folder == 0
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    (tmp_path / "mine.npy").write_bytes(b"of somebody else")
    found(replace(bars, ohlc=bars.ohlc * 2.5))
    assert [path.name for path in tmp_path.glob("*.npy")] == ["mine.npy"]


def test_an_encoder_without_a_metric_finds_copies_in_other_tables_and_after_a_gap_too(tiny):
    bars = planted_bars()
    found = similar_spans(bars, AT, tiny, 3)
    assert near(found, PLANTED[1])
    assert near(found, PLANTED[2])
    other = bars.take(slice(PLANTED[1] - 60, None))
    found = similar_spans([bars.take(slice(0, 250)), other], AT, tiny, 3)
    assert found.table.tolist() == [1, 1, 1]
    assert near(found, 60)
    late = replace(bars, start_us=bars.start_us + np.where(np.arange(len(bars)) < 250, 0, 500 * HOUR_US))
    assert runs_of(late, 105) == [(0, 250), (250, 640)]
    assert near(similar_spans(late, AT, tiny, 3), PLANTED[2])
    with pytest.raises(WrongUsage, match="long gap"):
        similar_spans(late, (245, 255), tiny)


def test_a_span_that_cannot_be_searched_for_is_refused(tiny):
    bars = random_walk_bars(640)
    for at, said in (
        ((300, 300), "2 to 105 bars .* but it has 1"),
        ((300, 405), "but it has 106"),
        ((639, 640), "not among the 640"),
        ((-3, 5), "must lie within the bars"),
    ):
        with pytest.raises(WrongUsage, match=said):
            similar_spans(bars, at, tiny)
    with pytest.raises(InvalidData, match="105 in a row"):
        similar_spans([random_walk_bars(300), random_walk_bars(104)], (100, 110), tiny)
    with pytest.raises(WrongUsage, match="in a row"):
        similar_spans(random_walk_bars(104), (50, 60), tiny)


def test_windows_cover_every_bar_and_the_metric_is_that_of_base(base):
    for n_bars in (105, 106, 119, 120, 121, 400):
        firsts = window_firsts(n_bars, 105)
        assert firsts[0] == 0
        assert firsts[-1] + 105 == n_bars
        assert np.diff(firsts).max(initial=0) <= 15
    # Another metric finds other spans: a deliberate change.
    assert sha256_file(METRIC_FILE).startswith("09b80f7941cfd812")
    metric = read_metric(METRIC_FILE)
    assert metric.encoder == weights_digest(base.encoder)
    assert metric.weights.shape[:2] == (3, base.encoder.output_dim)
    assert METRIC_FILE.stat().st_size < 200_000
