"""Sealed files: any altered byte is refused before anything is unpickled."""

from __future__ import annotations

import hashlib
import io
import pickle
import resource
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moola.errors import OperationFailed, UntrustedFile
from moola.models.sealed import SEAL, SEAL_BYTES, digest, read_sealed, seal, unseal, write_sealed

CONTENT: dict[str, Any] = {
    "weights": {"a": torch.arange(6, dtype=torch.float32).reshape(2, 3), "b": torch.tensor(True)},
    "names": ["x", "y"],
    "threshold": None,
    "share": 0.1,
    "n": 3,
}
SHARED = torch.zeros(3)
SEALED = seal("encoder", CONTENT)
# Backwards from the end: comment, two bytes of its length, end record of the zip, padding and entries.
LENGTH_BYTES = (len(SEALED) - SEAL_BYTES - 2, len(SEALED) - SEAL_BYTES - 1)


def comment_of(archive: bytes) -> bytes:
    comment = SEAL + hashlib.sha256(archive).hexdigest().encode()
    return archive[:-2] + struct.pack("<H", len(comment)) + comment


def sealed_record(record: Any) -> bytes:
    """What an attacker can do: any record at all, behind a right second hash."""
    buffer = io.BytesIO()
    torch.save(record, buffer)
    return comment_of(buffer.getvalue())


def record_of(content: Any, **changed: Any) -> dict[str, Any]:
    record = {"kind": "encoder", "format_version": 1, "content": content, "sha256": digest(content)}
    return record | changed


def refuse(archive: bytes) -> None:
    with pytest.raises(UntrustedFile):
        unseal("encoder", archive, "file.pt")


class Evil:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_content_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    written = write_sealed(path, "encoder", CONTENT)
    content = read_sealed(path, "encoder")
    assert path.read_bytes() == written
    assert content.keys() == CONTENT.keys()
    assert torch.equal(content["weights"]["a"], CONTENT["weights"]["a"])
    assert content["weights"]["b"].dtype == torch.bool
    assert [content[key] for key in ("names", "threshold", "share", "n")] == [["x", "y"], None, 0.1, 3]


def test_equal_content_gives_equal_bytes_and_other_content_others() -> None:
    again = {key: CONTENT[key] for key in CONTENT} | {"weights": {k: v.clone() for k, v in CONTENT["weights"].items()}}
    assert seal("encoder", again) == SEALED
    assert seal("encoder", CONTENT | {"n": 4}) != SEALED
    assert seal("model", CONTENT) != SEALED


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "some text", "b": "some text"}, {"a": "some text", "b": "".join(["some", " text"])}),
        ({"a": SHARED, "b": SHARED}, {"a": SHARED, "b": SHARED.clone()}),
        ({"a": torch.arange(9.0)[2:5]}, {"a": torch.tensor([2.0, 3.0, 4.0])}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
    ids=["text in two objects", "tensor in two objects", "view", "order"],
)
def test_equal_content_gives_equal_bytes_whatever_objects_hold_it(one: Any, other: Any) -> None:
    assert digest(one) == digest(other)
    assert seal("encoder", one) == seal("encoder", other)


