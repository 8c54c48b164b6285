// One image, large: how it was made, what can be made from it, downloads, code.

import { html } from "../vendor/preact.js";
import { get, imageAddress } from "../api.js";
import { FORMATS, requestOf } from "../code.js";
import { gallery, neighbours, origin } from "../gallery.js";
import { deleteJob } from "../jobs.js";
import { useKeys } from "../keyboard.js";
import { modelOf } from "../models.js";
import { modelNameOf } from "../requests.js";
import { go, link } from "../router.js";
import { session } from "../session.js";
import { useStore } from "../store.js";
import { formatBytes, formatNumber, formatTime, parameterLabel, t } from "../text.js";
import { Actions } from "../ui/card.js";
import { confirm } from "../ui/dialog.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { Problem } from "../ui/problem.js";
import { say, sayError } from "../ui/toasts.js";

const TYPES = { PNG: "image/png", WebP: "image/webp", JPEG: "image/jpeg" };
const NOT_SHOWN = new Set(["partial_images", "negative_prompt"]);

export default function ImageView({ params: { id } }) {
  const { value, error, reload } = useLoad(async (signal) => {
    const image = await get(`/v1/images/${id}`, { signal });
    const job = await get(`/v1/jobs/${image.job_id}`, { signal });
    const model = await modelOf(job).catch(() => null);
    return { image, job, model };
  }, [id]);
  if (error && !value) return html`<${Problem} error=${error} onRetry=${reload} />`;
  if (!value || value.image.id !== id) return null;
  return html`<${Page} key=${id} ...${value} />`;
}

function Page({ image, job, model }) {
  useStore(gallery, (state) => state.items.length);
  const { before, after } = neighbours(image.id, job.images);
  const open = (id) => () => (id ? go(link("images", id)) : false);
  const erase = async () => {
    const isSure = await confirm({
      title: t("delete.title"),
      text: t("delete.text", { count: job.images.length }),
      action: t("job.delete"),
    });
    if (!isSure) return;
    try {
      await deleteJob(job.id);
      say(t("delete.done"));
      go(after && !job.images.some(({ id }) => id === after) ? link("images", after) : link("gallery"));
    } catch (problem) {
      sayError(problem);
    }
  };
  useKeys([
    { keys: ["j", "ArrowRight"], label: t("key.next"), run: open(after) },
    { keys: ["k", "ArrowLeft"], label: t("key.previous"), run: open(before) },
    { keys: ["Escape"], label: t("key.back"), run: () => go(origin.link ?? link("gallery", Object.fromEntries(new URLSearchParams(gallery.value.key ?? "")))) },
  ]);
  const step = (icon, label, target) => target
    ? html`<a class="button quiet square" href=${link("images", target)} aria-label=${label} title=${label}><${Icon} name=${icon} /></a>`
    : html`<span class="button quiet square" aria-hidden="true"></span>`;
  return html`<article class="image-view">
    <figure class="stage">
      <img src=${imageAddress(image.id)} alt=${job.prompt || t("create.variation")} width=${image.width} height=${image.height} />
      <figcaption class="row spread">
        ${step("left", t("image.previous"), before)}
        <span class="small muted">${job.n > 1 ? t("image.of", { index: image.index + 1, count: job.images.length }) : `${image.width} × ${image.height}`}</span>
        ${step("right", t("image.next"), after)}
      </figcaption>
    </figure>
    <div class="stack side">
      <h1 class="title">${job.prompt || t("create.variation")}</h1>
      ${job.negative_prompt && html`<p class="small muted">− ${job.negative_prompt}</p>`}
      <${Actions} job=${job} image=${image} labelled onNew=${() => go(link(""))}>
        <button class="quiet danger" onClick=${erase}><${Icon} name="trash" size="16" />${t("job.delete")}</button>
      <//>
      <${Comparison} job=${job} image=${image} />
      <${Downloads} image=${image} />
      <${Code} job=${job} model=${model} />
      <${Parameters} job=${job} image=${image} model=${model} />
      <details><summary>${t("image.receipt")}</summary>
        <p class="small muted">${t("image.receipt.text")}</p>
        <${Receipt} receipt=${image.receipt} />
      </details>
    </div>
  </article>`;
}

