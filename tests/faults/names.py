"""Names, paths, options and configuration that cannot be; nothing is written for any of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.faults.bars import text
from tests.faults.fault import Fault, fault

EVAL, PROMOTE = "eval --run", "promote --run {run} --name"
TRAIN = "train --data relative.parquet --split split.json"
PRETRAIN = "pretrain-bilstm --input bars.parquet --output new.pt --stride 50"
WINDOWS = "windows --bars bars.parquet --output"
TOML = "moola.toml"
LONG = "n" * 300
PLAIN_NAME = "must be 1 to 120 letters"


def huge(_patch: object) -> None:
    with open(TOML, "wb") as file:
        file.truncate(2 << 20)


NAMES = [
    fault(f"{EVAL} ../x", "name-up | a run id that leads up | 2 | a run must be under artifacts/runs"),
    fault(f"{EVAL} /etc", "name-absolute | an absolute run id | 2 | a run must be under artifacts/runs"),
    Fault("name-encoded", "an encoded slash in a run id", f"{EVAL} %2e%2e%2fx", 2, PLAIN_NAME),
    fault(f"{EVAL} {LONG}", "name-long | a run id of 300 characters | 2 | must"),
    fault(f"{EVAL} 'a\0b'", "name-nul | a run id with a NUL | 2 | must have no NUL"),
    Fault("name-hidden", "a run id that begins with a dot", f"{EVAL} .hidden", 2, PLAIN_NAME),
    fault("runs show ../../etc", "name-show-up | the same for `runs show` | 2 | a run must be under"),
    fault(f"{TRAIN} --resume ../x", "name-resume-up | the same for --resume | 2 | a run must be under"),
    Fault("name-promote-up", "a promoted model's name that leads up", f"{PROMOTE} ../x.pt", 2, PLAIN_NAME),
    Fault("name-promote-absolute", "a promoted model's name that is a path", f"{PROMOTE} /tmp/x.pt", 2, PLAIN_NAME),
    fault(f"{PROMOTE} NUL.pt", "name-promote-reserved | a name that is a device on Windows | 2 | and no device"),
    fault(f"{WINDOWS} 'a\0b.parquet'", "output-nul | an output with a NUL | 2 | --output must have no NUL"),
    fault(
        f"{WINDOWS} {LONG}.parquet",
        "output-long | an output name of 300 characters | 2 | --output must have names of at most 255 bytes",
    ),
    fault(
        "pretrain-bilstm --input bars.parquet --output .",
        "output-folder | an output that is a folder | 2 | --output must name a file, but . is a folder",
    ),
    fault(
        f"{WINDOWS} pipe.parquet",
        "output-device | an output that is a pipe or a device, which stays what it is | 1 | is a folder or a device",
        lambda _: os.mkfifo("pipe.parquet"),
    ),
    fault(f"{WINDOWS} new.xlsx", "output-ending | a table of unknown kind | 1 | does not end in .parquet"),
]


def without_test_rows(_: object) -> None:
    """Make no_test.json: the world's split with no test part."""
    content = json.loads(Path("split.json").read_text())
    Path("no_test.json").write_text(json.dumps(content | {"test_indices": []}))


