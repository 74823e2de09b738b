// The chart of the page: spans marked anywhere, saved as they are made; proposals of a model that learns beside it.

import * as api from "./api.js";
import { classText, describesBefore } from "./chart.js";
import { actionOf } from "./span_keys.js";
import { Rest, drawClasses, drawHelp, zones } from "./span_rest.js";
import { Sheet, drafted, isEmpty } from "./span_state.js";
import { BarView, Strip } from "./span_view.js";
import { keep, keepName, kept, keptName } from "./state.js";
import { startTheme, turnTheme } from "./theme.js";
import { lengthText, notify, part } from "./view.js";

// A moved end is saved when it has rested for so long.
const REST_MS = 600, FIRST_BARS = 300;
let settings, info, view, strip, sheet, rest, classNow = 0, cursor = null, mine = null, timer = 0, saving = null, stale = false;

const annotator = () => part("annotator").value.trim();
const symbol = () => view.symbol.symbol;
const label = () => info.classes[classNow] || "";
const place = () => ({ symbol: symbol(), annotator: annotator() });
const draftName = () => `chart.${settings.scope}.${annotator()}.${symbol()}`;

function draw() {
  const { now, active, side, pending } = sheet;
  view.show({ spans: now.spans, stretches: now.stretches, active, side, pending, cursor: sheet.current ? null : cursor });
  strip.draw();
  drawClasses(info.classes, sheet.current ? sheet.current.label : label(), actions.class);
  const one = sheet.current;
  const [from, to] = one ? [view.textOf(one.start).split("  ")[0], one.end] : [];
  part("chosen").textContent = one
    ? `${classText(one.label)}, ${one.end - one.start + 1} bars, ${from} to bar ${to}${one.source ? `, proposal ${one.source}` : ""}${describesBefore(one.label) ? `; the class describes the ${info.prior_bars} shaded bars before it` : ""}. Arrows move the ${side}.`
    : "None. Drag over bars, or click the first and the last one; or press N at both.";
  part("noteLabel").hidden = !one;
  if (one && part("note").value !== one.note) part("note").value = one.note;
  part("remove").disabled = part("like").disabled = !one;
  part("undo").disabled = !sheet.steps.length && pending === null;
  drawReadout();
}

function drawReadout(bar = cursor) { part("readout").textContent = (bar === null ? "" : view.textOf(bar)) || "\u00a0"; }

function describe() {
  const one = sheet.current;
  if (one) notify(`${classText(one.label)}, ${one.end - one.start + 1} bars; ${sheet.side} at ${view.textOf(one[sheet.side])}`);
}

// Something was changed: it is kept in this browser at once, and saved now or when the keys have rested.
function changed(now = true) {
  const content = drafted(sheet);
  keep(draftName(), isEmpty(content.change) ? "" : JSON.stringify(content));
  draw();
  clearTimeout(timer);
  if (now) save(); else timer = setTimeout(save, REST_MS);
}

function offer(change, why) {
  mine = change;
  part("conflict").hidden = change === null;
  part("conflictText").textContent = why || "";
}

async function save() {
  clearTimeout(timer);
  if (saving) { stale = true; return saving; }
  if (!sheet.changed) return undefined;
  if (!annotator()) {
    notify("Enter your name first: labels are stored per annotator.", true);
    return part("annotator").focus();
  }
  const of = sheet, sent = JSON.parse(JSON.stringify(sheet.now)), change = sheet.change(), name = draftName();
  saving = api.changeChart({ ...place(), expected_revision: sheet.revision, ...change })
    .then((found) => {
      if (of.saved(found, sent)) stale = true; else keep(name, "");
      part("status").dataset.revision = String(found.revision);
      rest.later();
    })
    .catch(async (error) => {
      if (error.status !== 409) return notify(`Not saved: ${error.message} Your marks are kept in this browser.`, true);
      sheet.stand(await api.chartLabels(place()));
      offer(change, "Another page saved first. That version is shown; your last change is kept.");
      return notify("Not saved: another page was first.", true);
    })
    .finally(() => {
      saving = null;
      if (of !== sheet) return undefined;
      draw();
      rest.listSoon();
      if (!stale) return undefined;
      stale = false;
      return save();
    });
  return saving;
}

// Labels of a chart as the store has them, and what was not saved of them.
async function load() {
  sheet = new Sheet(await api.chartLabels(place()));
  offer(null);
  const draft = JSON.parse(kept(draftName(), "") || "null");
  if (draft && !isEmpty(draft.change)) {
    if (draft.revision === sheet.revision) { sheet.restore(draft.change); notify("Unsaved marks are restored."); }
    else offer(draft.change, "This chart was saved elsewhere meanwhile. That version is shown; your unsaved change is kept.");
  }
  if (sheet.changed) changed(); else draw();
}

