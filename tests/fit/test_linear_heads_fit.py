"""Linear heads on a frozen encoder: when they are the default, what refuses them, and windows kept on disk."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moola.core.expansions import NO_POINTER
from moola.core.features import mirrored_features
from moola.core.splits import Split
from moola.errors import WrongUsage
from moola.evaluation.calibration import calibrated
from moola.fit import linear_heads_fit
from moola.fit.inputs import FitInputs, resolve_options
from moola.fit.linear_heads_fit import CACHE_ROOT, encoded, store_vectors, stored_vectors
from moola.fit.predicting import predict_windows, read_windows_both_ways
from moola.models.model_files import BASE_NAME, ModelFile, read_encoder, read_model, write_model
from moola.options.training_options import TrainOptions
from moola.stages.export_onnx import metadata, onnx_bytes, run_onnx
from moola.tables.window_file import WindowTable
from tests.fit.fits_made import (
    SPLIT,
    TABLE,
    TINY,
    fit_inputs_of,
    fitted,
    once,
    other_later,
    poisoned,
    same_weights,
    small_base,
)
from tests.made import made_windows
from tests.networks_made import CPU, equal_weights, scaled_features, ship_prior, tiny_encoder

ROWS = np.arange(len(TABLE))


def resolved(inputs: FitInputs | None = None, **options: Any) -> TrainOptions:
    inputs = fit_inputs_of() if inputs is None else inputs
    return resolve_options(TrainOptions(**TINY | options), inputs.table, inputs.split, inputs.encoder)


def said(model: ModelFile, table: WindowTable = TABLE):
    rows = np.arange(len(table))
    return predict_windows(model, table.with_features(), rows, np.full(len(rows), "new", dtype=object), CPU)


def test_a_frozen_encoder_has_linear_heads_and_what_they_do_not_need_is_off():
    found = resolved(n_heads=3, calibration_folds=4)
    assert (found.head, found.n_heads, found.augment_data, found.calibration_folds) == ("linear", 1, False, 0)
    fit = fitted(fit_inputs_of(), epochs=7)
    assert fit.model.network.head_kind == "linear"
    assert [(row["stage"], row["epoch"]) for row in fit.state.history] == [("train", 1), ("refit", 1)]
    for row in fit.state.history:
        assert row["out_of_fold_class_loss"] > 0
        assert row["by_blocks"] is True
        assert len(row["pointer_penalty"]) == 2
    assert fit.proof["frozen"] is True
    assert fit.proof["digest_before"] == fit.proof["digest_after"]
    assert equal_weights(fit.model.network.encoder, tiny_encoder(2))


# What needs the other kind of heads, and the option that says so.
NEEDS_MLP = [
    ({"unlabelled": Path("unlabelled.parquet")}, "--unlabelled"),
    ({"freeze_encoder": False}, "--no-freeze-encoder"),
    ({"augmentations": ("mirror", "warp")}, "--augmentations"),
    ({"cpsa_schedule": (0.5,)}, "--cpsa-schedule"),
]


def test_what_needs_a_hidden_layer_takes_one_and_refuses_linear_heads_by_name():
    for options, named in NEEDS_MLP:
        assert resolved(**options).head == "mlp"
        with pytest.raises(WrongUsage, match=named):
            resolved(head="linear", **options)
    alone = fit_inputs_of(pretrained=False)
    assert resolved(alone).head == "mlp"
    with pytest.raises(WrongUsage, match="none named"):
        resolved(alone, head="linear")


def test_every_seed_and_windows_without_prices_give_the_same_model_file_but_for_the_record(tmp_path):
    bare = replace(TABLE.with_features(), ohlc=None)
    content = []
    for fit in (once(), fitted(fit_inputs_of(), seed=2), fitted(fit_inputs_of(bare))):
        kept = {name: value for name, value in fit.model.training.items() if name != "seed"}
        write_model(tmp_path / "model.pkl", replace(fit.model, training=kept))
        content.append((tmp_path / "model.pkl").read_bytes())
    assert content[0] == content[1] == content[2]


@pytest.mark.slow
def test_val_rows_choose_the_pointer_threshold_alone_until_the_refit_and_test_rows_nothing():
    clean, val, test = once(), fitted(fit_inputs_of(poisoned(SPLIT.val))), fitted(fit_inputs_of(poisoned(SPLIT.test)))
    assert same_weights(clean.chosen.network, val.chosen.network)
    assert clean.chosen.temperature == val.chosen.temperature
    assert not same_weights(clean.model.network, val.model.network)
    kept = fitted(fit_inputs_of(), refit=False)
    assert kept.model is kept.chosen
    assert same_weights(kept.model.network, clean.chosen.network)
    assert same_weights(clean.model.network, test.model.network)
    assert (clean.model.temperature, clean.model.pointer_threshold) == (
        test.model.temperature,
        test.model.pointer_threshold,
    )


def labelled(*names: str) -> WindowTable:
    return replace(TABLE, label=np.array(names * (len(TABLE) // len(names)), dtype=object))


def test_swaps_that_leave_a_class_out_are_told_with_the_one_that_is_missing(caplog):
    inputs = replace(fit_inputs_of(), table=labelled("down", "at rest", "up"))
    assert not resolved(inputs, mirror_classes=("up:down",)).mirror_average
    assert "leaves out at rest, so nothing is read upside down" in caplog.text
    assert "Add 'at rest:at rest' where" in caplog.text
    caplog.clear()
    assert resolved(inputs, mirror_classes=("up:down", "at rest:at rest")).mirror_average
    assert "leaves out" not in caplog.text


MODELS: dict[str, tuple[WindowTable, dict[str, Any]]] = {
    "one way, without pointers": (TABLE, {"mirror_average": False, "predict_pointers": False}),
    "directed": (labelled("bull", "bear"), {"mirror_classes": ("bull:bear",)}),
    "three classes, visible bars": (
        labelled("down", "flat", "up"),
        {"mirror_classes": ("up:down",), "visible_bars": 20},
    ),
}


@pytest.mark.parametrize(("table", "options"), MODELS.values(), ids=MODELS)
def test_a_written_model_and_its_graph_say_what_the_fitted_one_says(table, options, tmp_path):
    model = fitted(fit_inputs_of(table), **options).model
    assert model.network.head_kind == "linear"
    write_model(tmp_path / "model.pkl", model)
    read = read_model(tmp_path / "model.pkl")
    before, after = said(model, table), said(read, table)
    np.testing.assert_array_equal(before.class_prob, after.class_prob)
    np.testing.assert_array_equal(before.predicted_bar, after.predicted_bar)
    features = table.with_features().features[:, : model.n_seen_bars]
    content = onnx_bytes(read, metadata(read, "0" * 64))
    logits, curves = read_windows_both_ways(model, features, CPU)
    class_prob, *pointing = run_onnx(content, features.astype(np.float32))
    np.testing.assert_allclose(class_prob, calibrated(logits, model.temperature), rtol=0, atol=1e-5)
    assert len(pointing) == (curves is not None)
    for found in pointing:
        np.testing.assert_allclose(found, curves, rtol=0, atol=1e-5)
    # Directed classes swap upside down, and pointers stay.
    if model.class_names == ["bear", "bull"]:
        assert model.mirror == [1, 0]
        down, down_curves = read_windows_both_ways(model, mirrored_features(features), CPU)
        np.testing.assert_allclose(logits, down[:, ::-1], atol=1e-4)
        np.testing.assert_allclose(curves, down_curves, atol=1e-5)
        assert fitted(fit_inputs_of(table)).model.mirror is None


def test_background_windows_count_for_the_class_alone():
    label, start, end = TABLE.label.copy(), TABLE.expansion_start.copy(), TABLE.expansion_end.copy()
    bare = ROWS % 3 == 0
    label[bare], start[bare], end[bare] = "background", NO_POINTER, NO_POINTER
    fit = fitted(fit_inputs_of(replace(TABLE, label=label, expansion_start=start, expansion_end=end)))
    assert fit.model.class_names == ["background", "consolidation", "retracement"]
    assert fit.model.network.predict_pointers
    # Other labels of the windows without an expansion leave the pointers where they are.
    label = label.copy()
    label[bare] = np.where(ROWS[bare] % 2, "background", "consolidation")
    other = fitted(fit_inputs_of(replace(TABLE, label=label, expansion_start=start, expansion_end=end)))
    [one], [two] = fit.model.network.heads, other.model.network.heads
    np.testing.assert_array_equal(one.pointer_head.weight.detach(), two.pointer_head.weight.detach())
    assert one.class_head.weight.shape == two.class_head.weight.shape
    assert not np.array_equal(one.class_head.weight.detach(), two.class_head.weight.detach())


def test_bars_that_are_not_visible_change_nothing():
    one, two = (fitted(fit_inputs_of(table), visible_bars=20).model for table in (TABLE, other_later(TABLE, 20)))
    assert same_weights(one.network, two.network)
    assert one.temperature == two.temperature
    assert not same_weights(one.network, once().model.network)


def test_the_encoder_in_the_package_reads_windows_of_other_lengths(tmp_path, monkeypatch):
    small_base(tmp_path, monkeypatch)
    table = made_windows(24, seed=4, stride=60, window_bars=60)
    split = Split(np.arange(14), np.arange(14, 19), np.arange(19, 24))
    base = replace(fit_inputs_of(table, split), encoder=read_encoder(BASE_NAME))
    fit = fitted(base, window_bars=60, pretrained_encoder=BASE_NAME)
    assert fit.model.window_bars == 60
    assert fit.model.network.head_kind == "linear"
    assert equal_weights(fit.model.network.encoder, base.encoder.encoder)
    assert said(fit.model, table).curves.shape == (24, 60, 2)


def test_heads_on_the_encoder_of_the_prior_are_fitted_with_it(monkeypatch):
    inputs = fit_inputs_of()
    before = fitted(inputs).model.network
    ship_prior(inputs.encoder.encoder, monkeypatch)
    assert not same_weights(fitted(inputs).model.network, before)
    # The prior of another encoder changes nothing.
    ship_prior(tiny_encoder(5), monkeypatch)
    assert same_weights(fitted(inputs).model.network, before)


# Encoded windows: in memory, and on disk for other processes.

KIND = bytes(range(32))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own, as for a process that has encoded nothing yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(linear_heads_fit, "_cached", type(linear_heads_fit._cached)())


def forget() -> None:
    linear_heads_fit._cached.clear()


def some(seed: int, n: int = 3) -> dict[bytes, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {bytes(rng.bytes(32)): rng.normal(size=(4, 2)).astype(np.float32) for _ in range(n)}


def files() -> list[Path]:
    return sorted(CACHE_ROOT.glob("*.vectors"))


def counting(monkeypatch) -> list[int]:
    """Return the list that gets how many windows the encoder reads, call by call."""
    read: list[int] = []
    run = linear_heads_fit.run_encoder
    monkeypatch.setattr(linear_heads_fit, "run_encoder", lambda e, s, d: read.append(len(s)) or run(e, s, d))
    return read


def test_windows_kept_in_memory_are_the_ones_that_would_be_made(here, monkeypatch):
    encoder, scaled = tiny_encoder(2), scaled_features(1, 6)
    first = encoded(encoder, scaled, CPU)
    made = counting(monkeypatch)
    np.testing.assert_array_equal(encoded(encoder, scaled[::-1], CPU), first[::-1])
    assert made == []
    changed = scaled.copy()
    changed[3, 0, 0] += 1
    assert not np.array_equal(encoded(encoder, changed, CPU)[3], first[3])
    assert made == [1]
    # Another encoder's vectors are others, and what no longer fits is made again.
    assert not np.array_equal(encoded(tiny_encoder(5), scaled, CPU), first)
    assert made == [1, len(scaled)]
    monkeypatch.setattr(linear_heads_fit, "CACHE_BYTES", 2 * first[0].nbytes)
    np.testing.assert_array_equal(encoded(encoder, scaled, CPU), first)
    assert len(linear_heads_fit._cached) == 2
    np.testing.assert_array_equal(encoded(encoder, scaled, CPU), first)


def test_a_second_process_reads_what_the_first_encoded_and_gets_the_same_bytes(here, monkeypatch):
    scaled, encoder = scaled_features(1, 6), tiny_encoder()
    without = encoded(encoder, scaled, CPU)
    assert not CACHE_ROOT.exists()
    forget()
    first = encoded(encoder, scaled[:4], CPU, on_disk=True)
    read = counting(monkeypatch)
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


@pytest.mark.slow
def test_a_fit_keeps_windows_and_one_without_a_cache_keeps_none_with_the_same_model(here):
    content = []
    for cache in (False, True, True):
        forget()
        before = len(files())
        write_model(Path("model.pkl"), fitted(fit_inputs_of(), cache=cache).model)
        content.append(Path("model.pkl").read_bytes())
        assert (len(files()) > before) == (len(content) == 2)
    assert content[0] == content[1] == content[2]


def test_what_was_stored_comes_back_for_its_kind_alone(here):
    one, other = some(1), some(2)
    store_vectors(KIND, one)
    store_vectors(KIND, other)
    wanted = {*list(one)[:2], next(iter(other)), b"x" * 32}
    found = stored_vectors(KIND, wanted)
    assert found.keys() == wanted - {b"x" * 32}
    for name, vectors in found.items():
        assert (vectors == (one | other)[name]).all()
    assert stored_vectors(KIND[::-1], wanted) == {}


def test_an_altered_file_is_removed_and_one_cut_short_gives_nothing(here):
    made = some(3)
    store_vectors(KIND, made)
    (path,) = files()
    whole = path.read_bytes()
    # Of the beginning, the hash, the sizes, the keys and the vectors.
    for place in (3, 20, 60, 90, -1):
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(bytes(content))
        assert stored_vectors(KIND, set(made)) == {}
        # One that does not begin as such a file does is not looked at, and goes when its turn comes.
        assert files() == ([path] if place == 3 else [])
    for length in (0, 10, 50, 80, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert stored_vectors(KIND, set(made)) == {}


def test_the_folder_stays_within_its_bound_and_the_latest_used_stay(here, monkeypatch):
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


def test_a_folder_that_cannot_be_written_to_changes_nothing(here):
    CACHE_ROOT.parent.mkdir(parents=True)
    CACHE_ROOT.write_text("a file where the folder would be")
    store_vectors(KIND, some(1))
    assert stored_vectors(KIND, set(some(1))) == {}
