// Light or dark: as the system has it, until a person chooses.

import { keep, kept } from "./state.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const systems = () => (system.matches ? "dark" : "light");
const set = (name) => { document.documentElement.dataset.theme = name; };

// `changed` redraws what does not follow the style sheet by itself.
export function startTheme(changed) {
  set(kept("theme", systems()));
  system.addEventListener("change", () => {
    if (kept("theme", "")) return;
    set(systems());
    changed();
  });
}

export function turnTheme(changed) {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  set(name);
  keep("theme", name);
  changed();
}
