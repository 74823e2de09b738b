"use strict";
// Candles with events on a canvas: where there are more bars than room, a column shows what its bars span.
const RIGHT = 68, BOTTOM = 24, TOP = 22, LEAST_BARS = 20;

// These classes are the state before the event.
const PRIOR_STATES = ["consolidation", "retracement"];
const classText = (name) => (PRIOR_STATES.includes(name) ? `after ${name}` : name);

class Chart {
  constructor(canvas, strip, onHover, onPick) {
    this.canvas = canvas;
    this.strip = strip;
    this.onHover = onHover;
    this.onPick = onPick;
    this.shown = [];
    this.chosen = null;
    this.hover = null;
    this.listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(symbol) {
    this.symbol = symbol;
    this.hover = null;
    this.look(symbol.n - Math.min(symbol.n, this.room()), symbol.n);
  }

  // Bars [first, last), which may be fractions, kept within the symbol's.
  look(first, last) {
    const n = this.symbol.n;
    const span = Math.min(Math.max(last - first, Math.min(LEAST_BARS, n)), n);
    this.first = Math.min(Math.max(first, 0), n - span);
    this.last = this.first + span;
    this.draw();
  }

  lookAt(event) {
    const span = Math.min(Math.max(this.last - this.first, 60, event.end - event.start + 20), this.room());
    const middle = (event.start + event.end + 1) / 2;
    this.chosen = event;
    this.look(middle - span / 2, middle + span / 2);
  }

  // Bars that can be drawn apart at this width.
  room() {
    return Math.max(Math.floor((this.canvas.clientWidth - RIGHT) / 5), 60);
  }

  zoom(factor, at = (this.first + this.last) / 2) {
    const before = this.last - this.first;
    const span = Math.min(Math.max(before * factor, Math.min(LEAST_BARS, this.symbol.n)), this.symbol.n);
    const share = (at - this.first) / before;
    this.look(at - share * span, at + (1 - share) * span);
  }

  move(bars) {
    this.look(this.first + bars, this.last + bars);
  }

  barAt(x) {
    return this.first + (x / this.width) * (this.last - this.first);
  }

  x(bar) {
    return ((bar - this.first) / (this.last - this.first)) * this.width;
  }

  y(price) {
    return TOP + ((this.top - price) / (this.top - this.bottom)) * this.height;
  }

  listen() {
    const canvas = this.canvas;
    let drag = null;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.move((event.deltaX / this.width) * (this.last - this.first));
      else this.zoom(Math.exp(Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.003), this.barAt(event.offsetX));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.offsetX, first: this.first, last: this.last, far: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drag) {
        const bars = ((drag.x - event.offsetX) / this.width) * (drag.last - drag.first);
        drag.far = drag.far || Math.abs(event.offsetX - drag.x) > 4;
        canvas.classList.toggle("moving", drag.far);
        if (drag.far) this.look(drag.first + bars, drag.last + bars);
        return;
      }
      const bar = Math.floor(this.barAt(event.offsetX));
      this.hover = event.offsetX <= this.width && bar >= 0 && bar < this.symbol.n ? { bar, y: event.offsetY } : null;
      this.onHover(this.hover && this.hover.bar);
      this.draw();
    });
    const end = () => {
      drag = null;
      canvas.classList.remove("moving");
    };
    canvas.addEventListener("pointerup", (event) => {
      if (drag && !drag.far) this.pick(this.barAt(event.offsetX));
      end();
    });
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => {
      this.hover = null;
      this.onHover(null);
      this.draw();
    });
    const jump = (event) => {
      if (event.buttons !== 1) return;
      const middle = (event.offsetX / this.strip.clientWidth) * this.symbol.n;
      const half = (this.last - this.first) / 2;
      this.look(middle - half, middle + half);
    };
    this.strip.addEventListener("pointerdown", jump);
    this.strip.addEventListener("pointermove", jump);
  }

  pick(bar) {
    const found = this.shown.filter((event) => event.start <= bar && bar < event.end + 1);
    if (found.length) this.onPick(found.reduce((best, event) => (event.eventProb > best.eventProb ? event : best)));
  }

  colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    return { ink: of("ink"), muted: of("muted"), rule: of("rule"), up: of("up"), down: of("down"), paper: of("paper"), accent: of("accent"), classes: [0, 1, 2, 3, 4, 5].map((i) => of(`c${i}`)) };
  }

  begin(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    return [pen, width, height];
  }

  draw() {
    if (!this.symbol || !this.symbol.n || !this.canvas.clientWidth) return;
    const [pen, width, height] = this.begin(this.canvas);
    this.width = width - RIGHT;
    this.height = height - TOP - BOTTOM;
    const colour = this.colours();
    this.scale();
    this.grid(pen, colour);
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, this.width, height);
    pen.clip();
    const near = this.shown.filter((event) => event.end + 1 >= this.first && event.start <= this.last);
    for (const event of near) this.span(pen, colour, event);
    this.candles(pen, colour);
    for (const event of near) this.brackets(pen, colour, event);
    this.names(pen, colour, near);
    pen.restore();
    this.cross(pen, colour);
    this.drawStrip(colour);
  }

  scale() {
    let top = -Infinity, bottom = Infinity;
    for (let i = Math.floor(this.first); i < Math.min(Math.ceil(this.last), this.symbol.n); i += 1) {
      top = Math.max(top, this.symbol.high[i]);
      bottom = Math.min(bottom, this.symbol.low[i]);
    }
    const pad = (top - bottom) * 0.04 || Math.abs(top) * 0.001;
    this.top = top + pad;
    // Room for the brackets below the lowest bar.
    this.bottom = bottom - pad - (top - bottom) * 0.08;
  }

  grid(pen, colour) {
    pen.strokeStyle = colour.rule;
    pen.fillStyle = colour.muted;
    pen.lineWidth = 1;
    const step = niceStep((this.top - this.bottom) / 6);
    const decimals = Math.max(0, Math.min(this.symbol.decimals, -Math.floor(Math.log10(step) + 1e-9)));
    pen.textAlign = "left";
    for (let price = Math.ceil(this.bottom / step) * step; price < this.top; price += step) {
      line(pen, 0, this.y(price), this.width, this.y(price));
      pen.fillText(price.toFixed(decimals), this.width + 6, this.y(price) + 4);
    }
    pen.textAlign = "center";
    const n = Math.max(Math.floor(this.width / 130), 1);
    for (let i = 0; i < n; i += 1) {
      const bar = Math.floor(this.first + ((i + 0.5) / n) * (this.last - this.first));
      if (bar < 0 || bar >= this.symbol.n) continue;
      const x = this.x(bar + 0.5);
      line(pen, x, TOP, x, TOP + this.height);
      pen.fillText(timeText(this.symbol.time[bar]), Math.min(Math.max(x, 52), this.width - 52), TOP + this.height + 17);
    }
  }

  candles(pen, colour) {
    const { open, high, low, close, n } = this.symbol;
    const room = this.width / (this.last - this.first);
    const from = Math.max(Math.floor(this.first), 0), to = Math.min(Math.ceil(this.last), n);
    if (room < 1.5) {
      pen.fillStyle = colour.muted;
      const bars = 1 / room;
      for (let column = 0; column < this.width; column += 1) {
        let most = -Infinity, least = Infinity;
        const stop = Math.min(Math.ceil(this.first + (column + 1) * bars), n);
        for (let i = Math.max(Math.floor(this.first + column * bars), 0); i < stop; i += 1) {
          most = Math.max(most, high[i]);
          least = Math.min(least, low[i]);
        }
        if (most >= least) pen.fillRect(column, this.y(most), 1, Math.max(this.y(least) - this.y(most), 1));
      }
      return;
    }
    const body = Math.max(room * 0.7, 1);
    for (let i = from; i < to; i += 1) {
      const x = this.x(i + 0.5);
      pen.fillStyle = close[i] >= open[i] ? colour.up : colour.down;
      pen.fillRect(x - 0.5, this.y(high[i]), 1, Math.max(this.y(low[i]) - this.y(high[i]), 1));
      const upper = this.y(Math.max(open[i], close[i])), lower = this.y(Math.min(open[i], close[i]));
      pen.fillRect(x - body / 2, upper, body, Math.max(lower - upper, 1));
    }
  }

  span(pen, colour, event) {
    const left = this.x(event.start), right = this.x(event.end + 1);
    pen.fillStyle = colour.classes[event.label % 6];
    pen.globalAlpha = event === this.chosen ? 0.34 : 0.16;
    pen.fillRect(left, TOP, Math.max(right - left, 1), this.height);
    pen.globalAlpha = 1;
    if (event === this.chosen) {
      pen.fillRect(left - 1, TOP, 1.5, this.height);
      pen.fillRect(right - 0.5, TOP, 1.5, this.height);
    }
  }

  brackets(pen, colour, event) {
    if (this.width / (this.last - this.first) < 2) return;
    const y = TOP + this.height - 5;
    pen.strokeStyle = colour.classes[event.label % 6];
    pen.lineWidth = 2;
    for (const i of [0, 1]) {
      const row = y - 6 * i;
      const left = this.x(event.low[i]), right = this.x(event.high[i] + 1);
      line(pen, left, row, right, row);
      line(pen, left, row - 3, left, row + 3);
      line(pen, right, row - 3, right, row + 3);
    }
    if (event.known >= 0) {
      const x = this.x(event.known + 0.5);
      pen.fillStyle = pen.strokeStyle;
      pen.beginPath();
      pen.moveTo(x, y - 14);
      pen.lineTo(x - 5, y - 5);
      pen.lineTo(x + 5, y - 5);
      pen.fill();
    }
  }

  names(pen, colour, near) {
    if (this.width / (this.last - this.first) < 2) return;
    pen.textAlign = "left";
    let free = -Infinity;
    for (const event of near) {
      const text = `${classText(this.classes[event.label])} ${event.labelProb.toFixed(2)}`;
      const x = Math.max(this.x(event.start), 2);
      if (x < free) continue;
      pen.fillStyle = event === this.chosen ? colour.ink : colour.classes[event.label % 6];
      pen.fillText(text, x, TOP - 7);
      free = x + pen.measureText(text).width + 8;
    }
  }

  cross(pen, colour) {
    if (!this.hover) return;
    pen.strokeStyle = colour.muted;
    pen.lineWidth = 1;
    pen.setLineDash([3, 3]);
    const x = this.x(this.hover.bar + 0.5);
    line(pen, x, TOP, x, TOP + this.height);
    if (this.hover.y > TOP && this.hover.y < TOP + this.height) line(pen, 0, this.hover.y, this.width, this.hover.y);
    pen.setLineDash([]);
    const price = this.top - ((this.hover.y - TOP) / this.height) * (this.top - this.bottom);
    pen.fillStyle = colour.ink;
    pen.fillRect(this.width, this.hover.y - 9, RIGHT, 18);
    pen.fillStyle = colour.paper;
    pen.textAlign = "left";
    pen.fillText(price.toPrecision(7).slice(0, 9), this.width + 6, this.hover.y + 4);
  }

  drawStrip(colour) {
    const [pen, width, height] = this.begin(this.strip);
    const { low, high, n } = this.symbol;
    if (!this.symbol.strip || this.symbol.strip.width !== width) this.symbol.strip = spans(this.symbol, width);
    const { top, bottom, most, least } = this.symbol.strip;
    const y = (price) => 9 + ((top - price) / (top - bottom || 1)) * (height - 12);
    pen.fillStyle = colour.muted;
    for (let column = 0; column < width; column += 1) {
      if (most[column] >= least[column]) pen.fillRect(column, y(most[column]), 1, Math.max(y(least[column]) - y(most[column]), 1));
    }
    for (const event of this.shown) {
      pen.fillStyle = colour.classes[event.label % 6];
      pen.fillRect((event.start / n) * width, 1, Math.max(((event.end + 1 - event.start) / n) * width, 1), 6);
    }
    const left = (this.first / n) * width, right = (this.last / n) * width;
    pen.fillStyle = colour.accent;
    pen.globalAlpha = 0.18;
    pen.fillRect(left, 0, Math.max(right - left, 2), height);
    pen.globalAlpha = 1;
    pen.strokeStyle = colour.accent;
    pen.strokeRect(left + 0.5, 0.5, Math.max(right - left - 1, 2), height - 1);
  }
}

// Highest and lowest price of each column of a strip over all bars.
function spans(symbol, width) {
  const most = new Float64Array(width).fill(-Infinity), least = new Float64Array(width).fill(Infinity);
  let top = -Infinity, bottom = Infinity;
  for (let i = 0; i < symbol.n; i += 1) {
    const from = Math.floor((i / symbol.n) * width), to = Math.max(Math.floor(((i + 1) / symbol.n) * width), from + 1);
    for (let column = from; column < to && column < width; column += 1) {
      most[column] = Math.max(most[column], symbol.high[i]);
      least[column] = Math.min(least[column], symbol.low[i]);
    }
    top = Math.max(top, symbol.high[i]);
    bottom = Math.min(bottom, symbol.low[i]);
  }
  return { width, most, least, top, bottom };
}

function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((k) => k * power).find((step) => step >= rough);
}
