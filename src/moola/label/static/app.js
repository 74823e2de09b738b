// The labelling page: one window, what is marked of it, and where it goes next.

import * as api from "./api.js";
import { Candles } from "./chart.js";
import { Comparison } from "./compare.js";
import { actionOf } from "./keys.js";
import { Marks, dropDraft, keep, keepDraft, keepName, kept, keptName, recall, same } from "./state.js";
import { startTheme, turnTheme } from "./theme.js";
import { Turns } from "./turns.js";
import { SECOND_LOOKS, drawHead, drawLabel, drawProgress, drawWarnings, fillChoices, notify, part } from "./view.js";

let settings, candles, comparison, marks, found, mine = null, hovered = null, walked = null, classNow = 0, untouched = null;
const visited = [];

const redrawChart = () => candles?.theme();
const annotator = () => part("annotator").value.trim();
const asked = () => ({ annotator: annotator(), assist: part("assist").checked });
const label = () => settings.classes[classNow];

function draw() {
  drawLabel(marks, candles, label(), (i) => { marks.active = i; marks.side = "start"; draw(); tellPointer(); });
  candles.show(marks);
  drawReadout();
}

function drawReadout() {
  const bar = hovered ?? marks.pointer;
  part("readout").textContent = (bar === null || bar === undefined ? "" : candles.textOf(bar)) || "\u00a0";
}

function tellPointer() {
  if (marks.current) notify(`Expansion ${marks.active + 1}, ${marks.side}. ${candles.textOf(marks.pointer)}`);
}

function changed() {
  if (!keepDraft(settings.scope, annotator(), found.id, marks)) {
    notify("This browser cannot keep drafts: save before you leave the page.", true);
  }
  draw();
}

function offer(content, why) {
  mine = content;
  part("conflict").hidden = content === null;
  part("conflictText").textContent = why || "";
}

function open(next, before = "") {
  found = next;
  hovered = null;
  untouched = null;
  offer(null);
  comparison.hide();
  marks = new Marks(settings.window_bars, settings.inner_zone, found.label);
  candles.open(found, settings.inner_zone, settings.window_bars);
  drawHead(found, settings);
  history.replaceState(null, "", `#${encodeURIComponent(found.id)}`);
  if (visited.at(-1) !== found.id) visited.push(found.id);
  const draft = recall(settings.scope, annotator(), found.id, marks);
  if (draft.other) offer(draft.other, "This window was saved elsewhere meanwhile. That version is shown; your unsaved marks are kept.");
  notify(`${before} ${part("title").textContent}.${draft.isRestored ? " Unsaved marks are restored." : ""}`.trim());
  draw();
  part("chart").focus({ preventScroll: true });
}

const turns = new Turns((error) => {
  if (error.status === 409 && found) conflict(error);
  else notify(error.message, true);
});
const alone = (work) => turns.alone(work);

function conflict(error) {
  const content = marks.content;
  marks.stand(error.body.current);
  found.label = error.body.current;
  if (same(content, marks.content)) dropDraft(settings.scope, annotator(), found.id);
  else offer(content, "Another page saved this window first. That version is shown; your marks are kept.");
  draw();
  notify("Not saved: another page was first.", true);
}

async function progress() { drawProgress(await api.progress(annotator())); }

async function openNext(before = "") {
  const queue = part("queue").value;
  // The open window may be the first of a queue that was just chosen.
  const next = await api.nextWindow({ ...asked(), queue, after: found && queue === walked ? found.id : null });
  walked = queue;
  const again = SECOND_LOOKS.includes(queue);
  part("queueLeft").textContent = `${next.left} left`;
  if (!next.window) {
    notify(again ? "This queue is empty: Q chooses another one."
      : "Every window is done. `moola labels export` writes them to a file.");
    return;
  }
  open(next.window, !again && next.left === 0 ? `${before} All else is done: this one was skipped before.` : before);
  // Who decides between others must see what they said.
  if (queue === "conflicts") await comparison.show(found.id, annotator());
}

function named() {
  if (annotator()) return true;
  notify("Enter your name first: labels are stored per annotator.", true);
  part("annotator").focus();
  return false;
}

async function store(status) {
  const { expansions, grade, reason, note } = marks.content;
  const body = { annotator: annotator(), expected_revision: marks.revision, status, grade, reason, note, expansions };
  const saved = await api.saveLabel(found.id, body);
  dropDraft(settings.scope, annotator(), found.id);
  marks.stand(saved.label);
  drawWarnings(saved.warnings);
}

