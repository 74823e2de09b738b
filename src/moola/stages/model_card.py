"""The model card of a run: what it is, what it learned from, what it can and cannot do, how to make it again.

After "Model Cards for Model Reporting" (Mitchell et al., FAT* 2019). The card is derived from the run's own
files, so the manifest does not hash it: `eval` may write it again, and the run stays what it was.
"""

from __future__ import annotations

import logging
import re

from moola.core.expansions import is_rule
from moola.errors import OperationFailed
from moola.evaluation.figures import interval_text, value_text
from moola.evaluation.trust import QUESTION
from moola.files import write_atomic
from moola.fit.inputs import FEW_WINDOWS
from moola.runs import run_store
from moola.stages.run_summary import RunSummary

log = logging.getLogger(__name__)
# What a reader needs first; every figure is in the report.
SHOWN = re.compile(
    "pr_auc|brier|brier_skill|ece|ece_debiased|log_loss|accuracy|f1_.*|hit_at_pm3_.*|pointer_f1|event_map|expansion_iou"
)


def write_card(run: run_store.Run, summary: RunSummary) -> None:
    """Write a complete run's card; a disk that refuses is a warning, for the run is whole."""
    try:
        write_atomic(run.path(run_store.CARD), card_text(summary).encode())
    except OperationFailed as error:
        log.warning("No model card: %s", error)


def card_text(summary: RunSummary) -> str:
    """Lay the card out as Markdown."""
    manifest = summary.manifest
    leaks = [f"**NOT LEAK-PROOF: {_plain(leak)}.**" for leak in summary.leaks]
    blocks = [
        f"# Model card: {manifest['run_id']}",
        *leaks,
        _what_it_is(summary),
        _trust(summary),
        "## Figures",
        _judged_on(summary),
        _figures(summary),
        "## Calibration",
        _calibration(summary),
        "## Data and labels",
        _parts(summary),
        _data(summary),
        "## Intended use and limits",
        _limits(summary),
        "## How to reproduce",
        _reproduce(summary),
        "This page follows from the run's own files. It is not among those that the manifest hashes: "
        "`moola eval` rewrites it.",
    ]
    return "\n\n".join(blocks) + "\n"


def _what_it_is(summary: RunSummary) -> str:
    manifest, config = summary.manifest, summary.config
    start = f"pretrained (`{_plain(' '.join(summary.encoders))}`), {'frozen' if summary.is_frozen else 'trained on'}"
    if isinstance(config.get("pretrained_encoder"), list):
        encoder = f"{start}, their vectors side by side"
    else:
        encoder = f"{config.get('num_layers')} LSTM layer(s) of {config.get('hidden_dim')} units each way, "
        encoder += start if summary.encoders else "from scratch"
    says = "its class and the first and last bar of its expansion" if config.get("predict_pointers") else "its class"
    return (
        f"`{manifest['model']}` reads a window of {config.get('window_bars')} bars and says {says}. "
        f"Classes: {', '.join(_plain(name) for name in summary.parts[0].class_counts)}. Encoder: {encoder}. "
        f"Finished {manifest.get('finished_at')}; {run_store.how_fitted(manifest)}."
    )


def _trust(summary: RunSummary) -> str:
    if summary.trust is None:
        return f"**{QUESTION} Not evaluated yet:** `moola eval --run {summary.manifest['run_id']}` answers here."
    return f"**{_plain(summary.trust)}**"


def _judged_on(summary: RunSummary) -> str:
    found = summary.evaluation
    text = (
        f"On {found['n_windows']} windows of {found['part']}. Intervals are 95 %, by bootstrap over blocks of "
        f"{found['block_windows']} windows. The class share and the most common pointers of the train rows are given "
        f"beside them, as are cheap references fitted on the same rows."
    )
    if summary.chosen_by_val:
        text += f" **{summary.chosen_by_val}**"
    if found["part"] == "val":
        if summary.config.get("refit"):
            text += " They are of the model before it was retrained on them."
        if summary.n_windows.get("test"):
            text += f" `moola eval --run {summary.manifest['run_id']}` puts those of test here."
    return text


