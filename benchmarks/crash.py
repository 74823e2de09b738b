"""Kill moola again and again, and look at what is left: nothing saved may be lost, nothing half may stand.

`python benchmarks/crash.py` kills 50 times with SIGKILL, some half of them inside a write (see fault_point.py), the
others at a random moment; then it goes on (`--resume`, or the same command again) and compares with a run that nobody
interrupted. Prints a table and writes it into docs/reliability.md; ends in 1 when anything is lost.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from fault_point import made_label
from page_parts import write_part

from moola.core.seeds import generator
from moola.errors import MoolaError
from moola.models.sealed import read_sealed
from moola.runs.run_store import find_run
from moola.tables.label_store import LabelStore

PAGE = Path(__file__).resolve().parents[1] / "docs/reliability.md"
FAULT_POINT = Path(__file__).with_name("fault_point.py")
DATA, SPLIT = "data/processed/labeled/train_latest_relative.parquet", "data/splits/fwd_chain_v3.json"
UNLABELLED = "data/processed/unlabeled/windows.parquet"
SHELF, STORE = "artifacts/models/supervised", "artifacts/labels/labels.db"
TINY = ("--hidden-dim", "4", "--num-layers", "1", "--device", "cpu")
N_LABELS = 300
SEALED = {"encoder.pt": "encoder", "model.pkl": "model", "enhanced_baseline_v2_relative.pt": "model"}
# Told by the clock, and not by what was computed.
PASSING = ("promoted_at", "seconds", "finished_at", "started_at", "run_id")
WAIT_S = 60.0


class Lost(Exception):
    """Something that must hold after a kill does not."""


@dataclass(frozen=True)
class Case:
    """One command to kill.

    Attributes
    ----------
    folder
        Where its runs are, if it makes any: it goes on with `--resume <run>`.
    goes_on
        What to add where the same command goes on.
    results
        Patterns of the files whose bytes must be those of an uninterrupted run; `*` is a run's id.
    timed
        Words added where a random moment is the time to kill: several processes.
    """

    name: str
    n_kills: int
    words: tuple[str, ...]
    results: tuple[str, ...]
    folder: str = ""
    goes_on: tuple[str, ...] = ()
    timed: tuple[str, ...] = ()


@dataclass
class Tally:
    """What happened to one command."""

    n_kills: int = 0
    n_inside: int = 0
    n_resumes: int = 0
    n_equal: int = 0
    lost: list[str] = field(default_factory=list)


RUN_FILES = ("model.pkl", "predictions.parquet", "metrics.json", "history.jsonl", "training_facts.json", "config.json")
CV_FILES = (
    "predictions.parquet",
    "single_windows.parquet",
    "metrics.json",
    "training_facts.json",
    "folds/?*",
    "fits/?*",
)
CASES = (
    Case(
        "convert",
        6,
        ("convert", "--input", "data/processed/labeled/train_latest.parquet", "--output", "out/relative.parquet"),
        ("out/relative.parquet",),
    ),
    Case(
        "pretrain-bilstm",
        9,
        (*("pretrain-bilstm", "--input", UNLABELLED, "--output", "out/encoder.pt", "--epochs", "4"), *TINY),
        ("out/encoder.pt",),
        goes_on=("--resume",),
    ),
    Case(
        "train",
        10,
        ("train", "--data", DATA, "--split", SPLIT, "--epochs", "4", *TINY),
        tuple(f"artifacts/runs/*/{name}" for name in RUN_FILES),
        folder="artifacts/runs",
    ),
    Case(
        "cv",
        8,
        ("cv", "--data", DATA, "--folds", "2", "--seeds", "2", "--epochs", "2", "--controls", "false", *TINY),
        tuple(f"artifacts/cv/*/{name}" for name in CV_FILES),
        folder="artifacts/cv",
        timed=("--processes", "2"),
    ),
    Case(
        "scan",
        8,
        (
            *("scan", "--model", "model.pkl", "--bars", "data/raw/eurusd_1h_2017.parquet", "--output"),
            *("out/events.csv", "--batch-windows", "100", "--min-prob", "0.001", "--device", "cpu"),
        ),
        ("out/events.csv",),
        goes_on=("--resume",),
    ),
    Case("label saves", 5, ("save-labels", STORE, str(N_LABELS)), (STORE,)),
    Case(
        "promote",
        4,
        ("promote", "--run", "CHALLENGER", "--baseline", "CHAMPION", "--accept", "inconclusive"),
        (f"{SHELF}/?*", f"{SHELF}/previous/?*"),
    ),
)


def started(words: tuple[str, ...], folder: Path, fatal: int | None) -> subprocess.Popen[str]:
    """Start a command: as users do, or with its `fatal`-th step of writing as its end."""
    program = (
        ["-m", "moola.cli"] if fatal is None and words[0] != "save-labels" else [str(FAULT_POINT), str(fatal or 0)]
    )
    command = [sys.executable, *program, *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(words: tuple[str, ...], folder: Path, fatal: int | None = None) -> tuple[int, str, str]:
    """Run a command to its end; return its code, what it said and what it logged."""
    process = started(words, folder, fatal)
    out, err = process.communicate()
    return process.returncode, out, err


def must(words: tuple[str, ...], folder: Path, fatal: int | None = None) -> tuple[str, str]:
    """Run a command that must succeed."""
    code, out, err = done(words, folder, fatal)
    if code:
        raise Lost(f"`{' '.join(words)}` must go on, but it ended in {code}: {err.strip()[-300:]}")
    return out, err


def runs_in(folder: Path, case: Case) -> set[str]:
    """Return the ids of the runs that a command made or found."""
    place = folder / case.folder
    return {one.name for one in place.iterdir() if one.is_dir()} if case.folder and place.is_dir() else set()


def told(path: Path) -> bytes:
    """Return what a file says: its bytes, without times of day."""
    if path.suffix == ".db":
        with LabelStore(path, must_exist=True) as store:
            return repr([(one.window_id, one.revision, one.expansions, one.note) for one in store.all()]).encode()
    if path.name == "promotions.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return json.dumps([{key: line[key] for key in line if key not in PASSING} for line in lines]).encode()
    return path.read_bytes()


def results(folder: Path, case: Case, old_runs: set[str]) -> dict[str, bytes]:
    """Return what the command's results say, by path with `*` for the run's id."""
    new = [name for name in sorted(runs_in(folder, case) - old_runs) if (folder / case.folder / name).is_dir()]
    found = {}
    for pattern in case.results:
        for name in new[-1:] if "*/" in pattern else [""]:
            for path in sorted(folder.glob(pattern.replace("*/", f"{name}/", 1) if name else pattern)):
                if path.is_file() and not path.name.startswith("."):
                    shown = str(path.relative_to(folder))
                    found[shown.replace(name, "*") if name else shown] = told(path)
    return found


def verify(folder: Path) -> None:
    """Read every file that stands under its final name."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith(".") or "logs" in path.parts:
            continue
        try:
            read(path)
        except (MoolaError, ValueError, pl.exceptions.PolarsError) as error:
            raise Lost(f"{path.relative_to(folder)} must be whole, but {error}") from error
    for manifest in folder.glob("artifacts/*/*/manifest.json"):
        find_run(manifest.parent.parent, manifest.parent.name)


