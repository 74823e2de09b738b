// All bars of a symbol, a level of detail at a time: what is shown is a range of bars, and the library draws it.

import { createChart, CandlestickSeries, CrosshairMode, HistogramSeries, LineSeries } from "./vendor/lightweight-charts.standalone.production.mjs";
import * as api from "./api.js";
import { Layer, classText, colour, colourChart, decimalsOf, tickText, utcText } from "./chart.js";

// Points on the screen at most, least bars shown, and how far a press may move and still be a click.
const MOST_POINTS = 700, LEAST_BARS = 12, STILL = 4;
const AVERAGES = [20, 50];

// Bars that one point stands for where so many are shown.
export function eachFor(nBars, most = MOST_POINTS) {
  let each = 1;
  while (nBars / each > most) each *= 2;
  return each;
}

function meanOf(points, n) {
  let sum = 0;
  return points.flatMap((point, i) => {
    sum += point.close - (i >= n ? points[i - n].close : 0);
    return i < n - 1 ? [] : [{ time: point.time, value: sum / n }];
  });
}

export class BarView {
  // `on` receives hover(bar), click(bar), drag(from, to), pull(side, bar, first), pulled(), moved(), wrong(error).
  constructor(element, on) {
    this.element = element;
    this.on = on;
    this.symbol = null;
    this.piece = null;
    this.asking = false;
    this.shown = { spans: [], active: -1, side: "end", pending: null, stretches: [], proposals: [], proposal: -1, cursor: null, drag: null, measure: null };
    this.hand = false;
    this.averages = false;
    this.classColour = () => 1;
    // Whether a class describes the bars before a span, and of how many.
    this.isPrior = () => false;
    this.priorBars = 0;
    this.chart = createChart(element, {
      autoSize: true,
      layout: { attributionLogo: false, fontFamily: 'system-ui, "DejaVu Sans", sans-serif' },
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, tickMarkFormatter: (time, kind) => this.tick(time, kind), minBarSpacing: 0.01 },
      localization: { timeFormatter: (time) => this.timeText(time) },
      handleScroll: false,
      handleScale: { mouseWheel: false, pinch: false, axisPressedMouseMove: { time: false, price: true }, axisDoubleClickReset: true },
    });
    const quiet = { lastValueVisible: false, priceLineVisible: false };
    this.candles = this.chart.addSeries(CandlestickSeries, quiet);
    this.means = AVERAGES.map(() => this.chart.addSeries(LineSeries, { ...quiet, lineWidth: 1, crosshairMarkerVisible: false }));
    this.volume = this.chart.addSeries(HistogramSeries, { ...quiet, priceScaleId: "volume", priceFormat: { type: "volume" } });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    this.back = new Layer("bottom", (context, size) => this.paintBack(context, size));
    this.front = new Layer("top", (context, size) => this.paintFront(context, size));
    this.candles.attachPrimitive(this.back);
    this.candles.attachPrimitive(this.front);
    this.listen();
    this.theme();
  }

  theme() {
    colourChart(this.chart, this.candles);
    this.means.forEach((line, i) => line.applyOptions({ color: colour(i ? "--c2" : "--c1") }));
    this.volume.applyOptions({ color: colour("--line") });
    this.redraw();
  }

  redraw() { this.front.refresh?.(); this.back.refresh?.(); }
  show(more) { Object.assign(this.shown, more); this.redraw(); }

  // Times in a zone to read in; null is UTC.
  readIn(zone) {
    this.format = zone ? new Intl.DateTimeFormat("sv-SE", { timeZone: zone, dateStyle: "short", timeStyle: "short" }) : null;
    this.zone = zone;
    this.chart.applyOptions({ localization: { timeFormatter: (time) => this.timeText(time) } });
  }

  timeText(seconds) { return this.format ? `${this.format.format(seconds * 1000)} ${this.zone}` : `${utcText(seconds)} UTC`; }
  tick(seconds, kind) {
    if (!this.format || kind < 3) return tickText(seconds, kind);
    return this.format.format(seconds * 1000).slice(11, 16);
  }

  setLog(is) { this.candles.priceScale().applyOptions({ mode: is ? 1 : 0 }); }

  setAverages(is) { this.averages = is; this.drawMeans(); }

  drawMeans() {
    // Of bars that are joined to points, a mean of 20 points would be another one.
    const exact = this.averages && this.piece && this.piece.each === 1;
    this.means.forEach((line, i) => line.setData(exact ? meanOf(this.piece.points, AVERAGES[i]) : []));
  }

  open(symbol, from, to) {
    this.symbol = symbol;
    this.piece = null;
    this.candles.setData([]);
    this.volume.setData([]);
    this.look(from, to);
  }

  // Show the bars from `from` to `to` (edges, in bars).
  look(from, to) {
    const n = this.symbol.n_bars;
    const width = Math.min(Math.max(to - from, LEAST_BARS), n * 1.2 + LEAST_BARS);
    const start = Math.min(Math.max((from + to - width) / 2, -width * 0.4), n - width * 0.6);
    this.from = start;
    this.to = start + width;
    this.element.dataset.range = `${this.from} ${this.to}`;
    this.place();
    this.load();
    this.on.moved();
  }

  move(bars) { this.look(this.from + bars, this.to + bars); }
  zoom(factor, at = (this.from + this.to) / 2) { this.look(at + (this.from - at) * factor, at + (this.to - at) * factor); }

  // Bring bars into view, in the middle, and no closer than now.
  reveal(start, end) {
    const width = Math.max(this.to - this.from, (end - start + 1) * 1.6);
    if (start >= this.from && end <= this.to) return;
    this.look((start + end - width) / 2, (start + end + width) / 2);
  }

  place() {
    if (!this.piece || !this.piece.points.length) return;
    const { first, each } = this.piece;
    const logical = (bar) => (bar - first - (each - 1) / 2) / each;
    this.chart.timeScale().setVisibleLogicalRange({ from: logical(this.from), to: logical(this.to) });
    this.redraw();
  }

  // Ask for bars where those that are here do not cover what is shown, or are too many or too few for it.
  async load() {
    const { symbol } = this;
    const width = this.to - this.from;
    const each = eachFor(width);
    const clip = (bar) => Math.min(Math.max(Math.round(bar), 0), symbol.n_bars - 1);
    const here = this.piece;
    const covers = here && here.each === each && here.first <= clip(this.from - width / 4) &&
      here.last >= clip(this.to + width / 4);
    if (covers || this.asking) return;
    this.asking = true;
    try {
      const asked = { symbol: symbol.symbol, first: clip(this.from - width), last: clip(this.to + width), each };
      const found = await api.chartBars(asked);
      if (symbol === this.symbol) this.take(found, symbol);
    } catch (error) {
      this.on.wrong(error);
      return;
    } finally {
      this.asking = false;
    }
    this.load();
  }

  take(found, symbol) {
    const points = found.ohlc.map(([open, high, low, close], i) => ({ time: found.times_us[i] / 1e6, open, high, low, close }));
    const last = Math.min(found.first + points.length * found.each, symbol.n_bars) - 1;
    this.piece = { first: found.first, each: found.each, last, points };
    if (this.decimals === undefined || found.each === 1) this.decimals = decimalsOf(found.ohlc.slice(0, 400).flat());
    this.candles.applyOptions({ priceFormat: { type: "price", precision: this.decimals, minMove: 10 ** -this.decimals } });
    this.candles.setData(points);
    this.volume.setData(found.volume ? points.map(({ time }, i) => ({ time, value: found.volume[i] })) : []);
    this.drawMeans();
    this.place();
    this.on.moved();
  }

  // Pixels of the left edge of a bar.
  edge(bar) {
    const scale = this.chart.timeScale();
    const { first, each } = this.piece;
    return scale.logicalToCoordinate(0) + ((bar - 0.5 - first - (each - 1) / 2) / each) * scale.options().barSpacing;
  }

  width() { return this.chart.timeScale().width(); }

  // The bar under a pixel, as a fraction; whole bars are `Math.round`.
  barAt(x) { return this.from + ((this.to - this.from) * x) / Math.max(this.width(), 1); }

  textOf(bar) {
    const point = this.piece && this.piece.points[Math.floor((bar - this.piece.first) / this.piece.each)];
    if (!point) return "";
    const [o, h, l, c] = [point.open, point.high, point.low, point.close].map((price) => price.toFixed(this.decimals));
    const joined = this.piece.each > 1 ? ` (${this.piece.each} bars)` : "";
    return `Bar ${bar}, ${this.timeText(point.time)}${joined}  O ${o}  H ${h}  L ${l}  C ${c}`;
  }

  x(event) { return event.clientX - this.element.getBoundingClientRect().left - this.element.clientLeft; }
  y(event) { return event.clientY - this.element.getBoundingClientRect().top - this.element.clientTop; }
  bar(event) { return Math.min(Math.max(Math.round(this.barAt(this.x(event))), 0), this.symbol.n_bars - 1); }
  inPane(event) { return this.x(event) >= 0 && this.x(event) <= this.width(); }

  // The end of the chosen span under the mouse or finger.
  endAt(event) {
    const span = this.shown.spans[this.shown.active];
    if (!span || !this.piece) return null;
    const reach = event.pointerType === "touch" ? 16 : 5;
    const apart = { start: Math.abs(this.x(event) - this.edge(span.start)), end: Math.abs(this.x(event) - this.edge(span.end + 1)) };
    const side = apart.start < apart.end ? "start" : "end";
    return apart[side] <= reach ? side : null;
  }

  listen() {
    const fingers = new Map();
    let press = null;
    this.element.addEventListener("wheel", (event) => {
      if (!this.symbol) return;
      event.preventDefault();
      const sideways = event.shiftKey ? event.deltaY : event.deltaX;
      if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
        this.move((sideways / this.width()) * (this.to - this.from));
      } else {
        this.zoom(1.0015 ** Math.max(Math.min(event.deltaY * (event.ctrlKey ? 4 : 1), 400), -400), this.barAt(this.x(event)));
      }
    }, { passive: false });
    this.element.addEventListener("contextmenu", (event) => { event.preventDefault(); this.on.menu?.(this.bar(event)); });
    this.element.addEventListener("pointerdown", (event) => {
      if (!this.piece || !this.inPane(event)) return;
      fingers.set(event.pointerId, event);
      const isTouch = event.pointerType === "touch";
      const side = event.button === 0 ? this.endAt(event) : null;
      const pans = !side && (event.button === 1 || this.hand || isTouch || this.y(event) > this.element.clientHeight - 26);
      if (event.button > 1) return;
      press = { x: this.x(event), y: this.y(event), bar: this.bar(event), from: this.from, to: this.to, side, pans, moved: false, first: true,
        measures: event.shiftKey && !side };
    });
    window.addEventListener("pointermove", (event) => {
      if (!this.symbol) return;
      if (fingers.has(event.pointerId) && fingers.size === 2) {
        this.pinch(fingers, event);
        press = null;
        return;
      }
      if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event);
      if (!press) {
        if (this.element.contains(event.target)) this.hover(event);
        return;
      }
      const moved = this.x(event) - press.x;
      press.moved ||= Math.abs(moved) > STILL;
      if (!press.moved) return;
      const to = this.bar(event);
      if (press.side) { this.on.pull(press.side, to, press.first); press.first = false; }
      else if (press.measures) this.show({ measure: { x: press.x, y: press.y, toX: this.x(event), toY: this.y(event), bars: to - press.bar } });
      else if (press.pans) this.look(press.from - (moved / this.width()) * (press.to - press.from), press.to - (moved / this.width()) * (press.to - press.from));
      else this.show({ drag: [Math.min(press.bar, to), Math.max(press.bar, to)] });
    });
    const up = (event) => {
      fingers.delete(event.pointerId);
      if (!press) return;
      const done = press;
      press = null;
      const { drag } = this.shown;
      this.show({ drag: null, measure: null });
      if (!done.moved) this.on.click(done.bar);
      else if (done.side) this.on.pulled();
      else if (drag && event.type === "pointerup") this.on.drag(...drag);
    };
    window.addEventListener("pointerup", up);
    window.addEventListener("pointercancel", (event) => { fingers.delete(event.pointerId); press = null; this.show({ drag: null, measure: null }); });
  }

  hover(event) {
    if (!this.piece) return;
    this.element.style.cursor = this.endAt(event) ? "col-resize" : this.hand ? "grab" : "";
    this.on.hover(this.inPane(event) ? this.bar(event) : null);
  }

  pinch(fingers, event) {
    const apart = () => { const [one, other] = [...fingers.values()]; return Math.abs(this.x(one) - this.x(other)); };
    const middle = () => { const [one, other] = [...fingers.values()]; return (this.x(one) + this.x(other)) / 2; };
    const [width, at] = [Math.max(apart(), 10), middle()];
    fingers.set(event.pointerId, event);
    const bar = this.barAt(at);
    this.zoom(width / Math.max(apart(), 10), bar);
    this.move(((at - middle()) / this.width()) * (this.to - this.from));
  }

  fill(context, height, first, last, style) {
    const [left, right] = [this.edge(first), this.edge(last + 1)];
    if (right < 0 || left > this.width()) return null;
    context.fillStyle = style;
    context.fillRect(left, 0, Math.max(right - left, 1), height);
    return [left, Math.max(right, left + 1)];
  }

  paintBack(context, { height }) {
    if (!this.piece) return;
    for (const [first, last] of this.shown.stretches) {
      const found = this.fill(context, 4, first, last, colour("--seen"));
      if (found) { context.fillRect(found[0], height - 4, found[1] - found[0], 4); }
    }
    for (const span of this.shown.spans) if (this.isPrior(span.label)) this.paintPrior(context, height, span);
    this.paintRests(context, height);
  }

  // The bars that a class as "after consolidation" describes.
  paintPrior(context, height, span) {
    const found = this.fill(context, height, Math.max(span.start - this.priorBars, 0), span.start - 1, colour("--before"));
    if (!found) return;
    context.fillStyle = colour(`--c${this.classColour(span.label)}`);
    context.fillRect(found[0], height - 9, found[1] - found[0], 3);
  }

  // A line where the bars rest (a night, a weekend), while single bars are drawn.
  paintRests(context, height) {
    const { each, points, first } = this.piece;
    if (each > 1 || this.to - this.from > 2000) return;
    context.strokeStyle = colour("--line");
    context.setLineDash([2, 4]);
    context.beginPath();
    for (let i = Math.max(Math.floor(this.from) - first, 1); i < points.length && i + first < this.to; i += 1) {
      if (points[i].time - points[i - 1].time > (3 * this.symbol.bar_us) / 1e6) {
        context.moveTo(this.edge(first + i), 0);
        context.lineTo(this.edge(first + i), height);
      }
    }
    context.stroke();
    context.setLineDash([]);
  }

  paintFront(context, { height }) {
    if (!this.piece) return;
    const { spans, active, side, pending, proposals, proposal, cursor, drag, measure } = this.shown;
    context.font = '12px system-ui, "DejaVu Sans", sans-serif';
    spans.forEach((span, i) => this.paintSpan(context, height, span, i, i === active ? side : ""));
    proposals.forEach((one, i) => this.paintProposal(context, height, one, i === proposal, i));
    if (drag) this.fill(context, height, ...drag, colour("--mark"));
    const line = (bar, name) => {
      const x = (this.edge(bar) + this.edge(bar + 1)) / 2;
      context.strokeStyle = colour(name);
      context.setLineDash([5, 4]);
      context.lineWidth = 1.5;
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height);
      context.stroke();
      context.setLineDash([]);
    };
    if (pending !== null) line(pending, "--mark-edge");
    if (cursor !== null) line(cursor, "--quiet");
    if (measure) this.paintMeasure(context, measure);
  }

  paintSpan(context, height, span, number, side) {
    const edge = colour(`--c${this.classColour(span.label)}`);
    context.globalAlpha = side ? 0.26 : 0.14;
    const found = this.fill(context, height, span.start, span.end, edge);
    context.globalAlpha = 1;
    if (!found) return;
    const [left, right] = found;
    context.fillStyle = edge;
    const thick = (name) => (side === name ? 4 : side ? 2 : 1);
    context.fillRect(left, 0, thick("start"), height);
    context.fillRect(right - thick("end"), 0, thick("end"), height);
    // Names of spans that are a few pixels wide would lie over each other.
    if (right - left > 14 || side) context.fillText(classText(span.label), left + 6, 18 + 15 * (number % 4));
  }

  paintProposal(context, height, one, isChosen, number) {
    const [left, right] = [this.edge(one.start), this.edge(one.end + 1)];
    if (right < 0 || left > this.width()) return;
    const [top, tall] = [height * 0.06, height * 0.8];
    context.strokeStyle = colour("--model");
    context.lineWidth = isChosen ? 3 : 1.25;
    context.setLineDash(isChosen ? [] : [4, 3]);
    context.strokeRect(left, top, Math.max(right - left, 2), tall);
    context.setLineDash([]);
    if (right - left < 10 && !isChosen) return;
    context.fillStyle = colour("--model");
    context.fillText(`${classText(one.label)} ${Math.round(100 * one.prob)} %`, left + 3, top + tall - 6 - 15 * (number % 3));
  }

  paintMeasure(context, { x, y, toX, toY, bars }) {
    const [one, other] = [this.candles.coordinateToPrice(y), this.candles.coordinateToPrice(toY)];
    context.strokeStyle = colour("--accent");
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(toX, toY);
    context.stroke();
    const change = one ? ((other / one - 1) * 100).toFixed(2) : "?";
    const text = `${bars} bars, ${change} %, ${(other - one).toFixed(this.decimals)}`;
    context.fillStyle = colour("--panel");
    context.fillRect(toX + 8, toY - 14, context.measureText(text).width + 8, 19);
    context.fillStyle = colour("--text");
    context.fillText(text, toX + 12, toY);
  }
}

