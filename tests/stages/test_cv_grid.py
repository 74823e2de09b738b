"""What fits warn of is told once, and not once a fit."""

from __future__ import annotations

import logging

import pytest

from moola.stages import cv_pooling


@pytest.fixture
def warning_fits(monkeypatch):
    def run(_options, task):
        logging.getLogger("moola.fit").warning("Class rare has only 2 training windows.")
        return task.name

    monkeypatch.setattr(cv_pooling, "run_task", run)


class Task:
    done = False

    def __init__(self, name: str) -> None:
        self.name = name


class Options:
    processes, engine = 1, "processes"


def test_a_warning_of_every_fit_is_told_once(warning_fits, caplog):
    done = []
    cv_pooling.run_grid(Options(), [Task("a"), Task("b")], lambda *row: done.append(row))
    assert done == [(1, 2, "a"), (2, 2, "b")]
    assert [record.getMessage() for record in caplog.records] == ["Class rare has only 2 training windows."]
