"""Networks that a benchmark compares, and their encoders: one per seed and set of options, shared by every draw."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import polars as pl

from moola import __version__
from moola.core.bars import bar_lengths_us, utc_text
from moola.errors import InvalidData, OperationFailed, WrongUsage
from moola.files import safe_name, sha256_file
from moola.fit.jobs import is_kept, keep_record
from moola.models.model_files import BASE_NAME, each_encoder, encoder_path
from moola.models.references import LEARNERS, PEERS
from moola.models.sealed import digest
from moola.options.study_options import BenchmarkOptions
from moola.options.toml_files import read_toml
from moola.options.training_options import PretrainOptions, TrainOptions
from moola.stages.pretrain import checkpoint_of, pretrain
from moola.tables.bar_table import read_bars, write_bars
from moola.training.loop import epoch_lines

# Arms: networks to compare, each a table of a TOML file with options of pretraining and training.


SCRATCH = "scratch"
STAGES: dict[str, type] = {"pretrain": PretrainOptions, "train": TrainOptions}
# What the benchmark itself sets.
OURS = {
    "pretrain": ("input", "output", "split", "threads", "resume", "window_bars"),
    "train": ("data", "split", "seed", "threads", "resume", "window_bars", "save_run", "allow_overlap"),
}
BARS = "{bars}"


@dataclass(frozen=True)
class Arm:
    """A network of the benchmark: options of `train`, and of `pretrain-bilstm` where it has an encoder of its own."""

    name: str
    train: Mapping[str, Any] = field(default_factory=dict)
    pretrain: Mapping[str, Any] | None = None

    @property
    def needs_bars(self) -> bool:
        """Return whether bars are asked for: to pretrain on, or by name."""
        return self.pretrain is not None or Path(BARS) in self.train.values()


def read_arms(path: Path | None) -> dict[str, Arm]:
    """Return the arms of a file and the built-in `scratch`, by name.

    Raises
    ------
    WrongUsage
        The file is no TOML, a key is no option (the nearest one is named) or one that the benchmark sets itself, a
        value has another type than its option, or an arm has the name of a reference or a peer.
    """
    arms = {SCRATCH: Arm(SCRATCH)}
    if path is None:
        return arms
    for name, table in read_toml(path, f"--arms {path}").items():
        arms[name] = _arm(name, table, path)
    return arms


def _arm(name: str, table: Any, path: Path) -> Arm:
    safe_name(name, "the name of a configuration")
    if name in LEARNERS or name in PEERS:
        raise WrongUsage(
            f"a configuration must have a name of its own, but {name} is a reference or a peer ({path}). Rename it."
        )
    if not isinstance(table, dict):
        raise WrongUsage(f"every configuration must be a table, but {name} is not ({path}). Write [{name}].")
    _refuse(table, STAGES, f"[{name}]", "table", path)
    found = {stage: _options(stage, table[stage], f"[{name}.{stage}]", path) for stage in STAGES if stage in table}
    train = found.get("train", {})
    if "pretrain" in found and len(each_encoder(train.get("pretrained_encoder"))) > 1:
        raise WrongUsage(
            f"a configuration must have at most two encoders, but [{name}] has pretrain and two of pretrained_encoder "
            f"({path}). Leave one out."
        )
    return Arm(name, train, found.get("pretrain"))


def _refuse(table: dict[str, Any], known: Mapping[str, Any], where: str, what: str, path: Path) -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        near = get_close_matches(unknown[0], sorted(known), n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(sorted(known))}."
        raise WrongUsage(
            f"every key of {where} must be a known {what}, but {len(unknown)} of {len(table)} is not: "
            f"{', '.join(repr(key) for key in unknown[:5])} ({path}). {hint}"
        )


def _options(stage: str, table: Any, where: str, path: Path) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise WrongUsage(f"{where} must be a table of options, but it is {table!r} ({path}). Write it as {{...}}.")
    table = {key.replace("-", "_"): value for key, value in table.items()}
    hints = get_type_hints(STAGES[stage])
    _refuse(table, hints, where, f"option of {'train' if stage == 'train' else 'pretrain-bilstm'}", path)
    taken = [key for key in table if key in OURS[stage]]
    if taken:
        raise WrongUsage(
            f"{where} must leave {', '.join(OURS[stage])} to the benchmark, but it sets {', '.join(taken)} ({path}). "
            "Leave it out."
        )
    return {key: _as_type(value, hints[key], f"{key} of {where}", path) for key, value in table.items()}


def _as_type(value: Any, hint: Any, what: str, path: Path) -> Any:
    """Turn a TOML value into what the option holds: paths from text, tuples from lists, floats from whole numbers."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        kinds = [one for one in inner if one is not NoneType]
        several = [one for one in kinds if get_origin(one) is tuple and isinstance(value, list)]
        return _as_type(value, (several or kinds)[0], what, path)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_as_type(one, inner[0], what, path) for one in value)
    if hint is Path and isinstance(value, str):
        return Path(value) if value in (BARS, str(BASE_NAME)) else Path(value).absolute()
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (bool, int, str) and type(value) is hint:
        return value
    wanted = " or ".join(map(repr, inner)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise WrongUsage(f"{what} must be {wanted}, but it is {value!r} ({path}). Write another value.")


def require_known(models: tuple[str, ...], arms: Mapping[str, Arm]) -> None:
    """Refuse a model that is no reference, no peer and no arm, or one that is named twice.

    Raises
    ------
    WrongUsage
        With the nearest known name.
    """
    known = [*LEARNERS, *PEERS, *arms]
    strange = [name for name in models if name not in known]
    if strange:
        near = get_close_matches(strange[0], known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}; more come from --arms."
        raise WrongUsage(
            f"--models must be references, peers or configurations, but {len(strange)} of {len(models)} is none of "
            f"them: "
            f"{', '.join(strange[:5])}. {hint}"
        )
    if not models or len(set(models)) < len(models):
        raise WrongUsage(f"--models must name each model once, but they are {', '.join(models) or 'none'}.")


@dataclass(frozen=True)
class SeenBars:
    """The bars that may be seen, in a file of their own, and the time that they end before."""

    path: Path
    before_us: int


@dataclass(frozen=True)
class EncoderJob:
    """One encoder: its options, and the digest of all that decides it, which names its files."""

    options: PretrainOptions
    digest: str
    name: str

    @property
    def record(self) -> Path:
        """Result and duration of pretraining, written last."""
        return self.options.output.with_suffix(".json")

    @property
    def done(self) -> bool:
        """Return whether the encoder is there, of these options and unaltered."""
        return is_kept(self.record, self.options.output, self.digest)


def boundary_us(options: BenchmarkOptions, first_judged_us: int) -> int:
    """Return the time that bars must end before: --bars-before, and never after the first test window's start.

    Raises
    ------
    WrongUsage
        --bars-before is no time, or neither it nor --test says where the bars end.
    """
    asked = None
    if options.bars_before is not None:
        try:
            # Read as a date in every form of ISO 8601: numpy takes 20170415 for a year.
            moment = datetime.fromisoformat(options.bars_before)
            asked = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)
        except ValueError as error:
            raise WrongUsage(
                f"--bars-before must be a time in UTC, but it is {options.bars_before!r} ({error}). "
                "Write it as 2017-04-15 or 2017-04-15T12:00:00."
            ) from error
    if options.judge == "test":
        return first_judged_us if asked is None else min(asked, first_judged_us)
    if asked is not None:
        return asked
    if options.test is None:
        raise WrongUsage(
            "--bars must end before the test begins, but neither --bars-before nor --test gives that time. "
            "Name one of them."
        )
    return _first_start_us(options.test)


