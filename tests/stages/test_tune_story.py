"""The study: train rows alone, the same for the same seed, gone on with after a kill, honest about the best."""

from __future__ import annotations

import functools
import math
import sqlite3
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from alembic.script import base as script
from sqlalchemy import event
from sqlalchemy.engine import Engine

from moola.core.bars import utc_text
from moola.core.splits import forward_chain
from moola.errors import InvalidData, OperationFailed, TrainingDiverged, UntrustedFile, WrongUsage
from moola.files import sha256_file
from moola.models.model_files import write_encoder
from moola.options.study_options import TuneOptions
from moola.options.training_options import TrainOptions
from moola.stages import tune, tune_study
from moola.stages.tune_study import deciding, gather_inner, judge_fold, make_plan, trivial_figures
from moola.tables.split_file import SplitFile, write_split
from moola.tables.window_file import WindowTable, write_windows
from tests.made import made_windows
from tests.networks_made import made_scaler, tiny_encoder

BARS = 40


def written(folder: Path, table: WindowTable, base: WindowTable | None = None) -> TuneOptions:
    """Write windows and their split; `base` gives the times that cut it."""
    data, split = folder / "windows.parquet", folder / "split.json"
    write_windows(data, table)
    cut = forward_chain((base or table).intervals(), 0.2, 0.2)
    write_split(split, SplitFile("made", cut, BARS - 1, sha256_file(data), {}, BARS), table)
    return TuneOptions(
        data=data,
        split=split,
        study=folder / "study.db",
        output=folder / "moola.toml",
        window_bars=BARS,
        trials=3,
        hidden_dim=4,
        epochs=1,
        confirm_seeds=1,
        ranges=one_head(folder),
        device="cpu",
    )


# What is no matter of these tests: a study is the faster the less there is to choose.
HELD = {"n_heads": 1} | {
    name: getattr(TrainOptions, name)
    for name in ("weight_decay", "pointer_weight", "pointer_sigma", "label_smoothing", "input_noise")
}


def one_head(folder: Path, text: str = "") -> Path:
    """Write ranges that keep fits small."""
    path = folder / "ranges.toml"
    path.write_text("".join(f"{name} = {value}\n" for name, value in HELD.items()) + text)
    return path


TABLE = made_windows(60, 1, window_bars=BARS, stride=BARS)


@pytest.fixture
def options(tmp_path: Path) -> TuneOptions:
    return written(tmp_path, TABLE)


