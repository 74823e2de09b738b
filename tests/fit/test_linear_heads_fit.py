"""Linear heads on a frozen encoder: when they are the default, what refuses them, and that they are told as fitted."""

from __future__ import annotations

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
from moola.fit.linear_heads_fit import encoded
from moola.fit.predicting import predict_windows, read_windows_both_ways
from moola.models.model_files import ModelFile, read_encoder, read_model, write_model
from moola.options.training_options import TrainOptions
from moola.stages.export_onnx import metadata, onnx_bytes, run_onnx
from moola.tables.window_file import WindowTable
from tests.fit.fits_made import N_BARS, SPLIT, TABLE, TINY, fit_inputs_of, fitted, poisoned, same_weights
from tests.made import made_windows
from tests.networks_made import CPU, equal_weights, tiny_encoder

ROWS = np.arange(len(TABLE))


def resolved(material: FitInputs | None = None, **options: Any) -> TrainOptions:
    material = fit_inputs_of() if material is None else material
    return resolve_options(TrainOptions(**TINY | options), material.table, material.split, material.encoder)


def labelled(names: dict[str, str]) -> WindowTable:
    return replace(TABLE, label=np.array([names[name] for name in TABLE.label], dtype=object))


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


@pytest.mark.parametrize(("options", "named"), NEEDS_MLP, ids=[named for _, named in NEEDS_MLP])
def test_what_needs_a_hidden_layer_takes_one_and_refuses_linear_heads_by_name(options, named):
    assert resolved(**options).head == "mlp"
    with pytest.raises(WrongUsage, match=named):
        resolved(head="linear", **options)


def test_without_an_encoder_there_is_nothing_to_freeze():
    alone = fit_inputs_of(pretrained=False)
    assert resolved(alone).head == "mlp"
    with pytest.raises(WrongUsage, match="none named"):
        resolved(alone, head="linear")


def test_every_seed_gives_the_same_model_file_but_for_the_record(tmp_path):
    one, other = (fitted(fit_inputs_of(), seed=seed).model for seed in (1, 2))
    assert (one.training.pop("seed"), other.training.pop("seed")) == (1, 2)
    for name, model in (("one.pkl", one), ("other.pkl", other)):
        write_model(tmp_path / name, model)
    assert (tmp_path / "one.pkl").read_bytes() == (tmp_path / "other.pkl").read_bytes()


def test_val_rows_choose_the_pointer_threshold_alone_until_the_refit():
    clean, other = fitted(fit_inputs_of()), fitted(fit_inputs_of(poisoned(SPLIT.val)))
    assert same_weights(clean.chosen.network, other.chosen.network)
    assert clean.chosen.temperature == other.chosen.temperature
    assert not same_weights(clean.model.network, other.model.network)
    kept = fitted(fit_inputs_of(), refit=False)
    assert kept.model is kept.chosen
    assert same_weights(kept.model.network, clean.chosen.network)


def test_test_rows_change_nothing():
    clean, other = fitted(fit_inputs_of()), fitted(fit_inputs_of(poisoned(SPLIT.test)))
    assert same_weights(clean.model.network, other.model.network)
    assert (clean.model.temperature, clean.model.pointer_threshold) == (
        other.model.temperature,
        other.model.pointer_threshold,
    )


DIRECTED = {"consolidation": "bull", "retracement": "bear"}
THREE = replace(TABLE, label=np.array(["down", "flat", "up"] * (len(TABLE) // 3), dtype=object))
MODELS: dict[str, tuple[WindowTable, dict[str, Any]]] = {
    "both ways": (TABLE, {}),
    "one way": (TABLE, {"mirror_average": False}),
    "directed": (labelled(DIRECTED), {"mirror_classes": ("bull:bear",)}),
    "three classes": (THREE, {"mirror_classes": ("up:down",)}),
    "visible bars": (TABLE, {"visible_bars": 20}),
    "without pointers": (TABLE, {"predict_pointers": False}),
}
each_model = pytest.mark.parametrize(("table", "options"), MODELS.values(), ids=MODELS)


@each_model
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


def test_directed_classes_swap_upside_down_and_pointers_stay():
    model = fitted(fit_inputs_of(labelled(DIRECTED)), mirror_classes=("bull:bear",)).model
    assert (model.class_names, model.mirror) == (["bear", "bull"], [1, 0])
    features = TABLE.with_features().features
    up, up_curves = read_windows_both_ways(model, features, CPU)
    down, down_curves = read_windows_both_ways(model, mirrored_features(features), CPU)
    np.testing.assert_allclose(up, down[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(up_curves, down_curves, atol=1e-5)
    assert fitted(fit_inputs_of(labelled(DIRECTED))).model.mirror is None


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


def test_windows_without_prices_are_fitted_as_those_with_them():
    bare = replace(TABLE.with_features(), ohlc=None)
    assert same_weights(fitted(fit_inputs_of(bare)).model.network, fitted(fit_inputs_of()).model.network)


def test_bars_that_are_not_visible_change_nothing():
    ohlc = TABLE.ohlc.copy()
    later = made_windows(len(TABLE), seed=99, stride=N_BARS, window_bars=N_BARS).ohlc[:, 20:]
    ohlc[:, 20:] = later * (ohlc[:, 19, 3] / later[:, 0, 0])[:, None, None]
    other = replace(TABLE, ohlc=ohlc, features=None)
    one, two = (fitted(fit_inputs_of(table), visible_bars=20).model for table in (TABLE, other))
    assert same_weights(one.network, two.network)
    assert one.temperature == two.temperature
    assert not same_weights(one.network, fitted(fit_inputs_of()).model.network)


def test_encoded_windows_that_are_kept_are_the_ones_that_would_be_made(monkeypatch):
    encoder, material = tiny_encoder(2), fit_inputs_of()
    scaled = material.encoder.scaler.transform(material.table.features)
    monkeypatch.setattr(linear_heads_fit, "_cached", type(linear_heads_fit._cached)())
    first = encoded(encoder, scaled, CPU)
    made = []
    run = linear_heads_fit.run_encoder
    monkeypatch.setattr(linear_heads_fit, "run_encoder", lambda *given: made.append(len(given[1])) or run(*given))
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


def test_the_encoder_in_the_package_reads_windows_of_other_lengths():
    table = made_windows(24, seed=4, stride=60, window_bars=60)
    split = Split(np.arange(14), np.arange(14, 19), np.arange(19, 24))
    base = replace(fit_inputs_of(table, split), encoder=read_encoder(Path("base")))
    fit = fitted(base, window_bars=60, pretrained_encoder=Path("base"))
    assert fit.model.window_bars == 60
    assert fit.model.network.head_kind == "linear"
    assert equal_weights(fit.model.network.encoder, base.encoder.encoder)
    assert said(fit.model, table).curves.shape == (24, 60, 2)
