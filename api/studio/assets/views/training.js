// One fine-tuning job: its steps and losses as they come, its models, its errors; cancel it, use or delete its model.

import { html, useEffect } from "../vendor/preact.js";
import { cancelTraining, deleteModel, existing, isFinalTraining, loadCheckpoints, loadEvents, loadTraining, nameOfTraining, secondsLeft } from "../finetuning.js";
import { useKeys } from "../keyboard.js";
import { draft } from "../requests.js";
import { go, link } from "../router.js";
import { hasScope, session } from "../session.js";
import { useStore } from "../store.js";
import { formatDuration, formatNumber, formatTime, t } from "../text.js";
import { Action } from "../ui/action.js";
import { confirm } from "../ui/dialog.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { useRows } from "../ui/pages.js";
import { Problem, problemOf } from "../ui/problem.js";
import { useRefreshed } from "../ui/refresh.js";
import { say, sayError } from "../ui/toasts.js";
import { CHIPS, Steps } from "./finetuning.js";

const SECONDS = 2;
const PATIENCE_SECONDS = 30;
const CHART_EVENTS = 300;
const FACTS = ["n_epochs", "steps", "batch_size", "learning_rate", "rank", "resolution"];

export default function Training({ params: { id } }) {
  const canChange = (job) => job === undefined || !isFinalTraining(job);
  const { value: job, error, reload } = useRefreshed((signal) => loadTraining(id, signal), [id], { seconds: SECONDS, canChange });
  useKeys([{ keys: ["Escape"], label: t("key.back"), run: () => go(link("fine-tuning")) }]);
  if (error && !job) return html`<${Problem} error=${error} onRetry=${reload} />`;
  return job ? html`<${Page} key=${id} job=${job} reload=${reload} />` : null;
}

function Page({ job, reload }) {
  const isFinal = isFinalTraining(job);
  const { rows: events, more, isMore } = useRows((after, signal) => loadEvents(job.id, after, signal), [job.id, isFinal], () => !isFinal);
  const metrics = (events ?? []).filter(({ type }) => type === "metrics");
  const mustLoadMore = isMore && events.length < CHART_EVENTS;
  useEffect(() => {
    if (mustLoadMore) more().catch(sayError);
  }, [mustLoadMore, events?.length]);
  return html`<div class="heading">
      <h1 class="truncate">${nameOfTraining(job)}</h1>
      <span class="chip ${CHIPS[job.status]}">${t(`tune.status.${job.status}`)}</span>
      <${Actions} job=${job} reload=${reload} />
    </div>
    <section class="stack" aria-label=${t("tune.progress")}>
      ${job.total_steps !== null && html`<${Steps} job=${job} />`}
      <p class="small muted" role="status">${words(job, metrics)}</p>
      ${hasWaited(job) && html`<p class="notice warn"><span>${t("tune.noWorker")} <code>safelight training</code></span></p>`}
      ${job.error && html`<div class="notice warn" role="alert"><span><b>${problemOf(job.error).title}</b> ${problemOf(job.error).advice}</span></div>`}
      ${job.warnings.map(({ message }) => html`<p key=${message} class="small muted">${message}</p>`)}
    </section>
    ${metrics.length > 1 && html`<${Losses} metrics=${metrics} total=${job.total_steps} />`}
    <${Models} job=${job} />
    <section class="stack apart" aria-label=${t("image.parameters")}><h2>${t("image.parameters")}</h2>
      <dl class="facts narrow">${facts(job).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></section>
    <section class="stack apart" aria-label=${t("tune.events")}><h2>${t("tune.events")}</h2>
      <ul class="events">${(events ?? []).map((event) => html`<li key=${event.id} class=${event.level === "info" ? "" : "error"}><time class="muted small">${formatTime(event.created_at, { timeStyle: "medium" })}</time> <span>${event.message}</span></li>`)}</ul>
      ${isMore && !mustLoadMore && html`<p class="center"><${Action} run=${more}>${t("more")}<//></p>`}</section>`;
}

/** Whether no worker has taken the job for a while. */
function hasWaited(job) {
  return job.status === "validating_files" && Date.now() / 1000 - job.created_at > PATIENCE_SECONDS;
}

/** What the job does now, and until when; or how long it took. */
function words(job, metrics) {
  if (isFinalTraining(job)) return job.finished_at ? t("batch.took", { time: formatTime(job.finished_at), duration: formatDuration(job.finished_at - job.created_at) }) : "";
  if (job.status !== "running") return t(`tune.status.${job.status}.text`);
  if (job.step === 0) return t("job.starting");
  const left = secondsLeft(job, metrics);
  const step = t("job.step", { step: job.step, steps: job.total_steps });
  return left ? `${step} · ${t("job.left", { time: formatDuration(left) })}` : step;
}