def test_torch_opens_a_sealed_file_with_weights_only(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    write_sealed(path, "encoder", CONTENT)
    record = torch.load(path, weights_only=True)
    assert set(record) == {"kind", "format_version", "content", "sha256"}
    assert record["kind"] == "encoder"
    assert torch.equal(record["content"]["weights"]["a"], CONTENT["weights"]["a"])


@pytest.mark.parametrize("bits", [0x01, 0x80, 0xFF])
def test_every_single_flipped_byte_is_refused(bits: int) -> None:
    accepted = []
    for position in range(len(SEALED)):
        if position in LENGTH_BYTES:
            continue
        flipped = bytearray(SEALED)
        flipped[position] ^= bits
        try:
            unseal("encoder", bytes(flipped), "file.pt")
            accepted.append(position)
        except UntrustedFile:
            pass
    assert accepted == []


@pytest.mark.parametrize("position", LENGTH_BYTES)
def test_a_flipped_byte_in_the_length_of_the_comment_is_refused(position: int) -> None:
    flipped = bytearray(SEALED)
    flipped[position] ^= 0x01
    refuse(bytes(flipped))


@given(st.dictionaries(st.integers(0, len(SEALED) - 1), st.integers(1, 255), min_size=1, max_size=5))
def test_any_few_flipped_bytes_are_refused(flips: dict[int, int]) -> None:
    flipped = bytearray(SEALED)
    for position, bits in flips.items():
        flipped[position] ^= bits
    refuse(bytes(flipped))


def test_a_file_cut_off_anywhere_at_either_end_is_refused() -> None:
    for length in range(len(SEALED)):
        for part in (SEALED[:length], SEALED[len(SEALED) - length :]):
            refuse(part)


@pytest.mark.parametrize("extra", [b"\x00", b"moola", SEALED])
def test_bytes_put_behind_or_before_are_refused(extra: bytes) -> None:
    for data in (SEALED + extra[:-1] + b"\x01", extra + SEALED):
        refuse(data)


def test_a_refusal_names_the_file_what_is_wrong_and_what_to_do() -> None:
    with pytest.raises(
        UntrustedFile, match=r"file\.pt must be an unaltered moola model file, but it is a file of kind"
    ):
        unseal("model", SEALED, "file.pt")
    with pytest.raises(UntrustedFile, match=r"do not match its SHA-256\. Nothing of it was used\. Take another copy"):
        unseal("encoder", SEALED[:200] + b"?" + SEALED[201:], "file.pt")
    assert UntrustedFile.exit_code == 5


def test_a_missing_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(OperationFailed, match="must exist"):
        read_sealed(tmp_path / "nothing.pt", "encoder")


def test_the_forger_of_these_tests_makes_good_files_from_good_records() -> None:
    content = unseal("encoder", sealed_record(record_of(CONTENT)), "file.pt")
    assert digest(content) == digest(CONTENT)


@pytest.mark.parametrize(
    "record",
    [
        record_of(CONTENT, format_version=2),
        record_of(CONTENT, format_version="1"),
        record_of(CONTENT, kind="model"),
        record_of(CONTENT, sha256="0" * 64),
        record_of(CONTENT | {"n": 4}, sha256=digest(CONTENT)),
        record_of(CONTENT, surplus=1),
        {key: value for key, value in record_of(CONTENT).items() if key != "sha256"},
        [1, 2, 3],
        torch.zeros(3),
        record_of(CONTENT, kind=torch.zeros(2)),
    ],
    ids=["newer", "text version", "kind", "hash", "content", "surplus", "missing", "list", "tensor", "tensor kind"],
)
def test_a_record_that_is_not_exactly_ours_is_refused_behind_a_right_seal(record: Any) -> None:
    refuse(sealed_record(record))


@pytest.mark.parametrize(
    "content",
    [{"odd": {1, 2}}, {"odd": b"bytes"}, {"odd": torch.float32}, {"odd": torch.eye(2).to_sparse()}],
    ids=["set", "bytes", "dtype", "sparse tensor"],
)
def test_values_that_are_neither_plain_nor_tensors_are_refused_behind_a_right_seal(content: Any) -> None:
    record = {"kind": "encoder", "format_version": 1, "content": content, "sha256": "0" * 64}
    refuse(sealed_record(record))


def test_sealing_what_is_neither_plain_nor_tensor_is_an_error() -> None:
    with pytest.raises(TypeError, match="tensors and plain values, not set"):
        seal("encoder", {"odd": {1}})


def test_an_ordinary_torch_archive_without_seal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    torch.save(record_of(CONTENT), path)
    with pytest.raises(UntrustedFile, match="it has no seal"):
        read_sealed(path, "encoder")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_real_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path, target = tmp_path / "model.pkl", tmp_path / "was_run"
    path.write_bytes(pickle.dumps(Evil(target), protocol=protocol))
    with pytest.raises(UntrustedFile):
        read_sealed(path, "model")
    assert not target.exists()


def test_code_in_a_torch_archive_behind_a_right_seal_is_refused_and_not_run(tmp_path: Path) -> None:
    target = tmp_path / "was_run"
    record = {"kind": "model", "format_version": 1, "content": {"weights": Evil(target)}, "sha256": "0" * 64}
    with pytest.raises(UntrustedFile, match="cannot be read safely"):
        unseal("model", sealed_record(record), "model.pkl")
    assert not target.exists()


def test_a_compressed_archive_behind_a_right_seal_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(SEALED)) as ours, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ours.namelist():
            packed.writestr(name, ours.read(name))
    with pytest.raises(UntrustedFile, match="cannot be read safely"):
        unseal("encoder", comment_of(buffer.getvalue()), "file.pt")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (1, "1"),
        (None, "None"),
        ([1, [2]], [1, 2]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1}, {"b": 1}),
        ({"a": {"b": 1}}, {"a": {}, "b": 1}),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(4, dtype=torch.uint8), torch.zeros(1)),
        (torch.tensor(0.0), torch.zeros(1)),
        (torch.tensor([0.0]), torch.tensor([-0.0])),
    ],
)
def test_different_content_has_different_digests(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_the_digest_does_not_depend_on_storage_or_order() -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    assert digest(matrix.T) == digest(matrix.T.contiguous())
    assert digest(torch.arange(10.0)[2:5]) == digest(torch.tensor([2.0, 3.0, 4.0]))
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) == digest((1, 2))


class Claims:
    """A pickle that asks for gigabytes, which `weights_only` lets through."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (8 << 30,)


def test_a_pickle_that_asks_for_memory_is_refused_before_it_has_it() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    record = {"kind": "model", "format_version": 1, "content": {"weights": Claims()}, "sha256": "0" * 64}
    with pytest.raises(UntrustedFile, match="cannot be read safely"):
        unseal("model", sealed_record(record), "model.pkl")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_tuples_that_hold_each_other_without_end_are_refused() -> None:
    # As the key of a dictionary, loading alone would not end.
    key: Any = ("x",)
    for _ in range(60):
        key = (key, key)
    record = {"kind": "model", "format_version": 1, "content": {"odd": key}, "sha256": "0" * 64}
    with pytest.raises(UntrustedFile, match="cannot be read safely"):
        unseal("model", sealed_record(record), "model.pkl")