// The strip over all bars: the closes, labels, stretches, and a frame around what is shown.
export class Strip {
  constructor(canvas, view) {
    this.canvas = canvas;
    this.view = view;
    this.line = [];
    let held = null;
    const barOf = (event) => {
      const box = canvas.getBoundingClientRect();
      return ((event.clientX - box.left) / box.width) * view.symbol.n_bars;
    };
    const go = (event) => { const half = (view.to - view.from) / 2; view.look(barOf(event) - held - half, barOf(event) - held + half); };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      const at = barOf(event);
      held = at > view.from && at < view.to ? at - (view.from + view.to) / 2 : 0;
      go(event);
    });
    canvas.addEventListener("pointermove", (event) => { if (held !== null) go(event); });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { held = null; });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  async open(symbol) {
    this.line = [];
    const found = await api.chartBars({ symbol: symbol.symbol, first: 0, last: symbol.n_bars - 1, each: eachFor(symbol.n_bars, 1500) });
    this.line = found.ohlc.map((row) => row[3]);
    this.draw();
  }

  draw() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => { this.waits = false; this.paint(); });
  }

  paint() {
    const { canvas, view } = this;
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
    if (!view.symbol || !width) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const x = (bar) => (bar / view.symbol.n_bars) * width;
    const { spans, stretches, proposals } = view.shown;
    context.fillStyle = colour("--seen");
    for (const [first, last] of stretches) context.fillRect(x(first), height - 4, Math.max(x(last + 1) - x(first), 1), 4);
    const [low, high] = [Math.min(...this.line), Math.max(...this.line)];
    context.strokeStyle = colour("--quiet");
    context.beginPath();
    this.line.forEach((close, i) => context.lineTo((i / (this.line.length - 1 || 1)) * width, 10 + (1 - (close - low) / (high - low || 1)) * (height - 18)));
    context.stroke();
    for (const span of spans) {
      context.fillStyle = colour(`--c${view.classColour(span.label)}`);
      context.fillRect(x(span.start), 0, Math.max(x(span.end + 1) - x(span.start), 2), 7);
    }
    context.fillStyle = colour("--model");
    for (const one of proposals) context.fillRect(x(one.start), 8, Math.max(x(one.end + 1) - x(one.start), 2), 3);
    context.strokeStyle = colour("--accent");
    context.lineWidth = 2;
    context.fillStyle = colour("--mark");
    const [left, right] = [Math.max(x(view.from), 0), Math.min(x(view.to), width)];
    context.fillRect(left, 0, Math.max(right - left, 3), height);
    context.strokeRect(left, 1, Math.max(right - left, 3), height - 2);
  }
}
