"""The label store: nothing acknowledged is lost, nobody overwrites what they have not seen, foreign files stay."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moola.core.label_rules import Expansion, WindowLabel
from moola.errors import InvalidData, LabelConflict, OperationFailed, UntrustedFile, WrongUsage
from moola.tables.label_store import LabelStore

LABEL = WindowLabel(
    "w1",
    "EURUSD",
    1_000,
    9_000,
    "ana",
    "B",
    "",
    "a note",
    (Expansion(5_000, 6_000, "retracement"), Expansion(2_000, 3_000, "consolidation")),
    "labelled",
)


@pytest.fixture
def store(tmp_path):
    with LabelStore(tmp_path / "labels.db") as opened:
        yield opened


def test_a_save_comes_back_as_it_was_in_a_new_process(tmp_path):
    path = tmp_path / "folder/labels.db"
    with LabelStore(path) as store:
        saved = store.save(LABEL, 0)
        assert (saved.revision, saved.saved_us > 0, saved.has_same_content(LABEL)) == (1, True, True)
    with LabelStore(path) as store:
        assert store.get("w1", "ana") == saved
        assert store.all() == store.of_window("w1") == store.history("w1", "ana") == [saved]
        assert store.get("w1", "ben") is None
        assert store.get("w2", "ana") is None
    assert [file.name for file in path.parent.iterdir()] == ["labels.db"]


def test_the_file_is_written_ahead_flushed_and_marked_with_its_version(store):
    pragmas = {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "user_version": 3,
        "application_id": 0x6D6F6C61,
    }
    for name, value in pragmas.items():
        assert store._connection.execute(f"PRAGMA {name}").fetchone()[0] == value


def test_who_was_second_is_told_what_the_first_one_saved(store):
    first = store.save(LABEL, 0)
    for stale in (0, 2, -1):
        with pytest.raises(LabelConflict, match="saved elsewhere meanwhile") as refused:
            store.save(replace(LABEL, note="mine"), stale)
        assert refused.value.current == first
    with pytest.raises(LabelConflict) as refused:
        store.save(replace(LABEL, window_id="new"), 1)
    assert refused.value.current is None
    assert store.history("w1", "ana") == [first]


def test_annotators_do_not_stand_in_each_others_way(store):
    ben = store.save(replace(LABEL, annotator="ben", expansions=()), 0)
    ana = store.save(LABEL, 0)
    again = store.save(replace(ben, note="later"), 1)
    assert store.of_window("w1") == store.all() == [ana, again]
    assert store.all("ana") == [ana]
    assert store.annotators() == ["ana", "ben"]


def test_undo_goes_back_step_by_step_and_keeps_everything(store):
    for note in ("one", "two", "three"):
        store.save(replace(LABEL, note=note), len(store.history("w1", "ana")))
    assert store.undo("w1", "ana", 3).note == "two"
    assert store.undo("w1", "ana", 4).note == "one"
    assert store.undo("w1", "ana", 5) is None
    store.save(replace(LABEL, note="four"), 5)
    assert store.undo("w1", "ana", 6).note == "one"
    assert store.undo("w1", "ana", 7) is None
    assert store.undo("other", "ana", 0) is None
    assert [label.note for label in store.history("w1", "ana")] == ["one", "two", "three", "two", "one", "four", "one"]
    with pytest.raises(LabelConflict) as refused:
        store.undo("w1", "ana", 3)
    assert refused.value.current.revision == 7
    with pytest.raises(LabelConflict):
        store.undo("other", "ana", 1)


def test_counts_are_windows_by_status_and_expansions_by_class(store):
    store.save(LABEL, 0)
    store.save(replace(LABEL, window_id="w2", expansions=()), 0)
    store.save(replace(LABEL, window_id="w3", status="rejected", grade="D", reason="a gap"), 0)
    store.save(replace(LABEL, window_id="w4", status="skipped"), 0)
    store.save(replace(LABEL, window_id="w4", status="skipped", note="again"), 1)
    expected = {"labelled": 2, "rejected": 1, "skipped": 1, "class:consolidation": 1, "class:retracement": 1}
    assert store.counts("ana") == expected
    assert store.counts("nobody") == {"labelled": 0, "rejected": 0, "skipped": 0}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"window_id": " "}, "window_id must have"),
        ({"annotator": "x" * 301}, "annotator must have"),
        ({"note": "x" * 20_001}, "note must have at most"),
        ({"symbol": "a\x00b"}, "symbol must be plain"),
        ({"note": "\ud800"}, "note must be plain"),
        ({"status": "done"}, "status must be one of"),
        ({"grade": "E"}, "grade must be A to D"),
        ({"end_us": 999}, "end_us must not be before"),
        ({"end_us": 2**63}, "64 bits"),
        ({"expansions": (Expansion(0, 2_000, "a"),)}, "expansion 1 must start"),
        ({"expansions": (Expansion(3_000, 2_000, "a"),)}, "expansion 1 must start"),
        ({"expansions": (Expansion(2_000, 3_000, ""),)}, "label of expansion 1"),
        *(
            ({"expansions": (Expansion(2_000, 3_000, name),)}, "class of expansion 1 must be one printable line")
            for name in ("a\nb", "a\x1b[31m", "a\u202eb", "a\u2028b")
        ),
        ({"expansions": (Expansion(2_000, 3_000, "a"), Expansion(2_000, 3_000, "b"))}, "same first and last bar"),
        ({"expansions": tuple(Expansion(1_000, 2_000 + i, "a") for i in range(101))}, "at most 100"),
    ],
)
def test_what_no_window_can_have_is_refused(store, change, rule):
    with pytest.raises(InvalidData, match=rule):
        store.save(replace(LABEL, **change), 0)
    assert store.all() == []


def test_several_are_saved_together_or_not_at_all(store):
    store.save(LABEL, 0)
    other = replace(LABEL, window_id="w2")
    with pytest.raises(LabelConflict):
        store.save_all([(other, 0), (LABEL, 0)])
    with pytest.raises(InvalidData):
        store.save_all([(other, 0), (replace(LABEL, grade="?"), 1)])
    assert [label.window_id for label in store.all()] == ["w1"]
    assert [label.revision for label in store.save_all([(other, 0), (LABEL, 1)])] == [1, 2]


def test_revisions_cannot_be_changed_even_by_hand(store):
    store.save(LABEL, 0)
    for statement in ("UPDATE revisions SET note = ''", "DELETE FROM revisions", "DELETE FROM expansions"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            store._connection.execute(statement)
    assert store.get("w1", "ana").note == "a note"


def test_a_full_disk_changes_nothing_and_the_store_goes_on(store):
    first = store.save(LABEL, 0)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = replace(LABEL, note="x" * 20_000)
    with pytest.raises(OperationFailed, match="full; nothing was changed"):
        store.save(big, 1)
    assert store.history("w1", "ana") == [first]
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert store.save(big, 1).revision == 2


def test_a_locked_store_is_told_and_serves_afterwards(tmp_path):
    path = tmp_path / "labels.db"
    with LabelStore(path, timeout_s=0.01) as store:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationFailed, match="locked; nothing was changed"):
            store.save(LABEL, 0)
        holder.close()
        assert store.save(LABEL, 0).revision == 1


def _foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()


def _newer(path):
    LabelStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 4")
    connection.close()


def _damaged(path):
    with LabelStore(path) as store:
        store.save_all([(replace(LABEL, window_id=f"w{i}"), 0) for i in range(200)])
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xff" * 4096 * 3
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_foreign, "another database"),
        (_newer, "version 4"),
        (_damaged, "damaged|malformed"),
        (lambda path: path.write_bytes(b""), "another kind of file"),
        (lambda path: path.write_bytes(b"PAR1" * 100), "another kind of file"),
    ],
)
def test_a_foreign_newer_or_damaged_file_is_refused_and_stays_as_it_is(tmp_path, make, reason):
    path = tmp_path / "labels.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(UntrustedFile, match=reason):
        LabelStore(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["labels.db"]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER evil AFTER INSERT ON revisions BEGIN DELETE FROM current; END",
        "CREATE VIEW evil AS SELECT 1",
        "DROP TRIGGER revisions_stay",
        "CREATE TABLE more (x)",
    ],
)
def test_a_store_with_objects_that_are_not_ours_is_refused_before_anything_runs(tmp_path, statement):
    path = tmp_path / "labels.db"
    LabelStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    before = path.read_bytes()
    with pytest.raises(UntrustedFile, match="and no others, but 1 differ"):
        LabelStore(path)
    assert path.read_bytes() == before


def test_no_flipped_bit_gives_another_label(tmp_path):
    path = tmp_path / "labels.db"
    with LabelStore(path) as store:
        store.save_all([(replace(LABEL, window_id=f"w{i}"), 0) for i in range(5)], {"w0": b"0" * 40})
        expected = store.all()
        known = store.bars()
    whole = path.read_bytes()
    draw = random.Random(17)
    n_refused = 0
    for _ in range(75):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        try:
            with LabelStore(path) as store:
                assert (store.all(), store.bars()) == (expected, known)
        except (UntrustedFile, OperationFailed):
            n_refused += 1
    assert n_refused > 5


def test_a_changed_content_is_found_at_the_opening(tmp_path):
    path = tmp_path / "labels.db"
    with LabelStore(path) as store:
        store.save(LABEL, 0)
    content = path.read_bytes()
    assert content.count(b"a note") == 1
    path.write_bytes(content.replace(b"a note", b"b note"))
    with pytest.raises(UntrustedFile, match="revision 1 of 'w1' by 'ana' is not"):
        LabelStore(path)


def test_a_backup_is_made_while_another_saves_and_replaces_nothing(tmp_path, store):
    store.save(LABEL, 0)
    store.backup(tmp_path / "copy.db")
    store.save(LABEL, 1)
    with LabelStore(tmp_path / "copy.db") as copy:
        assert [label.revision for label in copy.all()] == [1]
    with pytest.raises(WrongUsage, match="without a file"):
        store.backup(tmp_path / "copy.db")


def test_a_store_that_must_exist_is_not_made(tmp_path):
    with pytest.raises(OperationFailed, match="no file"):
        LabelStore(tmp_path / "labels.db", must_exist=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationFailed, match="must be writable"):
        LabelStore(tmp_path / "file/labels.db")
    with pytest.raises(OperationFailed, match="must be readable"):
        LabelStore(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("reason", [PermissionError("no links here"), FileExistsError()])
def test_a_store_is_made_where_files_have_one_name_and_where_another_was_first(tmp_path, monkeypatch, reason):
    path = tmp_path / "labels.db"

    def refuse(temporary, target):
        if isinstance(reason, FileExistsError):
            shutil.copy(temporary, target)
        raise reason

    monkeypatch.setattr(os, "link", refuse)
    with LabelStore(path) as store:
        assert store.save(LABEL, 0).revision == 1
    assert [file.name for file in tmp_path.iterdir()] == ["labels.db"]


# `inside` holds the write lock with half a save done; `between` saves and says so at once.
SAVER = """
import sys
from dataclasses import replace
from pathlib import Path
from moola.tables.label_store import *
label = WindowLabel("w", "", 0, 9, "ana", "", "", "", (Expansion(1, 2, "a"), Expansion(3, 4, "b")), "labelled")
store = LabelStore(Path(sys.argv[1]))
seen = store.get("w", "ana")
revision = seen.revision if seen else 0
if sys.argv[2] == "inside":
    with store._transaction():
        store._append(replace(label, note="half"), revision, None)
        print("half", flush=True)
        sys.stdin.read()