function Actions({ job, reload }) {
  const canSubmit = hasScope(useStore(session), "submit");
  const cancel = async () => {
    const isSure = await confirm({ title: t("tune.cancel.title"), text: t("tune.cancel.text"), action: t("tune.cancel") });
    if (!isSure) return;
    await cancelTraining(job.id);
    reload();
  };
  if (!canSubmit) return null;
  if (!isFinalTraining(job)) return html`<${Action} run=${cancel}>${t("tune.cancel")}<//>`;
  return job.status === "succeeded" && html`<${Use} name=${job.fine_tuned_model} kind="primary" />`;
}

/** Opens `create` with the model. */
function Use({ name, kind = "small" }) {
  return html`<a class="button ${kind}" href=${link("")} onClick=${() => draft.write({ model: name })}><${Icon} name="create" size="14" />${t("model.use")}</a>`;
}

/** The model of the job, and those of its checkpoints, as long as they are there. */
function Models({ job }) {
  const canSubmit = hasScope(useStore(session), "submit");
  const load = async (signal) => {
    const checkpoints = await loadCheckpoints(job.id, signal);
    const models = await existing(job.fine_tuned_model ? [job.fine_tuned_model] : []);
    return [
      ...models.map((name) => ({ name, step: job.total_steps, loss: null })),
      ...checkpoints.map((item) => ({ name: item.fine_tuned_model_checkpoint, step: item.step_number, loss: item.metrics.train_loss })),
    ];
  };
  const thirds = Math.floor((3 * job.step) / (job.total_steps || 1)); // when checkpoints are made
  const { value: rows = [], reload } = useLoad(load, [job.id, job.status, thirds]);
  if (rows.length === 0) return null;
  const erase = async (name) => {
    const isSure = await confirm({ title: t("tune.delete.title"), text: t("tune.delete.text"), action: t("job.delete") });
    if (!isSure) return;
    await deleteModel(name);
    say(t("delete.done"));
    reload();
  };
  return html`<section class="stack apart" aria-label=${t("tune.models")}><h2>${t("tune.models")}</h2>
    <p class="small muted">${t("tune.models.text")}</p>
    <ul class="list">${rows.map(({ name, step, loss }) => html`<li key=${name} class="item model">
      <code class="wrap">${name}</code>
      <span class="muted small">${t("tune.afterStep", { step })}${loss !== null && ` · ${t("tune.loss")} ${formatNumber(loss, { maximumFractionDigits: 4 })}`}</span>
      <span class="row end"><${Use} name=${name} />${canSubmit && html`<${Action} kind="small quiet" icon="trash" label=${t("tune.delete", { name })} run=${() => erase(name)} />`}</span>
    </li>`)}</ul></section>`;
}

/** The mean losses of the steps as a line. Its ends are in words, too. */
function Losses({ metrics, total }) {
  const points = [...metrics].reverse().map(({ data }) => [data.step, data.train_loss]);
  const values = points.map(([, loss]) => loss);
  const low = Math.min(...values);
  const range = Math.max(...values) - low || 1;
  const path = points.map(([step, loss]) => `${((100 * step) / total).toFixed(2)},${(38 - (36 * (loss - low)) / range).toFixed(2)}`).join(" ");
  const number = (value) => formatNumber(value, { maximumFractionDigits: 4 });
  const caption = t("tune.loss.chart", { first: number(values[0]), last: number(values.at(-1)), step: points.at(-1)[0] });
  return html`<figure class="chart losses"><svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label=${caption}><polyline points=${path} /></svg>
    <figcaption class="small muted">${caption}</figcaption></figure>`;
}

function facts(job) {
  const parameters = job.method.supervised.hyperparameters;
  const value = (name) => (parameters[name] === null || parameters[name] === undefined ? null : typeof parameters[name] === "number" ? formatNumber(parameters[name], { maximumSignificantDigits: 6 }) : parameters[name]);
  return [
    [t("create.model"), job.model],
    job.trained_images !== null && [t("create.n"), formatNumber(job.trained_images)],
    ...FACTS.map((name) => value(name) !== null && [t(`tune.${name}`), value(name)]),
    [t("tune.seed"), String(job.seed)],
    [t("image.job"), job.id],
    [t("tune.file"), job.training_file],
    [t("image.created"), formatTime(job.created_at)],
  ].filter(Boolean);
}
