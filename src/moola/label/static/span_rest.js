// What stands beside the chart: classes, proposals, the learning curve, the list of all labels, files.

import * as api from "./api.js";
import { classText, colour, utcText } from "./chart.js";
import { KEYS } from "./span_keys.js";
import { ContactSheet } from "./span_sheet.js";
import { drawKeys, made, notify, part } from "./view.js";

const ZONES = ["UTC", "America/New_York", "Europe/London", "Europe/Berlin", "Asia/Tokyo", "Asia/Shanghai", "Australia/Sydney"];
const QUEUES = { mixed: "half by the model, half without it", unsure: "where the model is unsure", different: "most different from what is marked",
  errors: "likely label errors", annotators: "annotators differ", unseen: "sure, and nobody has looked" };
const POLL_MS = 1500, BUSY_MS = 400, MOST_LISTED = 300;

export function drawHelp() {
  drawKeys(KEYS);
  part("queue").replaceChildren(...Object.entries(QUEUES).map(([value, text]) => new Option(text, value)));
}

export function zones(chosen) {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  part("zone").replaceChildren(...[...new Set([...ZONES, own])].map((name) => new Option(name, name)));
  part("zone").value = chosen;
  if (!part("zone").value) part("zone").value = "UTC";
}

export function drawClasses(classes, now, choose) {
  const buttons = classes.map((name, i) => {
    const button = made("button", "", { type: "button", "aria-pressed": String(name === now), "data-value": name });
    button.append(made("i", "", { class: `swatch c${(i % 9) + 1}`, "aria-hidden": "true" }), classText(name));
    if (i < 9) button.append(" ", made("kbd", String(i + 1)));
    button.addEventListener("click", () => choose(i));
    return button;
  });
  part("classes").replaceChildren(...buttons);
}

export class Rest {
  // `page` has view, place(), spans(), draw(), open(row), remove(row), save().
  constructor(page) {
    this.page = page;
    this.found = null;
    this.chosen = -1;
    this.rows = [];
    this.decided = [];
    this.sheet = new ContactSheet((row) => this.page.chooseProposal(this.listed.indexOf(row)));
    for (const name of ["search", "order", "whose"]) part(name).addEventListener("input", () => this.drawList());
    for (const button of document.querySelectorAll("[data-export]")) {
      button.addEventListener("click", () => this.write(button.dataset.export));
    }
    part("train").addEventListener("click", () => this.write("train"));
  }

  // Spans like one stand in the place of proposals until they are left.
  async findLike({ start, end, label }) {
    const { symbol } = this.page.place();
    let answer;
    do {
      answer = await api.similarSpans({ symbol, start, end, label });
      if (answer.is_busy) { notify(answer.message); await new Promise((done) => { setTimeout(done, POLL_MS / 2); }); }
    } while (answer.is_busy);
    this.like = answer.proposals.length ? answer.proposals.sort((one, other) => other.prob - one.prob) : null;
    this.likeMessage = `${answer.message} Esc goes back to the proposals.`;
    this.choose(-1);
    this.sheet.open(this.like || [], this.page.view.symbol).catch((error) => notify(error.message, true));
    notify(this.like ? `${answer.message} . goes to the first.` : answer.message, !this.like);
  }

  // Back to the proposals.
  leaveLike() { this.like = null; this.sheet.close(); this.choose(-1); }

  // Another chart is open.
  begin() {
    this.like = null;
    this.sheet.close();
    this.found = null;
    this.chosen = -1;
    this.decided = [];
    this.show();
    this.listSoon();
    this.poll();
  }

  get proposals() {
    const spans = this.page.spans();
    if (!spans || !(this.found || this.like)) return [];
    const met = ({ start, end }) => [...spans.spans, ...spans.rejected, ...this.decided].some((one) => one.start <= end && one.end >= start);
    return (this.like || this.found.proposals).filter((one) => !met(one));
  }

  get proposal() { return this.listed[this.chosen] || null; }

  show() {
    this.listed = this.proposals;
    if (this.chosen >= this.listed.length) this.chosen = -1;
    this.page.view.show({ proposals: this.listed, proposal: this.chosen });
    const one = this.proposal;
    this.sheet.mark(this.listed, one);
    part("proposed").hidden = !one;
    if (one) part("proposed").textContent = `${classText(one.label)}, ${Math.round(100 * one.prob)} %, bars ${one.start} to ${one.end}`;
    part("accept").disabled = part("reject").disabled = !one;
    part("nextProposal").disabled = !this.listed.length;
    const text = this.like ? this.likeMessage : this.found ? this.found.message : "";
    part("learning").textContent = this.listed.length ? `${text} ${this.listed.length} proposals.` : text;
  }

  choose(i) { this.chosen = i; this.show(); }
  at(bar) { return this.listed.findIndex((one) => one.start <= bar && bar <= one.end); }
  chooseAt(bar) { this.choose(this.at(bar)); }

  turn(by, here) {
    this.listed = this.proposals;
    const ahead = this.listed.findIndex((one) => one.start > here);
    const next = this.chosen >= 0 ? this.chosen + by : this.like ? 0 : by > 0 ? Math.max(ahead, 0) : (ahead < 0 ? this.listed.length : ahead) - 1;
    this.choose(this.listed[next] ? next : by > 0 ? 0 : this.listed.length - 1);
    return this.proposal;
  }

  // The chosen proposal was accepted or rejected; of spans like one the next takes its place.
  decide() {
    this.decided.push(this.proposal);
    if (!this.like) return this.choose(-1);
    this.choose(Math.min(this.chosen, this.proposals.length - 1));
    return this.proposal ? this.page.view.reveal(this.proposal.start, this.proposal.end) : this.leaveLike();
  }

  later() { clearTimeout(this.timer); this.timer = setTimeout(() => this.poll(), POLL_MS / 3); }

