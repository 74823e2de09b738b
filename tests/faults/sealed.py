"""Encoders, models, checkpoints and runs that are damaged, foreign, or made to do harm."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from moola.models.sealed import SEAL, digest, seal
from moola.runs.run_store import OWN_HASH, own_hash
from tests.faults.bars import altered, cut_in_half, text
from tests.faults.fault import Fault
from tests.faults.world import the_run

Content = dict[str, Any]


class Bomb:
    """Code that a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("exploded").touch, ())


class Claim:
    """A pickle that asks for 8 GB of zeros, which `weights_only` lets through."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (bytearray, (8 << 30,))


def with_seal(archive: bytes) -> bytes:
    """Close any archive as ours are closed: whoever can read the source can do that, a hash is no signature."""
    comment = SEAL + hashlib.sha256(archive).hexdigest().encode()
    return archive[:-2] + struct.pack("<H", len(comment)) + comment


def archive_of(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def resealed(change: Callable[[Content], object]) -> Callable[[object], None]:
    """Make bad.pt: the encoder with its content changed and every hash right."""

    def make(_patch: object) -> None:
        content = torch.load("encoder.pt", weights_only=True)["content"]
        change(content)
        Path("bad.pt").write_bytes(seal("encoder", content))

    return make


def as_is(content: Callable[[], Any], kind: str = "encoder") -> Callable[[object], None]:
    """Make bad.pt: a sealed archive of whatever is given, as torch stores it."""

    def make(_patch: object) -> None:
        record = {"kind": kind, "format_version": 1, "content": content(), "sha256": "0" * 64}
        Path("bad.pt").write_bytes(with_seal(archive_of(record)))

    return make


def deflated(_patch: object) -> None:
    """A sealed archive whose entries are packed: 64 MB of zeros in 64 kB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", bytes(64 << 20))
    Path("bad.pt").write_bytes(with_seal(out.getvalue()))


def laughs() -> list[Any]:
    """Ten lists deep of ten times the same: a few hundred bytes, ten thousand million items."""
    found: list[Any] = ["ha"]
    for _ in range(10):
        found = [found] * 10
    return found


def large(content: Content) -> None:
    content["architecture"] |= {"hidden_dim": 4096, "num_layers": 16}


def manifest(change: Callable[[Content], object]) -> Callable[[object], None]:
    """Change the run's manifest, and its own hash with it: whoever can read the source can do that."""

    def make(_patch: object) -> None:
        path = the_run() / "manifest.json"
        content = json.loads(path.read_text())
        change(content)
        if OWN_HASH in content:
            content[OWN_HASH] = own_hash(content)
        path.write_text(json.dumps(content))

    return make


def manifest_text(change: Callable[[str], str]) -> Callable[[object], None]:
    """Change the text of the run's manifest."""

    def make(_patch: object) -> None:
        path = the_run() / "manifest.json"
        path.write_text(change(path.read_text()))

    return make


def swapped(_patch: object) -> None:
    """Give the run a manifest and files of another one, as a careless copy would."""
    run = the_run()
    other = run.with_name("20200101T000000Z-enhanced_simple_lstm-s1-00000000")
    shutil.copytree(run, other)
    content = json.loads((run / "manifest.json").read_text()) | {"run_id": other.name}
    content["manifest_sha256"] = own_hash(content)
    (run / "manifest.json").write_text(json.dumps(content))
    shutil.rmtree(other)


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def in_run(change: Callable[[Path], object]) -> Callable[[object], None]:
    return lambda _patch: change(the_run())


def link_away(run: Path) -> None:
    elsewhere = Path("elsewhere")
    run.rename(elsewhere)
    run.symlink_to(elsewhere.absolute())


TRAIN = "train --data relative.parquet --split split.json --pretrained-encoder bad.pt"
NOTHING_USED = "Nothing of it was used"

