// Keys to actions; the help is made from the same table.

export const KEYS = [
  { keys: ["N"], text: "New expansion at the crosshair, or in the middle of the inner zone" },
  { keys: ["←", "→"], text: "Move the active pointer by a bar (with Shift by five)" },
  { keys: ["Home", "End"], text: "Move it to the first or last bar of the inner zone" },
  { keys: ["S", "E"], text: "Start or end is the active pointer" },
  { keys: ["Tab"], text: "On the chart: the next pointer; behind the last one, out of the chart" },
  { keys: ["[", "]"], text: "Previous or next expansion" },
  { keys: ["X", "Delete"], text: "Remove the active expansion" },
  { keys: ["1", "…", "9"], text: "Class of the active expansion, and of the next ones" },
  { keys: ["A", "B", "C", "D"], text: "Grade of the window; D rejects it and asks why (↑ ↓ choose, Enter saves)" },
  { keys: ["M"], text: "Write a note (Esc returns to the chart)" },
  { keys: ["Z"], text: "Undo the last change of the marks" },
  { keys: ["Shift+Z"], text: "Undo the last save of this window" },
  { keys: ["Enter"], text: "Save, next window (in the note: Ctrl+Enter); asks first where nothing is marked" },
  { keys: ["K"], text: "Skip: the window comes again at the end" },
  { keys: ["P", "Backspace"], text: "Back to the previous window" },
  { keys: ["Q"], text: "Choose what comes next (↑ ↓ choose, Enter goes there)" },
  { keys: ["V"], text: "Compare with labels of other annotators, on or off" },
  { keys: ["Y"], text: "Copy the label of the next annotator, while comparing" },
  { keys: ["G"], text: "Agreement of the annotators, and the windows that wait for a decision" },
  { keys: ["I"], text: "Assist on or off, where there is a model" },
  { keys: ["T"], text: "Light or dark" },
  { keys: ["?"], text: "This help" },
];

const PLAIN = {
  n: "add", x: "remove", delete: "remove", s: "start", e: "end", "[": "before", "]": "after", m: "note", z: "undo",
  k: "skip", q: "queue", v: "compare", y: "take", g: "agreement", p: "back", backspace: "back", i: "assist", t: "theme", "?": "help", enter: "save",
  home: "zoneStart", end: "zoneEnd",
};

// Return [action, argument], or null where a key means nothing here.
export function actionOf(event) {
  const target = event.target;
  const name = event.key.toLowerCase();
  const inText = target.matches("textarea, input:not([type=checkbox])");
  if (event.key === "Escape") return target.closest("dialog") ? null : ["leave"];
  if (name === "enter" && (event.ctrlKey || event.metaKey) && inText) return ["save"];
  if (name === "z" && (event.ctrlKey || event.metaKey) && !inText) return [event.shiftKey ? "undoSave" : "undo"];
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("dialog") || inText) return null;
  const onControl = target.matches("button, a, input, summary");
  if (onControl && (name === "enter" || name === " ")) return null;
  if (target.matches("select")) return name === "enter" ? { reason: ["save"], queue: ["go"] }[target.id] || null : null;
  if (name === "tab") return target.id === "chart" ? ["turn", event.shiftKey ? -1 : 1] : null;
  if (name === "arrowleft" || name === "arrowright") {
    return ["move", (name === "arrowright" ? 1 : -1) * (event.shiftKey ? 5 : 1)];
  }
  if (name === "z" && event.shiftKey) return ["undoSave"];
  if (/^[1-9]$/.test(name)) return ["class", Number(name) - 1];
  if (/^[abcd]$/.test(name)) return ["grade", name.toUpperCase()];
  return name in PLAIN ? [PLAIN[name]] : null;
}