def _first_start_us(path: Path) -> int:
    """Read when a window file begins and nothing else of it."""
    try:
        first = pl.scan_parquet(path).select(pl.col("start_ts").min()).collect().item()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise OperationFailed(
            f"--test must be parquet with start_ts, but {path} cannot be read ({str(error).splitlines()[0][:200]}). "
            "Name another, or give --bars-before."
        ) from error
    if first is None:
        raise InvalidData(f"--test must have a start_ts, but {path} has none. Give --bars-before.")
    return int(pl.Series([first]).dt.timestamp("us").item())


def cut_bars(options: BenchmarkOptions, before_us: int) -> SeenBars:
    """Write the bars that are over before the boundary to a file of their own: no other bar is ever opened by a fit.

    Raises
    ------
    InvalidData
        No bar is left.
    """
    assert options.bars is not None
    bars = read_bars(options.bars)
    rows = np.flatnonzero(bars.start_us + bar_lengths_us(bars) <= before_us)
    if not len(rows):
        raise InvalidData(
            f"--bars must have bars that are over before {utc_text(before_us)}, but none of {len(bars)} is "
            f"({options.bars}). Give earlier bars."
        )
    path = options.output / "bars" / f"before-{np.datetime64(before_us, 'us').astype('datetime64[s]')}.parquet"
    path = path.with_name(path.name.replace(":", ""))
    write_bars(path, bars.take(rows))
    return SeenBars(path, before_us)


def encoder_job(options: BenchmarkOptions, arm: Arm, seed: int, seen: SeenBars) -> EncoderJob:
    """Return the encoder of an arm and a seed; arms with the same options share it.

    An arm that names a seed for its pretraining has one encoder, and the seeds of its fits are those of heads.
    """
    assert arm.pretrain is not None
    given: dict[str, Any] = {"device": options.device, "seed": seed, **with_bars(arm.pretrain, seen)}
    seed = given["seed"]
    settings: dict[str, Any] = {"window_bars": options.window_bars, "threads": 1}
    undecided = PretrainOptions(input=seen.path, output=Path("encoder.pt"), **given, **settings)
    key = digest({"version": __version__, **deciding(undecided, ("output", "resume"))})
    output = options.output / "encoders" / f"{key[:16]}.pt"
    final = PretrainOptions(input=seen.path, output=output, resume=checkpoint_of(output).is_file(), **given, **settings)
    return EncoderJob(final, key, f"encoder of {arm.name}, seed {seed}")


def with_bars(given: Any, seen: SeenBars | None) -> dict[str, Any]:
    """Put the bars that may be seen where an option asks for them."""
    return {key: seen.path if value == Path(BARS) and seen is not None else value for key, value in given.items()}


def deciding(options: Any, without: Iterable[str]) -> dict[str, str]:
    """Return options as text, a file by its content: what an encoder or a fit depends on."""
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    if (named := values.get("pretrained_encoder")) is not None:
        files = [_text(encoder_path(one)) for one in each_encoder(named)]
        values["pretrained_encoder"] = "+".join(files)
    return {key: _text(value) for key, value in values.items() if key not in without}


def _text(value: Any) -> str:
    return sha256_file(value) if isinstance(value, Path) and value.is_file() else str(value)


def run_encoder(job: EncoderJob) -> str:
    """Pretrain one encoder, continuing from an interrupted one, and write its record; returns its name."""
    started = time.monotonic()
    result = pretrain(job.options, epoch_lines(f"encoder {job.name}"))
    record = {
        "seconds": time.monotonic() - started,
        "options": {key: str(value) for key, value in asdict(job.options).items()},
        "time_range": result["time_range"],
        "n_train_windows": result["n_train_windows"],
        "val_loss": result["val_loss"],
    }
    keep_record(job.record, job.options.output, job.digest, record)
    return job.name
