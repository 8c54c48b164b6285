// The lines of a batch by status: a bar, and the numbers in words.

import { html } from "../vendor/preact.js";
import { t } from "../text.js";

const ORDER = ["completed", "in_progress", "failed", "expired", "cancelled", "queued"];

/** A bar of all lines. */
export function Bar({ counts }) {
  const done = counts.total - counts.queued - counts.in_progress;
  return html`<div class="bar" role="progressbar" aria-label=${t("batch.progress")} aria-valuemin="0" aria-valuemax=${counts.total} aria-valuenow=${done}>
    ${ORDER.filter((name) => counts[name] > 0).map((name) => html`<i key=${name} class=${name} style=${{ width: `${(100 * counts[name]) / counts.total}%` }}></i>`)}
  </div>`;
}

/** The numbers that are not zero. */
export function Counts({ counts }) {
  return html`<ul class="row chips">
    ${ORDER.filter((name) => counts[name] > 0).map((name) => html`<li key=${name} class="chip ${name}">${t(`batch.count.${name}`, { count: counts[name] })}</li>`)}
  </ul>`;
}
