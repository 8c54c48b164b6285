// The list of fine-tuning jobs, and a new one: images, their descriptions, a word for what they show.

import { html, useMemo, useState } from "../vendor/preact.js";
import { createTraining, isFinalTraining, loadTrainings, nameOfTraining, readFiles, suffixOf, trainable } from "../finetuning.js";
import { loadModels } from "../models.js";
import { go, link } from "../router.js";
import { hasScope, session } from "../session.js";
import { useStore } from "../store.js";
import { formatAge, formatBytes, formatDuration, formatNumber, t } from "../text.js";
import { Drop } from "../ui/drop.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { useRows } from "../ui/pages.js";
import { Empty, Problem, problemOf } from "../ui/problem.js";
import { sayError } from "../ui/toasts.js";

const TYPES = "image/*,.txt,.zip,.jsonl";
export const CHIPS = { succeeded: "completed", failed: "failed", running: "in_progress", queued: "queued", validating_files: "queued", cancelled: "cancelled" };

export default function FineTuning({ query }) {
  const [files, setFiles] = useState(null);
  const canSubmit = hasScope(useStore(session), "submit");
  const { rows, error, reload, more, isMore } = useRows(loadTrainings, [], (job) => !isFinalTraining(job));
  const { value: models } = useLoad(loadModels);
  const bases = trainable(models ?? []);
  const add = (chosen) => readFiles(chosen).then((next) => setFiles((before) => (next.archive ? next : { ...next, examples: [...(before?.examples ?? []), ...next.examples] })), sayError);
  if (files) return html`<${New} files=${files} onFiles=${add} onExamples=${(examples) => setFiles({ ...files, examples })} bases=${bases} base=${query.get("model")} onClose=${() => setFiles(null)} />`;
  const hasModels = models === undefined || bases.length > 0;
  return html`<div class="heading"><h1>${t("nav.finetuning")}</h1></div>
    ${error && !rows && html`<${Problem} error=${error} onRetry=${reload} />`}
    ${!hasModels && html`<${Empty} icon="finetuning" title=${t("tune.noModel")}><p>${t("tune.noModel.text")} <code>fine_tuning</code></p><//>`}
    ${hasModels && canSubmit && html`<${Drop} label=${t("tune.new")} title=${t("tune.drop")} text=${t("tune.drop.text")} types=${TYPES} multiple action=${t("tune.choose")} onFiles=${add} />`}
    ${hasModels && rows?.length === 0 && html`<${Empty} icon="finetuning" title=${t("tune.empty")}><p>${t(canSubmit ? "tune.empty.text" : "tune.empty.readOnly")}</p><//>`}
    ${rows?.length > 0 && html`<ul class="list" aria-label=${t("nav.finetuning")}>${rows.map((job) => html`<${Row} key=${job.id} job=${job} />`)}</ul>`}
    ${isMore && html`<p class="center"><button onClick=${() => more().catch(sayError)}>${t("more")}</button></p>`}`;
}

function Row({ job }) {
  return html`<li class="item">
    <a class="name truncate" href=${link("fine-tuning", job.id)}>${nameOfTraining(job)}</a>
    <span class="chip ${CHIPS[job.status]}">${t(`tune.status.${job.status}`)}</span>
    <span class="muted small number">${job.trained_images !== null && t("tune.images", { count: job.trained_images })}</span>
    <span class="muted small number">${formatAge(job.created_at)}</span>
    ${job.status === "running" && html`<${Steps} job=${job} />`}
  </li>`;
}

/** The bar of the steps that are done. */
export function Steps({ job }) {
  return html`<div class="bar" role="progressbar" aria-label=${t("tune.progress")} aria-valuemin="0" aria-valuemax=${job.total_steps} aria-valuenow=${job.step}>
    <i class=${job.status === "succeeded" ? "completed" : "in_progress"} style=${{ width: `${(100 * job.step) / job.total_steps}%` }}></i></div>`;
}

function New({ files, onFiles, onExamples, bases, base, onClose }) {
  const { archive, examples } = files;
  const [word, setWord] = useState("");
  const [modelId, setModelId] = useState(base);
  const [values, setValues] = useState({});
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const key = useMemo(() => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, []);
  const model = bases.find(({ id }) => id === modelId) ?? bases[0];
  const text = word.trim() ? t("tune.text.default", { word: word.trim() }) : "";
  const empty = examples.filter((example) => !example.text.trim()).length;
  const isReady = model && (archive || (examples.length > 0 && (empty === 0 || text)));
  const change = (name, value) => setValues(({ [name]: _, ...rest }) => (value === undefined ? rest : { ...rest, [name]: value }));
  const start = async (event) => {
    event.preventDefault();
    if (!isReady || isBusy) return;
    setBusy(true);
    setError(null);
    try {
      const job = await createTraining({ archive, examples, text, model: model.id, word, values, key });
      go(link("fine-tuning", job.id));
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return html`<form class="stack" onSubmit=${start}>
    <div class="heading"><h1>${t("tune.new")}</h1>
      <button type="button" onClick=${onClose}>${t("cancel")}</button>
      <button class="primary" disabled=${!isReady || isBusy}>${t(isBusy ? "batch.uploading" : "tune.start")}</button></div>
    ${error && html`<p class="error" role="alert">${problemOf(error).title} ${problemOf(error).advice}</p>`}
    <div class="create">
      <section class="stack" aria-label=${t("create.options")}>
        <label class="field"><span>${t("tune.word")}</span>
          <input type="text" name="word" maxlength="64" placeholder="zorble" value=${word} onInput=${(event) => setWord(event.target.value)} /></label>
        <p class="small muted">${t("tune.word.text")}${suffixOf(word) && html` <code>ft:${model?.id}:…:${suffixOf(word)}:…</code>`}</p>
        ${bases.length > 1 && html`<label class="field"><span>${t("create.model")}</span>
          <select name="model" onChange=${(event) => setModelId(event.target.value)}>${bases.map(({ id }) => html`<option key=${id} value=${id} selected=${id === model?.id}>${id}</option>`)}</select></label>`}
        ${model && html`<${Facts} spec=${model.fine_tuning} values=${values} images=${archive ? null : examples.length} />
          <${Hyperparameters} spec=${model.fine_tuning} values=${values} onChange=${change} />`}
      </section>
      <section class="stack" aria-label=${t("tune.examples")}>
        ${archive && html`<p class="notice"><${Icon} name="check" size="16" /><span><b>${archive.name}</b>, ${formatBytes(archive.size)}. ${t("tune.archive")}</span></p>`}
        ${!archive && html`<p class="small muted">${t("tune.examples.text")}</p>
          <ul class="examples">${examples.map((example, index) => html`<${Example} key=${example.image.length + example.name} example=${example} placeholder=${text}
            onChange=${(next) => onExamples(next ? examples.with(index, next) : examples.toSpliced(index, 1))} />`)}</ul>
          <${Drop} label=${t("tune.more")} title=${t("tune.more")} text=${t("tune.more.text")} types=${TYPES} multiple action=${t("tune.choose")} onFiles=${onFiles} />`}
      </section>
    </div>
  </form>`;
}

/** An image with its description. onChange(null) removes it. */
function Example({ example, placeholder, onChange }) {
  const label = t("tune.text.of", { name: example.name });
  return html`<li class="example">
    <img src=${example.image} alt=${example.name} />
    <textarea rows="2" aria-label=${label} placeholder=${placeholder || t("tune.text")} value=${example.text} onInput=${(event) => onChange({ ...example, text: event.target.value })}></textarea>
    <button type="button" class="quiet square" aria-label=${t("tune.remove", { name: example.name })} title=${t("tune.remove", { name: example.name })} onClick=${() => onChange(null)}><${Icon} name="trash" size="16" /></button>
  </li>`;
}

/** How much it is, and how long it takes. images: null if only the file says it. */
function Facts({ spec, values, images }) {
  const steps = values.steps ?? spec.steps;
  const batch = Math.min(values.batch_size ?? spec.batch_size, images || Infinity);
  const facts = [
    [t("create.n"), images === null ? "–" : formatNumber(images)],
    [t("parameter.steps"), formatNumber(steps)],
    [t("tune.seen"), images ? t("tune.times", { count: Math.max(1, Math.round((steps * batch) / images)) }) : "–"],
    [t("batch.fact.time"), spec.seconds_per_step ? formatDuration(steps * spec.seconds_per_step) : "–"],
  ];
  return html`<dl class="numbers few">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${images !== null && images > 0 && images < 8 && html`<p class="small muted">${t("tune.few")}</p>`}`;
}

function Hyperparameters({ spec, values, onChange }) {
  const fields = [
    ["steps", spec.steps, spec.max_steps],
    ["batch_size", spec.batch_size, spec.max_batch_size],
    ["learning_rate", spec.learning_rate, 1],
    ["rank", spec.rank, spec.max_rank],
    ["resolution", spec.resolution, spec.max_resolution],
    ["seed", null, 2147483647],
  ];
  return html`<details><summary>${t("create.more")}</summary><div class="stack">${fields.map(([name, usual, most]) => html`<label key=${name} class="field"><span>${t(`tune.${name}`)}</span>
    <input type="number" name=${name} min=${name === "seed" ? 0 : name === "learning_rate" ? "0.000001" : name === "resolution" ? 8 : 1} max=${most ?? undefined} step=${name === "learning_rate" ? "any" : name === "resolution" ? 8 : 1}
      placeholder=${usual ?? t("create.random")} value=${values[name] ?? ""} onInput=${(event) => onChange(name, event.target.value === "" ? undefined : Number(event.target.value))} /></label>`)}</div></details>`;
}