  moved() {}

  async poll() {
    clearTimeout(this.timer);
    try {
      const found = await api.proposals({ ...this.page.place(), around: Math.max(0, Math.round((this.page.view.from + this.page.view.to) / 2)), version: this.found ? this.found.version : -1 });
      if (found.proposals) { this.found = found; this.decided = []; if (!this.like) this.chosen = -1; }
      else this.found = { ...this.found, ...found, proposals: this.found ? this.found.proposals : [] };
      this.show();
      this.drawFar();
      this.page.draw();
      if (found.is_on) this.timer = setTimeout(() => this.poll(), found.is_busy ? BUSY_MS : POLL_MS * 4);
    } catch (error) {
      if (error.status) notify(error.message, true);
      this.timer = setTimeout(() => this.poll(), POLL_MS * 6);
    }
  }

  drawFar() {
    const { progress } = this.found;
    part("progress").hidden = !progress;
    if (!progress) return;
    part("progressText").textContent = progress.message;
    part("counts").replaceChildren(...Object.entries(progress.counts).flatMap(([name, count]) => [made("dt", classText(name)), made("dd", String(count))]));
    const curve = progress.curve || [];
    part("curve").hidden = part("curveTable").hidden = curve.length < 2;
    const figure = (value, interval) => (value === null ? "?" : `${value.toFixed(2)}${interval ? ` (${interval.map((one) => one.toFixed(2)).join(" to ")})` : ""}`);
    part("curveRows").replaceChildren(...curve.map((one) => {
      const row = made("tr");
      row.append(made("td", String(one.n_labels)), made("td", figure(one.ap, one.ap_interval)), made("td", figure(one.brier, one.brier_interval)));
      return row;
    }));
    this.drawCurve();
  }

  drawCurve() {
    const curve = this.found?.progress?.curve || [];
    const canvas = part("curve");
    if (curve.length < 2 || canvas.hidden) return;
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const most = curve.at(-1).n_labels;
    const [x, y] = [(n) => 28 + (n / most) * (width - 38), (ap) => 6 + (1 - ap) * (height - 24)];
    context.font = '11px system-ui, "DejaVu Sans", sans-serif';
    context.fillStyle = colour("--quiet");
    for (const value of [0, 0.5, 1]) context.fillText(String(value), 4, y(value) + 4);
    context.fillText(`${most} labels`, width - 64, height - 3);
    context.strokeStyle = context.fillStyle = colour("--accent");
    context.beginPath();
    for (const one of curve) context.lineTo(x(one.n_labels), y(one.ap));
    context.stroke();
    for (const one of curve) {
      context.fillRect(x(one.n_labels) - 2, y(one.ap) - 2, 4, 4);
      if (one.ap_interval) context.fillRect(x(one.n_labels) - 0.5, y(one.ap_interval[1]), 1, y(one.ap_interval[0]) - y(one.ap_interval[1]));
    }
  }

  listSoon() { clearTimeout(this.listing); this.listing = setTimeout(() => this.list(), 150); }

  async list() {
    try { this.rows = (await api.allSpans()).spans; this.drawList(); } catch (error) { notify(error.message, true); }
  }

  drawList() {
    const { annotator, symbol } = this.page.place();
    const words = part("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (one) => `${one.label} ${one.note} ${utcText(one.start_us / 1e6)} ${one.symbol} ${one.annotator} ${one.source}`.toLowerCase();
    const shown = this.rows.filter((one) => (part("whose").value === "all" || one.annotator === annotator) && words.every((word) => text(one).includes(word)));
    const by = { time: (one) => one.start_us, class: (one) => one.label, length: (one) => (one.start === null ? 0 : one.start - one.end), source: (one) => one.source };
    const value = by[part("order").value];
    shown.sort((one, other) => (value(one) < value(other) ? -1 : value(one) > value(other) ? 1 : one.start_us - other.start_us));
    part("nListed").textContent = `${shown.length} of ${this.rows.length}`;
    part("list").replaceChildren(...shown.slice(0, MOST_LISTED).map((one) => {
      const item = made("li");
      const go = made("button", classText(one.label), { type: "button" });
      const where = one.start === null ? "not on these bars" : `${one.end - one.start + 1} bars`;
      const who = one.annotator === annotator ? "" : `, ${one.annotator}`;
      go.append(made("small", `${one.symbol ? `${one.symbol} ` : ""}${utcText(one.start_us / 1e6)}, ${where}${who}${one.source ? `, ${one.source}` : ""}${one.note ? `, ${one.note}` : ""}`));
      go.disabled = one.start === null;
      go.addEventListener("click", () => this.page.open(one));
      item.append(go);
      if (one.annotator === annotator && one.symbol === symbol && one.start !== null) {
        const gone = made("button", "✕", { type: "button", "aria-label": `Delete ${one.label} of ${utcText(one.start_us / 1e6)}` });
        gone.addEventListener("click", () => this.page.remove(one));
        item.append(gone);
      }
      return item;
    }));
    if (shown.length > MOST_LISTED) part("list").append(made("li", `and ${shown.length - MOST_LISTED} more: search for them`));
  }

  async write(what) {
    await this.page.save();
    const lines = part("lines");
    lines.hidden = false;
    try {
      let answer = await api.writeFiles({ what, annotator: this.page.place().annotator });
      while (answer.is_busy) {
        lines.textContent = answer.lines.join("\n");
        await new Promise((done) => { setTimeout(done, 700); });
        answer = await api.filesDone();
      }
      lines.textContent = answer.lines.join("\n");
      notify(answer.is_well ? "Written." : "The command failed: its lines are below.", !answer.is_well);
    } catch (error) {
      lines.hidden = true;
      notify(error.message, true);
    }
  }
}