USAGE = [
    fault("trian", "usage-command | a command that does not exist | 2 | trian"),
    fault(f"{TRAIN} --epoch 3", "usage-option | an option that does not exist | 2 | --epoch"),
    fault("train --data relative.parquet", "usage-missing | an option that must be there | 2 | --split"),
    fault(f"{TRAIN} --epochs many", "usage-word | a word as a number | 2 | many"),
    fault(f"{TRAIN} --device tpu", "usage-choice | a word that is no choice | 2 | tpu"),
    fault(f"{TRAIN} --input-dim 4", "usage-input-dim | a width that the data has not | 2 | --input-dim must agree"),
    fault(
        f"{TRAIN} --freeze-encoder",
        "usage-freeze | an encoder to freeze that is not named | 2 | --freeze-encoder must have an encoder",
    ),
    fault(
        "train --data relative.parquet --split no_test.json --pretrained-encoder encoder.pt --refit",
        "usage-refit-unjudged | --refit on a split without a test part | 2 | --refit must leave a test part",
        without_test_rows,
    ),
    fault(f"{TRAIN} --epochs 0", "usage-epochs-0 | 0 epochs | 2 | --epochs must be at least 1"),
    fault(f"{TRAIN} --dropout nan", "usage-nan | a share of NaN | 2 | --dropout must be a finite number"),
    fault(
        f"{TRAIN} --learning-rate inf",
        "usage-infinite | an infinite learning rate | 2 | --learning-rate must be a finite number",
    ),
    fault(
        f"{PRETRAIN} --learning-rate -1",
        "usage-rate-below-0 | a learning rate below 0 | 2 | --learning-rate must be above 0",
    ),
    fault(
        f"{WINDOWS} new.parquet --stride {'9' * 20}",
        "usage-huge-number | a number of twenty digits | 2 | --stride must be within 2**53",
    ),
    fault(
        f"{PRETRAIN} --hidden-dim 2000000000",
        "usage-huge-network | a network that no file could hold | 2 | --hidden-dim must be within 1 to 4096",
    ),
    fault(
        f"{PRETRAIN} --devices 2000000000",
        "usage-huge-team | two thousand million processes | 2 | --devices must be within 1 to 256",
    ),
    fault(f"{TRAIN} --threads -1", "usage-threads | -1 threads | 2 | --threads must be at least 0"),
    fault(
        f"{TRAIN} --cpsa-ratio 1e308",
        "usage-ratio | 1e308 synthetic windows per real window | 2 | --cpsa-ratio must be within 0 to 100",
    ),
    fault(
        f"{TRAIN} --mirror-classes up:down",
        "usage-mirror | a mirror of classes that the data has not | 2 | --mirror-classes must be",
    ),
    fault(f"{PRETRAIN} --mask-ratio 2", "usage-mask | a mask of twice the window | 2 | --mask-ratio must be between"),
    fault(
        f"{WINDOWS} new.parquet",
        "usage-environment | a word as a number in the environment | 2 | many",
        lambda patch: patch.setenv("MOOLA_STRIDE", "many"),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "environment-empty | nothing in the environment where a number must be | 2 | "
        "Invalid value for MOOLA_STRIDE from env",
        lambda patch: patch.setenv("MOOLA_STRIDE", ""),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "environment-below | a number in the environment that cannot be | 2 | --stride must be at least 1",
        lambda patch: patch.setenv("MOOLA_STRIDE", "-5"),
    ),
    fault(
        TRAIN,
        "environment-nan | NaN in the environment | 2 | --learning-rate must be a finite number",
        lambda patch: patch.setenv("MOOLA_LEARNING_RATE", "nan"),
    ),
    fault(
        TRAIN,
        "environment-boolean | a word that is neither true nor false in the environment | 2 | "
        "Invalid value for MOOLA_FREEZE_ENCODER from env",
        lambda patch: patch.setenv("MOOLA_FREEZE_ENCODER", "perhaps"),
    ),
    fault(
        TRAIN,
        "environment-choice | a word in the environment that is no choice | 2 | tpu",
        lambda patch: patch.setenv("MOOLA_DEVICE", "tpu"),
    ),
    fault(
        "windows --bars bars.parquet",
        "environment-bytes | a name in the environment that is not in UTF-8 | 2 | --output must be text in UTF-8",
        lambda patch: patch.setenv("MOOLA_OUTPUT", "\udcff\udcfe.parquet"),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-mark | a configuration with the mark of UTF-8 that Windows writes: read as any other | 2 | "
        "--stride must be at least 1",
        text("stride = 0".encode("utf-8-sig"), TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-latin | a configuration in Latin-1 | 2 | moola.toml must be text in UTF-8, but byte 3 is not",
        text("# \u00e4\nstride = 5".encode("latin-1"), TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-2-mb | a configuration of 2 MB: refused before a byte of it is read | 2 | "
        "it has 2,097,152 bytes, and at most 1,048,576 are read",
        huge,
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-folder | a folder called moola.toml | 2 | "
        "moola.toml must be a TOML file, but it is a folder or a device",
        lambda _: Path(TOML).mkdir(),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-pipe | a pipe called moola.toml | 2 | moola.toml must be a TOML file, but it is a folder or a device",
        lambda _: os.mkfifo(TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-loop | a configuration that is a link to itself | 2 | Too many levels of symbolic links",
        lambda _: Path(TOML).symlink_to(TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-dangling | a configuration that is a link to nothing | 2 | "
        "moola.toml must be a TOML file, but No such file",
        lambda _: Path(TOML).symlink_to("nowhere"),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-no-toml | a configuration that is no TOML | 2 | moola.toml must be TOML",
        text("stride =", TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-bytes | a configuration of other bytes, or in UTF-16 | 2 | "
        "moola.toml must be text in UTF-8, but byte 1 is not",
        text(b"\xff\xfe\x00", TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-nested | a configuration of a hundred thousand brackets | 2 | moola.toml must be TOML",
        text("stride = " + "[" * 100_000, TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-key | an option that does not exist, in the configuration | 2 | Did you mean stride?",
        text("strid = 5", TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-table | a command that does not exist, in the configuration | 2 | is not: 'trian'",
        text("[trian]\nepochs = 5", TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-kind | a list where a number must be | 2 | stride",
        text("stride = [1, 2]", TOML),
    ),
    fault(
        f"{WINDOWS} new.parquet",
        "config-value | a number that cannot be, in the configuration | 2 | --stride must be at least 1",
        text("stride = 0", TOML),
    ),
]
