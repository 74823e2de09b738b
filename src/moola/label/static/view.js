// The page's parts beside the chart. Every text from data goes in as text, never as markup.

import { KEYS } from "./keys.js";
import { classText, utcText } from "./chart.js";

export const part = (id) => document.getElementById(id);

export function made(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Queues of windows that are labelled already.
export const SECOND_LOOKS = ["label errors", "conflicts"];
const QUEUES = {
  time: "by time", random: "at random", uncertainty: "model unsure", disagreement: "heads or seeds differ",
  diversity: "most different", "label errors": "likely label errors", conflicts: "annotators differ",
};

export function fillChoices(settings, choose) {
  const choice = (name, key, act) => {
    const button = made("button", `${name} `, { type: "button", "aria-pressed": "false", "data-value": name });
    button.append(made("kbd", key));
    button.addEventListener("click", act);
    return button;
  };
  part("classes").replaceChildren(...settings.classes.map((name, i) => choice(name, String(i + 1), () => choose.class(i))));
  part("grades").replaceChildren(...settings.grades.map((name) => {
    const button = choice(name, name, () => choose.grade(name));
    button.replaceChildren(document.createTextNode(name === "D" ? "D, reject" : name));
    return button;
  }));
  part("reason").replaceChildren(...settings.reasons.map((name) => made("option", name, { value: name })));
  part("queue").replaceChildren(...settings.queues.map((name) => {
    const text = QUEUES[name] || name;
    return made("option", name === "label errors" ? `${text} (${settings.n_suspected})` : text, { value: name });
  }));
  part("assistLabel").hidden = !settings.model;
  drawKeys(KEYS);
}

export function drawKeys(list) {
  part("keys").replaceChildren(...list.flatMap(({ keys, text }) => {
    const term = made("dt");
    keys.forEach((name) => term.append(made("kbd", name), " "));
    return [term, made("dd", text)];
  }));
}

export function drawLabel(marks, candles, classNow, select) {
  const { expansions, grade, reason, note } = marks.content;
  const items = expansions.map((mark, i) => {
    const button = made("button", `${i + 1}  ${classText(mark.label)}`, { type: "button", "aria-current": String(i === marks.active) });
    const [first, last] = [candles.bar(mark.start), candles.bar(mark.end)];
    const where = `${mark.start} to ${mark.end}, ${mark.end - mark.start + 1} bars`;
    button.append(made("small", where), made("small", `${utcText(first.time)} to ${utcText(last.time)}`));
    if (i === marks.active) button.append(made("small", `Keys move the ${marks.side}`));
    button.addEventListener("click", () => select(i));
    const item = made("li");
    item.append(button);
    return item;
  });
  part("expansions").replaceChildren(...items);
  part("none").hidden = expansions.length > 0;
  part("remove").disabled = !marks.current;
  part("undo").disabled = !marks.steps.length && marks.pending === null;
  for (const button of part("classes").children) {
    button.setAttribute("aria-pressed", String(button.dataset.value === (marks.current ? marks.current.label : classNow)));
  }
  for (const button of part("grades").children) button.setAttribute("aria-pressed", String(button.dataset.value === grade));
  part("reasonLabel").hidden = grade !== "D";
  if (grade === "D") {
    const known = [...part("reason").options].some((option) => option.value === reason);
    if (!known) part("reason").append(made("option", reason, { value: reason }));
    part("reason").value = reason;
  }
  if (part("note").value !== note) part("note").value = note;
  const badge = part("saved");
  badge.className = marks.changed ? "badge unsaved" : "badge";
  badge.textContent = marks.changed ? "not saved yet" : marks.status || "new";
}

export function drawProgress(found) {
  const done = found.n_windows - found.left;
  part("bar").max = found.n_windows;
  part("bar").value = done;
  part("counts").textContent = `${done} of ${found.n_windows}`;
  part("doneList").replaceChildren(...["labelled", "rejected", "skipped", "left"].flatMap((name) => [
    made("dt", name), made("dd", String(found[name]))]));
  const total = Object.values(found.classes).reduce((sum, count) => sum + count, 0);
  part("balanceList").replaceChildren(...Object.entries(found.classes).flatMap(([name, count]) => [
    made("dt", name), made("dd", `${count}${total ? ` (${Math.round((100 * count) / total)} %)` : ""}`)]));
}

// The usual time of a bar in the largest unit that divides it.
export function lengthText(us) {
  const seconds = us / 1e6;
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([length]) => seconds >= length && seconds % length === 0) || [1, "s"];
  return `${seconds / size} ${unit}`;
}

export function drawWarnings(texts) {
  part("warnings").hidden = !texts.length;
  part("warningsList").replaceChildren(...texts.map((text) => made("li", text)));
}

export function drawHead(found, settings) {
  part("bars").textContent = `${found.symbol || "no symbol"}${found.bar_us ? `, bars of ${lengthText(found.bar_us)}` : ""}`;
  const first = found.times_us[found.first] / 1e6;
  const last = found.times_us[found.first + settings.window_bars - 1] / 1e6;
  part("title").textContent = `${found.symbol ? `${found.symbol}  ` : ""}${utcText(first)} to ${utcText(last)} UTC`;
  part("title").title = found.id;
  const shares = found.model ? Object.entries(found.model.classes) : [];
  part("modelText").hidden = !found.model;
  part("modelText").textContent = found.model
    ? `${found.model.out_of_fold ? "A model that was not trained on it" : `Model ${settings.model}`}: ${shares.map(([name, share]) => `${name} ${Math.round(share * 100)} %`).join(", ")}${
      found.model.start === null ? "" : `; bars ${found.model.start} to ${found.model.end}`}${
      found.model.curves ? " (curves: start solid, end dashed)" : ""}`
    : "";
}

let timer = 0;
export function notify(text, wrong = false) {
  const line = part("status");
  line.className = wrong ? "status wrong" : "status";
  // A screen reader says a text again only where it changes.
  line.textContent = "";
  clearTimeout(timer);
  timer = setTimeout(() => { line.textContent = text; }, 20);
}