def _figures(summary: RunSummary) -> str:
    names = list(summary.references)
    rows = [["metric", "value", "95 % interval", "class share", *names]]
    missing = []
    for name, figure in summary.evaluation["figures"].items():
        if not SHOWN.fullmatch(name):
            continue
        if figure["value"] is None:
            missing.append(f"{name} ({figure['reason']})")
            continue
        values = [figure["value"], figure["trivial"], *(summary.references[column].get(name) for column in names)]
        shown = [value_text(name, value) for value in values]
        rows.append([name, shown[0], interval_text(name, figure["low"], figure["high"]), *shown[1:]])
    more = [f"Not to be had: {'; '.join(missing)}."] if missing else []
    more.append(f"All figures: `moola report --run {summary.manifest['run_id']}`.")
    return "\n\n".join([_table(rows), *more])


def _calibration(summary: RunSummary) -> str:
    found = summary.evaluation
    counts = summary.n_windows
    text = f"Logits are divided by a temperature of {summary.temperature:.2f}, "
    if summary.training.get("unlabelled_sha256"):
        text += f"for the student learned probabilities that were calibrated on {counts.get('val')} val windows."
    elif summary.manifest.get("penalties"):
        parts = summary.training.get("trained_on") or ["train"]
        n_windows = sum(counts.get(part) or 0 for part in parts)
        text += (
            f"fitted on {n_windows} {' and '.join(parts)} windows, each evaluated by heads that did not see its block "
            "of time."
            if summary.manifest["penalties"]["by_blocks"]
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


def _parts(summary: RunSummary) -> str:
    rows = [["part", "windows", "classes", "first bar (UTC)", "last bar (UTC)"]]
    for part in summary.parts:
        classes = ", ".join(f"{n} {_plain(name)}" for name, n in part.class_counts.items()) or "-"
        rows.append([part.name, str(part.n_windows), classes, *(part.times or ("-", "-"))])
    return _table(rows)


def _data(summary: RunSummary) -> str:
    manifest, config = summary.manifest, summary.config
    lines = [f"- Labels: {labelled_by(summary.annotators)}."]
    for name, option in (("Data", "data"), ("Split", "split"), ("Encoder", "pretrained_encoder")):
        sha256 = manifest.get(f"{'encoder' if name == 'Encoder' else option}_sha256")
        if sha256:
            named = config.get(option)
            named = _plain(" ".join(map(str, named)) if isinstance(named, list) else named)
            lines.append(f"- {name}: `{named}`, SHA-256 `{sha256}`.")
    lines.append(f"- Synthetic windows in training: {summary.synthetic}.")
    if config.get("refit"):
        lines.append(
            "- When everything was selected on val rows, it was retrained on train and val rows together: test "
            "metrics are of that model, val metrics of the one before."
        )
    elif not summary.n_windows.get("test"):
        lines.append(
            "- There is no test part: the model was trained on train rows alone and is evaluated on val rows, which "
            f"also selected {run_store.chosen_by_val(manifest)}."
        )
    if summary.training.get("unlabelled_sha256"):
        lines.append(
            f"- Self-training: a student learned from {summary.training.get('n_unlabelled_windows')} windows without "
            f"labels of `{_plain(config.get('unlabelled'))}`, SHA-256 `{summary.training['unlabelled_sha256']}`."
        )
    lines.append(f"- Leak-proof: {summary.leak_proof}.")
    return "\n".join(lines)


def labelled_by(annotators: list[str]) -> str:
    """Name who labelled the rows, and whether that is a rule or a person."""
    if not annotators:
        return "the data does not name the annotator"
    lines = [
        f"the published rule `{_plain(name)}`, not a person" if is_rule(name) else f"`{_plain(name)}`"
        for name in annotators
    ]
    return f"given by {' and '.join(lines)}"


def _limits(summary: RunSummary) -> str:
    found = summary.evaluation
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
    if any(map(is_rule, summary.annotators)):
        lines.append(
            "- A rule gave labels: the metrics measure how well a rule is learned, not what a trader would mark."
        )
    few = [f"{_plain(name)} ({n})" for name, n in summary.parts[0].class_counts.items() if n < FEW_WINDOWS]
    if few:
        lines.append(f"- Classes with fewer than {FEW_WINDOWS} train windows: {', '.join(few)}. Expect little of them.")
    return "\n".join(lines)


def _reproduce(summary: RunSummary) -> str:
    manifest = summary.manifest
    versions = ", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items())
    where = f"On {manifest.get('device')} with {manifest.get('threads')} thread(s): {versions}."
    return "\n".join(["```bash", *summary.commands(), "```", "", where])


def _table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _plain(value: object) -> str:
    """Return one line of text that no table, code span or emphasis of Markdown breaks on."""
    return re.sub(r"[\s|`*<>]+", " ", str(value)).strip()[:500]
