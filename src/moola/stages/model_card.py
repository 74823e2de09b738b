"""The model card of a run: what it is, what it learned from, what it can and cannot do, how to make it again.

After "Model Cards for Model Reporting" (Mitchell et al., FAT* 2019). The card is derived from the run's own
files, so the manifest does not hash it: `eval` may write it again, and the run stays what it was.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections import Counter
from dataclasses import MISSING, dataclass, fields
from typing import Any

from moola.core.bars import minute_text
from moola.core.splits import PARTS
from moola.errors import OperationFailed
from moola.evaluation.figures import Evaluation
from moola.evaluation.trust import QUESTION, Trust
from moola.files import write_atomic
from moola.fit.inputs import FEW_WINDOWS
from moola.fit.reference_fits import references_of_run
from moola.models.model_files import read_model
from moola.options.option_sources import command_line as shell_line
from moola.options.training_options import TrainOptions
from moola.runs import run_store
from moola.tables.prediction_table import read_predictions
from moola.tables.split_file import read_split

# The command lines that make a run again, from the options it kept.


# What `train` found out for itself, and what does not change the model.
FOUND_OR_IDLE = ("resume", "save_run", "input_dim")
NEW_RUN = "<RUN_ID>"


def training_command(config: dict[str, Any]) -> str:
    """Write the `moola train` line of a run's options."""
    return command_line("train", TrainOptions, config)


def command_line(command: str, options: type, config: dict[str, Any]) -> str:
    """Write the line of a command whose options a config has, naming each that is not at its default."""
    words: list[Any] = ["moola", command]
    for field in fields(options):
        value = config.get(field.name)
        default = None if field.default is MISSING else field.default
        plain_default = list(default) if isinstance(default, tuple) else default
        if field.name in FOUND_OR_IDLE or value is None or value == plain_default:
            continue
        words.append(f"--{field.name.replace('_', '-')}")
        words += value if isinstance(value, list) else [value]
    return shell_line(*words)


log = logging.getLogger(__name__)
LEAK_PROOF: dict[bool | None, str] = {
    True: "yes: no part of the split shares a bar with another",
    False: "no",
    None: "could not be checked, the windows have no times",
}
RULE = "rule:"
# What a reader needs first; every figure is in the report.
SHOWN = re.compile(
    "pr_auc|brier|brier_skill|ece|ece_debiased|log_loss|accuracy|f1_.*|hit_at_pm3_.*|pointer_f1|event_map|expansion_iou"
)


@dataclass(frozen=True)
class CardContent:
    """All content of a card, as plain values.

    Attributes
    ----------
    manifest, config
        The run's record and its options.
    evaluation
        Figures of the part evaluated, as `Evaluation.as_dict()` gives them.
    references
        Further columns beside the class share: name to figure to value.
    class_counts
        Windows of each class, by part.
    trust
        The answer to whether the model can be trusted; None before it was asked.
    spans
        First and last bar of each part, to the minute; empty where the split file is no longer the run's.
    training
        What the model file records of its training.
    """

    manifest: dict[str, Any]
    config: dict[str, Any]
    evaluation: dict[str, Any]
    references: dict[str, dict[str, float | None]]
    class_counts: dict[str, dict[str, int]]
    spans: dict[str, tuple[str, str]]
    temperature: float
    training: dict[str, Any]
    trust: Trust | None = None


def write_card(run: run_store.Run, evaluation: Evaluation, trust: Trust | None = None) -> None:
    """Write a complete run's card with these figures; a disk that refuses is a warning, for the run is whole."""
    try:
        write_atomic(run.path(run_store.CARD), card_text(gather_card(run, evaluation, trust)).encode())
    except OperationFailed as error:
        log.warning("No model card: %s", error)


def gather_card(run: run_store.Run, evaluation: Evaluation, trust: Trust | None = None) -> CardContent:
    """Collect the content of the card from the run's folder, and from data and split where they are still the run's."""
    assert run.manifest is not None
    config, facts = run.read(run_store.CONFIG), run.read(run_store.FACTS)
    predictions = read_predictions(run.path(run_store.PREDICTIONS))
    counts = {"train": {str(name): int(n) for name, n in facts["class_counts"].items()}}
    for part in PARTS[1:]:
        index = predictions.class_index[predictions.part == part]
        found = Counter(predictions.class_names[i] for i in index if i >= 0)
        if found:
            counts[part] = dict(sorted(found.items()))
    references = references_of_run(run, evaluation.part)
    spans = times_of_parts(run.manifest, config)
    model = read_model(run.path(run_store.MODEL))
    judged, training = evaluation.as_dict(), dict(model.training)
    return CardContent(run.manifest, config, judged, references, counts, spans, model.temperature, training, trust)


