"""The user's own program gets each event, whatever becomes of it or of the follower, and nothing waits for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from moola.errors import InvalidData, WrongUsage
from moola.scan import event_program
from moola.scan.event_program import EventProgram, program_of

TAKES = "import sys; open('taken.jsonl', 'a').write(sys.stdin.read())"
FAILS = "import sys; open('taken.jsonl', 'a').write(sys.stdin.read()); print('no network'); sys.exit(3)"
EVENTS = [{"symbol": "EUR/USD", "predicted_label": "rising", "number": number} for number in range(3)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(event_program, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(event_program, "LOOK_S", 0.01)
    yield tmp_path
    assert not [thread for thread in threading.enumerate() if thread.name == "on-event"]


def append(events: list[dict], path: str = "events.jsonl") -> None:
    with Path(path).open("a") as file:
        file.write("".join(f"{json.dumps(event)}\n" for event in events))


def begun(code: str, timeout_s: float = 30.0, retries: int = 1) -> EventProgram:
    program = EventProgram([sys.executable, "-c", code], Path("events.jsonl"), Path("follow"), timeout_s, retries)
    program.begin()
    return program


def taken(path: str = "taken.jsonl") -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()] if Path(path).exists() else []


def test_each_event_is_one_json_line_on_stdin_in_order_with_an_id_of_its_own_from_when_it_was_asked_for():
    append([{"number": "told before"}])
    program = begun(TAKES)
    append(EVENTS[:2])
    program.finish()
    append(EVENTS[2:])
    assert (program.n_taken, program.n_dead) == (2, 0)
    # What waits is handed on by the next one.
    begun(TAKES).finish()
    assert [{key: value for key, value in one.items() if key != "event_id"} for one in taken()] == EVENTS
    assert len({one["event_id"] for one in taken()}) == 3
    assert not Path("events.jsonl.dead.jsonl").exists()


def test_an_event_that_comes_between_the_last_look_and_the_end_is_delivered(monkeypatch):
    look = EventProgram._next_line

    def late(self):
        line = look(self)
        if line is None and not self.draining.is_set():
            append(EVENTS[:1])
            self.draining.set()
        return line

    monkeypatch.setattr(EventProgram, "_next_line", late)
    program = begun(TAKES)
    program.thread.join()
    assert (program.n_taken, len(taken())) == (1, 1)


def test_one_that_fails_is_tried_again_then_its_event_is_kept_with_what_it_printed(caplog):
    program = begun(FAILS, retries=2)
    append(EVENTS[:2])
    program.finish()
    assert [one["number"] for one in taken()] == [0, 0, 0, 1, 1, 1]
    dead = taken("events.jsonl.dead.jsonl")
    assert [one["event"]["number"] for one in dead] == [0, 1]
    assert {(one["failed"], one["attempts"], one["said"].strip()) for one in dead} == {("exit code 3", 3, "no network")}
    assert (program.n_taken, program.n_dead) == (0, 2)
    assert "exit code 3. It printed: no network" in caplog.text
    begun(TAKES).finish()
    assert len(taken()) == 6


def test_one_that_fails_once_takes_its_event_at_the_second_attempt():
    once = "import os, sys; new = not os.path.exists('seen'); open('seen', 'w').close(); sys.exit(new)"
    program = begun(once)
    append(EVENTS[:1])
    program.finish()
    assert (program.n_taken, program.n_dead) == (1, 0)


def test_one_that_hangs_is_stopped_with_what_it_started_and_the_next_event_comes():
    hangs = ["sh", "-c", "sleep 600 & echo $! >> pids; sleep 600"]
    program = EventProgram(hangs, Path("events.jsonl"), Path("follow"), 0.5, 0)
    program.begin()
    append(EVENTS[:2])
    begin = time.monotonic()
    program.finish()
    assert time.monotonic() - begin < 120
    assert [one["failed"] for one in taken("events.jsonl.dead.jsonl")] == ["not done after 0.5 s"] * 2
    for pid in Path("pids").read_text().split():
        state = Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_stopping_ends_a_running_program_at_once_and_its_event_comes_again():
    program = begun("import time; open('started', 'w').close(); time.sleep(600)", timeout_s=500.0)
    append(EVENTS[:1])
    until = time.monotonic() + 60
    while not Path("started").exists() and time.monotonic() < until:
        time.sleep(0.01)
    program.stop()
    assert not program.thread.is_alive()
    assert not Path("events.jsonl.dead.jsonl").exists()
    begun(TAKES).finish()
    assert [one["number"] for one in taken()] == [0]


def test_a_process_that_is_killed_hands_on_every_event_at_least_once():
    """kill -9 while the program runs for the second of three events."""
    waits = "import sys, time; said = sys.stdin.read(); open('taken.jsonl', 'a').write(said)\n"
    waits += "time.sleep(5 * ('\"number\": 1' in said))"
    append([])
    own = (
        "import sys, time; from pathlib import Path; from moola.scan.event_program import EventProgram\n"
        f"EventProgram([sys.executable, '-c', {waits!r}], Path('events.jsonl'), Path('follow'), 60, 1).begin()\n"
        "Path('begun').touch(); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", own], env=os.environ)
    until = time.monotonic() + 120
    while not Path("begun").exists() and time.monotonic() < until:
        time.sleep(0.01)
    append(EVENTS)
    while len(taken()) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [one["number"] for one in taken()] == [0, 1]
    begun(TAKES).finish()
    assert [one["number"] for one in taken()] == [0, 1, 1, 2]
    assert taken()[1]["event_id"] == taken()[2]["event_id"]


def test_half_a_line_waits_for_its_rest():
    program = begun(TAKES)
    Path("events.jsonl").write_text('{"number": 7')
    program.notify()
    time.sleep(0.1)
    assert taken() == []
    with Path("events.jsonl").open("a") as file:
        file.write("}\n")
    program.finish()
    assert [one["number"] for one in taken()] == [7]


def test_a_place_that_does_not_fit_and_lines_that_are_no_events_are_refused():
    append(EVENTS)
    Path("follow").mkdir()
    for n_bytes in ("1e9", "-1", '"0"', "null"):
        Path("follow/handed_on.json").write_text(f'{{"n_bytes": {n_bytes}}}')
        with pytest.raises(InvalidData, match=r"must lie in events\.jsonl"):
            begun(TAKES)
    Path("follow/handed_on.json").write_text('{"n_bytes": 3}')
    program = begun(TAKES)
    with pytest.raises(InvalidData, match="at byte 3 is no event"):
        program.finish()
    assert taken() == []


def test_a_dead_letter_that_cannot_be_written_stays_in_the_queue():
    Path("events.jsonl.dead.jsonl").mkdir()
    program = begun(FAILS, retries=0)
    append(EVENTS[:1])
    with pytest.raises(Exception, match="delivered again at the next start"):
        program.finish()
    Path("events.jsonl.dead.jsonl").rmdir()
    Path("taken.jsonl").unlink()
    begun(TAKES).finish()
    assert [one["number"] for one in taken()] == [0]


def test_a_command_is_split_into_words_and_there_is_no_shell():
    assert program_of(f"{sys.executable} -m tell 'two words' '; rm -rf x' $HOME") == [
        *(sys.executable, "-m", "tell", "two words", "; rm -rf x", "$HOME")
    ]
    for command, said in (
        ("'open", "must be a command line"),
        ("  ", "it is empty"),
        ("no_such_program --now", "there is no 'no_such_program' on the PATH"),
    ):
        with pytest.raises(WrongUsage, match=said):
            program_of(command)
