// What a person has marked on one chart: pure data, its undo steps, and what differs from the store.

import { Steps, copy } from "./state.js";

const ends = ({ start, end }) => [start, end];
const keyOf = (piece) => JSON.stringify(piece);

// What is in `one` and not in `other`.
function beyond(one, other) {
  const known = new Set(other.map(keyOf));
  return one.filter((each) => !known.has(keyOf(each)));
}

const plain = ({ start, end, label, note, source }) => ({ start, end, label, note: note || "", source: source || "" });

export class Sheet extends Steps {
  holds = "now";

  constructor(found) { super(); this.stand(found); }

  // Take over what the store holds.
  stand(found) {
    this.revision = found.revision;
    this.base = { spans: found.spans.map(plain), stretches: copy(found.stretches), rejected: found.rejected.map(plain) };
    this.now = copy(this.base);
    this.steps = [];
    this.active = -1;
    this.side = "end";
    this.pending = null;
  }

  // A save came back: what it left is the base; what was changed meanwhile stays.
  saved(found, sent) {
    const meanwhile = this.differsFrom(sent);
    this.revision = found.revision;
    this.base = copy(sent);
    return meanwhile;
  }

  differsFrom(state) { return keyOf(state) !== keyOf(this.now); }
  get changed() { return this.differsFrom(this.base); }
  get current() { return this.now.spans[this.active] || null; }

  // The change from the store's state to this one, as the server takes it.
  change() {
    const { base, now } = this;
    return {
      remove: beyond(base.spans, now.spans).map(ends), add: beyond(now.spans, base.spans),
      unsee: beyond(base.stretches, now.stretches), see: beyond(now.stretches, base.stretches),
      unreject: beyond(base.rejected, now.rejected).map(ends), reject: beyond(now.rejected, base.rejected).map((one) => ({ ...one, source: "" })),
    };
  }

  // Make a change again on another state: what is gone needs no removal, and what is there stays.
  restore(change) {
    this.remember();
    const without = (list, gone, of) => list.filter((one) => !gone.some((piece) => keyOf(piece) === keyOf(of(one))));
    const same = (piece) => piece;
    const add = (list, more) => [...list, ...more.filter((one) => !list.some((other) => other.start === one.start && other.end === one.end))];
    this.now.spans = add(without(this.now.spans, change.remove, ends), change.add);
    this.now.stretches = [...without(this.now.stretches, change.unsee, same), ...beyond(change.see, this.now.stretches)];
    this.now.rejected = add(without(this.now.rejected, change.unreject, ends), change.reject);
    this.tidy();
  }

  // Lists are kept as the server orders them, and the active span stays active.
  tidy(chosen = this.current) {
    this.now.spans.sort((one, other) => one.start - other.start || one.end - other.end);
    this.now.rejected.sort((one, other) => one.start - other.start || one.end - other.end);
    this.now.stretches.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    this.active = chosen ? this.now.spans.indexOf(chosen) : -1;
  }

  taken(start, end, besides = null) {
    return this.now.spans.some((one) => one !== besides && one.start === start && one.end === end);
  }

  add(from, to, label, source = "", note = "") {
    const [start, end] = [Math.min(from, to), Math.max(from, to)];
    this.pending = null;
    if (this.taken(start, end)) return false;
    this.remember();
    const made = { start, end, label, note, source };
    this.now.spans.push(made);
    this.tidy(made);
    this.side = "end";
    return true;
  }

  // Move the active end; where it meets the other one, both go together. A proposal that is moved is corrected.
  moveTo(bar, isOneStep = true) {
    const one = this.current;
    if (!one || one[this.side] === bar) return false;
    const [start, end] = this.side === "start" ? [bar, Math.max(one.end, bar)] : [Math.min(one.start, bar), bar];
    if (this.taken(start, end, one)) return false;
    if (isOneStep) this.remember();
    const now = this.current;
    Object.assign(now, { start, end, source: now.source === "accepted" ? "corrected" : now.source });
    this.tidy(now);
    return true;
  }

  set(name, value) {
    if (!this.current || this.current[name] === value) return false;
    this.remember();
    this.current[name] = value;
    if (name === "label" && this.current.source === "accepted") this.current.source = "corrected";
    return true;
  }

  remove() {
    if (!this.current) return false;
    this.remember();
    this.now.spans.splice(this.active, 1);
    this.active = -1;
    return true;
  }

  // Bars from first to last were looked at; stretches that touch become one.
  look(first, last) {
    this.remember();
    const touching = ([from, to]) => from <= last + 1 && to >= first - 1;
    const met = this.now.stretches.filter(touching);
    const joined = [Math.min(first, ...met.map((one) => one[0])), Math.max(last, ...met.map((one) => one[1]))];
    this.now.stretches = [...this.now.stretches.filter((one) => !touching(one)), joined];
    this.tidy();
    return joined;
  }

  reject({ start, end, label }) {
    if (this.now.rejected.some((one) => one.start === start && one.end === end)) return false;
    this.remember();
    this.now.rejected.push({ start, end, label, note: "", source: "" });
    this.tidy();
    return true;
  }

  rename(old, name) {
    for (const state of [this.now, this.base]) for (const one of state.spans) if (one.label === old) one.label = name;
    this.steps = [];
  }
}

export const drafted = (sheet) => ({ revision: sheet.revision, change: sheet.change() });
export const isEmpty = (change) => Object.values(change).every((list) => !list.length);

