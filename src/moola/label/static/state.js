// What a person has marked of the open window: pure data, its undo steps, and the draft that survives a reload.

const EMPTY = { expansions: [], grade: "", reason: "", note: "" };

export const copy = (value) => JSON.parse(JSON.stringify(value));

export const contentOf = (label) =>
  label ? { expansions: copy(label.expansions), grade: label.grade, reason: label.reason, note: label.note } : copy(EMPTY);

export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// What can be undone, of a class whose property `holds` is what was marked.
export class Steps {
  remember() {
    this.steps.push({ [this.holds]: copy(this[this.holds]), active: this.active, side: this.side });
    if (this.steps.length > 200) this.steps.shift();
  }

  undo() {
    if (this.pending !== null) { this.pending = null; return true; }
    const step = this.steps.pop();
    if (!step) return false;
    Object.assign(this, step);
    return true;
  }
}

export class Marks extends Steps {
  holds = "content";

  constructor(windowBars, innerZone, label) {
    super();
    this.windowBars = windowBars;
    this.innerZone = innerZone;
    this.stand(label);
  }

  // Take over what the store holds (null where it holds nothing).
  stand(label) {
    this.revision = label ? label.revision : 0;
    this.status = label ? label.status : "";
    this.base = contentOf(label);
    this.content = copy(this.base);
    this.steps = [];
    this.active = this.content.expansions.length ? 0 : -1;
    this.side = "start";
    this.pending = null;
  }

  // Lay other content over it: a draft, or marks kept from a conflict.
  restore(content) {
    this.remember();
    this.content = copy(content);
    this.active = this.content.expansions.length - 1;
    this.side = "start";
  }

  get changed() { return !same(this.content, this.base); }
  get current() { return this.content.expansions[this.active] || null; }
  get pointer() { return this.current ? this.current[this.side] : null; }

  add(start, end, label) {
    this.remember();
    const inside = (bar) => Math.min(Math.max(bar, 0), this.windowBars - 1);
    const [first, last] = [inside(Math.min(start, end)), inside(Math.max(start, end))];
    this.content.expansions.push({ start: first, end: last, label });
    this.active = this.content.expansions.length - 1;
    this.side = "end";
    this.pending = null;
  }

  // A click: the first one sets an end of the expansion, the second the other.
  click(bar, label) {
    if (this.pending === null) {
      this.pending = bar;
      return false;
    }
    this.add(this.pending, bar, label);
    return true;
  }

  // Move the active pointer to a bar; where it meets the other one, both go together.
  moveTo(bar, isOneStep = true) {
    if (!this.current) return false;
    const to = Math.min(Math.max(bar, 0), this.windowBars - 1);
    if (to === this.pointer) return false;
    if (isOneStep) this.remember();
    this.current[this.side] = to;
    if (this.side === "start" && this.current.end < to) this.current.end = to;
    if (this.side === "end" && this.current.start > to) this.current.start = to;
    return true;
  }

  remove() {
    if (!this.current) return false;
    this.remember();
    this.content.expansions.splice(this.active, 1);
    this.active = Math.min(this.active, this.content.expansions.length - 1);
    this.side = "start";
    return true;
  }

  set(name, value) {
    if (this.content[name] === value) return;
    this.remember();
    this.content[name] = value;
  }

  setClass(label) {
    if (!this.current || this.current.label === label) return;
    this.remember();
    this.current.label = label;
  }

  setGrade(grade, firstReason) {
    this.remember();
    this.content.grade = this.content.grade === grade ? "" : grade;
    this.content.reason = this.content.grade === "D" ? this.content.reason || firstReason : "";
  }

  // The expansion before or after the active one, where there is one.
  step(by) {
    if (!this.content.expansions[this.active + by]) return;
    this.active += by;
    this.side = "start";
  }

  // The next pointer in turn (start, end, start of the next expansion ...); false behind the last one.
  turn(step) {
    if (!this.current) return false;
    const place = this.active * 2 + (this.side === "end" ? 1 : 0) + step;
    if (place < 0 || place >= this.content.expansions.length * 2) return false;
    this.active = Math.floor(place / 2);
    this.side = place % 2 ? "end" : "start";
    return true;
  }
}

// Choices of this browser: theme, queue, name.
export function kept(name, otherwise) {
  try { return localStorage.getItem(`moola.${name}`) ?? otherwise; } catch { return otherwise; }
}

export function keep(name, value) {
  try { localStorage.setItem(`moola.${name}`, value); } catch { /* For this visit alone, then. */ }
}

// The name is kept by this tab alone: a reload saves under the same name, and another tab may be another person's.
export function keptName(scope) {
  try { return sessionStorage.getItem(`moola.name.${scope}`); } catch { return null; }
}

export function keepName(scope, name) {
  try { sessionStorage.setItem(`moola.name.${scope}`, name); } catch { /* A reload asks for it again, then. */ }
}

// Drafts: what is not saved yet, by annotator and window, in this browser alone.
const key = (scope, annotator, id) => `moola.draft.${scope}.${annotator}.${id}`;

export function keepDraft(scope, annotator, id, marks) {
  try {
    if (!marks.changed) localStorage.removeItem(key(scope, annotator, id));
    else localStorage.setItem(key(scope, annotator, id), JSON.stringify({ revision: marks.revision, content: marks.content }));
    return true;
  } catch {
    return false;
  }
}

function readDraft(scope, annotator, id) {
  try {
    const draft = JSON.parse(localStorage.getItem(key(scope, annotator, id)));
    return draft && Array.isArray(draft.content.expansions) ? draft : null;
  } catch {
    return null;
  }
}

// Lay a draft over the marks that it was made on; `other` is one that was made on an older save.
export function recall(scope, annotator, id, marks) {
  const draft = readDraft(scope, annotator, id);
  const isRestored = draft !== null && draft.revision === marks.revision;
  if (isRestored) marks.restore(draft.content);
  return { isRestored, other: draft && !isRestored && !same(draft.content, marks.content) ? draft.content : null };
}

export function dropDraft(scope, annotator, id) {
  try { localStorage.removeItem(key(scope, annotator, id)); } catch { /* Nothing was kept then. */ }
}
