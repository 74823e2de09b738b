"""Sealed files: torch archives of tensors and plain values that prove they are unaltered.

A file is an ordinary torch archive (`torch.load(path, weights_only=True)` opens it) whose object is
`{"kind", "format_version", "content", "sha256"}`: the hash is over the content. The archive's zip
comment holds a second hash, over every byte before it, so that no byte at all can flip unseen.
Bytes are checked before anything is unpickled.
"""

from __future__ import annotations

import hashlib
import io
import pickletools
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moola.errors import UntrustedFile
from moola.files import read_bytes, write_atomic

FORMAT_VERSION = 1
SEAL = b"moola-sha256:"
SEAL_BYTES = len(SEAL) + 64
MAX_BYTES = 4 << 30
# Steps of the pickles that `seal` writes, and the names that they call.
STEPS = frozenset(
    [
        "PROTO",
        "STOP",
        "MARK",
        "EMPTY_DICT",
        "EMPTY_LIST",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "APPEND",
        "APPENDS",
        "SETITEM",
        "SETITEMS",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINPUT",
        "LONG_BINPUT",
        "BINGET",
        "LONG_BINGET",
        "GLOBAL",
        "REDUCE",
        "BINPERSID",
    ]
)
GLOBALS = frozenset({"torch._utils _rebuild_tensor_v2", "collections OrderedDict"})


