"""A live model that is told of the future is found out, and an honest one is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from moola.core.event_merging import live_events
from moola.leakcheck import run_checks
from moola.leakcheck.subject import open_subject
from moola.options.judging_options import LeakcheckOptions
from moola.scan import window_reading as scan_reading
from tests.conftest import DATA, SPLIT
from tests.leakcheck.subjects import leaks, only_leak, states, subject_of
from tests.planted import planted_windows

BARS = Path("data/raw/eurusd_1h_2017.parquet")


@pytest.fixture
def subject(made_run):
    """A run of a model that sees 75 bars, and bars to scan."""
    run = made_run("--augment-data", "false", "--visible-bars", "75")
    some = BARS.with_name("some.parquet")
    pl.read_parquet(BARS).head(1500).write_parquet(some)
    options = LeakcheckOptions(data=Path(DATA), split=Path(SPLIT), run=run, bars=some, device="cpu")
    return open_subject(options)


def test_a_model_of_visible_bars_passes_both_checks(subject):
    findings = [*run_checks.hidden_bars(subject), *run_checks.live_scan(subject)]
    assert [(finding.what, finding.state) for finding in findings] == [("hidden bars", "ok"), ("live scan", "ok")]
    assert "to the bit" in findings[1].found


def test_a_network_that_sees_hidden_bars_is_a_leak(subject, monkeypatch):
    honest = run_checks.read_windows_both_ways

    def peeking(model, features, device):
        logits, curves = honest(model, features, device)
        return logits + features[:, -1, :1], curves

    monkeypatch.setattr(run_checks, "read_windows_both_ways", peeking)
    leak = only_leak(run_checks.hidden_bars(subject))
    assert "after the 75 that it may see" in leak.found
    assert leak.bar == 75


def test_events_judged_by_windows_to_come_are_a_leak(subject, monkeypatch):
    def knowing(said, telling, *rest):
        found = live_events(said, telling, *rest)
        # The mean over every window read, those after the telling one too.
        return replace(found, event_prob=found.event_prob + said.class_prob[:, 0].mean())

    monkeypatch.setattr(scan_reading, "live_events", knowing)
    assert "change the events reported by then" in only_leak(run_checks.live_scan(subject)).found


def test_a_window_that_must_have_its_hidden_bars_is_a_leak(subject, monkeypatch):
    honest = live_events

    def late(said, telling, *rest):
        # Nothing is told at the last windows of what is read: they would miss the bars that are to come.
        return honest(said, telling & (np.arange(len(said)) < len(said) - 6), *rest)

    monkeypatch.setattr(scan_reading, "live_events", late)
    assert leaks(run_checks.live_scan(subject))


def test_what_cannot_be_checked_is_said(tmp_path, subject):
    assert states(run_checks.hidden_bars(subject_of(tmp_path, planted_windows(40, seed=3)))) == {"note"}
    assert states(run_checks.live_scan(replace(subject, options=replace(subject.options, bars=None)))) == {"note"}
    few = BARS.with_name("few.parquet")
    pl.read_parquet(BARS).head(50).write_parquet(few)
    assert (
        "cannot be scanned"
        in run_checks.live_scan(replace(subject, options=replace(subject.options, bars=few)))[0].found
    )
