"use strict";
// Puts chart, filters and table together.
const at = (id) => document.getElementById(id);

function option(text, value) {
  const made = document.createElement("option");
  made.textContent = text;
  made.value = value;
  return made;
}

function readFilters() {
  const number = (id) => Number(at(id).value) || 0;
  const day = (id, late) => (at(id).value ? Date.parse(at(id).value) + (late ? 86400000 : 0) : late ? Infinity : -Infinity);
  return { label: at("f-class").value, prob: number("f-prob"), labelProb: number("f-class-prob"), agree: number("f-agree"), from: day("f-from", false), to: day("f-to", true), cut: at("f-cut").checked };
}

function passes(event, symbol, wanted) {
  const time = symbol.time[event.start];
  return (wanted.label === "" || event.label === Number(wanted.label)) && event.eventProb >= wanted.prob && event.labelProb >= wanted.labelProb
    && event.agree >= wanted.agree && time >= wanted.from && time < wanted.to && (wanted.cut || !event.cut);
}

async function start() {
  const data = JSON.parse(at("data").textContent);
  const symbols = await Promise.all(data.symbols.map(unpackSymbol));
  const byName = new Map(symbols.map((symbol) => [symbol.name, symbol]));
  const chart = new Chart(at("chart"), at("strip"), (bar) => describe(bar), (event) => pick(event, false));
  chart.classes = data.classes;
  const parts = { head: at("head"), rows: at("rows"), count: at("count"), back: at("page-back"), on: at("page-on") };
  const table = new Table(parts, tableColumns(data.classes, symbols, data.live), (event) => pick(event, true));
  table.n = symbols.reduce((sum, symbol) => sum + symbol.list.length, 0);
  let passing = new Map();

  function describe(bar) {
    const symbol = chart.symbol;
    const i = bar === null ? (chart.chosen && byName.get(chart.chosen.symbol) === symbol ? chart.chosen.start : symbol.n - 1) : bar;
    if (i < 0) return;
    const price = (value) => value.toFixed(Math.max(symbol.decimals - 1, 0));
    at("readout").textContent = `${timeText(symbol.time[i], true)}   open ${price(symbol.open[i])}   high ${price(symbol.high[i])}   low ${price(symbol.low[i])}   close ${price(symbol.close[i])}   bar ${symbol.first + i}`;
  }

  function filter() {
    const wanted = readFilters();
    passing = new Map(symbols.map((symbol) => [symbol, symbol.list.filter((event) => passes(event, symbol, wanted))]));
    chart.shown = passing.get(chart.symbol);
    chart.draw();
    table.set([].concat(...passing.values()));
  }

  function showSymbol(symbol) {
    at("symbol").value = String(symbols.indexOf(symbol));
    chart.shown = passing.get(symbol) || [];
    chart.show(symbol);
    describe(null);
  }

  function pick(event, fromTable) {
    const symbol = byName.get(event.symbol);
    if (symbol !== chart.symbol) showSymbol(symbol);
    chart.lookAt(event);
    table.choose(event);
    describe(null);
    if (fromTable) at("chart").scrollIntoView({ block: "nearest" });
  }

  function step(way) {
    const list = chart.shown;
    if (!list.length) return;
    const place = list.indexOf(chart.chosen);
    const middle = (chart.first + chart.last) / 2;
    const next = place >= 0 ? place + way : way > 0 ? list.findIndex((event) => event.start > middle) : list.filter((event) => event.start < middle).length - 1;
    if (next >= 0 && next < list.length) pick(list[next], false);
  }

  symbols.forEach((symbol, i) => at("symbol").append(option(symbol.name || "(no name)", String(i))));
  at("symbol-label").hidden = symbols.length < 2;
  at("symbol").addEventListener("change", () => showSymbol(symbols[Number(at("symbol").value)]));
  data.classes.forEach((name, i) => {
    at("f-class").append(option(name, String(i)));
    const key = document.createElement("span");
    const swatch = document.createElement("span");
    swatch.className = `swatch k${i % 6}`;
    key.append(swatch, name);
    at("legend").append(key);
  });
  for (const id of ["f-class", "f-prob", "f-class-prob", "f-agree", "f-from", "f-to", "f-cut"]) at(id).addEventListener("input", filter);
  at("f-clear").addEventListener("click", () => {
    for (const id of ["f-class", "f-from", "f-to"]) at(id).value = "";
    for (const id of ["f-prob", "f-class-prob", "f-agree"]) at(id).value = "0";
    at("f-cut").checked = true;
    filter();
  });
  const keys = {
    n: () => step(1), p: () => step(-1), "+": () => chart.zoom(0.6), "=": () => chart.zoom(0.6), "-": () => chart.zoom(1 / 0.6), 0: () => chart.look(0, chart.symbol.n),
    ArrowLeft: () => chart.move(-(chart.last - chart.first) / 8), ArrowRight: () => chart.move((chart.last - chart.first) / 8),
  };
  at("next").addEventListener("click", keys.n);
  at("previous").addEventListener("click", keys.p);
  at("in").addEventListener("click", keys["+"]);
  at("out").addEventListener("click", keys["-"]);
  at("all").addEventListener("click", keys[0]);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  showSymbol(symbols.find((symbol) => symbol.list.length) || symbols[0]);
  filter();
  const last = chart.shown[chart.shown.length - 1];
  if (last) pick(last, false);
}

start().catch((error) => {
  at("trouble").textContent = `The page could not be drawn: ${error.message}. A browser of 2023 or later is needed.`;
  at("trouble").hidden = false;
});