while True:
    revision = store.save(replace(label, note=str(revision + 1)), revision).revision
    print(revision, flush=True)
"""


@pytest.mark.parametrize("where", ["between", "inside"])
def test_what_was_acknowledged_survives_kill_9(tmp_path, where):
    path = tmp_path / "labels.db"
    acknowledged = 0
    for _ in range(2):
        command = [sys.executable, "-c", SAVER, str(path), where]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as saver:
            for _ in range(3):
                line = saver.stdout.readline().strip()
                if line == "half":
                    break
                acknowledged = int(line)
            saver.send_signal(signal.SIGKILL)
        assert saver.returncode == -signal.SIGKILL
        with LabelStore(path) as store:
            history = store.history("w", "ana")
            # One more may have reached the disk whose answer was still under way.
            assert len(history) in ((0,) if where == "inside" else (acknowledged, acknowledged + 1, acknowledged + 2))
            assert len(history) >= acknowledged
            assert [label.note for label in history] == [str(i + 1) for i in range(len(history))]
            assert all(len(label.expansions) == 2 for label in history)
            assert store.all() == history[-1:]
            acknowledged = len(history)


RIVAL = """
import sys
from dataclasses import replace
from pathlib import Path
from moola.tables.label_store import LabelStore
from moola.errors import LabelConflict
from tests.tables.test_label_store import LABEL
name = sys.argv[2]
with LabelStore(Path(sys.argv[1]), timeout_s=60.0) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(25):
        while True:
            seen = store.get(LABEL.window_id, LABEL.annotator)
            try:
                store.save(replace(LABEL, note=f"{name} {number}"), seen.revision if seen else 0)
            except LabelConflict:
                continue
            break
