// A job as a card: its images as they develop, its state in words, and what can be done with it.

import { html, useEffect, useState } from "../vendor/preact.js";
import { imageAddress } from "../api.js";
import { cancel, isFinal, reproduce, retry, secondsLeft, submit, useJobEntry } from "../jobs.js";
import { modelOf } from "../models.js";
import { modelNameOf, similar, upscaled, useJob } from "../requests.js";
import { go, link } from "../router.js";
import { formatDuration, t } from "../text.js";
import { Icon } from "./icons.js";
import { problemOf } from "./problem.js";
import { say, sayError } from "./toasts.js";

export function Card({ id }) {
  const entry = useJobEntry(id);
  if (!entry?.job) return null;
  const { job, progress, previews } = entry;
  const [width, height] = (job.output_size ?? job.size).split("x").map(Number);
  const count = Math.max(job.images.length, isFinal(job) ? 0 : job.n);
  return html`<article class="card ${job.status}" aria-label=${job.prompt || t("create.variation")}>
    ${count > 0 && html`<div class="tiles n${Math.min(count, 4)}">
      ${Array.from({ length: count }, (_, index) => html`<${Tile} key=${index} job=${job} index=${index}
        preview=${previews[index]} ratio=${width / height} />`)}
    </div>`}
    ${!isFinal(job) && html`<${ProgressBar} job=${job} progress=${progress} />`}
    <div class="about">
      <p class="prompt" title=${job.prompt}>${job.prompt || html`<i>${t("create.variation")}</i>`}</p>
      <${State} job=${job} progress=${progress} />
      <${Actions} job=${job} />
    </div>
  </article>`;
}

function Tile({ job, index, preview, ratio }) {
  const image = job.images[index];
  const [isLoaded, setLoaded] = useState(false);
  const [isGone, setGone] = useState(false);
  const style = { aspectRatio: String(ratio) };
  if (!image) {
    return html`<div class="tile developing" style=${style}>${preview && html`<img src=${preview} alt="" />`}</div>`;
  }
  return html`<a class="tile ${isLoaded ? "loaded" : ""}" style=${style} href=${link("images", image.id)} aria-label=${t("job.open", { index: index + 1 })}>
    ${isGone ? html`<${Missing} />` : html`<img src=${imageAddress(image.id, 512)} alt=${job.prompt} loading="lazy" decoding="async" onLoad=${() => setLoaded(true)} onError=${() => setGone(true)} />`}
  </a>`;
}

/** In place of an image whose file cannot be read. */
export function Missing() {
  return html`<span class="missing"><${Icon} name="warning" /><span class="small">${t("image.missing")}</span></span>`;
}

function ProgressBar({ job, progress }) {
  const value = progress ? progress.step / progress.steps : 0;
  return html`<div class="progress ${job.status === "in_progress" && !progress ? "starting" : ""}" role="progressbar" aria-label=${t(`status.${job.status}`)}
    aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(value * 100)}><i style=${{ transform: `scaleX(${value})` }}></i></div>`;
}

/** One line: what the job does now, why it failed, or how it was made. */
function State({ job, progress }) {
  if (job.error) {
    const { title, advice } = problemOf(job.error);
    return html`<p class="state error"><${Icon} name="warning" size="14" /> <span>${title} ${advice}</span></p>`;
  }
  const warnings = job.warnings.filter(({ code }) => code !== "no_worker" && code !== "queue_paused");
  return html`<p class="state muted">
      ${job.status === "completed" ? details(job) : words(job, progress)}
    </p>
    ${job.reproduction && html`<p class="state ${job.reproduction.identical ? "good" : "warn"}">${t(`reproduction.${job.reproduction.identical}`)}</p>`}
    ${warnings.map(({ message }) => html`<p key=${message} class="state warn"><${Icon} name="info" size="14" /> <span>${message}</span></p>`)}`;
}

function details(job) {
  const seed = job.images[0]?.seed;
  return [modelNameOf(job), job.output_size ?? job.size, seed === undefined ? null : `#${seed}`].filter(Boolean).join(" · ");
}

function words(job, progress) {
  if (job.cancel_requested_at && !isFinal(job)) return t("job.cancelling");
  if (job.status === "in_progress") {
    if (!progress) return t("job.starting");
    const left = secondsLeft(progress);
    const step = t("job.step", { step: progress.step, steps: progress.steps });
    return left === null || left < 1 ? step : `${step} · ${t("job.left", { time: formatDuration(left) })}`;
  }
  if (job.status !== "queued") return t(`status.${job.status}`);
  if (job.warnings.some(({ code }) => code === "queue_paused")) return t("job.paused");
  if (job.warnings.some(({ code }) => code === "no_worker")) return t("job.waits");
  if (job.queue_position) return t("job.ahead", { count: job.queue_position });
  return job.queue_position === 0 ? t("job.next") : t("status.queued");
}

/** What can be done with a job. image: one of its images, by default the first. onNew(job): after a new job. */
export function Actions({ job, image = job.images[0], labelled = false, onNew, children }) {
  const [model, setModel] = useState(null);
  useEffect(() => {
    modelOf(job).then(setModel, () => setModel(null));
  }, [job.model]);
  const make = (run) => async () => {
    try {
      const made = await run();
      say(t("job.submitted"));
      onNew?.(made);
    } catch (error) {
      sayError(error);
    }
  };
  const button = (icon, label, onClick) => html`<button type="button" class="quiet ${labelled ? "" : "square small"}" aria-label=${label} title=${label} onClick=${onClick}>
    <${Icon} name=${icon} size="16" />${labelled && label}</button>`;
  const use = (seed) => () => {
    useJob(job, seed);
    go(link(""));
    window.dispatchEvent(new CustomEvent("safelight:draft"));
  };
  if (!isFinal(job)) return html`<div class="actions">${button("cancel", t("job.cancel"), () => cancel(job.id).catch(sayError))}</div>`;
  const isDone = job.status === "completed" && image;
  return html`<div class="actions">
    ${!isDone && button("retry", t("job.retry"), make(() => retry(job.id)))}
    ${isDone && model && button("vary", t("job.more"), make(() => submit(similar(job, image, model))))}
    ${isDone && model?.operations.includes("edit") && html`<a class="button quiet ${labelled ? "" : "square small"}" href=${link("edit", image.id)} aria-label=${t("job.edit")} title=${t("job.edit")}><${Icon} name="edit" size="16" />${labelled && t("job.edit")}</a>`}
    ${isDone && model?.parameters.postprocess && job.operation === "generation" && button("upscale", t("job.upscale"), make(() => submit(upscaled(job, image))))}
    ${button("use", t("job.use"), use(null))}
    ${isDone && labelled && button("dice", t("job.useSeed"), use(image.seed))}
    ${isDone && labelled && button("reproduce", t("job.reproduce"), make(() => reproduce(job.id)))}
    ${children}
  </div>`;
}
