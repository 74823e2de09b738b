import errno
import hashlib
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.files import (
    SAFE_NAME,
    json_bytes,
    read_bytes,
    read_json,
    remove_leftovers,
    safe_name,
    sha256_bytes,
    sha256_file,
    write_atomic,
)

OLD, NEW = b"what stood before", b"what comes now"


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(OLD)
    return path


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 1000])
def test_what_is_written_is_what_is_read(tmp_path, content):
    path = tmp_path / "deep" / "er" / "file.bin"
    write_atomic(path, content)
    assert path.read_bytes() == content
    assert listing(path.parent) == ["file.bin"]


def test_writing_replaces_the_old_file_and_leaves_nothing_else(target):
    write_atomic(target, NEW)
    assert target.read_bytes() == NEW
    assert listing(target.parent) == ["model.pt"]
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("fault", ["os.replace", "os.fsync", "os.chmod", "os.fdopen", "tempfile.mkstemp"])
def test_a_full_disk_leaves_the_old_file_and_no_temporary_file(target, monkeypatch, fault):
    monkeypatch.setattr(fault, no_space)
    with pytest.raises(OperationFailed, match="No space left on device; the existing file is unchanged"):
        write_atomic(target, NEW)
    monkeypatch.undo()
    assert target.read_bytes() == OLD
    assert listing(target.parent) == ["model.pt"]


def test_a_folder_that_may_not_be_written_leaves_the_old_file(target, monkeypatch):
    def read_only(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "mkstemp", read_only)
    with pytest.raises(OperationFailed, match="must be writable, but Permission denied"):
        write_atomic(target, NEW)
    assert target.read_bytes() == OLD


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write in a read-only folder")
def test_a_read_only_folder_is_left_as_it_was(target):
    target.parent.chmod(0o555)
    try:
        with pytest.raises(OperationFailed, match="Permission denied"):
            write_atomic(target, NEW)
        assert listing(target.parent) == ["model.pt"]
    finally:
        target.parent.chmod(0o755)


def test_a_folder_that_cannot_be_made_or_is_the_target_is_refused(target):
    with pytest.raises(OperationFailed, match="must be writable"):
        write_atomic(target / "inside-a-file", NEW)
    folder = target.parent / "folder"
    folder.mkdir()
    with pytest.raises(OperationFailed, match="must be writable"):
        write_atomic(folder, NEW)
    assert listing(target.parent) == ["folder", "model.pt"]


def test_a_disk_that_gives_back_other_bytes_leaves_the_old_file(target, monkeypatch):
    monkeypatch.setattr("moola.files.sha256_file", lambda _path: "0" * 64)
    with pytest.raises(OperationFailed, match="differs from what is read back"):
        write_atomic(target, NEW)
    assert target.read_bytes() == OLD
    assert listing(target.parent) == ["model.pt"]


def test_an_interrupt_leaves_the_old_file_and_no_temporary_file(target, monkeypatch):
    def interrupt(_handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(target, NEW)
    assert target.read_bytes() == OLD
    assert listing(target.parent) == ["model.pt"]


def test_a_folder_that_cannot_be_flushed_never_claims_that_the_old_file_is_there(target, monkeypatch):
    flush = os.fsync

    def flush_files_alone(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(handle)

    monkeypatch.setattr(os, "fsync", flush_files_alone)
    try:
        write_atomic(target, NEW)
    except OperationFailed:
        assert target.read_bytes() == OLD
    else:
        assert target.read_bytes() == NEW


def test_the_file_is_flushed_before_it_takes_the_place_of_the_old_one(target, monkeypatch):
    flush, replace, done = os.fsync, os.replace, []
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("flush"), flush(handle)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("replace"), replace(old, new)))
    write_atomic(target, NEW)
    assert done == ["flush", "replace", "flush"]


def test_hashes_are_sha256_of_bytes_and_of_files(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(NEW)
    assert sha256_bytes(NEW) == sha256_file(path) == hashlib.sha256(NEW).hexdigest()
    with pytest.raises(OperationFailed, match="must be readable, but No such file"):
        sha256_file(tmp_path / "none")


def test_a_file_that_is_missing_a_folder_or_too_large_is_said_plainly(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bytes(path, "the input", "Look.", max_bytes=5) == b"12345"
    with pytest.raises(OperationFailed, match=r"the input must be at most 4 bytes, but .* has 5"):
        read_bytes(path, "the input", "Look.", max_bytes=4)
    for missing in (tmp_path / "none", tmp_path, Path("a\x00b")):
        with pytest.raises(OperationFailed, match="the input must exist"):
            read_bytes(missing, "the input", "Look.")
    with pytest.raises(OperationFailed, match="the input must be readable"):
        read_bytes(tmp_path / ("n" * 300), "the input", "Look.")


json_values = st.dictionaries(
    st.text(max_size=5),
    st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    max_size=4,
)


@given(json_values)
def test_json_is_read_back_equal_and_does_not_depend_on_the_order_of_keys(value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        path.write_bytes(json_bytes(value))
        assert read_json(path, "a file", "") == value
    assert json_bytes(dict(reversed(value.items()))) == json_bytes(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_files_never_hold_nan(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_bytes({"ece": value})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"nope", b"1" * 5000])
def test_what_is_no_json_is_invalid(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InvalidData, match="a split file must be JSON, but"):
        read_json(path, "a split file", "Fix it.")


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b'"text"'])
def test_json_that_is_no_object_is_invalid(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InvalidData, match="must be a JSON object"):
        read_json(path, "a split file", "Fix it.")


BAD_NAMES = ["", "..", ".", "../x", "a/../b", "/etc/passwd", "a/b", "a\\b", "a\x00b", "n" * 300, "n" * 121]
BAD_NAMES += [".hidden", "-rf", "a b", "a\n", "é", "a..b", "~", "$HOME", "CON:"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_more_than_a_plain_file_name_is_refused(name):
    with pytest.raises(WrongUsage, match="--name must be 1 to 120 letters"):
        safe_name(name, "--name")


@pytest.mark.parametrize("name", ["a", "n" * 120, "enhanced_baseline_v2_relative.pt", "0-1.x", "2024-01-01T00"])
def test_a_plain_name_is_returned_as_it_is(name):
    assert safe_name(name, "--name") == name


@given(st.text(max_size=8) | st.from_regex(SAFE_NAME, fullmatch=True))
def test_a_name_that_is_accepted_stays_in_its_folder(name):
    try:
        accepted = safe_name(name, "--name")
    except WrongUsage:
        return
    folder = Path("/runs")
    assert (folder / accepted).resolve().parent == folder
    assert os.path.normpath(folder / accepted) == f"/runs/{name}"


def test_leftovers_of_killed_writes_go_and_nothing_else(tmp_path):
    kept = [".model.pt.abcd1234.tmp", ".other.abcd1234.tmp", ".notes.tmp", "a.b.abcd1234.tmp", "model"]
    for name in [".model.abcd123_.tmp", *kept]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/.x.json.abcd1234.tmp").touch()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes.tmp", "a.b.abcd1234.tmp", "model", "in"}
    assert not list((tmp_path / "in").iterdir())


def test_a_killed_write_of_a_long_name_is_found(tmp_path, monkeypatch):
    path = tmp_path / ("n" * 120 + ".json")
    with monkeypatch.context() as patch:
        patch.setattr("moola.files.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr("moola.files.os.unlink", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            write_atomic(path, b"{}")
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(path)
    assert list(tmp_path.iterdir()) == []
