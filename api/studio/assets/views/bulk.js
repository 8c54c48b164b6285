// For operators: cancel or retry all jobs that match a filter. They are counted first; no later ones are changed.
//
// The page takes the steps of a run. If it is left or closed, the run stops after the step in hand; the browser stores
// where it was, so that it can go on.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { post } from "../api.js";
import { loadModels } from "../models.js";
import { storedValue } from "../store.js";
import { t } from "../text.js";
import { Action } from "../ui/action.js";
import { confirm } from "../ui/dialog.js";
import { useLoad } from "../ui/load.js";
import { problemOf } from "../ui/problem.js";

const STATUSES = { cancel: ["queued", "in_progress"], retry: ["failed", "expired", "cancelled"] };
const TEXTS = ["queue", "project_id", "batch_id"];

/** The run that was left: its action, its fields and its progress, with the token of its next step. */
const run = storedValue("bulk");

/** The filter of the API. Throws an error in words if the tag is not `key=value`: without it, all jobs would match. */
function filterOf({ status, tag, created_after: after, created_before: before, ...values }) {
  const filter = Object.fromEntries(Object.entries(values).filter(([, value]) => value));
  if (status) filter.status = [status];
  if (after) filter.created_after = Math.floor(Date.parse(after) / 1000);
  if (before) filter.created_before = Math.floor(Date.parse(before) / 1000);
  if (tag) {
    const [key, ...value] = tag.split("=");
    if (!key.trim() || value.length === 0) throw new Error(t("operator.bulk.tag"));
    filter.metadata = { [key.trim()]: value.join("=").trim() };
  }
  return filter;
}

/** The progress of a run after another step. */
function add({ jobs, skipped }, step) {
  const reasons = { ...skipped };
  for (const [reason, count] of Object.entries(step.skipped_jobs)) reasons[reason] = (reasons[reason] ?? 0) + count;
  return { jobs: jobs + step.jobs, skipped: reasons, token: step.token, isOver: false };
}

/** progress.token: of the next step; null after the last one. progress.isOver: no step runs. */
export function Bulk() {
  const stored = useMemo(() => run.read(), []);
  const [action, setAction] = useState(stored?.action ?? "cancel");
  const [values, setValues] = useState(stored?.values ?? {});
  const [count, setCount] = useState(null);
  const [error, setError] = useState(null);
  const [progress, setProgress] = useState(stored?.progress ?? null);
  const isStopped = useRef(false);
  const changes = useRef(0);
  const form = useRef(null);
  const { value: models } = useLoad(loadModels);
  const path = `/v1/admin/jobs/${action}`;
  useEffect(() => () => { isStopped.current = true; }, []);
  const change = (next) => {
    run.write(null);
    changes.current += 1;
    setCount(null);
    setProgress(null);
    setError(null);
    next();
  };
  const set = (name, value) => change(() => setValues((before) => ({ ...before, [name]: value })));
  /** Do something with the filter as it is. What comes of it is dropped if a field changes meanwhile. */
  const attempt = async (act) => {
    if (!form.current.reportValidity()) return; // a date that is half filled in has no value
    const number = changes.current;
    const isSame = () => number === changes.current;
    setError(null);
    try {
      await act(isSame);
    } catch (problem) {
      if (isSame()) setError(problem);
    }
  };
  const measure = () => attempt(async (isSame) => {
    setCount(null);
    setProgress(null);
    const answer = await post(path, { filter: filterOf(values) });
    if (isSame()) setCount(answer);
  });
  /** Take the steps from a token on. One that fails can be repeated: no job is changed twice. */
  const steps = async (first) => {
    let current = { ...first, isOver: false };
    setCount(null);
    try {
      while (current.token && !isStopped.current) {
        setProgress(current);
        run.write({ action, values, progress: { ...current, isOver: true } });
        current = add(current, await post(path, { token: current.token }));
      }
    } finally {
      run.write(current.token ? { action, values, progress: { ...current, isOver: true } } : null);
      setProgress({ ...current, isOver: true });
    }
  };
  const start = () => attempt(async () => {
    isStopped.current = false;
    const title = t(`operator.bulk.${action}.${count.is_exact ? "confirm" : "confirmAtLeast"}`, { count: count.jobs });
    const isSure = await confirm({ title, text: t(`operator.bulk.${action}.text`), action: t(`operator.bulk.${action}`) });
    if (isSure && !isStopped.current) await steps({ jobs: 0, skipped: {}, token: count.token });
  });
  const goOn = () => attempt(async () => {
    isStopped.current = false;
    await steps(progress);
  });
  const isBusy = progress !== null && !progress.isOver;
  const isPart = progress !== null && progress.isOver && progress.token !== null;
  useEffect(() => {
    if (!isBusy) return;
    const ask = (event) => event.preventDefault(); // the browser asks whether to leave the page
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [isBusy]);
  return html`<form ref=${form} class="stack" onSubmit=${(event) => event.preventDefault()}>
    <p class="small muted">${t("operator.bulk.intro")}</p>
    <fieldset class="stack" disabled=${isBusy}>
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
    </fieldset>
    <div class="row"><${Action} run=${measure} disabled=${isBusy}>${t("operator.bulk.count")}<//>
      ${count && html`<b role="status">${t(count.is_exact ? "operator.bulk.matches" : "operator.bulk.atLeast", { count: count.jobs })}</b>`}
      ${count && (count.jobs > 0 || !count.is_exact) && html`<${Action} kind="danger" run=${start} disabled=${isBusy}>${t(`operator.bulk.${action}.${count.is_exact ? "jobs" : "jobsAtLeast"}`, { count: count.jobs })}<//>`}
      ${isPart && html`<${Action} kind="danger" run=${goOn}>${t("operator.bulk.goOn")}<//>`}
      ${isBusy && html`<button type="button" onClick=${() => { isStopped.current = true; }}>${t("operator.bulk.stop")}</button>`}</div>
    ${progress && html`<p role="status" class=${progress.isOver && !isPart ? "good" : ""}>${t(`operator.bulk.${action}.done`, { count: progress.jobs })}
      ${Object.entries(progress.skipped).map(([reason, jobs]) => html` <span key=${reason} class="muted">${t("operator.bulk.skipped", { jobs, reason: reason.replaceAll("_", " ") })}</span>`)}</p>`}
    ${isBusy && html`<p class="small muted">${t("operator.bulk.stay")}</p>`}
    ${isPart && html`<p class="notice warn"><span>${t("operator.bulk.part")}</span></p>`}
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