async function open(name, bar = null) {
  const found = info.symbols.find((one) => one.symbol === name) || info.symbols[0];
  part("symbol").value = found.symbol;
  part("title").textContent = `${found.symbol || "no symbol"}, bars of ${lengthText(found.bar_us)}, ${found.n_bars.toLocaleString("en")} of them`;
  document.title = `${found.symbol || "moola label"}: chart`;
  cursor = null;
  const at = bar ?? Math.min(FIRST_BARS, found.n_bars);
  view.open(found, at - FIRST_BARS, at);
  await Promise.all([strip.open(found), load()]);
  rest.begin();
}

function mark(from, to) {
  if (!label()) return notify("Add a class first.", true);
  if (!sheet.add(from, to, label())) return notify("There is a span with just these bars.", true);
  cursor = null;
  changed();
  return describe();
}

function choose(i) {
  sheet.active = i;
  sheet.side = "end";
  view.reveal(sheet.now.spans[i].start, sheet.now.spans[i].end);
  draw();
  describe();
}

// A span among one's own that has a bar: the shortest one, for it may lie on a longer.
function spanAt(bar) {
  const found = sheet.now.spans.map((one, i) => [one, i]).filter(([one]) => one.start <= bar && bar <= one.end);
  found.sort(([one], [other]) => one.end - one.start - (other.end - other.start));
  return found.length ? found[0][1] : -1;
}

const seenNow = () => [Math.max(Math.round(view.from), 0), Math.min(Math.round(view.to), view.symbol.n_bars - 1)];
const middle = () => Math.min(Math.max(Math.round((view.from + view.to) / 2), 0), view.symbol.n_bars - 1);

async function ask(head, text, from = "") {
  part("namingHead").textContent = head;
  part("className").value = from;
  part("naming").returnValue = "";
  part("naming").showModal();
  await new Promise((done) => part("naming").addEventListener("close", done, { once: true }));
  part("chart").focus();
  const name = part("className").value.trim();
  return part("naming").returnValue === "cancel" || !name || name === from ? null : name;
}