def read(path: Path) -> None:
    """Read one file as what its name says that it is."""
    if path.name in SEALED:
        read_sealed(path, SEALED[path.name])
    elif path.name.startswith("checkpoint") or path.name.endswith(".pt.checkpoint"):
        read_sealed(path, "checkpoint")
    elif path.suffix == ".parquet":
        pl.read_parquet(path)
    elif path.suffix == ".json":
        json.loads(path.read_bytes())
    elif path.suffix == ".jsonl":
        [json.loads(line) for line in path.read_text().splitlines()]
    elif path.suffix == ".csv":
        pl.read_csv(io.BytesIO(path.read_bytes()))
    elif path.suffix == ".db":
        told(path)


def prepared(place: Path) -> Path:
    """Lay out what the commands begin with: the sample, two runs, a model in use, a model to scan with."""
    start = place / "start"
    start.mkdir()
    must(("sample", "--quick"), start)
    champion, challenger = (
        must(("train", "--data", DATA, "--split", SPLIT, "--num-layers", "1", "--device", "cpu", *words), start)[0]
        .strip()
        .splitlines()[-1]
        for words in (
            ("--hidden-dim", "2", "--epochs", "1"),
            ("--hidden-dim", "8", "--epochs", "12", "--learning-rate", "0.01"),
        )
    )
    runs = start / "artifacts/runs"
    (start / SHELF).mkdir(parents=True)
    shutil.copy(runs / champion / "model.pkl", start / SHELF / "enhanced_baseline_v2_relative.pt")
    shutil.copy(runs / challenger / "model.pkl", start / "model.pkl")
    (start / "names.json").write_text(json.dumps({"CHAMPION": champion, "CHALLENGER": challenger}))
    return start


