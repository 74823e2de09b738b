// Keys of the chart to actions; the help is made from the same table.

export const KEYS = [
  { keys: ["←", "→"], says: "Move the cursor, or the active end of the chosen span, by a bar (with Shift by ten)" },
  { keys: ["N", "Space"], says: "First end of a new span at the cursor; again: its last end" },
  { keys: ["S", "E"], says: "Start or end of the chosen span is active" },
  { keys: ["[", "]"], says: "Previous or next span" },
  { keys: ["Esc"], says: "No span is chosen: arrows move the cursor again" },
  { keys: ["1", "…", "9"], says: "Class of the chosen span, and of the next ones" },
  { keys: ["X", "Delete"], says: "Delete the chosen span" },
  { keys: ["Z"], says: "Undo, also of a deletion" },
  { keys: ["M"], says: "Write a note (Esc returns to the chart)" },
  { keys: ["L"], says: "I have looked at all bars shown: what is in no span there is background" },
  { keys: [",", "."], says: "Previous or next proposal" },
  { keys: ["Y"], says: "Accept the proposal" },
  { keys: ["R"], says: "Reject it: it is background" },
  { keys: ["Q"], says: "Go to what should be looked at next" },
  { keys: ["F"], says: "Find spans like the chosen one" },
  { keys: ["J"], says: "Go to a date (Enter goes there)" },
  { keys: ["PageUp", "PageDown"], says: "Half a screen back or on" },
  { keys: ["Home", "End"], says: "First or last bar" },
  { keys: ["+", "-"], says: "Zoom in or out" },
  { keys: ["O", "V", "H"], says: "Log scale; means of 20 and 50 bars; drag moves the chart" },
  { keys: ["T", "?"], says: "Light or dark; this help" },
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