const actions = {
  move: (bars) => {
    if (sheet.current) {
      const to = Math.min(Math.max(sheet.current[sheet.side] + bars, 0), view.symbol.n_bars - 1);
      if (sheet.moveTo(to)) changed(false);
      view.reveal(to, to);
      return describe();
    }
    cursor = Math.min(Math.max((cursor ?? middle() - bars) + bars, 0), view.symbol.n_bars - 1);
    view.reveal(cursor, cursor);
    draw();
    return notify(view.textOf(cursor));
  },
  mark: () => {
    const at = cursor ?? middle();
    cursor = at;
    if (sheet.pending !== null) return mark(sheet.pending, at);
    sheet.active = -1;
    sheet.pending = at;
    draw();
    return notify("First end marked. Move to the last bar and mark again.");
  },
  start: () => { sheet.side = "start"; draw(); describe(); },
  end: () => { sheet.side = "end"; draw(); describe(); },
  before: () => step(-1),
  after: () => step(1),
  remove: () => { if (sheet.remove()) { changed(); notify("Deleted. Z brings it back."); } },
  undo: () => { if (sheet.undo()) { changed(); notify("Undone."); } else notify("Nothing to undo."); },
  class: (i) => {
    if (i >= info.classes.length) return undefined;
    classNow = i;
    if (rest.like && rest.proposal) return actions.accept(label());
    if (sheet.set("label", label())) changed(); else draw();
    return notify(`Class ${label()}.`);
  },
  note: () => { if (sheet.current) part("note").focus(); },
  looked: () => {
    const [first, last] = sheet.look(...seenNow());
    changed();
    notify(`Looked at all of bars ${first} to ${last}: what is in no span there is background.`);
  },
  nextProposal: () => turnProposal(1),
  previousProposal: () => turnProposal(-1),
  // Another class than the proposed one corrects it.
  accept: (as) => {
    const one = rest.proposal;
    if (!one) return notify("No proposal is chosen: . goes to the next one.");
    const name = as || one.label;
    if (!sheet.add(one.start, one.end, name, name === one.label ? "accepted" : "corrected")) return notify("There is a span with just these bars.", true);
    if (rest.like) sheet.active = -1;
    rest.decide();
    changed();
    return notify(rest.like ? `${name}. Here is the next one.` : `Accepted: ${name}. Drag an end to correct it; . goes to the next one.`);
  },
  reject: () => {
    const one = rest.proposal;
    if (!one) return notify("No proposal is chosen: . goes to the next one.");
    sheet.reject(one);
    rest.decide();
    changed();
    return notify("Rejected: these bars are background.");
  },
  go: async () => {
    await save();
    const found = await api.nextPlace({ ...place(), queue: part("queue").value, after: Math.round((view.from + view.to) / 2) });
    part("why").textContent = found.why;
    if (found.bar === null) return notify(found.why);
    const width = Math.min(view.to - view.from, 400);
    view.look(found.bar - width / 2, found.bar + width / 2);
    cursor = found.bar;
    if (found.span !== null) sheet.active = sheet.now.spans.findIndex((one) => one.start === found.span[0] && one.end === found.span[1]);
    rest.chooseAt(found.bar);
    draw();
    return notify(found.why);
  },
  like: async () => {
    if (!sheet.current) return notify("Choose a span first.");
    await rest.findLike(sheet.current);
    sheet.active = rest.like ? -1 : sheet.active;
    return draw();
  },
  jump: () => { part("jump").focus(); part("jump").select(); },
  jumpTo: async () => {
    const text = part("jump").value.trim().replace(" ", "T");
    const time = Date.parse(`${text.length === 4 ? `${text}-01-01` : text.length === 7 ? `${text}-01` : text}${text.includes("T") ? "Z" : ""}`);
    if (Number.isNaN(time)) return notify(`A date is year-month-day, as 2017-03-01 14:00 (UTC), but this is ${text.slice(0, 30)}.`, true);
    const { bar } = await api.chartPlace({ symbol: symbol(), time_us: time * 1000 });
    const half = (view.to - view.from) / 2;
    view.look(bar - half, bar + half);
    cursor = bar;
    sheet.active = -1;
    draw();
    part("chart").focus();
    return undefined;
  },
  pageBack: () => view.move((view.from - view.to) / 2),
  pageOn: () => view.move((view.to - view.from) / 2),
  first: () => view.look(0, view.to - view.from),
  last: () => view.look(view.symbol.n_bars - (view.to - view.from), view.symbol.n_bars),
  closer: () => view.zoom(0.7, cursor ?? undefined),
  farther: () => view.zoom(1 / 0.7, cursor ?? undefined),
  log: () => toggle("log"),
  averages: () => toggle("averages"),
  hand: () => toggle("hand"),
  theme: () => turnTheme(redraw),
  help: () => part("help").showModal(),
  leave: () => {
    sheet.pending = null;
    sheet.active = -1;
    rest.leaveLike();
    draw();
    part("chart").focus();
  },
};

const redraw = () => { view?.theme(); strip?.draw(); rest?.drawCurve(); };

function toggle(name) { part(name).checked = !part(name).checked; viewed(); }

function viewed() {
  view.setLog(part("log").checked);
  view.setAverages(part("averages").checked);
  view.hand = part("hand").checked;
  view.readIn(part("zone").value === "UTC" ? null : part("zone").value);
  keep("zone", part("zone").value);
  if (sheet) draw();
}

function step(by) {
  if (!sheet.now.spans.length) return notify("No span yet.");
  const here = cursor ?? middle();
  const ahead = sheet.now.spans.findIndex((one) => one.start > here);
  const from = sheet.current ? sheet.active + by : by > 0 ? ahead : (ahead < 0 ? sheet.now.spans.length : ahead) - 1;
  if (!sheet.now.spans[from]) return notify("No other span there.");
  return choose(from);
}

function turnProposal(by) {
  sheet.active = -1;
  const one = rest.turn(by, middle());
  if (!one) return notify("No proposals here yet.");
  view.reveal(one.start, one.end);
  draw();
  return notify(`Proposal: ${classText(one.label)}, ${Math.round(100 * one.prob)} %, bars ${one.start} to ${one.end}. Y accepts, R rejects.`);
}

const handlers = {
  hover: (bar) => { if (sheet) drawReadout(bar ?? cursor); },
  moved: () => { strip?.draw(); rest?.moved(); },
  wrong: (error) => notify(error.message, true),
  drag: (from, to) => mark(from, to),
  click: (bar) => {
    if (sheet.pending !== null) return mark(sheet.pending, bar);
    const proposal = rest.at(bar);
    const span = spanAt(bar);
    if (span >= 0) return choose(span);
    if (proposal >= 0) { sheet.active = -1; rest.choose(proposal); return draw(); }
    sheet.active = -1;
    cursor = bar;
    sheet.pending = bar;
    draw();
    return notify("First end marked. Click the last bar, or Esc.");
  },
  pull: (side, bar, first) => {
    const one = sheet.current;
    if (!one) return;
    sheet.side = side;
    if (sheet.moveTo(side === "start" ? Math.min(bar, one.end) : Math.max(bar, one.start), first)) draw();
  },
  pulled: () => { changed(); describe(); },
  menu: (bar) => { const span = spanAt(bar); if (span >= 0) { choose(span); actions.like().catch(handlers.wrong); } },
};