class Crashes:
    """One command, killed as often as asked."""

    def __init__(self, case: Case, start: Path, place: Path, n_kills: int, seed: int) -> None:
        self.case, self.start, self.place, self.n_kills = case, start, place, n_kills
        names = json.loads((start / "names.json").read_text())
        self.words = tuple(names.get(word, word) for word in case.words)
        self.rng = generator(seed, "crash", case.name)
        self.old_runs = runs_in(start, case)
        self.before = results(start, case, set()) if not case.folder else {}
        self.tally = Tally()

    def run(self) -> Tally:
        """Do it once without a kill, then kill, look, go on and compare."""
        folder = self._fresh("whole")
        _, err = must(self.words, folder, 0)
        n_steps = int(err.strip().splitlines()[-1].removeprefix("steps "))
        self.whole = results(folder, self.case, self.old_runs)
        began = time.monotonic()
        must((*self.words, *self.case.timed), self._fresh("timed"))
        self.took_s = time.monotonic() - began
        while self.tally.n_kills < self.n_kills:
            inside = self.tally.n_kills % 2 == 0
            folder = self._fresh("killed")
            try:
                self._crash(folder, int(self.rng.integers(1, n_steps + 1)) if inside else None)
            except Lost as error:
                self.tally.lost.append(str(error))
                print(f"{self.case.name}: {error}", file=sys.stderr)
        return self.tally

    def _fresh(self, name: str) -> Path:
        folder = self.place / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.start, folder)
        return folder

    def _crash(self, folder: Path, fatal: int | None) -> None:
        """Kill once, and go on to the end; now and then the command that goes on is killed as well."""
        if not (acknowledged := self._killed(self.words, folder, fatal)):
            return
        saved = set(acknowledged[0].split())
        self._look(folder, saved)
        if self.tally.n_kills < self.n_kills and self.rng.random() < 0.25:
            again = self._killed(self._going_on(folder), folder, int(self.rng.integers(1, 30)))
            if again:
                saved |= set(again[0].split())
                self._look(folder, saved)
        self.tally.n_resumes += 1
        words = self._going_on(folder)
        if words:
            must(words, folder)
        self._look(folder, saved)
        if words and (self.case.folder or self.case.goes_on) and (left := self._left(folder)):
            raise Lost(f"what goes on must tidy up, but {len(left)} files are left, first {min(left)}")
        found = results(folder, self.case, self.old_runs)
        if found != self.whole:
            differ = [name for name in {*found, *self.whole} if found.get(name) != self.whole.get(name)]
            raise Lost(f"results must be those of an uninterrupted run, but {len(differ)} differ, first {min(differ)}")
        self.tally.n_equal += 1

    def _left(self, folder: Path) -> list[str]:
        """Return what a kill left and nobody took away: temporary files, checkpoints, locks."""
        found = [path for pattern in ("*.tmp", "*checkpoint*", "*.lock") for path in folder.rglob(pattern)]
        new = [path for path in found if path.parent.name not in self.old_runs]
        return [str(path.relative_to(folder)) for path in new]

    def _killed(self, words: tuple[str, ...], folder: Path, fatal: int | None) -> tuple[str] | None:
        """Kill a command; return what it had acknowledged, None where it ended before."""
        process = started(words if fatal else (*words, *self.case.timed), folder, fatal)
        if fatal is None:
            try:
                process.wait(float(self.rng.uniform(0.3, 1.0)) * self.took_s)
            except subprocess.TimeoutExpired:
                process.kill()
        try:
            # Its workers hold the same pipe: this returns when the last of them is gone.
            out, _ = process.communicate(timeout=WAIT_S)
        except subprocess.TimeoutExpired as error:
            raise Lost("every process must end with the command that started it, but one went on") from error
        if process.returncode >= 0:
            return None
        self.tally.n_kills += 1
        self.tally.n_inside += fatal is not None
        return (out if words[0] == "save-labels" else "",)

    def _going_on(self, folder: Path) -> tuple[str, ...]:
        """Return the command that goes on; none where the run was complete."""
        new = sorted(runs_in(folder, self.case) - self.old_runs)
        if not new:
            return (*self.words, *self.case.goes_on)
        run = folder / self.case.folder / new[-1]
        if (run / "manifest.json").is_file():
            return ()
        # Killed before it wrote down what it was asked: there is nothing to go on with.
        return (*self.words, "--resume", new[-1]) if (run / "config.json").is_file() else self.words

    def _look(self, folder: Path, saved: set[str]) -> None:
        """After a kill: all that stands is whole, either what was there before or what was to come."""
        verify(folder)
        for name, content in results(folder, self.case, self.old_runs).items():
            if name == STORE:
                self._look_at_labels(folder / STORE, saved)
            elif content not in (self.before.get(name), self.whole.get(name)) and not name.endswith(".previous.pt"):
                raise Lost(f"{name} must be as before or as after, but it is neither")
        for name in self.before:
            if not (folder / name).is_file():
                raise Lost(f"{name} must stay, but it is gone")

    def _look_at_labels(self, store: Path, saved: set[str]) -> None:
        with LabelStore(store, must_exist=True) as labels:
            there = {label.window_id: label for label in labels.all()}
        if missing := saved - set(there):
            raise Lost(f"every save that was acknowledged must be there, but {len(missing)} are not: {min(missing)}")
        for name, label in there.items():
            made = made_label(int(name.removeprefix("window-")))
            if (label.expansions, label.note, label.revision) != (made.expansions, made.note, 1):
                raise Lost(f"a label must be what was saved, but {name} is not")


