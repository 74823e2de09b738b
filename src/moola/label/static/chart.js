// Candles of a window with its context, zones, marks, the model's curves. It and span_view.js know the chart library.

import { createChart, CandlestickSeries, LineSeries, CrosshairMode } from "./vendor/lightweight-charts.standalone.production.mjs";

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const two = (number) => String(number).padStart(2, "0");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

// 2017-01-03 10:00, with seconds only where there are any.
// These classes are the state before the expansion that is marked.
const PRIOR_STATES = ["consolidation", "retracement"];
export const describesBefore = (name) => PRIOR_STATES.includes(name);
export const classText = (name) => (PRIOR_STATES.includes(name) ? `after ${name}` : name);

export function utcText(seconds) {
  const text = new Date(Math.round(seconds * 1000)).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, seconds % 60 ? 19 : 16)}`;
}

export function tickText(seconds, kind) {
  const time = new Date(Math.round(seconds * 1000));
  if (kind === 0) return String(time.getUTCFullYear());
  if (kind === 1) return `${MONTHS[time.getUTCMonth()]} ${time.getUTCFullYear()}`;
  if (kind === 2) return `${time.getUTCDate()} ${MONTHS[time.getUTCMonth()]}`;
  const minutes = `${two(time.getUTCHours())}:${two(time.getUTCMinutes())}`;
  return kind === 4 ? `${minutes}:${two(time.getUTCSeconds())}` : minutes;
}

// Decimals that tell all prices apart as they are in the file, at most eight.
export function decimalsOf(prices) {
  for (let decimals = 0; decimals < 8; decimals += 1) {
    if (prices.every((price) => Math.abs(price - Number(price.toFixed(decimals))) <= 1e-9 * Math.abs(price))) return decimals;
  }
  return 8;
}

// Draws behind (zones) or before (marks) the candles, in bars instead of pixels.
export class Layer {
  constructor(order, paint) {
    this.order = order;
    this.paint = paint;
    this.view = { zOrder: () => this.order, renderer: () => ({ draw: (target) => this.draw(target) }) };
  }
  attached({ requestUpdate }) { this.refresh = requestUpdate; }
  paneViews() { return [this.view]; }
  updateAllViews() {}
  draw(target) {
    target.useMediaCoordinateSpace(({ context, mediaSize }) => this.paint(context, mediaSize));
  }
}

// Colours of the style sheet, which the library does not read by itself.
export function colourChart(chart, candles) {
  chart.applyOptions({
    layout: { background: { color: colour("--panel") }, textColor: colour("--quiet") },
    grid: { vertLines: { color: colour("--grid") }, horzLines: { color: colour("--grid") } },
    timeScale: { borderColor: colour("--line") },
    rightPriceScale: { borderColor: colour("--line") },
  });
  const [up, down] = [colour("--up"), colour("--down")];
  candles.applyOptions({ upColor: up, downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up,
    wickDownColor: down });
}

export class Candles {
  // `on` receives click(bar), drag(from, to), hover(bar) in bars of the window, and pull(pointer, bar).
  constructor(element, on) {
    this.element = element;
    this.on = on;
    this.bars = [];
    this.shown = { expansions: [], active: -1, side: "start", pending: null, drag: null, model: null,
      others: [] };
    this.chart = createChart(element, {
      autoSize: true,
      layout: { attributionLogo: false, fontFamily: 'system-ui, "DejaVu Sans", sans-serif' },
      crosshair: { mode: CrosshairMode.Normal },
      localization: { timeFormatter: utcText },
      timeScale: { timeVisible: true, tickMarkFormatter: tickText, minBarSpacing: 1 },
      handleScroll: { mouseWheel: false, pressedMouseMove: false, horzTouchDrag: false, vertTouchDrag: false },
      handleScale: { mouseWheel: false, pinch: false, axisPressedMouseMove: false, axisDoubleClickReset: false },
    });
    this.series = this.chart.addSeries(CandlestickSeries, { lastValueVisible: false, priceLineVisible: false });
    const curve = { priceScaleId: "model", lastValueVisible: false, priceLineVisible: false, lineWidth: 1,
      crosshairMarkerVisible: false };
    this.curves = [this.chart.addSeries(LineSeries, curve), this.chart.addSeries(LineSeries, { ...curve, lineStyle: 2 })];
    this.curves[0].priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.back = new Layer("bottom", (context, size) => this.paintZones(context, size));
    this.front = new Layer("top", (context, size) => this.paintMarks(context, size));
    this.series.attachPrimitive(this.back);
    this.series.attachPrimitive(this.front);
    this.listen();
    this.theme();
  }

  theme() {
    colourChart(this.chart, this.series);
    for (const curve of this.curves) curve.applyOptions({ color: colour("--model") });
    this.front.refresh?.();
  }

  open(found, zone, windowBars) {
    this.first = found.first;
    this.zone = zone;
    this.windowBars = windowBars;
    this.bars = found.ohlc.map(([open, high, low, close], i) => ({ time: found.times_us[i] / 1e6, open, high, low, close }));
    this.decimals = decimalsOf(found.ohlc.flat());
    this.series.applyOptions({ priceFormat: { type: "price", precision: this.decimals, minMove: 10 ** -this.decimals } });
    this.series.setData(this.bars);
    const curves = found.model && found.model.curves;
    this.curves.forEach((curve, i) => curve.setData(
      curves ? curves[i].map((value, bar) => ({ time: this.bars[this.first + bar].time, value })) : []));
    this.shown.model = found.model;
    this.chart.timeScale().setVisibleLogicalRange({ from: -0.5, to: this.bars.length - 0.5 });
  }

  show(marks) {
    Object.assign(this.shown, { expansions: marks.content.expansions, active: marks.active, side: marks.side,
      pending: marks.pending });
    this.front.refresh?.();
  }

  // What other annotators marked, a row each along the lower edge.
  showOthers(opinions) {
    this.shown.others = opinions;
    this.front.refresh?.();
  }

  bar(position) { return this.bars[this.first + position] || null; }

  textOf(position) {
    const bar = this.bar(position);
    if (!bar) return "";
    const [o, h, l, c] = [bar.open, bar.high, bar.low, bar.close].map((price) => price.toFixed(this.decimals));
    return `Bar ${position}, ${utcText(bar.time)} UTC  O ${o}  H ${h}  L ${l}  C ${c}`;
  }

  at(event) {
    const box = this.element.getBoundingClientRect();
    const logical = this.chart.timeScale().coordinateToLogical(event.clientX - box.left - this.element.clientLeft);
    return logical === null ? null : logical - this.first;
  }

  inPane(event) {
    const box = this.element.getBoundingClientRect();
    const { width, height } = this.chart.paneSize();
    return event.clientX - box.left <= width && event.clientY - box.top <= height;
  }

  listen() {
    let from = null, pulled = null;
    const clip = (bar) => Math.min(Math.max(bar, 0), this.windowBars - 1);
    this.chart.subscribeCrosshairMove((at) => {
      this.on.hover(at.logical === undefined || at.logical === null ? null : at.logical - this.first);
    });
    this.element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.inPane(event) || !this.bars.length) return;
      from = this.at(event);
      pulled = this.pointerAt(event);
    });
    // Anywhere on the page: a drag may end beside the chart.
    window.addEventListener("pointermove", (event) => {
      if (from === null) {
        this.element.style.cursor = this.bars.length && this.pointerAt(event) ? "col-resize" : "";
        return;
      }
      const to = this.at(event);
      this.shown.drag = !pulled && to !== null && to !== from ? [clip(from), clip(to)] : null;
      if (pulled && to !== null && to !== from) this.on.pull(pulled, clip(to));
      this.front.refresh?.();
    });
    window.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const [start, to] = [from, this.at(event)];
      from = null;
      this.shown.drag = null;
      if (to === null || to === start) this.on.click(start);
      else if (!pulled) this.on.drag(clip(start), clip(to));
    });
    window.addEventListener("pointercancel", () => { from = null; this.shown.drag = null; });
  }

  // The pointer of the active expansion that is under the mouse or finger: "start", "end" or null.
  pointerAt(event) {
    const mark = this.shown.expansions[this.shown.active];
    if (!mark || !this.element.contains(event.target)) return null;
    const x = event.clientX - this.element.getBoundingClientRect().left - this.element.clientLeft;
    const reach = event.pointerType === "touch" ? 14 : 4;
    const apart = { start: Math.abs(x - this.edge(mark.start)), end: Math.abs(x - this.edge(mark.end + 1)) };
    const side = apart.start < apart.end ? "start" : "end";
    return apart[side] <= reach ? { side, number: this.shown.active, first: true } : null;
  }

  // Left edge of a bar of the window, in pixels.
  edge(position) {
    const scale = this.chart.timeScale();
    return scale.logicalToCoordinate(0) + (this.first + position - 0.5) * scale.options().barSpacing;
  }

  paintZones(context, { width, height }) {
    if (!this.bars.length) return;
    const last = this.windowBars;
    const fill = (from, to, name) => {
      context.fillStyle = colour(name);
      context.fillRect(from, 0, to - from, height);
    };
    fill(0, this.edge(0), "--outside");
    fill(this.edge(0), this.edge(this.zone[0]), "--before");
    fill(this.edge(this.zone[1]), this.edge(last), "--after");
    fill(this.edge(last), width, "--outside");
  }

  paintMarks(context, { height }) {
    if (!this.bars.length) return;
    const { expansions, active, side, pending, drag, model } = this.shown;
    this.shown.others.forEach((opinion, row) => this.paintOther(context, height, opinion, row));
    expansions.forEach((mark, i) => this.paintMark(context, height, mark, i, i === active ? side : ""));
    if (drag) this.paintMark(context, height, { start: Math.min(...drag), end: Math.max(...drag), label: "" }, -1, "");
    context.setLineDash([5, 4]);
    context.lineWidth = 1.5;
    const lines = pending === null ? [] : [[pending, "--mark-edge"]];
    if (model && model.start !== null) lines.push([model.start, "--model"], [model.end, "--model"]);
    for (const [bar, name] of lines) {
      const x = (this.edge(bar) + this.edge(bar + 1)) / 2;
      context.strokeStyle = colour(name);
      context.beginPath();
      context.moveTo(x, 0);
      context.lineTo(x, height);
      context.stroke();
    }
    context.setLineDash([]);
  }

  paintOther(context, height, opinion, row) {
    const top = height - 20 * (row + 1);
    context.font = '12px system-ui, "DejaVu Sans", sans-serif';
    for (const { start, end, label } of opinion.expansions) {
      const [left, right] = [this.edge(start), this.edge(end + 1)];
      context.fillStyle = colour("--other-edge");
      context.fillRect(left, top, Math.max(right - left, 2), 4);
      context.fillText(`${opinion.annotator}: ${classText(label)}`, left, top + 16);
    }
  }

  paintMark(context, height, mark, number, side) {
    const [left, right] = [this.edge(mark.start), this.edge(mark.end + 1)];
    const edge = colour(side ? "--mark-edge" : "--other-edge");
    context.fillStyle = colour(side ? "--mark" : "--other");
    context.fillRect(left, 0, right - left, height);
    context.fillStyle = edge;
    const thick = (name) => (side === name ? 4 : 1.5);
    context.fillRect(left, 0, thick("start"), height);
    context.fillRect(right - thick("end"), 0, thick("end"), height);
    if (number < 0) return;
    context.font = '12px system-ui, "DejaVu Sans", sans-serif';
    const row = 16 + 16 * (number % 6);
    context.fillText(`${number + 1} ${classText(mark.label)}`, left + 9, row);
  }
}