def valley(*taken: Any) -> float:
    """A figure that has its best at a learning rate of 0.005 and a small dropout, and that knows its fold and seed."""
    _, fold, training, _, seed, _ = taken
    luck = np.random.default_rng([seed, fold]).normal(0, 1e-3)
    return 0.2 + abs(math.log(training.learning_rate / 0.005)) / 20 + training.dropout / 20 + fold / 100 + luck


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge by a formula in place of fits, and ask the estimator and the median rule sooner."""
    monkeypatch.setattr(tune_study, "judge_fold", valley)
    monkeypatch.setattr(tune_study, "RANDOM_TRIALS", 3)
    monkeypatch.setattr(tune_study, "UNPRUNED_TRIALS", 2)


# A study file's migrations, which are looked through whenever one is opened, are the same each time.
run_file = script.util.load_python_file
migration = functools.cache(run_file)


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave out waiting for the disk, which is most of a study that fits nothing."""

    def relax(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    monkeypatch.setattr(
        script.util, "load_python_file", lambda *named: (run_file if named[1] == "env.py" else migration)(*named)
    )
    event.listen(Engine, "connect", relax)
    yield
    event.remove(Engine, "connect", relax)


def trials_of(result: dict[str, Any]) -> list[tune_study.Finished]:
    url = f"sqlite:///{result['study']}"
    storage = optuna.storages.RDBStorage(url)
    try:
        return tune_study.finished(optuna.load_study(study_name=tune_study.NAME, storage=storage))
    finally:
        storage.remove_session()
        storage.engine.dispose()


def quiet(_row: dict[str, Any]) -> None:
    pass


def test_val_and_test_rows_decide_nothing(tmp_path: Path) -> None:
    cut = forward_chain(TABLE.intervals(), 0.2, 0.2)
    held_out = np.concatenate([cut.val, cut.test])
    assert TABLE.ohlc is not None
    ohlc, label = TABLE.ohlc.copy(), TABLE.label.copy()
    start, end = TABLE.expansion_start.copy(), TABLE.expansion_end.copy()
    ohlc[held_out] *= np.exp(np.random.default_rng(0).normal(0, 0.2, (len(held_out), 1, 1)))
    ohlc[held_out] = ohlc[held_out][:, ::-1]
    label[held_out] = "poison"
    start[held_out], end[held_out] = 10, 11
    poisoned = replace(TABLE, ohlc=ohlc, label=label, expansion_start=start, expansion_end=end)
    found = []
    for name, one in (("clean", TABLE), ("poisoned", poisoned)):
        (tmp_path / name).mkdir()
        options = written(tmp_path / name, one, TABLE)
        result = tune.tune(replace(options, trials=2, inner_folds=2), quiet)
        decides = deciding(make_plan(options))
        found.append((trials_of(result), result["confirmed"], result["best"], result["trivial_by_fold"], decides))
    assert found[0] == found[1]
    assert len(found[0][0]) == 2


def test_inner_folds_lie_in_the_train_rows_and_share_no_bar(tmp_path: Path) -> None:
    table = made_windows(90, 2, stride=11, window_bars=BARS)
    options = written(tmp_path, table)
    inner = gather_inner(options)
    cut = forward_chain(table.intervals(), 0.2, 0.2)
    assert inner.table.window_id == [table.window_id[row] for row in cut.train]
    assert len(inner.folds) == 3
    start, end = inner.table.start_us, inner.table.end_us
    assert start is not None
    assert end is not None
    for fold in inner.folds:
        for before, after in ((fold.train, fold.val), (fold.train, fold.test), (fold.val, fold.test)):
            assert all(end[one] < start[other] for one in before for other in after)
    judged = np.concatenate([fold.test for fold in inner.folds])
    assert len(set(judged.tolist())) == len(judged)


def test_the_first_trial_is_the_defaults_even_outside_the_ranges(options: TuneOptions, quick: None) -> None:
    one_head(options.data.parent, "learning_rate = {low = 4e-3, high = 6e-3, log = true}\nbatch_size = [8, 16]\n")
    trials = trials_of(tune.tune(replace(options, trials=5), quiet))
    assert trials[0].values["learning_rate"] == TrainOptions.learning_rate
    assert trials[0].values["batch_size"] == TrainOptions.batch_size
    assert all(4e-3 <= trial.values["learning_rate"] <= 6e-3 for trial in trials[1:])
    assert {trial.values["batch_size"] for trial in trials[1:]} == {8, 16}
    assert all(float(f"{trial.values['learning_rate']:.3g}") == trial.values["learning_rate"] for trial in trials)


@pytest.mark.slow
def test_a_study_that_was_stopped_goes_on_to_the_trials_of_its_seed(
    options: TuneOptions, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trials_of(tune.tune(replace(options, trials=6, study=options.data.parent / "whole.db"), quiet))
    assert "pruned" in {trial.state for trial in whole}
    assert all(len(trial.by_fold) < 3 for trial in whole if trial.state == "pruned")
    other = replace(options, trials=2, seed=18, study=options.data.parent / "other.db")
    assert trials_of(tune.tune(other, quiet))[1].values != whole[1].values
    calls = 0

    def stopping(*taken: Any) -> float:
        nonlocal calls
        calls += 1
        # In the first trial, in one of the random ones and in one that the estimator drew.
        if calls in (2, 7, 13):
            raise KeyboardInterrupt
        return valley(*taken)

    monkeypatch.setattr(tune_study, "judge_fold", stopping)
    n_stops = 0
    while True:
        try:
            result = tune.tune(replace(options, trials=6), quiet)
            break
        except KeyboardInterrupt:
            n_stops += 1
    assert n_stops == 3
    assert trials_of(result) == whole


@pytest.mark.slow
def test_a_killed_trial_is_marked_and_drawn_again(options: TuneOptions, quick: None) -> None:
    whole = trials_of(tune.tune(replace(options, trials=4, study=options.data.parent / "whole.db"), quiet))
    made = make_plan(options)
    assert options.study is not None
    for n_trials in (1, 3):
        with tune_study.open_study(options.study, deciding(made), higher_is_better=False) as opened:
            # A kill leaves a trial that nobody told how it ended.
            tune_study.next_trial(opened, made.ranges, made.defaults, made.seed)
        result = tune.tune(replace(options, trials=n_trials), quiet)
        assert trials_of(result) == whole[:n_trials]
    assert trials_of(tune.tune(replace(options, trials=4), quiet)) == whole
    with closing(sqlite3.connect(options.study)) as database:
        states = [row[0] for row in database.execute("SELECT state FROM trials ORDER BY number")]
    assert states.count("RUNNING") == 0
    assert states.count("FAIL") == 2


def test_a_diverging_trial_is_out_and_the_study_goes_on(
    options: TuneOptions, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def diverging(*taken: Any) -> float:
        if taken[2].learning_rate > 0.002:
            raise TrainingDiverged("a loss must be a number")
        return valley(*taken)

    monkeypatch.setattr(tune_study, "judge_fold", diverging)
    rows: list[dict[str, Any]] = []
    result = tune.tune(replace(options, trials=4), rows.append)
    assert result["trials"]["diverged"] >= 1
    assert sum(result["trials"].values()) == result["n_trials"] == len(rows) == 4
    assert [row["place"] for row in rows] == [1, 2, 3, 4]
    assert result["best"]["values"]["learning_rate"] <= 0.002
    assert "diverged and is out" in caplog.text


def test_the_best_beats_the_defaults_or_they_stay(options: TuneOptions, quick: None, monkeypatch) -> None:
    better = tune.tune(replace(options, trials=6), quiet)
    assert better["beats_defaults"]
    row = better["confirmed"]
    difference = np.array(row["best_by_fold"]) - np.array(row["defaults_by_fold"])
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["standard_error"] == pytest.approx(difference.std(ddof=1) / math.sqrt(3))
    assert better["chosen"]["learning_rate"] == better["best"]["values"]["learning_rate"]
    assert f"learning_rate = {better['chosen']['learning_rate']}\n" in options.output.read_text()
    # With fresh seeds the best is worse in one fold and better in others: not beyond one standard error.
    monkeypatch.setattr(
        tune,
        "_by_fold",
        lambda _plan, values, _seeds: (
            np.array([0.2, 0.2, 0.2])
            + (values["learning_rate"] != TrainOptions.learning_rate) * np.array([0.03, -0.02, -0.02])
        ),
    )
    kept = tune.tune(replace(options, trials=6), quiet)
    assert not kept["beats_defaults"]
    # What was given is not chosen: it is not written where every later `train` would take it.
    assert kept["chosen"] == {}
    assert kept["held"] == {"hidden_dim": 4, "epochs": 1, "window_bars": BARS} | HELD
    assert not set(tomllib.loads(options.output.read_text())["train"]) & set(kept["held"])
    text = options.output.read_text()
    assert "does not beat the defaults" in text
    assert "The defaults stay." in text
    assert f"# tune: the best had learning_rate = {kept['best']['values']['learning_rate']}\n" in text
    assert kept["notes"] == [
        f"{options.output} makes train do what was not evaluated here: "
        + ", ".join(f"{name} = {value}" for name, value in sorted(better["best"]["values"].items()))
    ]


@pytest.mark.slow
def test_higher_is_better_where_it_is(options: TuneOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_study, "judge_fold", lambda *taken: 1.0 - valley(*taken))
    result = tune.tune(replace(options, trials=4, metric="pr_auc"), quiet)
    values = [trial.value for trial in trials_of(result) if trial.value is not None]
    assert result["best"]["value"] == max(values)
    assert result["confirmed"]["difference"] > 0


@pytest.mark.slow
def test_where_no_trial_is_better_the_defaults_stay_and_another_study_is_not_gone_on_with(
    options: TuneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tune_study, "judge_fold", lambda *taken: 0.2 + (taken[2].learning_rate != TrainOptions.learning_rate)
    )
    result = tune.tune(options, quiet)
    assert result["sentence"] == "No trial of 3 was better than the defaults (brier 0.2000): they stay."
    assert result["confirmed"] is None
    assert "learning_rate =" not in options.output.read_text()
    changes: list[dict[str, Any]] = [{"seed": 3}, {"metric": "log_loss"}, {"inner_folds": 2}, {"hidden_dim": 5}]
    for change in changes:
        with pytest.raises(WrongUsage, match="leave --study out") as refused:
            tune.tune(replace(options, **change), quiet)
        assert str(options.study) in str(refused.value)
    other = written(options.data.parent, made_windows(60, 2, window_bars=BARS, stride=BARS))
    with pytest.raises(WrongUsage, match="other train rows"):
        tune.tune(other, quiet)


def test_a_file_that_is_no_study_is_not_touched(options: TuneOptions, quick: None) -> None:
    assert options.study is not None
    options.study.write_bytes(b"no database " * 100)
    with pytest.raises(UntrustedFile, match="must be a study in SQLite"):
        tune.tune(options, quiet)
    options.study.unlink()
    with closing(sqlite3.connect(options.study)) as database:
        database.execute("CREATE TABLE accounts (money REAL)")
        database.commit()
    before = options.study.read_bytes()
    with pytest.raises(UntrustedFile, match="another SQLite file"):
        tune.tune(options, quiet)
    assert options.study.read_bytes() == before


def test_two_processes_do_not_share_a_study(options: TuneOptions, quick: None) -> None:
    assert options.study is not None
    decides = deciding(make_plan(options))
    with (
        tune_study.open_study(options.study, decides, higher_is_better=False),
        pytest.raises(OperationFailed, match="one process at a time"),
    ):
        tune.tune(options, quiet)


def test_no_trial_begins_after_its_time(options: TuneOptions, quick: None) -> None:
    result = tune.tune(replace(options, trials=50, timeout_minutes=1e-9), quiet)
    assert result["n_trials"] == 1
    assert tune.tune(replace(options, trials=2), quiet)["n_trials"] == 2


def test_what_train_would_refuse_is_refused_before_the_first_fit(options: TuneOptions) -> None:
    one_head(options.data.parent, "dropout = {low = 0.1, high = 1.5}\n")
    with pytest.raises(WrongUsage, match="--dropout must be at least 0 and below 1"):
        tune.tune(options, quiet)
    one_head(options.data.parent)
    with pytest.raises(WrongUsage, match="an encoder to freeze"):
        tune.tune(replace(options, freeze_encoder=True), quiet)
    with pytest.raises(WrongUsage, match="--trials must be at least 1"):
        tune.tune(replace(options, trials=0), quiet)
    with pytest.raises(WrongUsage, match="--val-fraction"):
        tune.tune(replace(options, val_fraction=1.0), quiet)
    assert options.study is not None
    assert not options.study.exists()
    assert not options.output.exists()


def test_a_fold_of_one_class_is_said(tmp_path: Path) -> None:
    label = TABLE.label.copy()
    label[:16] = "consolidation"
    with pytest.raises(InvalidData, match=r"have train windows of two classes, but the \d+ of fold 1 of 3 have one"):
        gather_inner(written(tmp_path, replace(TABLE, label=label)))


def test_a_class_that_a_fold_lacks_is_still_judged(tmp_path: Path) -> None:
    label = TABLE.label.copy()
    label[30:36:2] = "third"
    options = written(tmp_path, replace(TABLE, label=label))
    made = make_plan(options)
    assert "third" not in made.inner.table.label[made.inner.folds[0].train]
    assert made.inner.classes == ["consolidation", "retracement", "third"]
    for metric in ("brier", "log_loss"):
        assert np.isfinite(judge_fold(made.inner, 2, made.base, metric, 1, made.device))
    with pytest.raises(InvalidData, match="only retracement, third"):
        judge_fold(made.inner, 2, made.base, "pr_auc", 1, made.device)


def test_the_class_share_gets_what_a_naive_sum_says_and_a_fit_the_same_whatever_came_before(
    options: TuneOptions,
) -> None:
    inner = gather_inner(options)
    expected = []
    for fold in inner.folds:
        share = np.mean([inner.table.label[row] == "retracement" for row in fold.train])
        truth = [inner.table.label[row] == "retracement" for row in fold.test]
        expected.append(np.mean([(share - yes) ** 2 + ((1 - share) - (not yes)) ** 2 for yes in truth]) / 2)
    assert trivial_figures(inner, "brier") == pytest.approx(expected)
    # A fit is judged the same whatever was fitted before.
    made = make_plan(options)
    first = judge_fold(made.inner, 0, made.base, "brier", 3, made.device)
    judge_fold(made.inner, 1, made.base, "brier", 4, made.device)
    assert judge_fold(made.inner, 0, made.base, "brier", 3, made.device) == first
    assert 0.0 < first < 2.0


def test_a_metric_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    none = np.full(60, -1, dtype=np.int64)
    options = written(tmp_path, replace(TABLE, expansion_start=none, expansion_end=none))
    with pytest.raises(InvalidData, match="must have a hit_at_pm3_both, but fold 1 of 3 has none"):
        tune.tune(replace(options, metric="hit_at_pm3_both"), quiet)


def test_without_optuna_it_says_what_to_install(options: TuneOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(OperationFailed, match=r'pip install "moola\[tune\]"'):
        tune.tune(options, quiet)


def with_encoder(options: TuneOptions) -> TuneOptions:
    path = options.data.parent / "encoder.pt"
    assert TABLE.start_us is not None
    span = [utc_text(TABLE.start_us[0]), utc_text(TABLE.start_us[-1])]
    write_encoder(path, tiny_encoder(), made_scaler(), BARS, {"time_range": span})
    return replace(options, pretrained_encoder=path, hidden_dim=None)


@pytest.mark.slow
def test_an_encoder_is_never_changed_and_a_frozen_one_has_no_rate(options: TuneOptions, quick: None) -> None:
    options = with_encoder(options)
    trials = trials_of(tune.tune(replace(options, trials=5), quiet))
    assert trials[0].values["freeze_encoder"] is True
    assert {trial.values["freeze_encoder"] for trial in trials} == {True, False}
    for trial in trials:
        assert ("encoder_rate" in trial.values) is not trial.values["freeze_encoder"]
    made = make_plan(options)
    training = replace(made.base, freeze_encoder=False)
    first = judge_fold(made.inner, 0, training, "brier", 3, made.device)
    assert judge_fold(made.inner, 0, training, "brier", 3, made.device) == first


def test_linear_heads_have_nothing_to_choose_and_what_is_chosen_is_for_the_others(
    options: TuneOptions, quick: None
) -> None:
    with pytest.raises(WrongUsage, match="tune must have --head mlp, but it is linear"):
        tune.tune(replace(with_encoder(options), head="linear"), quiet)
    found = tune.tune(replace(with_encoder(options), trials=6), quiet)
    assert found["beats_defaults"]
    # On a frozen encoder `train` would take linear heads, which what was chosen does not concern.
    assert tomllib.loads(options.output.read_text())["train"] == found["chosen"] | {"head": "mlp"}


def test_what_train_leaves_to_the_data_is_left_to_each_fold(options: TuneOptions) -> None:
    made = make_plan(with_encoder(options))
    # `train` fills these in by the encoder and the split: a trial that unfreezes must not inherit what frozen meant.
    assert made.base.freeze_encoder is None
    assert made.base.refit is None
    assert made.base.augment_data is None
    assert made.defaults["freeze_encoder"] is True
    assert make_plan(options).base.hidden_dim == 4


def test_what_the_encoder_saw_is_said_and_it_is_not_written_as_chosen(options: TuneOptions, quick: None) -> None:
    result = tune.tune(with_encoder(options), quiet)
    assert "pretrained, without labels, on times of 18 of 18 inner test windows" in result["notes"][0]
    assert "pretrained_encoder =" not in options.output.read_text()
    held = make_plan(replace(with_encoder(options), freeze_encoder=True))
    assert not {"freeze_encoder", "encoder_rate"} & set(held.ranges)
