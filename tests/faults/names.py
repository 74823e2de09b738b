"""Names, paths, options and configuration that cannot be; nothing is written for any of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.faults.bars import text
from tests.faults.fault import Fault

EVAL, PROMOTE = "eval --run", "promote --run {run} --name"
TRAIN = "train --data relative.parquet --split split.json"
PRETRAIN = "pretrain-bilstm --input bars.parquet --output new.pt --stride 50"
WINDOWS = "windows --bars bars.parquet --output"
TOML = "moola.toml"
LONG = "n" * 300
PLAIN_NAME = "must be 1 to 120 letters"


def huge(_patch: object) -> None:
    with open(TOML, "wb") as file:
        file.truncate(100 << 20)


NAMES = [
    Fault("name-up", "a run id that leads up", f"{EVAL} ../x", 2, "a run must be under artifacts/runs"),
    Fault("name-absolute", "an absolute run id", f"{EVAL} /etc", 2, "a run must be under artifacts/runs"),
    Fault("name-encoded", "an encoded slash in a run id", f"{EVAL} %2e%2e%2fx", 2, PLAIN_NAME),
    Fault("name-long", "a run id of 300 characters", f"{EVAL} {LONG}", 2, "must"),
    Fault("name-nul", "a run id with a NUL", f"{EVAL} 'a\0b'", 2, "must have no NUL"),
    Fault("name-hidden", "a run id that begins with a dot", f"{EVAL} .hidden", 2, PLAIN_NAME),
    Fault("name-show-up", "the same for `runs show`", "runs show ../../etc", 2, "a run must be under"),
    Fault("name-resume-up", "the same for --resume", f"{TRAIN} --resume ../x", 2, "a run must be under"),
    Fault("name-promote-up", "a promoted model's name that leads up", f"{PROMOTE} ../x.pt", 2, PLAIN_NAME),
    Fault("name-promote-absolute", "a promoted model's name that is a path", f"{PROMOTE} /tmp/x.pt", 2, PLAIN_NAME),
    Fault("name-promote-reserved", "a name that is a device on Windows", f"{PROMOTE} NUL.pt", 2, "and no device"),
    Fault("output-nul", "an output with a NUL", f"{WINDOWS} 'a\0b.parquet'", 2, "--output must have no NUL"),
    Fault(
        "output-long",
        "an output name of 300 characters",
        f"{WINDOWS} {LONG}.parquet",
        2,
        "--output must have names of at most 255 bytes",
    ),
    Fault(
        "output-folder",
        "an output that is a folder",
        "pretrain-bilstm --input bars.parquet --output .",
        2,
        "--output must name a file, but . is a folder",
    ),
    Fault(
        "output-device",
        "an output that is a pipe or a device, which stays what it is",
        f"{WINDOWS} pipe.parquet",
        1,
        "is a folder or a device",
        lambda _: os.mkfifo("pipe.parquet"),
    ),
    Fault("output-ending", "a table of unknown kind", f"{WINDOWS} new.xlsx", 1, "does not end in .parquet"),
]


def without_test_rows(_: object) -> None:
    """Make no_test.json: the world's split with no test part."""
    content = json.loads(Path("split.json").read_text())
    Path("no_test.json").write_text(json.dumps(content | {"test_indices": []}))


