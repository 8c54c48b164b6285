// Short messages at the edge of the page: what was done, or why something failed. Screen readers say them.

import { html } from "../vendor/preact.js";
import { createStore, useStore } from "../store.js";
import { problemOf } from "./problem.js";
import { t } from "../text.js";
import { Icon } from "./icons.js";

const SECONDS = 6;
const toasts = createStore([]);
let number = 0;

export function say(text, kind = "info") {
  const toast = { id: ++number, text, kind };
  toasts.set([...toasts.value.slice(-2), toast]);
  setTimeout(() => dismiss(toast.id), SECONDS * 1000);
}

/** Show an error of a call. An abort is none. */
export function sayError(error) {
  if (error.name === "AbortError") return;
  const { title, advice } = problemOf(error);
  say(advice ? `${title} ${advice}` : title, "error");
}

function dismiss(id) {
  toasts.set(toasts.value.filter((toast) => toast.id !== id));
}

export function Toasts() {
  const list = useStore(toasts);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${list.map(
      (toast) => html`<div class="toast ${toast.kind}" key=${toast.id}>
        <${Icon} name=${toast.kind === "error" ? "warning" : "check"} />
        <span>${toast.text}</span>
        <button class="quiet square" aria-label=${t("close")} onClick=${() => dismiss(toast.id)}><${Icon} name="close" size="14" /></button>
      </div>`,
    )}
  </div>`;
}
