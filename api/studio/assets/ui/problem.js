// Errors in words: what happened, and what to do about it.

import { html } from "../vendor/preact.js";
import { has, t } from "../text.js";
import { Icon } from "./icons.js";

/** The title and the advice for an error of a call, or for the `error` of a job. */
export function problemOf(error) {
  const key = `advice.${error.code}`;
  const advice = has(key) ? t(key) : "";
  return { title: error.code === "unreachable" ? t("problem.unreachable") : error.message, advice };
}

/** An error where the content of a view would be. onRetry: what the button does; without it there is none. */
export function Problem({ error, onRetry }) {
  const { title, advice } = problemOf(error);
  return html`<div class="empty problem" role="alert">
    <${Icon} name="warning" size="28" />
    <h2>${title}</h2>
    ${advice && html`<p>${advice}</p>`}
    ${error.requestId && html`<p class="small muted">${t("problem.request")} <code>${error.requestId}</code></p>`}
    ${onRetry && html`<button onClick=${onRetry}>${t("retry.load")}</button>`}
  </div>`;
}

/** A view without content: it says what would be here, and how to get it. */
export function Empty({ icon, title, children }) {
  return html`<div class="empty">
    <${Icon} name=${icon} size="28" />
    <h2>${title}</h2>
    ${children}
  </div>`;
}