USAGE = [
    Fault("usage-command", "a command that does not exist", "trian", 2, "trian"),
    Fault("usage-option", "an option that does not exist", f"{TRAIN} --epoch 3", 2, "--epoch"),
    Fault("usage-missing", "an option that must be there", "train --data relative.parquet", 2, "--split"),
    Fault("usage-word", "a word as a number", f"{TRAIN} --epochs many", 2, "many"),
    Fault("usage-choice", "a word that is no choice", f"{TRAIN} --device tpu", 2, "tpu"),
    Fault("usage-input-dim", "a width that the data has not", f"{TRAIN} --input-dim 4", 2, "--input-dim must agree"),
    Fault(
        "usage-freeze",
        "an encoder to freeze that is not named",
        f"{TRAIN} --freeze-encoder",
        2,
        "--freeze-encoder must have an encoder",
    ),
    Fault(
        "usage-refit-unjudged",
        "--refit on a split without a test part",
        "train --data relative.parquet --split no_test.json --pretrained-encoder encoder.pt --refit",
        2,
        "--refit must leave a test part",
        without_test_rows,
    ),
    Fault("usage-epochs-0", "0 epochs", f"{TRAIN} --epochs 0", 2, "--epochs must be at least 1"),
    Fault("usage-nan", "a share of NaN", f"{TRAIN} --dropout nan", 2, "--dropout must be a finite number"),
    Fault(
        "usage-infinite",
        "an infinite learning rate",
        f"{TRAIN} --learning-rate inf",
        2,
        "--learning-rate must be a finite number",
    ),
    Fault(
        "usage-rate-below-0",
        "a learning rate below 0",
        f"{PRETRAIN} --learning-rate -1",
        2,
        "--learning-rate must be above 0",
    ),
    Fault(
        "usage-huge-number",
        "a number of twenty digits",
        f"{WINDOWS} new.parquet --stride {'9' * 20}",
        2,
        "--stride must be within 2**53",
    ),
    Fault(
        "usage-huge-network",
        "a network that no file could hold",
        f"{PRETRAIN} --hidden-dim 2000000000",
        2,
        "--hidden-dim must be within 1 to 4096",
    ),
    Fault(
        "usage-huge-team",
        "two thousand million processes",
        f"{PRETRAIN} --devices 2000000000",
        2,
        "--devices must be within 1 to 256",
    ),
    Fault("usage-threads", "-1 threads", f"{TRAIN} --threads -1", 2, "--threads must be at least 0"),
    Fault(
        "usage-ratio",
        "1e308 synthetic windows per real window",
        f"{TRAIN} --cpsa-ratio 1e308",
        2,
        "--cpsa-ratio must be within 0 to 100",
    ),
    Fault(
        "usage-mirror",
        "a mirror of classes that the data has not",
        f"{TRAIN} --mirror-classes up:down",
        2,
        "--mirror-classes must be",
    ),
    Fault("usage-mask", "a mask of twice the window", f"{PRETRAIN} --mask-ratio 2", 2, "--mask-ratio must be between"),
    Fault(
        "usage-environment",
        "a word as a number in the environment",
        f"{WINDOWS} new.parquet",
        2,
        "many",
        lambda patch: patch.setenv("MOOLA_STRIDE", "many"),
    ),
    Fault(
        "environment-empty",
        "nothing in the environment where a number must be",
        f"{WINDOWS} new.parquet",
        2,
        "Invalid value for MOOLA_STRIDE from env",
        lambda patch: patch.setenv("MOOLA_STRIDE", ""),
    ),
    Fault(
        "environment-below",
        "a number in the environment that cannot be",
        f"{WINDOWS} new.parquet",
        2,
        "--stride must be at least 1",
        lambda patch: patch.setenv("MOOLA_STRIDE", "-5"),
    ),
    Fault(
        "environment-nan",
        "NaN in the environment",
        TRAIN,
        2,
        "--learning-rate must be a finite number",
        lambda patch: patch.setenv("MOOLA_LEARNING_RATE", "nan"),
    ),
    Fault(
        "environment-boolean",
        "a word that is neither true nor false in the environment",
        TRAIN,
        2,
        "Invalid value for MOOLA_FREEZE_ENCODER from env",
        lambda patch: patch.setenv("MOOLA_FREEZE_ENCODER", "perhaps"),
    ),
    Fault(
        "environment-choice",
        "a word in the environment that is no choice",
        TRAIN,
        2,
        "tpu",
        lambda patch: patch.setenv("MOOLA_DEVICE", "tpu"),
    ),
    Fault(
        "environment-bytes",
        "a name in the environment that is not in UTF-8",
        "windows --bars bars.parquet",
        2,
        "--output must be text in UTF-8",
        lambda patch: patch.setenv("MOOLA_OUTPUT", "\udcff\udcfe.parquet"),
    ),
    Fault(
        "config-mark",
        "a configuration with the mark of UTF-8 that Windows writes: read as any other",
        f"{WINDOWS} new.parquet",
        2,
        "--stride must be at least 1",
        text("stride = 0".encode("utf-8-sig"), TOML),
    ),
    Fault(
        "config-latin",
        "a configuration in Latin-1",
        f"{WINDOWS} new.parquet",
        2,
        "moola.toml must be text in UTF-8, but byte 3 is not",
        text("# \u00e4\nstride = 5".encode("latin-1"), TOML),
    ),
    Fault(
        "config-100-mb",
        "a configuration of 100 MB: refused before a byte of it is read",
        f"{WINDOWS} new.parquet",
        2,
        "it has 104,857,600 bytes, and at most 1,048,576 are read",
        huge,
    ),
    Fault(
        "config-folder",
        "a folder called moola.toml",
        f"{WINDOWS} new.parquet",
        2,
        "moola.toml must be a TOML file, but it is a folder or a device",
        lambda _: Path(TOML).mkdir(),
    ),
    Fault(
        "config-pipe",
        "a pipe called moola.toml",
        f"{WINDOWS} new.parquet",
        2,
        "moola.toml must be a TOML file, but it is a folder or a device",
        lambda _: os.mkfifo(TOML),
    ),
    Fault(
        "config-loop",
        "a configuration that is a link to itself",
        f"{WINDOWS} new.parquet",
        2,
        "Too many levels of symbolic links",
        lambda _: Path(TOML).symlink_to(TOML),
    ),
    Fault(
        "config-dangling",
        "a configuration that is a link to nothing",
        f"{WINDOWS} new.parquet",
        2,
        "moola.toml must be a TOML file, but No such file",
        lambda _: Path(TOML).symlink_to("nowhere"),
    ),
    Fault(
        "config-no-toml",
        "a configuration that is no TOML",
        f"{WINDOWS} new.parquet",
        2,
        "moola.toml must be TOML",
        text("stride =", TOML),
    ),
    Fault(
        "config-bytes",
        "a configuration of other bytes, or in UTF-16",
        f"{WINDOWS} new.parquet",
        2,
        "moola.toml must be text in UTF-8, but byte 1 is not",
        text(b"\xff\xfe\x00", TOML),
    ),
    Fault(
        "config-nested",
        "a configuration of a hundred thousand brackets",
        f"{WINDOWS} new.parquet",
        2,
        "moola.toml must be TOML",
        text("stride = " + "[" * 100_000, TOML),
    ),
    Fault(
        "config-key",
        "an option that does not exist, in the configuration",
        f"{WINDOWS} new.parquet",
        2,
        "Did you mean stride?",
        text("strid = 5", TOML),
    ),
    Fault(
        "config-table",
        "a command that does not exist, in the configuration",
        f"{WINDOWS} new.parquet",
        2,
        "is not: 'trian'",
        text("[trian]\nepochs = 5", TOML),
    ),
    Fault(
        "config-kind",
        "a list where a number must be",
        f"{WINDOWS} new.parquet",
        2,
        "stride",
        text("stride = [1, 2]", TOML),
    ),
    Fault(
        "config-value",
        "a number that cannot be, in the configuration",
        f"{WINDOWS} new.parquet",
        2,
        "--stride must be at least 1",
        text("stride = 0", TOML),
    ),
]