def times_of_parts(manifest: dict[str, Any], config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return when each part of a run's split begins and ends; nothing where the file is no longer the run's."""
    split = run_store.unchanged(manifest, config, "split")
    ranges = {} if split is None else read_split(split).time_range_us
    return {part: (minute_text(first), minute_text(last)) for part, (first, last) in ranges.items()}


def card_text(content: CardContent) -> str:
    """Lay the card out as Markdown."""
    manifest = content.manifest
    leaks = [f"**NOT LEAK-PROOF: {_plain(leak)}.**" for leak in manifest.get("leaks") or []]
    blocks = [
        f"# Model card: {manifest['run_id']}",
        *leaks,
        _what_it_is(content),
        _trust(content),
        "## Figures",
        _judged_on(content),
        _figures(content),
        "## Calibration",
        _calibration(content),
        "## Data and labels",
        _parts(content),
        _data(content),
        "## Intended use and limits",
        _limits(content),
        "## How to reproduce",
        _reproduce(content),
        "This page follows from the run's own files. It is not among those that the manifest hashes: "
        "`moola eval` rewrites it.",
    ]
    return "\n\n".join(blocks) + "\n"


def _what_it_is(content: CardContent) -> str:
    manifest, config = content.manifest, content.config
    frozen = "frozen" if (manifest.get("encoder") or {}).get("frozen") else "trained on"
    named = config.get("pretrained_encoder")
    start = f"pretrained (`{_named(named)}`), {frozen}"
    encoder = start if manifest.get("pretrained") else "from scratch"
    if isinstance(named, list):
        encoder = f"{start}, their vectors side by side"
    else:
        encoder = f"{config.get('num_layers')} LSTM layer(s) of {config.get('hidden_dim')} units each way, {encoder}"
    says = "its class and the first and last bar of its expansion" if config.get("predict_pointers") else "its class"
    return (
        f"`{manifest['model']}` reads a window of {config.get('window_bars')} bars and says {says}. "
        f"Classes: {', '.join(_plain(name) for name in content.class_counts['train'])}. Encoder: {encoder}. "
        f"Finished {manifest.get('finished_at')}; {run_store.how_fitted(manifest)}."
    )


def _named(recorded: Any) -> str:
    """Name the files of an option as they were given: one path, or several."""
    return _plain(" ".join(map(str, recorded)) if isinstance(recorded, list) else recorded)


def _trust(content: CardContent) -> str:
    if content.trust is None:
        return f"**{QUESTION} Not evaluated yet:** `moola eval --run {content.manifest['run_id']}` answers here."
    return f"**{_plain(content.trust)}**"


def _judged_on(content: CardContent) -> str:
    found = content.evaluation
    text = (
        f"On {found['n_windows']} windows of {found['part']}. Intervals are 95 %, by bootstrap over blocks of "
        f"{found['block_windows']} windows. The class share and the most common pointers of the train rows are given "
        f"beside them, as are cheap references fitted on the same rows."
    )
    if found["part"] == "val":
        chosen = run_store.chosen_by_val(content.manifest)
        if chosen != "nothing":
            text += f" **These windows selected {chosen}: the metrics are optimistic.**"
        if content.config.get("refit"):
            text += " They are of the model before it was retrained on them."
        if (content.manifest.get("n_windows") or {}).get("test"):
            text += f" `moola eval --run {content.manifest['run_id']}` puts those of test here."
    return text


def _figures(content: CardContent) -> str:
    names = list(content.references)
    rows = [["metric", "value", "95 % interval", "class share", *names]]
    missing = []
    for name, figure in content.evaluation["figures"].items():
        if not SHOWN.fullmatch(name):
            continue
        if figure["value"] is None:
            missing.append(f"{name} ({figure['reason']})")
            continue
        others = [content.references[column].get(name) for column in names]
        interval = "-" if figure["low"] is None else f"{figure['low']:.3f} to {figure['high']:.3f}"
        values = [_number(value) for value in (figure["value"], figure["trivial"], *others)]
        rows.append([name, values[0], interval, *values[1:]])
    more = [f"Not to be had: {'; '.join(missing)}."] if missing else []
    more.append(f"All figures: `moola report --run {content.manifest['run_id']}`.")
    return "\n\n".join([_table(rows), *more])


def _calibration(content: CardContent) -> str:
    found = content.evaluation
    counts = content.manifest.get("n_windows") or {}
    text = f"Logits are divided by a temperature of {content.temperature:.2f}, "
    if content.training.get("unlabelled_sha256"):
        text += f"for the student learned probabilities that were calibrated on {counts.get('val')} val windows."
    elif content.manifest.get("penalties"):
        parts = content.training.get("trained_on") or ["train"]
        n_windows = sum(counts.get(part) or 0 for part in parts)
        text += (
            f"fitted on {n_windows} {' and '.join(parts)} windows, each evaluated by heads that did not see its block "
            "of time."
            if content.manifest["penalties"]["by_blocks"]
            else "which was not fitted, for no block of time could be held out."
        )
    else:
        text += f"fitted on {counts.get('val')} val windows."
    ece, perfect = found["figures"].get("ece"), (found.get("perfect_ece") or {}).get("width")
    if ece and ece["value"] is not None and perfect:
        within = "within" if ece["value"] <= perfect[1] else "above"
        text += (
            f" The ECE of {ece['value']:.3f} is {within} what a perfectly calibrated model shows at this sample size "
            f"({perfect[0]:.3f} to {perfect[1]:.3f})."
        )
    slope = found["figures"].get("calibration_slope")
    if slope and slope["value"] is not None:
        text += f" Calibration slope {slope['value']:.2f} (1 is best; below 1 it is too sure)."
    return text


def _parts(content: CardContent) -> str:
    rows = [["part", "windows", "classes", "first bar (UTC)", "last bar (UTC)"]]
    for part in PARTS:
        counts = content.class_counts.get(part, {})
        classes = ", ".join(f"{n} {_plain(name)}" for name, n in counts.items()) or "-"
        n_windows = (content.manifest.get("n_windows") or {}).get(part, 0)
        rows.append([part, str(n_windows), classes, *content.spans.get(part, ("-", "-"))])
    return _table(rows)


def _data(content: CardContent) -> str:
    manifest, config = content.manifest, content.config
    lines = [f"- Labels: {labelled_by(manifest.get('labelled_by') or [])}."]
    for name, option in (("Data", "data"), ("Split", "split"), ("Encoder", "pretrained_encoder")):
        sha256 = manifest.get(f"{'encoder' if name == 'Encoder' else option}_sha256")
        if sha256:
            lines.append(f"- {name}: `{_named(config.get(option))}`, SHA-256 `{sha256}`.")
    made = f"{config.get('cpsa_ratio')} per real window in each epoch" if config.get("augment_data") else "none"
    lines.append(f"- Synthetic windows in training: {made}.")
    if config.get("refit"):
        lines.append(
            "- When everything was selected on val rows, it was retrained on train and val rows together: test "
            "metrics are of that model, val metrics of the one before."
        )
    elif not (manifest.get("n_windows") or {}).get("test"):
        lines.append(
            "- There is no test part: the model was trained on train rows alone and is evaluated on val rows, which "
            f"also selected {run_store.chosen_by_val(manifest)}."
        )
    if content.training.get("unlabelled_sha256"):
        lines.append(
            f"- Self-training: a student learned from {content.training.get('n_unlabelled_windows')} windows without "
            f"labels of `{_plain(config.get('unlabelled'))}`, SHA-256 `{content.training['unlabelled_sha256']}`."
        )
    proof = "no" if manifest.get("leaks") else LEAK_PROOF[manifest.get("leak_proof")]
    lines.append(f"- Leak-proof: {proof}.")
    return "\n".join(lines)


def labelled_by(annotators: list[str]) -> str:
    """Name who labelled the rows, and whether that is a rule or a person."""
    if not annotators:
        return "the data does not name the annotator"
    lines = [
        f"the published rule `{_plain(name)}`, not a person" if name.startswith(RULE) else f"`{_plain(name)}`"
        for name in annotators
    ]
    return f"given by {' and '.join(lines)}"


def _limits(content: CardContent) -> str:
    found, manifest = content.evaluation, content.manifest
    lines = [
        "- Made to find windows like the labelled ones in later bars of the same market and interval, for a person to "
        "look at. Other markets, intervals and annotators are untried.",
        "- No forecast and no trade signal: a window shows the bars after the expansion too, and whether a pattern "
        "makes money was not evaluated.",
        f"- {found['n_windows']} windows were evaluated, in blocks of {found['block_windows']}: differences within an "
        f"interval are not significant.",
    ]
    brier = found["figures"].get("brier")
    if brier and None not in (brier["high"], brier["trivial"]) and brier["high"] >= brier["trivial"]:
        lines.append(
            f"- These windows do not show it to be better than the class share: its Brier may be as high as "
            f"{brier['high']:.3f}, and the share has {brier['trivial']:.3f}."
        )
    if any(str(name).startswith(RULE) for name in manifest.get("labelled_by") or []):
        lines.append(
            "- A rule gave labels: the metrics measure how well a rule is learned, not what a trader would mark."
        )
    few = [f"{_plain(name)} ({n})" for name, n in content.class_counts["train"].items() if n < FEW_WINDOWS]
    if few:
        lines.append(f"- Classes with fewer than {FEW_WINDOWS} train windows: {', '.join(few)}. Expect little of them.")
    return "\n".join(lines)


def _reproduce(content: CardContent) -> str:
    manifest = content.manifest
    commands = [shlex.join(["git", "checkout", str(manifest["git_commit"])])] if manifest.get("git_commit") else []
    commands += [training_command(content.config), f"moola eval --run {NEW_RUN}"]
    versions = ", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items())
    where = f"On {manifest.get('device')} with {manifest.get('threads')} thread(s): {versions}."
    return "\n".join(["```bash", *commands, "```", "", where])


def _table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _plain(value: object) -> str:
    """Return one line of text that no table, code span or emphasis of Markdown breaks on."""
    return re.sub(r"[\s|`*<>]+", " ", str(value)).strip()[:500]
