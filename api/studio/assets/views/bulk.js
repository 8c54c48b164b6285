// For operators: cancel or retry all jobs that match a filter. They are counted first; no later ones are changed.

import { html, useRef, useState } from "../vendor/preact.js";
import { post } from "../api.js";
import { loadModels } from "../models.js";
import { t } from "../text.js";
import { Action } from "../ui/action.js";
import { confirm } from "../ui/dialog.js";
import { useLoad } from "../ui/load.js";
import { problemOf } from "../ui/problem.js";

const STATUSES = { cancel: ["queued", "in_progress"], retry: ["failed", "expired", "cancelled"] };
const TEXTS = ["queue", "project_id", "batch_id"];

function filterOf({ status, tag, created_after: after, created_before: before, ...values }) {
  const filter = Object.fromEntries(Object.entries(values).filter(([, value]) => value));
  if (status) filter.status = [status];
  if (after) filter.created_after = Math.floor(Date.parse(after) / 1000);
  if (before) filter.created_before = Math.floor(Date.parse(before) / 1000);
  const [key, ...value] = (tag ?? "").split("=");
  if (key && value.length) filter.metadata = { [key.trim()]: value.join("=").trim() };
  return filter;
}

export function Bulk() {
  const [action, setAction] = useState("cancel");
  const [values, setValues] = useState({});
  const [count, setCount] = useState(null);
  const [error, setError] = useState(null);
  const [progress, setProgress] = useState(null);
  const isStopped = useRef(false);
  const { value: models } = useLoad(loadModels);
  const path = `/v1/admin/jobs/${action}`;
  const change = (next) => {
    setCount(null);
    setProgress(null);
    setError(null);
    next();
  };
  const set = (name, value) => change(() => setValues((before) => ({ ...before, [name]: value })));
  const attempt = async (run) => {
    setError(null);
    try {
      await run();
    } catch (problem) {
      setError(problem);
    }
  };
  const measure = () => attempt(async () => setCount(await post(path, { filter: filterOf(values) })));
  const start = () => attempt(async () => {
    const text = t(`operator.bulk.${action}.confirm`, { count: count.jobs });
    if (!(await confirm({ title: text, text: t(`operator.bulk.${action}.text`), action: t(`operator.bulk.${action}`) }))) return;
    isStopped.current = false;
    const done = { jobs: 0, skipped: {}, isOver: false };
    for (let token = count.token; token && !isStopped.current; ) {
      const step = await post(path, { token });
      done.jobs += step.jobs;
      for (const [reason, jobs] of Object.entries(step.skipped_jobs)) done.skipped[reason] = (done.skipped[reason] ?? 0) + jobs;
      token = step.token;
      setProgress({ ...done, isOver: !token });
    }
    setCount(null);
    setProgress({ ...done, isOver: true });
  });
  const isBusy = progress !== null && !progress.isOver;
  return html`<form class="stack" onSubmit=${(event) => event.preventDefault()}>
    <p class="small muted">${t("operator.bulk.intro")}</p>
    <div class="row"><div class="segments" role="group" aria-label=${t("operator.bulk.action")}>${Object.keys(STATUSES).map((name) => html`<label key=${name}><input type="radio" name="action" checked=${name === action} onChange=${() => change(() => {
      setAction(name);
      setValues(({ status: _, error_code: __, ...rest }) => rest);
    })} /><span>${t(`operator.bulk.${name}`)}</span></label>`)}</div></div>
    <div class="fields broad">
      <${Select} name="status" label=${t("gallery.status")} options=${STATUSES[action]} text=${(name) => t(`status.${name}`)} first=${t(`operator.bulk.${action}.status`)} values=${values} onChange=${set} />
      <${Select} name="model" label=${t("gallery.model")} options=${(models ?? []).map(({ id }) => id)} text=${(name) => name} first=${t("gallery.all")} values=${values} onChange=${set} />
      ${action === "retry" && html`<${Input} name="error_code" values=${values} onChange=${set} />`}
      ${TEXTS.map((name) => html`<${Input} key=${name} name=${name} values=${values} onChange=${set} />`)}
      <${Input} name="tag" values=${values} onChange=${set} />
      <${Input} name="created_after" type="datetime-local" values=${values} onChange=${set} />
      <${Input} name="created_before" type="datetime-local" values=${values} onChange=${set} />
    </div>
    <div class="row"><${Action} run=${measure} disabled=${isBusy}>${t("operator.bulk.count")}<//>
      ${count && html`<b role="status">${t(count.is_exact ? "operator.bulk.matches" : "operator.bulk.atLeast", { count: count.jobs })}</b>`}
      ${count && (count.jobs > 0 || !count.is_exact) && html`<${Action} kind="danger" run=${start} disabled=${isBusy}>${t(`operator.bulk.${action}.jobs`, { count: count.jobs })}<//>`}
      ${isBusy && html`<button type="button" onClick=${() => { isStopped.current = true; }}>${t("operator.bulk.stop")}</button>`}</div>
    ${progress && html`<p role="status" class=${progress.isOver ? "good" : ""}>${t(`operator.bulk.${action}.done`, { count: progress.jobs })}
      ${Object.entries(progress.skipped).map(([reason, jobs]) => html` <span key=${reason} class="muted">${t("operator.bulk.skipped", { jobs, reason: reason.replaceAll("_", " ") })}</span>`)}</p>`}
    ${error && html`<p class="error" role="alert">${problemOf(error).title} ${problemOf(error).advice}</p>`}
  </form>`;
}

function Select({ name, label, options, text, first, values, onChange }) {
  return html`<label class="field"><span>${label}</span><select name=${name} onChange=${(event) => onChange(name, event.target.value)}>
    <option value="" selected=${!values[name]}>${first}</option>
    ${options.map((option) => html`<option key=${option} value=${option} selected=${option === values[name]}>${text(option)}</option>`)}</select></label>`;
}

function Input({ name, type = "text", values, onChange }) {
  return html`<label class="field"><span>${t(`operator.filter.${name}`)}</span><input type=${type} name=${name} value=${values[name] ?? ""} onInput=${(event) => onChange(name, event.target.value.trim())} /></label>`;
}