"""


@pytest.mark.slow
def test_two_processes_that_save_one_label_mix_and_lose_nothing(tmp_path):
    path = tmp_path / "labels.db"
    savers = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(path), name], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in "ab"
    ]  # fmt: skip
    for saver in savers:
        assert saver.stdout.readline() == "ready\n"
    for saver in savers:
        saver.stdin.write("go\n")
        saver.stdin.flush()
    for saver in savers:
        saver.communicate()
        assert saver.returncode == 0
    with LabelStore(path) as store:
        history = store.history(LABEL.window_id, LABEL.annotator)
    assert [label.revision for label in history] == list(range(1, 51))
    for name in "ab":
        notes = [label.note for label in history if label.note.startswith(name)]
        assert notes == [f"{name} {number}" for number in range(25)]


def test_threads_that_save_at_once_lose_nothing(store):
    def work(name):
        for _ in range(4):
            while True:
                seen = store.get("w1", "ana")
                mine = replace(LABEL, note=(seen.note if seen else "") + name)
                try:
                    store.save(mine, seen.revision if seen else 0)
                    break
                except LabelConflict:
                    continue

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    final = store.get("w1", "ana")
    assert final.revision == len(store.history("w1", "ana")) == 8
    assert sorted(final.note.removeprefix("a note")) == list("aaaabbbb")


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),
        st.sampled_from(["ana", "ben"]),
        st.sampled_from(["w1", "w2"]),
        st.sampled_from(["save", "stale", "undo", "look"]),
    ),
    max_size=25,
)


@settings(max_examples=12)
@given(STEPS)
def test_interleaved_saves_of_two_pages_never_lose_a_revision(tmp_path_factory, steps):
    """Two connections and what each has seen, against a plain dict of lists as the twin."""
    path = tmp_path_factory.mktemp("store") / "labels.db"
    twin: dict[tuple[str, str], list[str]] = {}
    seen: list[dict[tuple[str, str], int]] = [{}, {}]
    with LabelStore(path) as first, LabelStore(path) as second:
        # Flushing each save is for the disk's sake, and not what is judged here.
        for opened in (first, second):
            opened._connection.execute("PRAGMA synchronous = OFF")
        for number, (page, annotator, window, step) in enumerate(steps):
            store, key = (first, second)[page], (window, annotator)
            kept = twin.setdefault(key, [])
            if step == "look":
                found = store.get(window, annotator)
                seen[page][key] = found.revision if found else 0
                continue
            expected = seen[page].get(key, 0) - (step == "stale")
            try:
                if step == "undo":
                    back = store.undo(window, annotator, expected)
                    assert expected == len(kept)
                    if back is not None:
                        assert back.note in kept
                        kept.append(back.note)
                        seen[page][key] = back.revision
                else:
                    saved = store.save(
                        replace(LABEL, window_id=window, annotator=annotator, note=str(number)), expected
                    )
                    assert expected == len(kept)
                    kept.append(saved.note)
                    seen[page][key] = saved.revision
            except LabelConflict as refused:
                current = refused.current
                assert expected != len(kept)
                assert (current.note if current else None) == (kept[-1] if kept else None)
        for (window, annotator), kept in twin.items():
            for store in (first, second):
                history = store.history(window, annotator)
                assert [label.note for label in history] == kept
                assert [label.revision for label in history] == list(range(1, len(kept) + 1))
                assert store.get(window, annotator) == (history[-1] if history else None)