// Nothing was said of this window: it is saved as one without an expansion only where that is asked for twice.
function mustAsk() {
  if (marks.changed || marks.status === "labelled" || marks.status === "rejected") return false;
  if (untouched === found.id) return false;
  untouched = found.id;
  notify("Nothing is marked here. Enter again saves it as a window without an expansion; K skips it.", true);
  return true;
}

const toZone = (bar) => { hovered = null; if (marks.moveTo(bar)) changed(); tellPointer(); };

const actions = {
  save: () => named() && alone(async () => {
    if (marks.pending !== null) return notify("The expansion has one end only. Click the other, or undo.", true);
    if (mustAsk()) return undefined;
    await store(marks.content.grade === "D" ? "rejected" : "labelled");
    notify("Saved.");
    return Promise.all([openNext("Saved."), progress()]);
  }),
  skip: () => named() && alone(async () => {
    // What has been labelled stays so: there, skipping is only going on.
    if (marks.status !== "labelled" && marks.status !== "rejected") await store("skipped");
    const left = marks.changed ? "Unsaved marks of that window stay in this browser." : "";
    await Promise.all([openNext(left), progress()]);
  }),
  back: () => alone(async () => {
    if (visited.length < 2) return notify("There is no previous window.");
    visited.pop();
    open(await api.openWindow(visited.at(-1), asked()));
  }),
  go: () => named() && alone(() => openNext()),
  queue: () => part("queue").focus(),
  compare: () => named() && alone(async () => {
    if (comparison.opinions) comparison.hide();
    else await comparison.show(found.id, annotator());
  }),
  take: () => { if (comparison.opinions) comparison.take(); else notify("Press V to compare first."); },
  agreement: () => named() && alone(() => comparison.agreement(annotator())),
  undo: () => { if (marks.undo()) changed(); else notify("Nothing to undo here. Shift+Z undoes the last save."); },
  undoSave: () => alone(async () => {
    const before = await api.undoSave(found.id, { annotator: annotator(), expected_revision: marks.revision });
    if (!before.label) return notify("There is no earlier save.");
    dropDraft(settings.scope, annotator(), found.id);
    marks.stand(before.label);
    draw();
    notify("The previous save is restored.");
    await progress();
  }),
  add: () => {
    const [first, last] = settings.inner_zone;
    const inside = hovered !== null && hovered >= 0 && hovered < settings.window_bars;
    const bar = inside ? hovered : Math.floor((first + last) / 2);
    marks.add(bar, bar, label());
    marks.side = "start";
    changed();
    tellPointer();
  },
  remove: () => { if (marks.remove()) { changed(); notify("Removed. Z restores it."); } },
  start: () => { marks.side = "start"; draw(); tellPointer(); },
  end: () => { marks.side = "end"; draw(); tellPointer(); },
  before: () => { marks.step(-1); draw(); tellPointer(); },
  after: () => { marks.step(1); draw(); tellPointer(); },
  move: (bars) => {
    if (!marks.current) return notify("No expansion yet: N makes one.");
    hovered = null;
    if (marks.moveTo(marks.pointer + bars)) changed();
    tellPointer();
  },
  zoneStart: () => toZone(settings.inner_zone[0]),
  zoneEnd: () => toZone(settings.inner_zone[1] - 1),
  turn: (step) => { const moved = marks.turn(step); draw(); if (moved) tellPointer(); return moved; },
  class: (place) => {
    if (place >= settings.classes.length) return;
    classNow = place;
    marks.setClass(label());
    changed();
    notify(`Class ${label()}.`);
  },
  grade: (name) => {
    marks.setGrade(name, settings.reasons[0]);
    changed();
    notify(marks.content.grade ? `Grade ${name}.` : "No grade.");
    if (marks.content.grade === "D") part("reason").focus();
  },
  note: () => part("note").focus(),
  leave: () => {
    if (marks.pending !== null) { marks.pending = null; draw(); }
    part("chart").focus();
  },
  theme: () => turnTheme(redrawChart),
  help: () => part("help").showModal(),
  assist: () => { if (settings.model) { part("assist").checked = !part("assist").checked; assisted(); } },
};