def crashes(cases: tuple[Case, ...], share: float, seed: int) -> Iterator[tuple[str, Tally]]:
    """Kill each command; yields its name and what happened."""
    with tempfile.TemporaryDirectory(prefix="moola-crash-") as place:
        start = prepared(Path(place))
        for case in cases:
            yield case.name, Crashes(case, start, Path(place), max(round(case.n_kills * share), 1), seed).run()


def table(rows: list[tuple[str, Tally]]) -> str:
    """Return the table of the page."""
    lines = ["| command | kills | inside a write | resumes | equal bytes |", "|---|---|---|---|---|"]
    total = Tally()
    for name, tally in rows:
        lines.append(f"| {name} | {_cells(tally)} |")
        for key in ("n_kills", "n_inside", "n_resumes", "n_equal"):
            setattr(total, key, getattr(total, key) + getattr(tally, key))
    return "\n".join([*lines, f"| all | {_cells(total)} |"])


def _cells(tally: Tally) -> str:
    return f"{tally.n_kills} | {tally.n_inside} | {tally.n_resumes} | {tally.n_equal}"


def main(arguments: list[str] | None = None, write: Callable[[Path, str, str], None] = write_part) -> int:
    """Kill, print the table, write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", nargs="+", choices=[case.name for case in CASES], help="these alone; no page")
    parser.add_argument("--share", type=float, default=1.0, help="share of the kills; below 1 no page is written")
    parser.add_argument("--seed", type=int, default=17)
    given = parser.parse_args(arguments)
    chosen = tuple(case for case in CASES if given.commands is None or case.name in given.commands)
    rows = []
    for name, tally in crashes(chosen, given.share, given.seed):
        print(f"{name}: {tally.n_kills} kills, {len(tally.lost)} with a loss", file=sys.stderr, flush=True)
        rows.append((name, tally))
    print(table(rows))
    is_lossless = not any(tally.lost for _, tally in rows)
    if is_lossless and given.commands is None and given.share >= 1:
        write(PAGE, "crashes", table(rows))
    return 0 if is_lossless else 1


if __name__ == "__main__":
    sys.exit(main())
