// Light or dark: that of the system, unless one was chosen.

import { createStore } from "./store.js";

const system = matchMedia("(prefers-color-scheme: dark)");

function current() {
  return document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
}

export const theme = createStore(current());
system.addEventListener("change", () => theme.set(current()));

export function switchTheme() {
  const next = theme.value === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("safelight.theme", next);
  } catch {
    // It lasts as long as the page.
  }
  theme.set(next);
}
