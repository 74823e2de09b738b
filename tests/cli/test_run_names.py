"""A run is named by its id, the beginning of it, or `latest`, in every command; what is not clear is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from moola.cli.arguments import with_full_names
from moola.errors import OperationFailed, WrongUsage
from moola.options.judging_options import EvalOptions, GateOptions, LeakcheckOptions, PromoteOptions, ReportOptions
from moola.options.scan_options import ScanOptions
from moola.options.study_options import CvOptions
from moola.options.training_options import ExportOptions, PredictOptions, TrainOptions
from moola.runs.run_store import find_run, full_name

OLD, NEW = "20260101T000000Z-enhanced_simple_lstm-s17-aaaaaaaa", "20260203T000000Z-enhanced_simple_lstm-s17-bbbbbbbb"
HALF = "20260304T000000Z-enhanced_simple_lstm-s17-cccccccc"
CV = "20260405T000000Z-cv_enhanced_simple_lstm-s17-dddddddd"
HALF_CV = "20260406T000000Z-cv_enhanced_simple_lstm-s17-eeeeeeee"
RUNS, CVS = Path("artifacts/runs"), Path("artifacts/cv")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, is_complete in ((RUNS / OLD, 1), (RUNS / NEW, 1), (RUNS / HALF, 0), (CVS / CV, 1), (CVS / HALF_CV, 0)):
        folder.mkdir(parents=True)
        if is_complete:
            (folder / "manifest.json").touch()
    (RUNS / "notes").mkdir()
    (RUNS / "29990101T000000Z-enhanced_simple_lstm-s17-ffffffff").touch()


@pytest.mark.parametrize(
    ("name", "complete", "means"),
    [
        (OLD, True, OLD),
        ("latest", True, NEW),
        ("latest", False, HALF),
        ("202601", True, OLD),
        ("20260203T", True, NEW),
        ("20260304", True, HALF),
        ("2027", True, "2027"),
        ("notes", True, "notes"),
        ("29990101", True, "29990101"),
        ("", True, ""),
        (f"artifacts/runs/{OLD[:12]}", True, f"artifacts/runs/{OLD[:12]}"),
    ],
)
def test_what_a_name_means(name, complete, means):
    assert full_name(name, (RUNS,), complete) == means


def test_which_run_was_taken_is_said_and_a_whole_id_says_nothing(caplog):
    caplog.set_level("INFO")
    full_name("latest", (RUNS,))
    full_name("202601", (RUNS,))
    assert [record.message for record in caplog.records] == [f"latest is {NEW}.", f"202601 is {OLD}."]
    caplog.clear()
    full_name(OLD, (RUNS,))
    full_name("nothing", (RUNS,))
    assert not caplog.records


def test_a_beginning_that_fits_several_lists_them():
    with pytest.raises(WrongUsage, match="'2026' fits 3") as refused:
        full_name("2026", (RUNS,))
    assert all(name in str(refused.value) for name in (OLD, NEW, HALF))
    with pytest.raises(WrongUsage, match="fits 5"):
        full_name("2026", (RUNS, CVS))
    for number in range(20):
        (RUNS / f"20300101T0000{number:02}Z-enhanced_simple_lstm-s17-aaaaaaaa").mkdir()
    with pytest.raises(WrongUsage, match=r"fits 20: .* and 10 more\. Give more of it"):
        full_name("2030", (RUNS,))


def test_no_latest_run_is_said():
    with pytest.raises(OperationFailed, match="no complete one under elsewhere"):
        full_name("latest", (Path("elsewhere"),))
    (RUNS / HALF).rmdir()
    with pytest.raises(OperationFailed, match="no interrupted one under artifacts/runs"):
        full_name("latest", (RUNS,), complete=False)


def test_a_link_is_no_run():
    (RUNS / "20260909T000000Z-enhanced_simple_lstm-s17-abababab").symlink_to(RUNS / OLD, target_is_directory=True)
    assert (full_name("latest", (RUNS,)), full_name("20260909", (RUNS,))) == (NEW, "20260909")


def test_the_reader_of_runs_takes_them_too():
    (RUNS / NEW / "manifest.json").unlink()
    assert find_run(RUNS, "20260203", complete=False).run_id == NEW
    assert find_run(RUNS, "latest", complete=False).run_id == HALF
    with pytest.raises(OperationFailed, match="there is no folder artifacts/runs/2027"):
        find_run(RUNS, "2027")


@pytest.mark.parametrize("options", [EvalOptions, GateOptions, PromoteOptions])
def test_options_that_name_a_run(options):
    for name, full in (("latest", NEW), ("20260405", CV), (OLD, OLD)):
        assert with_full_names(options(run=Path(name))).run == Path(full)
    assert with_full_names(options()) == options()


def test_baseline_compare_leakcheck_resume_and_model():
    assert with_full_names(GateOptions(run=Path("latest"), baseline=Path("202601"))).baseline == Path(OLD)
    Path("2026").touch()
    assert with_full_names(GateOptions(baseline=Path("2026"))).baseline == Path("2026")
    Path("2026").unlink()
    report = with_full_names(ReportOptions(run=Path("latest"), compare=("202601", OLD)))
    assert (report.run, report.compare) == (Path(NEW), (OLD, OLD))
    files = {"data": Path("d.parquet"), "split": Path("s.json")}
    assert with_full_names(LeakcheckOptions(**files, run=Path("latest"))).run == Path(NEW)
    assert with_full_names(TrainOptions(**files, resume="latest")).resume == HALF
    assert with_full_names(TrainOptions(**files)).model == "enhanced_simple_lstm"
    assert with_full_names(CvOptions(data=Path("d.parquet"), resume="latest")).resume == HALF_CV

    model = RUNS / NEW / "model.pkl"
    output = Path("out.onnx")
    for name in ("latest", NEW, "20260203"):
        assert with_full_names(ExportOptions(model=Path(name), output=output)).model == model
    predict = PredictOptions(model=Path("latest"), data=Path("d.parquet"), output=Path("p.csv"))
    assert with_full_names(predict).model == model
    scan = ScanOptions(model=Path("latest"), bars=Path("b.parquet"), output=Path("e.csv"))
    assert with_full_names(scan).model == model
    for name in ("model.pt", "folder/latest", "no_run"):
        assert with_full_names(ExportOptions(model=Path(name), output=output)).model == Path(name)
    Path("latest").touch()
    assert with_full_names(scan).model == Path("latest")


def test_the_commands_take_them(moola):
    answer = moola("eval", "--run", "2026").ends(2, "fits 5")
    for command in (("eval", "--run"), ("gate", "--run"), ("promote", "--run"), ("report", "--run"), ("runs", "show")):
        answer = moola(*command, "latest")
        # The run of this test has nothing in it; it was found.
        assert answer.code in (1, 3, 5)
        assert f"latest is {NEW}." in answer.err
    assert f"latest is {NEW}." in moola("compare", "latest", OLD).err
    answer = moola("scan", "--model", "latest", "--bars", "b.parquet", "--output", "e.csv").ends(1)
    assert f"artifacts/runs/{NEW}/model.pkl" in answer.err
