// What other annotators said: of the open window (with a button to take it over), and of all windows (agreement).

import * as api from "./api.js";
import { classText, utcText } from "./chart.js";
import { made, notify, part } from "./view.js";

const spoken = ({ status, expansions }) => {
  if (status === "rejected") return "rejected";
  if (!expansions.length) return "no expansion";
  return expansions.map(({ start, end, label }) => `${classText(label)} ${start} to ${end}`).join("; ");
};

export class Comparison {
  // `on` receives take(opinion) and open(window id); `candles` draws what others marked.
  constructor(candles, on) {
    this.candles = candles;
    this.on = on;
    this.hide();
  }

  hide() {
    this.opinions = null;
    this.taken = -1;
    part("others").hidden = true;
    part("compare").setAttribute("aria-pressed", "false");
    this.candles.showOthers([]);
  }

  // Raises where the server keeps others' labels back until there is one's own.
  async show(id, annotator) {
    this.opinions = (await api.opinions(id, { annotator })).opinions;
    this.taken = -1;
    part("others").hidden = false;
    part("compare").setAttribute("aria-pressed", "true");
    part("noOthers").hidden = this.opinions.length > 0;
    part("othersList").replaceChildren(...this.opinions.map((opinion, i) => {
      const item = made("li");
      const button = made("button", opinion.annotator, { type: "button", "aria-label": `Take over the label of ${opinion.annotator}` });
      button.append(made("small", spoken(opinion)));
      const more = [opinion.grade && `grade ${opinion.grade}`, opinion.reason, opinion.note].filter(Boolean).join("; ");
      if (more) button.append(made("small", more));
      button.addEventListener("click", () => this.take(i));
      item.append(button);
      return item;
    }));
    this.candles.showOthers(this.opinions);
    notify(this.opinions.map((opinion) => `${opinion.annotator}: ${spoken(opinion)}`).join(". ") || "Nobody else labelled it.");
  }

  // Take over the label of one annotator, or that of the next in turn.
  take(place = (this.taken + 1) % this.opinions.length) {
    if (!this.opinions.length) return notify("Nobody else labelled it.");
    this.taken = place;
    this.on.take(this.opinions[place]);
    return notify(`The marks of ${this.opinions[place].annotator}, not saved yet. Z goes back, Enter saves them as yours.`);
  }

  async agreement(annotator) {
    const found = await api.review({ annotator });
    const figure = (value, decimals = 2) => (value === null ? "-" : value.toFixed(decimals));
    part("pairs").replaceChildren(...found.agreement.map((pair) => {
      const row = made("tr");
      row.append(made("th", `${pair.first}, ${pair.second}`, { scope: "row" }));
      const cells = [String(pair.n_windows), figure(pair.kappa), figure(pair.same_class),
        figure(pair.start.median_abs_bars, 1), figure(pair.start.within_3), figure(pair.end.median_abs_bars, 1),
        figure(pair.end.within_3)];
      row.append(...cells.map((text) => made("td", text)));
      if (pair.kappa_reason) row.children[2].title = pair.kappa_reason;
      return row;
    }));
    part("pairsTable").hidden = !found.agreement.length;
    const open = found.conflicts.filter((conflict) => !conflict.decided).length;
    part("agreementText").textContent = found.agreement.length
      ? `${found.conflicts.length} windows are judged differently, ${open} of them wait for a decision.`
      : "Only one annotator has labelled here. Another one writes their name under You, and labels the same windows.";
    part("conflicts").replaceChildren(...found.conflicts.map((conflict) => {
      const item = made("li");
      const button = made("button", `${conflict.symbol} ${utcText(conflict.start_us / 1e6)}`.trim(), { type: "button" });
      button.append(made("small", conflict.decided ? `${conflict.reason} (decided by a third)` : conflict.reason));
      button.addEventListener("click", () => { part("agreement").close(); this.on.open(conflict.window_id); });
      item.append(button);
      return item;
    }));
    if (!part("agreement").open) part("agreement").showModal();
  }
}
