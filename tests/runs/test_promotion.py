"""The folder of promoted models: the one before is kept, and a fault leaves what stood."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.files import sha256_bytes
from moola.runs.promotion import (
    LOG_NAME,
    PREVIOUS,
    finish_promotion,
    previous_path,
    promote_back,
    promote_file,
    promoted_path,
    read_log,
)

NAME = "enhanced_baseline_v2_relative.pt"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def promoted_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kept_name(content: bytes) -> str:
    return previous_path(Path(NAME), sha256_bytes(content)).name


def promoted(tmp_path: Path, content: bytes, **record: object) -> dict[str, object]:
    model = tmp_path / "model.pkl"
    model.write_bytes(content)
    return promote_file(model, promoted_path(tmp_path / "promoted", NAME), record)


def replace_that_fails_at(monkeypatch: pytest.MonkeyPatch, number: int, stop: BaseException = FULL) -> list[str]:
    """Let the n-th replacement of a file fail, as on a full disk; returns the names that were tried."""
    tried: list[str] = []
    real = os.replace

    def replace(source: str, target: Path) -> None:
        tried.append(Path(target).name)
        if len(tried) == number:
            raise stop
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    return tried


def test_the_first_promotion_puts_the_model_on_an_empty_folder(tmp_path: Path) -> None:
    entry = promoted(tmp_path, b"first", run_id="r1", verdict="promote")
    assert set(promoted_in(tmp_path / "promoted")) == {NAME, LOG_NAME}
    assert (tmp_path / "promoted" / NAME).read_bytes() == b"first"
    assert (tmp_path / "model.pkl").read_bytes() == b"first"
    assert entry["sha256"] == sha256_bytes(b"first")
    assert entry["replaced_sha256"] is None
    assert (entry["file"], entry["run_id"], entry["verdict"]) == (NAME, "r1", "promote")
    assert str(entry["promoted_at"]).endswith("+00:00")


def test_every_model_that_was_in_use_is_kept_by_its_hash(tmp_path: Path) -> None:
    for content in (b"first", b"second", b"third"):
        entry = promoted(tmp_path, content)
    promoted_folder = promoted_in(tmp_path / "promoted")
    assert promoted_folder[NAME] == b"third"
    assert (promoted_folder[kept_name(b"first")], promoted_folder[kept_name(b"second")]) == (b"first", b"second")
    assert set(promoted_folder) == {NAME, kept_name(b"first"), kept_name(b"second"), LOG_NAME}
    assert {path.parent.name for path in (tmp_path / "promoted").rglob("*-*.pt")} == {PREVIOUS}
    assert entry["replaced_sha256"] == sha256_bytes(b"second")


def test_every_promotion_is_a_line_of_the_log_oldest_first(tmp_path: Path) -> None:
    entries = [promoted(tmp_path, content, run_id=content.decode()) for content in (b"first", b"second", b"first")]
    log = tmp_path / "promoted" / LOG_NAME
    assert read_log(tmp_path / "promoted") == entries
    assert [json.loads(line) for line in log.read_text().splitlines()] == entries
    assert [entry["run_id"] for entry in entries] == ["first", "second", "first"]
    digests = [None, *(sha256_bytes(name) for name in (b"first", b"second"))]
    assert [entry["replaced_sha256"] for entry in entries] == digests


def test_the_log_is_appended_to_and_not_written_anew(tmp_path: Path) -> None:
    promoted(tmp_path, b"first")
    log = tmp_path / "promoted" / LOG_NAME
    before = log.read_bytes()
    promoted(tmp_path, b"second")
    assert log.read_bytes().startswith(before)
    assert log.read_bytes().count(b"\n") == 2


def test_two_names_share_a_folder_and_keep_apart(tmp_path: Path) -> None:
    promoted(tmp_path, b"first")
    other = promoted_path(tmp_path / "promoted", "other.pt")
    promote_file(tmp_path / "model.pkl", other, {})
    (tmp_path / "model.pkl").write_bytes(b"second")
    promote_file(tmp_path / "model.pkl", other, {})
    assert (tmp_path / "promoted" / NAME).read_bytes() == b"first"
    assert previous_path(other, sha256_bytes(b"first")).read_bytes() == b"first"
    assert kept_name(b"first") not in promoted_in(tmp_path / "promoted")
    assert [entry["file"] for entry in read_log(tmp_path / "promoted")] == [NAME, "other.pt", "other.pt"]


def test_no_promotions_are_an_empty_log(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []
    assert read_log(tmp_path / "nowhere") == []


@pytest.mark.parametrize("content", [b"{", b"{}\nno json\n", b"\xff\xfe\n", b"3\n"])
def test_a_log_that_is_not_json_line_by_line_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOG_NAME).write_bytes(content)
    with pytest.raises(InvalidData, match=r"must hold a JSON object a line"):
        read_log(tmp_path)


def test_a_model_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    promoted(tmp_path, b"first")
    before = promoted_in(tmp_path / "promoted")
    with pytest.raises(OperationFailed, match="the model to promote must exist"):
        promote_file(tmp_path / "nothing.pkl", promoted_path(tmp_path / "promoted", NAME), {})
    assert promoted_in(tmp_path / "promoted") == before


@pytest.mark.parametrize("name", ["../x.pt", "..", "a/b.pt", "/x.pt", "", ".pt", "x\x00.pt"])
def test_names_that_are_no_plain_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WrongUsage, match="the name of a promoted model must be"):
        promoted_path(tmp_path, name)


def test_the_previous_model_keeps_the_ending() -> None:
    assert previous_path(Path("promoted_folder/a.v2.pt"), "0123456789abcdef01") == Path(
        "promoted_folder/previous/a.v2-0123456789abcdef.pt"
    )


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("promoted_before", [[b"second"], [b"first", b"second"]], ids=["one before", "two before"])
def test_a_fault_at_any_write_leaves_what_stood_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, promoted_before: list[bytes]
) -> None:
    for content in promoted_before:
        promoted(tmp_path, content)
    before = promoted_in(tmp_path / "promoted")
    with monkeypatch.context() as patch:
        tried = replace_that_fails_at(patch, number)
        with pytest.raises(OperationFailed, match="No space left"):
            promoted(tmp_path, b"third")
    assert len(tried) >= number
    assert promoted_in(tmp_path / "promoted") == before
    promoted(tmp_path, b"third")
    after = promoted_in(tmp_path / "promoted")
    assert (after[NAME], after[kept_name(b"second")]) == (b"third", b"second")
    assert len(read_log(tmp_path / "promoted")) == len(promoted_before) + 1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_fault_at_the_first_promotion_leaves_the_folder_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    replace_that_fails_at(monkeypatch, number)
    with pytest.raises(OperationFailed, match="No space left"):
        promoted(tmp_path, b"first")
    assert promoted_in(tmp_path / "promoted") == {}


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_fault_never_takes_the_model_in_use_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    promoted(tmp_path, b"first")
    promoted(tmp_path, b"second")
    replace_that_fails_at(monkeypatch, number)
    with pytest.raises(OperationFailed):
        promoted(tmp_path, b"third")
    promoted_folder = promoted_in(tmp_path / "promoted")
    assert promoted_folder[NAME] in (b"second", b"third")
    assert b"second" in (promoted_folder[NAME], promoted_folder.get(kept_name(b"second")))
    assert not [name for name in promoted_folder if name.endswith(".tmp")]


class Killed(BaseException):
    """Stands for the end of the process: what tidies up after errors must not see it."""


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int, tmp_path: Path) -> None:
    """Promote `third`, and stop for good at the n-th replacement of a file."""
    with monkeypatch.context() as patch:
        replace_that_fails_at(patch, number, Killed())
        patch.setattr(os, "unlink", lambda _: None)
        # A process that is killed runs no `finally`.
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            promoted(tmp_path, b"third", run_id="r3")


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_promotion_that_was_killed_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    promoted(tmp_path, b"first", run_id="r1")
    promoted(tmp_path, b"second", run_id="r2")
    killed_at(monkeypatch, number, tmp_path)
    target = promoted_path(tmp_path / "promoted", NAME)
    entry = finish_promotion(target)
    assert entry is not None
    assert entry["run_id"] == "r3"
    promoted_folder = promoted_in(tmp_path / "promoted")
    kept = {kept_name(b"first"), kept_name(b"second")}
    assert {name for name in promoted_folder if not name.endswith(".tmp")} == {NAME, LOG_NAME, *kept}
    assert (promoted_folder[NAME], promoted_folder[kept_name(b"second")]) == (b"third", b"second")
    assert [line["run_id"] for line in read_log(tmp_path / "promoted")] == ["r1", "r2", "r3"]
    assert finish_promotion(target) is None


def test_a_killed_promotion_whose_model_is_gone_is_dropped_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    promoted(tmp_path, b"first", run_id="r1")
    killed_at(monkeypatch, 2, tmp_path)
    (tmp_path / "model.pkl").unlink()
    assert finish_promotion(promoted_path(tmp_path / "promoted", NAME)) is None
    assert "promotion of run r3 was cut short and cannot be finished" in caplog.text
    assert {name for name in promoted_in(tmp_path / "promoted") if not name.endswith(".tmp")} == {NAME, LOG_NAME}


def test_a_damaged_log_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    promoted(tmp_path, b"first")
    promoted(tmp_path, b"second")
    log = tmp_path / "promoted" / LOG_NAME
    log.write_bytes(log.read_bytes()[:-20])
    before = promoted_in(tmp_path / "promoted")
    for change in (
        lambda: promoted(tmp_path, b"third"),
        lambda: promote_back(promoted_path(tmp_path / "promoted", NAME)),
    ):
        with pytest.raises(InvalidData, match=r"1 of 2 lines are none \(.*promotions.jsonl, first line 2\)"):
            change()
        assert promoted_in(tmp_path / "promoted") == before


def test_a_killed_promotion_is_not_finished_over_a_damaged_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(tmp_path, b"first", run_id="r1")
    killed_at(monkeypatch, 2, tmp_path)
    log = tmp_path / "promoted" / LOG_NAME
    whole = log.read_bytes()
    log.write_bytes(whole[:-20])
    before = promoted_in(tmp_path / "promoted")
    target = promoted_path(tmp_path / "promoted", NAME)
    with pytest.raises(InvalidData):
        finish_promotion(target)
    assert promoted_in(tmp_path / "promoted") == before
    log.write_bytes(whole)
    assert finish_promotion(target)["run_id"] == "r3"


def test_a_last_line_without_its_end_stays_a_line_of_its_own(tmp_path: Path) -> None:
    promoted(tmp_path, b"first", run_id="r1")
    log = tmp_path / "promoted" / LOG_NAME
    log.write_bytes(log.read_bytes().rstrip(b"\n"))
    promoted(tmp_path, b"second", run_id="r2")
    assert [entry["run_id"] for entry in read_log(tmp_path / "promoted")] == ["r1", "r2"]


def test_the_model_in_use_is_not_promoted_again(tmp_path: Path) -> None:
    promoted(tmp_path, b"first")
    promoted(tmp_path, b"second")
    before = promoted_in(tmp_path / "promoted")
    with pytest.raises(OperationFailed, match="must be another than the one in use"):
        promoted(tmp_path, b"second")
    assert promoted_in(tmp_path / "promoted") == before


def test_back_walks_through_all_models_and_says_where_it_ends(tmp_path: Path) -> None:
    for content in (b"first", b"second", b"third"):
        promoted(tmp_path, content, run_id=content.decode())
    promoted_folder, target = tmp_path / "promoted", promoted_path(tmp_path / "promoted", NAME)
    entry = promote_back(target)
    assert (entry["action"], entry["run_id"], entry["file"]) == ("back", "second", NAME)
    assert (entry["sha256"], entry["replaced_sha256"]) == tuple(sha256_bytes(one) for one in (b"second", b"third"))
    assert target.read_bytes() == b"second"
    assert promote_back(target)["run_id"] == "first"
    assert target.read_bytes() == b"first"
    before = promoted_in(promoted_folder)
    with pytest.raises(OperationFailed, match="the promotion log names 0 for enhanced_baseline"):
        promote_back(target)
    assert promoted_in(promoted_folder) == before
    # Nothing that was in use is lost, and what follows continues from here.
    assert {kept_name(one) for one in (b"first", b"second", b"third")} <= set(before)
    promoted(tmp_path, b"third")
    promote_back(target)
    assert target.read_bytes() == b"first"
    assert [line.get("action", "promote") for line in read_log(promoted_folder)] == [
        *["promote"] * 3,
        "back",
        "back",
        "promote",
        "back",
    ]


def test_back_returns_to_a_model_that_was_put_there_by_hand(tmp_path: Path) -> None:
    target = promoted_path(tmp_path / "promoted", NAME)
    target.parent.mkdir()
    target.write_bytes(b"by hand")
    promoted(tmp_path, b"first")
    assert promote_back(target)["run_id"] is None
    assert target.read_bytes() == b"by hand"
    # Another put there by hand: the one before it is the last that the log names.
    target.write_bytes(b"by hand too")
    promote_back(target)
    assert target.read_bytes() == b"by hand"
    assert promoted_in(tmp_path / "promoted")[kept_name(b"by hand too")] == b"by hand too"


def test_back_without_any_promotion_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match="must have been in use before"):
        promote_back(promoted_path(tmp_path / "promoted", NAME))
    assert not (tmp_path / "promoted").exists()


def test_back_reads_where_earlier_versions_kept_the_one_before(tmp_path: Path) -> None:
    promoted(tmp_path, b"first", run_id="r1")
    promoted(tmp_path, b"second", run_id="r2")
    promoted_folder, target = tmp_path / "promoted", promoted_path(tmp_path / "promoted", NAME)
    old = promoted_folder / "enhanced_baseline_v2_relative.previous.pt"
    previous_path(target, sha256_bytes(b"first")).rename(old)
    promote_back(target)
    assert (target.read_bytes(), old.read_bytes()) == (b"first", b"first")


@pytest.mark.parametrize(
    "change", [Path.unlink, lambda path: path.write_bytes(b"flipped")], ids=["gone", "other bytes"]
)
def test_back_to_a_file_that_is_gone_or_another_is_refused(tmp_path: Path, change: Callable[[Path], object]) -> None:
    promoted(tmp_path, b"first")
    promoted(tmp_path, b"second")
    target = promoted_path(tmp_path / "promoted", NAME)
    change(previous_path(target, sha256_bytes(b"first")))
    before = promoted_in(tmp_path / "promoted")
    with pytest.raises(OperationFailed, match="the model to return to must have the SHA-256"):
        promote_back(target)
    assert promoted_in(tmp_path / "promoted") == before


@pytest.mark.parametrize("number", [2, 3, 4])
def test_an_interrupted_promotion_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    promoted(tmp_path, b"first", run_id="r1")
    with monkeypatch.context() as patch:
        replace_that_fails_at(patch, number, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            promoted(tmp_path, b"second", run_id="r2")
    target = promoted_path(tmp_path / "promoted", NAME)
    assert finish_promotion(target)["run_id"] == "r2"
    assert target.read_bytes() == b"second"
    assert [entry["run_id"] for entry in read_log(tmp_path / "promoted")] == ["r1", "r2"]