/** Of an image that draws another one again: whether it is the same, or what differs. */
function Comparison({ job, image }) {
  const result = job.reproduction?.images.find(({ image_id: id }) => id === image.id);
  if (!result) return null;
  const { reproduces, identical, psnr_db: psnr, max_difference: difference, differences, reason } = result;
  const measures = [psnr !== null && `PSNR ${formatNumber(psnr, { maximumFractionDigits: 1 })} dB`, difference !== null && t("reproduction.difference", { value: difference })];
  return html`<section class="compared" aria-label=${t("reproduction.label")}>
    <h2 class=${identical ? "good" : "warn"}><${Icon} name=${identical ? "check" : "info"} size="16" /> ${t(`reproduction.${identical}`)}</h2>
    ${identical === false && html`<p class="small">${measures.filter(Boolean).join(" · ")}</p>`}
    ${reason && html`<p class="small">${reason}</p>`}
    ${identical !== true && html`<div class="pair-of">${[reproduces, image.id].map((id, index) => html`<figure key=${id}><a href=${link("images", id)}><img src=${imageAddress(id, 256)} alt=${t(index ? "reproduction.this" : "reproduction.original")} /></a>
      <figcaption class="small muted">${t(index ? "reproduction.this" : "reproduction.original")}</figcaption></figure>`)}</div>`}
    ${identical && html`<p class="small"><a href=${link("images", reproduces)}>${t("reproduction.open")}</a></p>`}
    ${Object.keys(differences).length > 0 && html`<dl class="facts">${Object.entries(differences).map(([name, { original, reproduction }]) => html`<div key=${name}><dt>${name.replaceAll("_", " ")}</dt><dd><code>${JSON.stringify(original)}</code> → <code>${JSON.stringify(reproduction)}</code></dd></div>`)}</dl>`}
  </section>`;
}

function Downloads({ image }) {
  const extension = image.media_type.replace("image/", "");
  const convert = async (name) => {
    try {
      const bitmap = await createImageBitmap(await (await fetch(imageAddress(image.id))).blob());
      const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
      canvas.getContext("2d").drawImage(bitmap, 0, 0);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, TYPES[name], 0.92));
      const anchor = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${image.id}.${name.toLowerCase()}` });
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
    } catch (error) {
      sayError(error);
    }
  };
  return html`<div class="row">
    <span class="label">${t("image.download")}</span>
    <a class="button small" href=${imageAddress(image.id)} download="${image.id}.${extension}"><${Icon} name="download" size="14" />${t("image.original")}</a>
    ${Object.keys(TYPES).filter((name) => TYPES[name] !== image.media_type).map((name) => html`<button key=${name} class="small" onClick=${() => convert(name)}>${name}</button>`)}
  </div>`;
}

function Code({ job, model }) {
  const { needs_key: needsKey } = useStore(session);
  const copy = async (name) => {
    try {
      await navigator.clipboard.writeText(FORMATS[name](requestOf(job, model), needsKey));
      say(t("image.copied"));
    } catch (error) {
      sayError(error);
    }
  };
  return html`<div class="row"><span class="label">${t("image.copy")}</span>
    ${Object.keys(FORMATS).map((name) => html`<button key=${name} class="small" onClick=${() => copy(name)}><${Icon} name="copy" size="14" />${name}</button>`)}
  </div>`;
}

function Parameters({ job, image, model }) {
  const names = Object.keys(model?.parameters ?? {}).filter((name) => !NOT_SHOWN.has(name) && name !== "seed");
  const rows = [
    [t("create.model"), modelNameOf(job)],
    [parameterLabel("seed"), html`<code>${image.seed}</code>`],
    ...names.map((name) => [parameterLabel(name), textOf(job[name])]),
    [t("image.file"), `${image.width} × ${image.height} · ${image.media_type.replace("image/", "").toUpperCase()} · ${formatBytes(image.bytes)}`],
    [t("image.created"), formatTime(image.created_at)],
    [t("image.job"), html`<code>${job.id}</code>`],
    job.batch_id && [t("image.batch"), html`<a href=${link("batches", job.batch_id)}><code>${job.batch_id}</code></a>`],
    [t("image.checksum"), html`<code>${image.sha256}</code>`],
    ...Object.entries(job.metadata).map(([name, value]) => [name, html`<a href=${link("gallery", { tag: `${name}=${value}` })}>${value}</a>`]),
  ];
  return html`<section><h2 class="visually-hidden">${t("image.parameters")}</h2>
    <dl class="facts">${rows.filter((row) => row && row[1] !== null).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></section>`;
}

function textOf(value) {
  if (value === null || value === undefined || value === "auto") return null;
  if (typeof value === "number") return formatNumber(value, { useGrouping: false });
  return typeof value === "object" ? html`<code>${JSON.stringify(value)}</code>` : value;
}

function Receipt({ receipt }) {
  return html`<dl class="facts">${Object.entries(receipt).map(([name, value]) => html`<div key=${name}>
    <dt>${name.replaceAll("_", " ")}</dt><dd>${value !== null && typeof value === "object" ? html`<code>${JSON.stringify(value)}</code>` : String(value)}</dd></div>`)}</dl>`;
}
