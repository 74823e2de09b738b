// Keys of the chart to actions; the help is made from the same table.

export const KEYS = [
  { keys: ["←", "→"], text: "Move the cursor, or the active end of the chosen span, by a bar (with Shift by ten)" },
  { keys: ["N", "Space"], text: "First end of a new span at the cursor; again: its last end" },
  { keys: ["S", "E"], text: "Start or end of the chosen span is active" },
  { keys: ["[", "]"], text: "Previous or next span" },
  { keys: ["Esc"], text: "No span is chosen: arrows move the cursor again" },
  { keys: ["1", "…", "9"], text: "Class of the chosen span, and of the next ones" },
  { keys: ["X", "Delete"], text: "Delete the chosen span" },
  { keys: ["Z"], text: "Undo, also of a deletion" },
  { keys: ["M"], text: "Write a note (Esc returns to the chart)" },
  { keys: ["L"], text: "I have looked at all bars shown: what is in no span there is background" },
  { keys: [",", "."], text: "Previous or next proposal" },
  { keys: ["Y"], text: "Accept the proposal" },
  { keys: ["R"], text: "Reject it: it is background" },
  { keys: ["Q"], text: "Go to what should be looked at next" },
  { keys: ["F"], text: "Find spans like the chosen one" },
  { keys: ["J"], text: "Go to a date (Enter goes there)" },
  { keys: ["PageUp", "PageDown"], text: "Half a screen back or on" },
  { keys: ["Home", "End"], text: "First or last bar" },
  { keys: ["+", "-"], text: "Zoom in or out" },
  { keys: ["O", "V", "H"], text: "Log scale; means of 20 and 50 bars; drag moves the chart" },
  { keys: ["T", "?"], text: "Light or dark; this help" },
];

const PLAIN = {
  n: "mark", " ": "mark", s: "start", e: "end", "[": "before", "]": "after", x: "remove", delete: "remove", z: "undo", m: "note",
  l: "looked", ",": "previousProposal", ".": "nextProposal", y: "accept", r: "reject", q: "go", f: "like", j: "jump",
  pageup: "pageBack", pagedown: "pageOn", home: "first", end: "last", "+": "closer", "=": "closer", "-": "farther",
  o: "log", v: "averages", h: "hand", t: "theme", "?": "help",
};

// Return [action, argument], or null where a key means nothing here.
export function actionOf(event) {
  const { target } = event;
  const name = event.key.toLowerCase();
  const inText = target.matches("textarea, input:not([type=checkbox])");
  if (event.key === "Escape") return target.closest("dialog") ? null : ["leave"];
  if (name === "enter" && target.id === "jump") return ["jumpTo"];
  if (name === "z" && (event.ctrlKey || event.metaKey) && !inText) return ["undo"];
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("dialog") || inText) return null;
  const onControl = target.matches("button, a, input, summary, select, pre");
  if (onControl && ["enter", " ", "home", "end", "pageup", "pagedown", "arrowup", "arrowdown"].includes(name)) return null;
  if (target.matches("select")) return null;
  if (name === "arrowleft" || name === "arrowright") return ["move", (name === "arrowright" ? 1 : -1) * (event.shiftKey ? 10 : 1)];
  if (/^[1-9]$/.test(name)) return ["class", Number(name) - 1];
  return name in PLAIN ? [PLAIN[name]] : null;
}