function listen() {
  document.addEventListener("keydown", (event) => {
    const action = actionOf(event);
    if (!action || !sheet) return;
    event.preventDefault();
    Promise.resolve(actions[action[0]](action[1])).catch(handlers.wrong);
  });
  for (const name of ["mark", "remove", "undo", "like", "looked", "accept", "reject", "nextProposal", "go", "theme"]) {
    part(name).addEventListener("click", () => { if (sheet || name === "theme") Promise.resolve(actions[name]()).catch(handlers.wrong); });
  }
  part("helpButton").addEventListener("click", actions.help);
  for (const name of ["log", "averages", "hand", "zone"]) part(name).addEventListener("change", viewed);
  part("symbol").addEventListener("change", async () => { await save(); await open(part("symbol").value); });
  part("annotator").addEventListener("change", () => { keepName(settings.scope, annotator()); if (annotator()) load().catch(handlers.wrong); });
  part("annotator").addEventListener("keydown", (event) => { if (event.key === "Enter") part("chart").focus(); });
  part("note").addEventListener("input", () => { if (sheet.set("note", part("note").value)) changed(false); });
  part("useMine").addEventListener("click", () => { sheet.restore(mine); offer(null); changed(); part("chart").focus(); });
  part("dropMine").addEventListener("click", () => { offer(null); keep(draftName(), ""); part("chart").focus(); });
  part("addClass").addEventListener("click", async () => {
    const name = await ask("Name of the new class");
    if (!name || info.classes.includes(name)) return;
    info.classes.push(name);
    actions.class(info.classes.length - 1);
  });
  part("renameClass").addEventListener("click", async () => {
    const old = sheet.current ? sheet.current.label : label();
    const name = await ask(`Another name for ${old}`, "", old);
    if (!name) return;
    try {
      await save();
      const { renamed } = await api.renameClass({ annotator: annotator(), old, new: name });
      info.classes = [...new Set(info.classes.map((one) => (one === old ? name : one)))];
      classNow = info.classes.indexOf(name);
      await load();
      rest.listSoon();
      notify(`${renamed} spans of ${old} are now ${name}.`);
    } catch (error) { handlers.wrong(error); }
  });
  window.addEventListener("beforeunload", (event) => { if (sheet && sheet.changed) { save(); event.preventDefault(); } });
}

async function begin() {
  startTheme(redraw);
  [settings, info] = await Promise.all([api.settings(), api.chart()]);
  part("annotator").value = keptName(settings.scope) || settings.annotator;
  drawHelp();
  zones(kept("zone", "UTC"));
  view = new BarView(part("chart"), handlers);
  view.classColour = (name) => (Math.max(info.classes.indexOf(name), 0) % 9) + 1;
  strip = new Strip(part("strip"), view);
  view.isPrior = describesBefore;
  view.priorBars = info.prior_bars;
  rest = new Rest({ view, place, spans: () => sheet?.now, draw, chooseProposal: (i) => {
    sheet.active = -1;
    rest.choose(i);
    view.reveal(rest.proposal.start, rest.proposal.end);
    draw();
    part("chart").focus();
  }, open: async (one) => {
    if (one.symbol !== symbol()) await open(one.symbol, one.end + FIRST_BARS / 2);
    const i = sheet.now.spans.findIndex((other) => other.start === one.start && other.end === one.end);
    if (i >= 0) choose(i); else { view.reveal(one.start, one.end); notify(`A label of ${one.annotator}.`); }
    part("chart").focus();
  }, remove: (one) => {
    sheet.active = sheet.now.spans.findIndex((other) => other.start === one.start && other.end === one.end);
    actions.remove();
  }, save });
  part("symbol").replaceChildren(...info.symbols.map((one) => new Option(one.symbol, one.symbol)));
  part("symbol").hidden = info.symbols.length < 2;
  viewed();
  listen();
  await open(info.symbols[0].symbol);
  part("chart").focus({ preventScroll: true });
}

begin().catch((error) => notify(error.message, true));
