"""Encoders that saw bars of val or test."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moola.data.contracts.frames import rows_of
from moola.files import sha256_file
from moola.models.files import EncoderFile, read_encoder
from moola.pipeline.leakcheck.findings import Finding
from moola.pipeline.leakcheck.subject import Subject
from moola.pipeline.leaks import find_leaks
from moola.pipeline.seen import seen_among
from moola.runs import store

ADVICE = "Pretrain with `moola pretrain-bilstm --split`, and train anew from that encoder."


def encoder(subject: Subject) -> list[Finding]:
    """Judge the encoder file that was named, and the one that the run started from."""
    findings = []
    if subject.encoder is not None:
        findings += judge_encoder(subject, subject.encoder, str(subject.options.pretrained_encoder))
    if subject.run is not None:
        findings += _of_run(subject, subject.run)
    return findings or [Finding("encoder", "note", "no --pretrained-encoder and no --run: no encoder to check")]


def _of_run(subject: Subject, run: store.Run) -> list[Finding]:
    assert run.manifest is not None
    expected, path = run.manifest.get("encoder_sha256"), run.read(store.CONFIG).get("pretrained_encoder")
    if expected is None or path is None:
        return [Finding("encoder", "ok", f"run {run.run_id} started from scratch: no encoder saw anything")]
    if not Path(str(path)).is_file() or sha256_file(Path(str(path))) != expected:
        found = f"the encoder of run {run.run_id} is not at {path} as it was: only what the run recorded is known"
        return [Finding("encoder", "note", found, "Put the file back to check it.")]
    return judge_encoder(subject, read_encoder(Path(str(path))), str(path))


def judge_encoder(subject: Subject, file: EncoderFile, name: str) -> list[Finding]:
    """Compare the times (or the input file) that an encoder saw with the held-out windows."""
    held_out = np.concatenate([subject.split.val, subject.split.test])
    sentences = find_leaks(None, file, subject.table, subject.split, subject.data_sha256)
    table, row, detail = subject.table, int(held_out[0]), ""
    seen = seen_among(file.pretraining, rows_of(table.start_us, held_out), rows_of(table.close_us, held_out))
    if seen is not None:
        span = file.pretraining["time_range"]
        row = int(held_out[int(seen.argmax())])
        detail = f"it saw {span[0]} to {span[1]}"
    elif not sentences:
        found = f"{name} or the data has no times: whether it saw held-out bars cannot be told"
        return [Finding("encoder", "note", found, ADVICE)]
    if sentences:
        found = "; ".join([f"{name}: {sentence}, first {subject.name(row)}" for sentence in sentences] + [detail])
        return [Finding("encoder", "leak", found.rstrip("; "), ADVICE, row)]
    return [Finding("encoder", "ok", f"{name} saw no time of val or test ({detail})")]