def digest(value: Any) -> str:
    """Return the SHA-256 of nested tensors and plain values, independent of how they are stored."""
    state = hashlib.sha256()
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise TypeError(f"a sealed file holds dense tensors, not {value.layout}")
        array = value.detach().cpu().contiguous()
        state.update(f"tensor {array.dtype} {tuple(array.shape)}\n".encode())
        state.update(array.view(torch.uint8).numpy().tobytes() if array.ndim else str(array.item()).encode())
    elif isinstance(value, dict):
        state.update(f"dict {len(value)}\n".encode())
        for key in sorted(value, key=str):
            state.update(f"key {key!r}\n".encode())
            _feed(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(f"list {len(value)}\n".encode())
        for item in value:
            _feed(state, item)
    elif value is None or isinstance(value, str | int | float | bool):
        state.update(f"{type(value).__name__} {value!r}\n".encode())
    else:
        raise TypeError(f"a sealed file holds tensors and plain values, not {type(value).__name__}")


def seal(kind: str, content: dict[str, Any]) -> bytes:
    """Return the bytes of a sealed file; equal content gives equal bytes."""
    content = _canonical(content)
    buffer = io.BytesIO()
    record = {
        "kind": kind,
        "format_version": FORMAT_VERSION,
        "content": content,
        "sha256": digest(content),
    }
    torch.save(record, buffer)
    archive = buffer.getvalue()
    # The last two bytes of a zip are the length of its comment, 0 as torch writes it.
    comment = SEAL + hashlib.sha256(archive).hexdigest().encode()
    return archive[:-2] + struct.pack("<H", len(comment)) + comment


def _canonical(value: Any) -> Any:
    """Return equal content in equal objects: torch's archives distinguish shared objects and views from copies."""
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().clone()
    if isinstance(value, dict):
        return {_canonical(key): _canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return sys.intern(value) if type(value) is str else value


def unseal(kind: str, data: bytes, name: str | Path) -> dict[str, Any]:
    """Return the content of a sealed file after checking every byte of it.

    Raises
    ------
    UntrustedFile
        No seal, a flipped or missing byte, another kind or version, or content that is not what its
        hash says.
    """
    comment = data[-SEAL_BYTES:]
    announced = data[-SEAL_BYTES - 2 : -SEAL_BYTES]
    if not comment.startswith(SEAL) or announced != struct.pack("<H", SEAL_BYTES) or not data.startswith(b"PK"):
        raise _refuse(kind, name, "it has no seal (truncated, foreign, or written by other software)")
    archive = data[: -SEAL_BYTES - 2] + b"\x00\x00"
    if hashlib.sha256(archive).hexdigest().encode() != comment[len(SEAL) :]:
        raise _refuse(kind, name, "its bytes do not match its SHA-256")
    try:
        _refuse_inflation(archive)
        _refuse_other_pickles(archive)
        record = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:
        # torch reports foreign archives with many exception types; all mean the same to the user.
        raise _refuse(kind, name, f"it cannot be read safely ({type(error).__name__})") from error
    try:
        is_larger = _spent(record, len(data)) > len(data)
    except TypeError as error:
        raise _refuse(kind, name, f"it holds more than tensors and plain values ({error})") from error
    if is_larger:
        raise _refuse(kind, name, "it would grow beyond its size when it is read")
    # First, since the fields of another version may be others.
    if isinstance(record, dict) and record.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        found = f"its format version is {record['format_version']!r}, not {FORMAT_VERSION}"
        raise _refuse(kind, name, found, "Use the moola that wrote it.")
    if not isinstance(record, dict) or set(record) != {"kind", "format_version", "content", "sha256"}:
        raise _refuse(kind, name, "its fields are not those of a sealed file")
    if record["kind"] != kind:
        raise _refuse(kind, name, f"it is a file of kind {record['kind']!r}")
    content: dict[str, Any] = record["content"]
    try:
        found = digest(content)
    except (TypeError, ValueError, RuntimeError, RecursionError) as error:
        raise _refuse(kind, name, f"it holds more than tensors and plain values ({error})") from error
    if found != record["sha256"]:
        raise _refuse(kind, name, "its content does not match its SHA-256")
    return content


def _refuse_inflation(archive: bytes) -> None:
    """Torch stores, never compresses, and stores nothing twice: an archive that would grow on reading is not ours."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        entries = file.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("compressed entries")
    if sum(entry.file_size for entry in entries) > len(archive):
        raise ValueError("overlapping entries")


def _refuse_other_pickles(archive: bytes) -> None:
    """Look at a pickle's steps before one is taken: `weights_only` lets some through that take any memory.

    What is allowed is what `seal` writes: plain values, and tensors that are views of storages in the archive.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        (name,) = [entry for entry in file.namelist() if entry.rpartition("/")[2] == "data.pkl"]
        sizes = {entry.filename.rpartition("/")[2]: entry.file_size for entry in file.infolist()}
        pickled = file.read(name)
    steps = [(opcode.name, value) for opcode, value, _ in pickletools.genops(pickled)]
    tuples: set[Any] = set()
    for place, (step, value) in enumerate(steps):
        # A tuple of one tuple many times over, as the key of a dictionary, is hashed without end.
        if step in ("BINPUT", "LONG_BINPUT") and steps[place - 1][0].startswith("TUPLE"):
            tuples.add(value)
        if step in ("BINGET", "LONG_BINGET") and value in tuples:
            raise ValueError("a tuple that is used again")
        if step not in STEPS or (step == "GLOBAL" and not _is_tensor_part(str(value))):
            raise ValueError(f"a step {step} {str(value)[:80]!r}")
        if step == "BINPERSID" and not any(
            one == "BINUNICODE" and key in sizes for one, key in steps[max(place - 12, 0) : place]
        ):
            raise ValueError("a storage that is not in the archive")


def _is_tensor_part(name: str) -> bool:
    module, _, what = name.partition(" ")
    return name in GLOBALS or (module == "torch" and what.endswith("Storage"))


def _spent(value: Any, budget: int) -> int:
    """Count a byte an item and all bytes of tensors, and stop once beyond the budget.

    Lists that hold one list many times, and tensors that repeat one number, are small in a file and without end here.
    """
    waiting, spent = [value], 0
    while waiting and spent <= budget:
        item = waiting.pop()
        if isinstance(item, Tensor):
            spent += item.numel() * item.element_size()
        elif isinstance(item, dict | list | tuple):
            spent += len(item)
            # Text of a key that holds other values could be without end.
            if isinstance(item, dict) and not all(isinstance(key, str | int | float | None) for key in item):
                raise TypeError("keys that are not plain values")
            waiting += item.values() if isinstance(item, dict) else item
    return spent


def _refuse(
    kind: str, name: str | Path, found: str, advice: str = "Take another copy, or write it again."
) -> UntrustedFile:
    return UntrustedFile(
        f"{name} must be an unaltered moola {kind} file, but {found}. Nothing of it was used. {advice}"
    )


def write_sealed(path: Path, kind: str, content: dict[str, Any]) -> bytes:
    """Seal and write atomically; returns the bytes written."""
    data = seal(kind, content)
    write_atomic(path, data)
    return data


def read_sealed(path: Path, kind: str) -> dict[str, Any]:
    """Read and check a sealed file that a user named."""
    data = read_bytes(path, f"the {kind} file", "Check the path.", MAX_BYTES)
    return unseal(kind, data, path)
