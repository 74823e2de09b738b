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
from tests.faults.fault import Fault, fault
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
    """A sealed archive whose entries are packed: 8 MB of zeros in 8 kB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", bytes(8 << 20))
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
    fault(TRAIN, "encoder-missing | the file is not there | 1 | the encoder file must exist"),
    fault(
        TRAIN, "encoder-cut-off | half an encoder | 5 | it has no seal", altered("encoder.pt", cut_in_half, "bad.pt")
    ),
    Fault(
        "encoder-flipped-start",
        "one bit flipped in the first bytes",
        TRAIN,
        5,
        NOTHING_USED,
        altered("encoder.pt", lambda data: data.__setitem__(0, data[0] ^ 1), "bad.pt"),
    ),
    fault(
        TRAIN,
        "encoder-flipped-seal | one bit flipped in the last byte | 5 | do not match its SHA-256",
        altered("encoder.pt", lambda data: data.__setitem__(-1, data[-1] ^ 1), "bad.pt"),
    ),
    Fault(
        "encoder-is-table",
        "a window file in place of an encoder",
        "train --data relative.parquet --split split.json --pretrained-encoder relative.parquet",
        5,
        NOTHING_USED,
    ),
    fault(
        TRAIN,
        "encoder-pickle | a pickle with code in it; the code does not run | 5 | it has no seal",
        text(pickle.dumps(Bomb()), "bad.pt"),
    ),
    fault(
        TRAIN,
        "encoder-torch-pickle | code in a torch archive with the right seal; it does not run | 5 | "
        "it cannot be read safely",
        as_is(Bomb),
    ),
    fault(
        TRAIN,
        "encoder-zip-bomb | an archive that unpacks to a thousand times its size | 5 | it cannot be read safely",
        deflated,
    ),
    fault(
        TRAIN,
        "encoder-one-number-repeated | one stored number that says it is 40 GB of weights | 5 | "
        "it would grow beyond its size",
        as_is(lambda: {"weights": torch.zeros(1).expand(10_000_000_000)}),
    ),
    fault(
        TRAIN,
        "encoder-list-in-lists | lists that hold one list many times, ten deep | 5 | it would grow beyond its size",
        as_is(lambda: {"weights": laughs()}),
    ),
    fault(
        TRAIN,
        "encoder-claims-10-gb | sizes of a 10 GB network, with the weights of a small one | 5 | "
        "must be an intact moola encoder file",
        resealed(large),
    ),
    fault(
        TRAIN,
        "encoder-wrong-content-hash | content that is not what its hash says | 5 | "
        "its content does not match its SHA-256",
        as_is(lambda: {"weights": 1}),
    ),
    fault(
        TRAIN,
        "encoder-other-version | a format of another version | 5 | its format version is 2",
        lambda _: Path("bad.pt").write_bytes(
            with_seal(archive_of({"kind": "encoder", "format_version": 2, "content": {}, "sha256": digest({})}))
        ),
    ),
    fault(
        TRAIN,
        "encoder-is-model | a model in place of an encoder | 5 | it is a file of kind 'model'",
        in_run(lambda run: Path("bad.pt").write_bytes((run / "model.pkl").read_bytes())),
    ),
    fault(
        TRAIN,
        "encoder-weights-nan | weights of NaN | 5 | are not finite",
        resealed(lambda content: next(iter(content["weights"].values())).fill_(float("nan"))),
    ),
    fault(
        TRAIN,
        "encoder-features | another list of features | 5 | features",
        resealed(lambda content: content["features"]["names"].reverse()),
    ),
    fault(
        TRAIN,
        "encoder-times | times of its pretraining that are none, by which leaks are found | 5 | "
        "bad.pt must be an intact moola encoder file",
        resealed(lambda content: content["pretraining"].update(time_range=["yesterday", "today"])),
    ),
    fault(
        TRAIN,
        "encoder-times-backward | a pretraining that ended before it began | 5 | times from",
        resealed(lambda content: content["pretraining"]["time_range"].reverse()),
    ),
    fault(
        TRAIN,
        "encoder-length | an encoder for windows of 50 bars | 3 | "
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
    fault(
        "predict --model bad.pt --data relative.parquet --output new.parquet",
        "model-claims-8-gb | a model whose pickle asks for 8 GB of zeros: refused before it is loaded | 5 | "
        "it cannot be read safely (ValueError)",
        as_is(lambda: {"weights": Claim()}, "model"),
    ),
    fault(
        "scan --model encoder.pt --bars bars.parquet --output new.csv",
        "model-is-encoder | an encoder in place of a model | 5 | it is a file of kind 'encoder'",
    ),
    Fault(
        "checkpoint-cut-off",
        "half a checkpoint to resume from",
        "pretrain-bilstm --input bars.parquet --output new.pt --arms masked --stride 50 --resume",
        5,
        NOTHING_USED,
        altered("encoder.pt", cut_in_half, "new.pt.checkpoint"),
    ),
    fault(
        "pretrain-bilstm --input bars.parquet --output new.pt --arms masked --stride 50 --resume",
        "checkpoint-foreign | an encoder in place of a checkpoint | 5 | it is a file of kind 'encoder'",
        altered("encoder.pt", len, "new.pt.checkpoint"),
    ),
]

RUNS = [
    fault("eval --run 20200101T000000Z-none-s1-00000000", "run-missing | no such run | 1 | the run must exist"),
    fault(
        "eval --run {run}",
        "run-incomplete | a run that was interrupted | 1 | it was interrupted",
        in_run(lambda run: (run / "manifest.json").unlink()),
    ),
    fault(
        "eval --run {run}",
        "run-model-swapped | another model in the run's folder | 5 | differs from its SHA-256 in the manifest",
        in_run(lambda run: (run / "model.pkl").write_bytes(Path("encoder.pt").read_bytes())),
    ),
    fault(
        "gate --run {run}",
        "run-predictions-flipped | one bit of the predictions flipped | 5 | differs from its SHA-256",
        in_run(
            lambda run: altered(
                str(run / "predictions.parquet"),
                lambda data: data.__setitem__(900, data[900] ^ 1),
                str(run / "predictions.parquet"),
            )(None)
        ),
    ),
    fault(
        "report --run {run}",
        "run-file-missing | a file of the run removed | 5 | is missing",
        in_run(lambda run: (run / "metrics.json").unlink()),
    ),
    fault(
        "eval --run {run}",
        "run-link | a run that is a link to another folder | 5 | is a link to elsewhere",
        in_run(link_away),
    ),
    fault(
        "runs show {run}",
        "manifest-empty | a manifest of 0 bytes | 3 | must be JSON",
        in_run(lambda run: (run / "manifest.json").write_bytes(b"")),
    ),
    fault(
        "promote --run {run}",
        "manifest-nested | a manifest of a hundred thousand brackets | 3 | must be JSON",
        in_run(lambda run: (run / "manifest.json").write_bytes(b"[" * 100_000)),
    ),
    fault(
        "eval --run {run}",
        "manifest-names-outside | a manifest that names ../../x | 5 | must name files of its own folder",
        manifest(lambda content: content["files"].update({"../../x": "0"})),
    ),
    fault(
        "eval --run {run}",
        "manifest-no-files | a manifest that names no files | 5 | must list the run's files",
        manifest(lambda content: content.pop("files")),
    ),
    fault(
        "eval --run {run}",
        "manifest-bare | a manifest that has files and nothing else | 5 | must be complete",
        manifest(lambda content: [content.pop(key) for key in list(content) if key != "files"]),
    ),
    fault(
        "runs list",
        "manifest-bare-listed | the same where runs are listed: shown as damaged | 0 | damaged",
        manifest(lambda content: [content.pop(key) for key in list(content) if key != "files"]),
    ),
    fault(
        "runs list",
        "manifest-cut-off-listed | the same where runs are listed: shown as damaged | 0 | damaged",
        manifest_text(lambda content: content[: len(content) // 2]),
    ),
    fault(
        "gate --run {run}",
        "manifest-flipped | one digit of a manifest changed | 5 | differs from its own SHA-256",
        manifest_text(lambda content: content.replace('"seed": 17', '"seed": 16')),
    ),
    fault(
        "eval --run {run}",
        "manifest-swapped | the manifest of another run, whose files are the same | 5 | "
        "must be this run's, but it is of run '<RUN_ID>'",
        swapped,
    ),
    fault(
        "runs show {run} --json",
        "manifest-huge-number | a number of 1e999 in a manifest | 3 | 1e999 is not a finite number",
        manifest_text(lambda content: content.replace('"seed": 17', '"seed": 1e999')),
    ),
    fault(
        "eval --run {run}",
        "manifest-twice | a list of files twice, the second one empty | 3 | a key is there twice",
        manifest_text(lambda content: content.rstrip()[:-1] + ', "files": {}}'),
    ),
    fault(
        "eval --run {run}",
        "manifest-lists-nothing | an empty list of files | 5 | but it lacks config.json",
        manifest(lambda content: content.update(files={})),
    ),
    fault(
        "runs show {run}",
        "run-config-altered | an option of the run's config altered | 5 | config.json differs from its SHA-256",
        in_run(lambda run: rewrite(run / "config.json", b'"epochs": 1', b'"epochs": 9')),
    ),
    fault(
        "report --run {run}",
        "run-metrics-altered | a figure of the run altered | 5 | metrics.json differs from its SHA-256",
        in_run(lambda run: rewrite(run / "metrics.json", b'"value": 0.', b'"value": 0.9')),
    ),
    fault(
        "runs list",
        "run-metrics-cut-off | half the figures of a run, where runs are listed: shown as damaged | 0 | damaged",
        in_run(lambda run: altered(str(run / "metrics.json"), cut_in_half, str(run / "metrics.json"))(None)),
    ),
]