// The same window with or without the model's answer; the marks stay as they are.
const assisted = () => alone(async () => {
  if (!found) return;
  found.model = (await api.openWindow(found.id, asked())).model;
  candles.open(found, settings.inner_zone, settings.window_bars);
  drawHead(found, settings);
  notify(found.model ? part("modelText").textContent : "The model's prediction is hidden.");
});

// The same window again, for another annotator.
const reload = () => named() && alone(async () => {
  if (found) open(await api.openWindow(found.id, asked()));
  await progress();
});

function listen() {
  document.addEventListener("keydown", (event) => {
    const action = actionOf(event);
    if (!action || !marks) return;
    const [name, value] = action;
    // A second or a held Enter must not save the next window unseen.
    if (["save", "skip", "back", "undoSave"].includes(name) && (turns.busy || event.repeat)) return event.preventDefault();
    if (turns.busy && name !== "turn") {
      turns.later(() => actions[name](value));
      return event.preventDefault();
    }
    if (actions[name](value) !== false || name !== "turn") event.preventDefault();
  });
  for (const name of ["save", "skip", "back", "undo", "add", "remove", "theme", "go", "compare"]) {
    part(name).addEventListener("click", () => { if (marks || name === "theme") actions[name](); });
  }
  part("helpButton").addEventListener("click", actions.help);
  part("agreementButton").addEventListener("click", actions.agreement);
  part("reason").addEventListener("change", () => { marks.set("reason", part("reason").value); changed(); });
  part("note").addEventListener("input", () => {
    if (!marks) return;
    marks.set("note", part("note").value);
    changed();
  });
  part("queue").addEventListener("change", () => {
    keep("queue", part("queue").value);
    part("queueLeft").textContent = "";
    notify("This queue applies from the next window on; Enter or Go goes there now.");
  });
  part("annotator").addEventListener("change", () => { walked = null; keepName(settings.scope, annotator()); reload(); });
  part("annotator").addEventListener("keydown", (event) => { if (event.key === "Enter") part("chart").focus(); });
  part("assist").addEventListener("change", assisted);
  part("useMine").addEventListener("click", () => { marks.restore(mine); offer(null); changed(); part("chart").focus(); });
  part("dropMine").addEventListener("click", () => {
    offer(null);
    if (!marks.changed) dropDraft(settings.scope, annotator(), found.id);
    part("chart").focus();
  });
}

// A click while a save is on its way would be one on a window that is about to go.
const chartTold = {
  hover: (bar) => { if (!marks) return; hovered = bar; drawReadout(); },
  click: (bar) => {
    if (!marks || turns.busy) return undefined;
    if (bar < 0 || bar >= settings.window_bars) return notify("That bar is outside the window.");
    if (marks.click(bar, label())) { changed(); tellPointer(); } else { draw(); notify("First end marked. Click the other."); }
  },
  drag: (from, to) => { if (marks && !turns.busy) { marks.add(from, to, label()); changed(); tellPointer(); } },
  pull: (pointer, bar) => {
    if (!marks || turns.busy || marks.active !== pointer.number) return;
    marks.side = pointer.side;
    const { start, end } = marks.current;
    // It stops at the other pointer, and the whole pull is one step to undo.
    const to = pointer.side === "start" ? Math.min(bar, end) : Math.max(bar, start);
    if (marks.moveTo(to, pointer.first)) { pointer.first = false; changed(); tellPointer(); }
  },
};

const compared = {
  take: ({ expansions, grade, reason }) => {
    marks.restore({ expansions, grade, reason, note: marks.content.note });
    changed();
    part("chart").focus({ preventScroll: true });
  },
  open: (id) => alone(async () => { open(await api.openWindow(id, asked())); await comparison.show(id, annotator()); }),
};

async function begin() {
  startTheme(redrawChart);
  settings = await api.settings();
  fillChoices(settings, { class: actions.class, grade: actions.grade });
  part("annotator").value = keptName(settings.scope) || settings.annotator;
  if (settings.queues.includes(kept("queue", ""))) part("queue").value = kept("queue", "");
  candles = new Candles(part("chart"), chartTold);
  comparison = new Comparison(candles, compared);
  listen();
  const wanted = decodeURIComponent(location.hash.slice(1));
  const here = wanted ? await api.openWindow(wanted, asked()).catch(() => null) : null;
  if (here) open(here);
  else await openNext();
  await progress();
}

begin().catch((error) => notify(error.message, true));