ENCODERS = [
    Fault("encoder-missing", "the file is not there", TRAIN, 1, "the encoder file must exist"),
    Fault("encoder-empty", "0 bytes", TRAIN, 5, "it has no seal", text("", "bad.pt")),
    Fault(
        "encoder-cut-off", "half an encoder", TRAIN, 5, "it has no seal", altered("encoder.pt", cut_in_half, "bad.pt")
    ),
    Fault(
        "encoder-flipped-start",
        "one bit flipped in the first bytes",
        TRAIN,
        5,
        NOTHING_USED,
        altered("encoder.pt", lambda data: data.__setitem__(0, data[0] ^ 1), "bad.pt"),
    ),
    Fault(
        "encoder-flipped-middle",
        "one bit flipped in the middle",
        TRAIN,
        5,
        "do not match its SHA-256",
        altered("encoder.pt", lambda data: data.__setitem__(len(data) // 2, data[len(data) // 2] ^ 1), "bad.pt"),
    ),
    Fault(
        "encoder-flipped-seal",
        "one bit flipped in the last byte",
        TRAIN,
        5,
        "do not match its SHA-256",
        altered("encoder.pt", lambda data: data.__setitem__(-1, data[-1] ^ 1), "bad.pt"),
    ),
    Fault(
        "encoder-longer",
        "bytes behind the end",
        TRAIN,
        5,
        "it has no seal",
        altered("encoder.pt", lambda data: data.extend(b"more"), "bad.pt"),
    ),
    Fault(
        "encoder-is-table",
        "a window file in place of an encoder",
        "train --data relative.parquet --split split.json --pretrained-encoder relative.parquet",
        5,
        NOTHING_USED,
    ),
    Fault(
        "encoder-pickle",
        "a pickle with code in it; the code does not run",
        TRAIN,
        5,
        "it has no seal",
        text(pickle.dumps(Bomb()), "bad.pt"),
    ),
    Fault(
        "encoder-torch-pickle",
        "code in a torch archive with the right seal; it does not run",
        TRAIN,
        5,
        "it cannot be read safely",
        as_is(Bomb),
    ),
    Fault(
        "encoder-unsealed",
        "a torch file of other software",
        TRAIN,
        5,
        "it has no seal",
        lambda _: Path("bad.pt").write_bytes(archive_of({"weights": torch.zeros(3)})),
    ),
    Fault(
        "encoder-zip-bomb",
        "an archive that unpacks to a thousand times its size",
        TRAIN,
        5,
        "it cannot be read safely",
        deflated,
    ),
    Fault(
        "encoder-one-number-repeated",
        "one stored number that says it is 40 GB of weights",
        TRAIN,
        5,
        "it would grow beyond its size",
        as_is(lambda: {"weights": torch.zeros(1).expand(10_000_000_000)}),
    ),
    Fault(
        "encoder-list-in-lists",
        "lists that hold one list many times, ten deep",
        TRAIN,
        5,
        "it would grow beyond its size",
        as_is(lambda: {"weights": laughs()}),
    ),
    Fault(
        "encoder-claims-10-gb",
        "sizes of a 10 GB network, with the weights of a small one",
        TRAIN,
        5,
        "must be an intact moola encoder file",
        resealed(large),
    ),
    Fault(
        "encoder-wrong-content-hash",
        "content that is not what its hash says",
        TRAIN,
        5,
        "its content does not match its SHA-256",
        as_is(lambda: {"weights": 1}),
    ),
    Fault(
        "encoder-other-version",
        "a format of another version",
        TRAIN,
        5,
        "its format version is 2",
        lambda _: Path("bad.pt").write_bytes(
            with_seal(archive_of({"kind": "encoder", "format_version": 2, "content": {}, "sha256": digest({})}))
        ),
    ),
    Fault(
        "encoder-is-model",
        "a model in place of an encoder",
        TRAIN,
        5,
        "it is a file of kind 'model'",
        in_run(lambda run: Path("bad.pt").write_bytes((run / "model.pkl").read_bytes())),
    ),
    Fault(
        "encoder-weights-missing",
        "a weight left out",
        TRAIN,
        5,
        "missing weights",
        resealed(lambda content: content["weights"].popitem()),
    ),
    Fault(
        "encoder-weights-surplus",
        "a weight too many",
        TRAIN,
        5,
        "surplus weights",
        resealed(lambda content: content["weights"].update(more=torch.zeros(2))),
    ),
    Fault(
        "encoder-weights-shape",
        "a weight of another shape",
        TRAIN,
        5,
        "of shape",
        resealed(lambda content: content["weights"].update({next(iter(content["weights"])): torch.zeros(2)})),
    ),
    Fault(
        "encoder-weights-nan",
        "weights of NaN",
        TRAIN,
        5,
        "are not finite",
        resealed(lambda content: next(iter(content["weights"].values())).fill_(float("nan"))),
    ),
    Fault(
        "encoder-features",
        "another list of features",
        TRAIN,
        5,
        "features",
        resealed(lambda content: content["features"]["names"].reverse()),
    ),
    Fault(
        "encoder-times",
        "times of its pretraining that are none, by which leaks are found",
        TRAIN,
        5,
        "bad.pt must be an intact moola encoder file",
        resealed(lambda content: content["pretraining"].update(time_range=["yesterday", "today"])),
    ),
    Fault(
        "encoder-times-backward",
        "a pretraining that ended before it began",
        TRAIN,
        5,
        "times from",
        resealed(lambda content: content["pretraining"]["time_range"].reverse()),
    ),
    Fault(
        "encoder-scaler",
        "a scaler that divides by 0",
        TRAIN,
        5,
        "a scaler that cannot be used",
        resealed(lambda content: content["scaler"]["scale"].zero_()),
    ),
    Fault(
        "encoder-name",
        "an encoder of another name",
        TRAIN,
        5,
        "an encoder called 'transformer'",
        resealed(lambda content: content["architecture"].update(name="transformer")),
    ),
    Fault(
        "encoder-length",
        "an encoder for windows of 50 bars",
        TRAIN,
        3,
        "windows must have the 50 bars of bad.pt, but relative.parquet has 105. Name files of one length",
        resealed(lambda content: content.update(window_bars=50)),
    ),
    Fault(
        "model-cut-off",
        "half a model",
        "predict --model bad.pt --data relative.parquet --output new.parquet",
        5,
        NOTHING_USED,
        in_run(lambda run: altered(str(run / "model.pkl"), cut_in_half, "bad.pt")(None)),
    ),
    Fault(
        "model-claims-8-gb",
        "a model whose pickle asks for 8 GB of zeros: refused before it is loaded",
        "predict --model bad.pt --data relative.parquet --output new.parquet",
        5,
        "it cannot be read safely (ValueError)",
        as_is(lambda: {"weights": Claim()}, "model"),
    ),
    Fault(
        "model-is-encoder",
        "an encoder in place of a model",
        "scan --model encoder.pt --bars bars.parquet --output new.csv",
        5,
        "it is a file of kind 'encoder'",
    ),
    Fault(
        "checkpoint-cut-off",
        "half a checkpoint to resume from",
        "pretrain-bilstm --input bars.parquet --output new.pt --arms masked --stride 50 --resume",
        5,
        NOTHING_USED,
        altered("encoder.pt", cut_in_half, "new.pt.checkpoint"),
    ),
    Fault(
        "checkpoint-foreign",
        "an encoder in place of a checkpoint",
        "pretrain-bilstm --input bars.parquet --output new.pt --arms masked --stride 50 --resume",
        5,
        "it is a file of kind 'encoder'",
        altered("encoder.pt", len, "new.pt.checkpoint"),
    ),
]

RUNS = [
    Fault("run-missing", "no such run", "eval --run 20200101T000000Z-none-s1-00000000", 1, "the run must exist"),
    Fault(
        "run-incomplete",
        "a run that was interrupted",
        "eval --run {run}",
        1,
        "it was interrupted",
        in_run(lambda run: (run / "manifest.json").unlink()),
    ),
    Fault(
        "run-model-swapped",
        "another model in the run's folder",
        "eval --run {run}",
        5,
        "differs from its SHA-256 in the manifest",
        in_run(lambda run: (run / "model.pkl").write_bytes(Path("encoder.pt").read_bytes())),
    ),
    Fault(
        "run-predictions-flipped",
        "one bit of the predictions flipped",
        "gate --run {run}",
        5,
        "differs from its SHA-256",
        in_run(
            lambda run: altered(
                str(run / "predictions.parquet"),
                lambda data: data.__setitem__(900, data[900] ^ 1),
                str(run / "predictions.parquet"),
            )(None)
        ),
    ),
    Fault(
        "run-file-missing",
        "a file of the run removed",
        "report --run {run}",
        5,
        "is missing",
        in_run(lambda run: (run / "metrics.json").unlink()),
    ),
    Fault(
        "run-link",
        "a run that is a link to another folder",
        "eval --run {run}",
        5,
        "is a link to elsewhere",
        in_run(link_away),
    ),
    Fault(
        "manifest-empty",
        "a manifest of 0 bytes",
        "runs show {run}",
        3,
        "must be JSON",
        in_run(lambda run: (run / "manifest.json").write_bytes(b"")),
    ),
    Fault(
        "manifest-nested",
        "a manifest of a hundred thousand brackets",
        "promote --run {run}",
        3,
        "must be JSON",
        in_run(lambda run: (run / "manifest.json").write_bytes(b"[" * 100_000)),
    ),
    Fault(
        "manifest-names-outside",
        "a manifest that names ../../x",
        "eval --run {run}",
        5,
        "must name files of its own folder",
        manifest(lambda content: content["files"].update({"../../x": "0"})),
    ),
    Fault(
        "manifest-names-absolute",
        "a manifest that names /etc/passwd",
        "eval --run {run}",
        5,
        "must name files of its own folder",
        manifest(lambda content: content["files"].update({"/etc/passwd": "0"})),
    ),
    Fault(
        "manifest-no-files",
        "a manifest that names no files",
        "eval --run {run}",
        5,
        "must list the run's files",
        manifest(lambda content: content.pop("files")),
    ),
    Fault(
        "manifest-bare",
        "a manifest that has files and nothing else",
        "eval --run {run}",
        5,
        "must be complete",
        manifest(lambda content: [content.pop(key) for key in list(content) if key != "files"]),
    ),
    Fault(
        "manifest-bare-listed",
        "the same where runs are listed: shown as damaged",
        "runs list",
        0,
        "damaged",
        manifest(lambda content: [content.pop(key) for key in list(content) if key != "files"]),
    ),
    Fault(
        "manifest-cut-off",
        "half a manifest",
        "eval --run {run}",
        3,
        "must be JSON",
        manifest_text(lambda content: content[: len(content) // 2]),
    ),
    Fault(
        "manifest-cut-off-listed",
        "the same where runs are listed: shown as damaged",
        "runs list",
        0,
        "damaged",
        manifest_text(lambda content: content[: len(content) // 2]),
    ),
    Fault(
        "manifest-flipped",
        "one digit of a manifest changed",
        "gate --run {run}",
        5,
        "differs from its own SHA-256",
        manifest_text(lambda content: content.replace('"seed": 17', '"seed": 16')),
    ),
    Fault(
        "manifest-swapped",
        "the manifest of another run, whose files are the same",
        "eval --run {run}",
        5,
        "must be this run's, but it is of run '<RUN_ID>'",
        swapped,
    ),
    Fault(
        "manifest-huge-number",
        "a number of 1e999 in a manifest",
        "runs show {run} --json",
        3,
        "1e999 is not a finite number",
        manifest_text(lambda content: content.replace('"seed": 17', '"seed": 1e999')),
    ),
    Fault(
        "manifest-twice",
        "a list of files twice, the second one empty",
        "eval --run {run}",
        3,
        "a key is there twice",
        manifest_text(lambda content: content.rstrip()[:-1] + ', "files": {}}'),
    ),
    Fault(
        "manifest-lists-nothing",
        "an empty list of files",
        "eval --run {run}",
        5,
        "but it lacks config.json",
        manifest(lambda content: content.update(files={})),
    ),
    Fault(
        "run-config-altered",
        "an option of the run's config altered",
        "runs show {run}",
        5,
        "config.json differs from its SHA-256",
        in_run(lambda run: rewrite(run / "config.json", b'"epochs": 1', b'"epochs": 9')),
    ),
    Fault(
        "run-metrics-altered",
        "a figure of the run altered",
        "report --run {run}",
        5,
        "metrics.json differs from its SHA-256",
        in_run(lambda run: rewrite(run / "metrics.json", b'"value": 0.', b'"value": 0.9')),
    ),
    Fault(
        "run-metrics-cut-off",
        "half the figures of a run, where runs are listed: shown as damaged",
        "runs list",
        0,
        "damaged",
        in_run(lambda run: altered(str(run / "metrics.json"), cut_in_half, str(run / "metrics.json"))(None)),
    ),
]
