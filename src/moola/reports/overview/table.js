"use strict";
// The table of events: filters, order by a column, a hundred rows at a time.
const ROWS = 100;

function tableColumns(classes, symbols, live) {
  const timeOf = (event, bar) => timeText(symbols.find((one) => one.name === event.symbol).time[bar]);
  const columns = [
    { name: "start", text: true, value: (e) => timeOf(e, e.start) },
    { name: "end", text: true, value: (e) => timeOf(e, e.end) },
    { name: "bars", value: (e) => e.end - e.start + 1 },
    { name: "class", text: true, value: (e) => classes[e.label], swatch: (e) => e.label % 6 },
    { name: "class prob.", value: (e) => e.labelProb.toFixed(3), order: (e) => e.labelProb },
    { name: "event prob.", value: (e) => e.eventProb.toFixed(3), order: (e) => e.eventProb },
    { name: "windows agree", value: (e) => `${e.agree} of ${e.saw}`, order: (e) => e.agree },
    { name: "longest gap, h", value: (e) => e.gapHours.toFixed(2), order: (e) => e.gapHours },
    { name: "cut", value: (e) => (e.cut ? "cut" : ""), text: true },
  ];
  if (symbols.some((one) => one.list.some((e) => e.learned))) columns.push({ name: "learned times", value: (e) => (e.learned ? "learned" : ""), text: true });
  if (live) columns.splice(7, 0, { name: "bars until known", value: (e) => e.known - e.end, order: (e) => e.known - e.end });
  if (symbols.length > 1) columns.unshift({ name: "symbol", text: true, value: (e) => e.symbol });
  for (const column of columns) column.order = column.order || column.value;
  return columns;
}

class Table {
  constructor(parts, columns, onPick) {
    this.parts = parts;
    this.columns = columns;
    this.onPick = onPick;
    this.by = columns.find((column) => column.name === "start");
    this.down = true;
    this.page = 0;
    this.chosen = null;
    parts.back.addEventListener("click", () => this.turn(-1));
    parts.on.addEventListener("click", () => this.turn(1));
  }

  turn(pages) {
    this.page += pages;
    this.draw();
  }

  set(events) {
    this.events = events;
    this.page = 0;
    this.sort();
  }

  sort() {
    const sign = this.down ? -1 : 1;
    const keyed = this.events.map((event) => [this.by.order(event), event]);
    keyed.sort((one, other) => (one[0] < other[0] ? -sign : one[0] > other[0] ? sign : 0));
    this.ordered = keyed.map((pair) => pair[1]);
    this.draw();
  }

  // Show the page that has an event, and mark it.
  choose(event) {
    this.chosen = event;
    const place = this.ordered.indexOf(event);
    if (place >= 0) this.page = Math.floor(place / ROWS);
    this.draw();
  }

  draw() {
    this.drawHead();
    const first = this.page * ROWS;
    const rows = this.ordered.slice(first, first + ROWS).map((event) => this.row(event));
    this.parts.rows.replaceChildren(...rows);
    this.parts.back.disabled = this.page === 0;
    this.parts.on.disabled = first + ROWS >= this.ordered.length;
    const to = Math.min(first + ROWS, this.ordered.length);
    const shown = this.ordered.length > ROWS ? `, rows ${first + 1} to ${to}` : "";
    this.parts.count.textContent = `${this.ordered.length} of ${this.n} events${shown}`;
  }

  drawHead() {
    const cells = this.columns.map((column) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.className = column.text ? "text" : "";
      const button = document.createElement("button");
      button.type = "button";
      const isBy = column === this.by;
      button.textContent = column.name + (isBy ? (this.down ? " ▾" : " ▴") : "");
      cell.setAttribute("aria-sort", isBy ? (this.down ? "descending" : "ascending") : "none");
      button.addEventListener("click", () => {
        this.down = isBy ? !this.down : !column.text;
        this.by = column;
        this.page = 0;
        this.sort();
        this.parts.head.children[this.columns.indexOf(column)].firstChild.focus();
      });
      cell.append(button);
      return cell;
    });
    this.parts.head.replaceChildren(...cells);
  }

  row(event) {
    const row = document.createElement("tr");
    row.setAttribute("aria-selected", String(event === this.chosen));
    this.columns.forEach((column, i) => {
      const cell = document.createElement("td");
      cell.className = column.text ? "text" : "";
      if (column.swatch) {
        const swatch = document.createElement("span");
        swatch.className = `swatch k${column.swatch(event)}`;
        cell.append(swatch);
      }
      if (i === 0) {
        // A button, so that a row can be chosen by keyboard.
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = column.value(event) || "(no name)";
        cell.append(button);
      } else cell.append(String(column.value(event)));
      row.append(cell);
    });
    row.addEventListener("click", () => this.onPick(event));
    return row;
  }
}
