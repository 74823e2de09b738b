// Spans like one, a small chart of each: a contact sheet beside the chart.

import * as api from "./api.js";
import { classText, colour, utcText } from "./chart.js";
import { made, part } from "./view.js";

// Bars beside a span on its small chart, and pixels of one.
const BESIDE = 12, WIDTH = 132, HEIGHT = 72;

export class ContactSheet {
  // `choose` receives a row.
  constructor(choose) {
    this.choose = choose;
    this.cards = new Map();
  }

  // Lay out rows (start, end, label, prob) of a symbol; the charts come one by one.
  async open(rows, symbol) {
    this.close();
    const { cards } = this;
    for (const row of rows) {
      const card = made("button", "", { type: "button", class: "card" });
      card.append(made("canvas", "", { width: WIDTH * 2, height: HEIGHT * 2, "aria-hidden": "true" }), made("small", row.prob.toFixed(2)));
      card.addEventListener("click", () => this.choose(row));
      cards.set(row, card);
    }
    part("cards").replaceChildren(...cards.values());
    part("alike").hidden = !rows.length;
    for (const row of rows) {
      if (this.cards !== cards) return;
      const [first, last] = [Math.max(row.start - BESIDE, 0), Math.min(row.end + BESIDE, symbol.n_bars - 1)];
      paint(cards.get(row), await api.chartBars({ symbol: symbol.symbol, first, last, each: 1 }), row);
    }
  }

  close() {
    this.cards = new Map();
    part("cards").replaceChildren();
    part("alike").hidden = true;
  }

  // Rows that were answered go; the chosen one is highlighted.
  mark(listed, chosen) {
    for (const [row, card] of this.cards) {
      card.hidden = !listed.includes(row);
      card.setAttribute("aria-pressed", String(row === chosen));
    }
    if (chosen) this.cards.get(chosen)?.scrollIntoView({ block: "nearest" });
  }
}

function paint(card, found, row) {
  const context = card.querySelector("canvas").getContext("2d");
  const [low, high] = [Math.min(...found.ohlc.map((bar) => bar[2])), Math.max(...found.ohlc.map((bar) => bar[1]))];
  const [step, y] = [WIDTH / found.ohlc.length, (price) => 3 + (1 - (price - low) / (high - low || 1)) * (HEIGHT - 6)];
  context.setTransform(2, 0, 0, 2, 0, 0);
  context.clearRect(0, 0, WIDTH, HEIGHT);
  context.fillStyle = colour("--mark");
  context.fillRect((row.start - found.first) * step, 0, (row.end - row.start + 1) * step, HEIGHT);
  found.ohlc.forEach(([open, top, bottom, close], i) => {
    context.fillStyle = colour(close >= open ? "--up" : "--down");
    context.fillRect((i + 0.5) * step - 0.5, y(top), 1, Math.max(y(bottom) - y(top), 1));
    context.fillRect(i * step + 0.5, y(Math.max(open, close)), Math.max(step - 1, 1), Math.max(Math.abs(y(open) - y(close)), 1));
  });
  const when = utcText(found.times_us[row.start - found.first] / 1e6);
  card.title = when;
  card.setAttribute("aria-label", `${classText(row.label)}? ${row.end - row.start + 1} bars from ${when}, similarity ${row.prob.toFixed(2)}`);
}
