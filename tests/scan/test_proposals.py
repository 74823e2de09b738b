"""Parts of a scan read by other processes, in any order and after a kill, give the bytes of a scan in one process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import polars as pl
import pytest

from moola.errors import InvalidData, WrongUsage
from moola.options.scan_options import ScanOptions
from moola.scan import scanning
from moola.scan.parts import propose
from moola.scan.scanning import Scan, in_order
from tests.scans_made import made_bars, made_model

N_PARTS = 8


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A network without training over two symbols: all that it says is an event."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]), prepend=os.pathsep)
    made_model(Path("model.pt"))
    long, short = (made_bars(n, [(40, 46, 1)], seed, {100: 96.0}) for n, seed in ((220, 1), (140, 2)))
    frames = [long.with_columns(symbol=pl.lit("A")), short.with_columns(symbol=pl.lit("B/1"))]
    pl.concat(frames).write_parquet("bars.parquet")
    return tmp_path


def scan(output: str, on_part=lambda *_: None, **given) -> Path:
    options = {"stride": 3, "min_prob": 0.0, "batch_windows": 14, "device": "cpu", **given}
    work = Scan(ScanOptions(model=Path("model.pt"), bars=Path("bars.parquet"), output=Path(output), **options))
    assert work.run(on_part)["n_events"] > 5
    assert len(work.plan) == N_PARTS
    work.parts.clear()
    return Path(output)


@pytest.mark.slow
@pytest.mark.parametrize("live", [False, True])
def test_the_order_in_which_parts_end_changes_nothing(folder, monkeypatch, live):
    whole = scan("whole.jsonl", live=live)
    ended = []

    def backwards(work, jobs, n_processes, engine):
        for job in reversed(jobs):
            number, found = work(*job)
            ended.append(number)
            yield number, found

    monkeypatch.setattr(scanning, "results", backwards)
    seen = []
    other = scan("other.jsonl", lambda *counts: seen.append(counts), live=live, processes=2)
    assert ended == list(reversed(range(N_PARTS)))
    assert other.read_bytes() == whole.read_bytes()
    assert [n_done for n_done, *_ in seen] == sorted(n_done for n_done, *_ in seen)
    assert len(seen) == N_PARTS


def test_a_part_that_ends_early_waits_for_its_turn():
    given = [(4, "e"), (2, "c"), (3, "d"), (5, "f")]
    assert list(in_order(given, 2)) == [(2, "c"), (3, "d"), (4, "e"), (5, "f")]


def test_another_model_under_the_same_path_is_refused(folder):
    options = ScanOptions(model=Path("model.pt"), bars=Path("bars.parquet"), output=Path("events.csv"), device="cpu")
    with pytest.raises(InvalidData, match=r"model\.pt is another"):
        propose(options, "0" * 64, None, 0, None)


def test_what_is_followed_is_read_by_one_process():
    for given in ({"processes": 2}, {"engine": "ray"}):
        options = ScanOptions(model=Path("m.pt"), follow=Path("bars.csv"), output=Path("told.csv"), **given)
        with pytest.raises(WrongUsage, match=f"--{next(iter(given))} came with it"):
            options.check()


@pytest.mark.slow
@pytest.mark.parametrize("live", [False, True])
def test_processes_write_the_bytes_of_one(folder, live):
    whole = scan("whole.parquet", live=live)
    assert scan("shared.parquet", live=live, processes=2).read_bytes() == whole.read_bytes()


def dying_propose(*given):
    """Note the part; the worker of part 3 is killed the first time, as by the kernel when memory runs out."""
    number = given[3]
    with Path("calls.txt").open("a") as calls:
        calls.write(f"{number}\n")
    if number == 3 and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return propose(*given)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_killed_worker_of_two_on_ray_changes_no_byte_and_no_count(folder, monkeypatch):
    whole = scan("whole.parquet")
    monkeypatch.setattr(scanning, "propose", dying_propose)
    seen = []
    on_ray = scan("ray.parquet", lambda *counts: seen.append(counts), engine="ray", processes=2)
    assert on_ray.read_bytes() == whole.read_bytes()
    assert len(seen) == N_PARTS
    assert Path("calls.txt").read_text().split().count("3") == 2
