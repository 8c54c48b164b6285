// For operators: the queues and the workers of all projects; pause, drain and resume them. Reports on what went wrong.

import { html } from "../vendor/preact.js";
import { get, post } from "../api.js";
import { link } from "../router.js";
import { formatBytes, formatDuration, formatNumber, t } from "../text.js";
import { Action } from "../ui/action.js";
import { confirm } from "../ui/dialog.js";
import { Problem } from "../ui/problem.js";
import { useRefreshed } from "../ui/refresh.js";
import { Bulk } from "./bulk.js";
import { Report, REPORTS } from "./reports.js";

const CHIPS = { running: "completed", paused: "failed", draining: "queued", drained: "cancelled" };

async function load(signal) {
  const [queues, workers] = await Promise.all([get("/v1/admin/queues", { signal }), get("/v1/admin/workers", { signal })]);
  return { queues: queues.data, workers: workers.data };
}

export default function Operator({ query }) {
  const name = query.get("report");
  const report = name === "bulk" || Object.hasOwn(REPORTS, name) ? name : "";
  const tab = (value) => html`<a key=${value} href=${link("operator", { report: value })} aria-current=${value === report ? "page" : undefined}>${t(`operator.report.${value || "now"}`)}</a>`;
  return html`<div class="heading"><h1>${t("nav.operator")}</h1></div>
    <nav class="tabs" aria-label=${t("operator.reports")}>${["", ...Object.keys(REPORTS), "bulk"].map(tab)}</nav>
    ${report === "bulk" ? html`<${Bulk} />` : report ? html`<${Report} key=${report} name=${report} />` : html`<${Now} />`}`;
}

/** The queues and workers as they are. */
function Now() {
  const { value, error, reload } = useRefreshed(load);
  if (error && !value) return html`<${Problem} error=${error} onRetry=${reload} />`;
  return value && html`<${Queues} queues=${value.queues} onDone=${reload} /><${Workers} workers=${value.workers} onDone=${reload} />`;
}

function Queues({ queues, onDone }) {
  const columns = ["name", "state", "depth", "running", "oldest", "rate", "drain", "workers"];
  const isNumber = (name) => name !== "name" && name !== "state";
  return html`<section aria-label=${t("operator.queues")}><h2>${t("operator.queues")}</h2><div class="scroll"><table class="figures wide-table">
    <thead><tr>${columns.map((name) => html`<th key=${name} scope="col" class=${isNumber(name) ? "number" : ""}>${t(`operator.queue.${name}`)}</th>`)}<td></td></tr></thead>
    <tbody>${queues.map((queue) => html`<tr key=${queue.name}>
      <th scope="row"><code>${queue.name}</code></th><td><${State} state=${queue.state} /></td>
      <td class="number">${formatNumber(queue.depth)}</td><td class="number">${formatNumber(queue.in_progress)}</td>
      <td class="number">${queue.oldest_seconds === null ? "–" : formatDuration(queue.oldest_seconds)}</td>
      <td class="number">${t("operator.perMinute", { count: Math.round(queue.finished_per_minute) })}</td>
      <td class="number">${queue.depth === 0 ? "–" : queue.drain_seconds === null ? t("operator.never") : formatDuration(queue.drain_seconds)}</td>
      <td class="number ${queue.workers === 0 ? "error" : ""}">${queue.ready_workers === queue.workers ? formatNumber(queue.workers) : t("operator.ready", { ready: queue.ready_workers, workers: queue.workers })}</td>
      <td><${Controls} kind="queues" subject=${queue} onDone=${onDone} /></td></tr>`)}</tbody>
  </table></div></section>`;
}

function Workers({ workers, onDone }) {
  return html`<section class="apart" aria-label=${t("operator.workers")}><h2>${t("operator.workers")}</h2>
    ${workers.length === 0 && html`<p class="notice warn">${t("operator.noWorkers")} <code>safelight worker</code></p>`}
    <div class="model-cards">${workers.map((worker) => html`<${Worker} key=${worker.name} worker=${worker} onDone=${onDone} />`)}</div></section>`;
}

function Worker({ worker, onDone }) {
  const now = Date.now() / 1000;
  const rows = [
    [t("operator.queues"), worker.queues.join(", ")],
    [t("operator.device"), worker.device],
    [t("operator.memory"), memoryOf(worker)],
    [t("operator.loaded"), worker.loaded_models?.join(", ")],
    [t("operator.hand"), worker.is_idle ? t("operator.idle") : t("operator.jobs", { count: worker.job_ids.length, models: worker.models.join(", ") })],
    worker.started_at && [t("operator.since"), formatDuration(now - worker.started_at)],
    worker.lease_expires_at && [t("operator.lease"), formatDuration(Math.max(1, worker.lease_expires_at - now))],
    worker.last_heartbeat_at && [t("operator.heartbeat"), t("operator.ago", { time: formatDuration(now - worker.last_heartbeat_at) })],
  ];
  return html`<article class="panel stack" aria-label=${worker.name}>
    <div class="row spread"><h3><code>${worker.name}</code></h3>${worker.is_ready ? html`<${State} state=${worker.state} />` : html`<span class="chip queued">${t("model.state.loading")}</span>`}</div>
    <dl class="facts">${rows.filter((row) => row && row[1]).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <${Controls} kind="workers" subject=${worker} onDone=${onDone} />
  </article>`;
}

function memoryOf({ device_bytes: weights, device_capacity_bytes: capacity, resident_bytes: resident }) {
  const parts = [
    resident && t("operator.ram", { size: formatBytes(resident) }),
    weights && t(capacity ? "operator.weightsOf" : "operator.weights", { size: formatBytes(weights), capacity: capacity ? formatBytes(capacity) : "" }),
  ];
  return parts.filter(Boolean).join(" · ");
}

function State({ state }) {
  return html`<span class="chip ${CHIPS[state]}">${t(`operator.state.${state}`)}</span>`;
}

/** Pause and drain, or resume. kind: `queues` or `workers`. */
function Controls({ kind, subject, onDone }) {
  const pathOf = (name, verb) => `/v1/admin/${kind}/${encodeURIComponent(name)}/${verb}`;
  /** A worker whose host is paused or drains is still so after its own pause has ended. */
  const resumeHost = async () => {
    const { data } = await get("/v1/admin/workers");
    if (!data.some(({ name, state }) => name === subject.name && state !== "running")) return;
    const isSure = await confirm({ title: t("operator.host.title", { name: subject.host }), text: t("operator.host.text"), action: t("operator.resume") });
    if (!isSure) return;
    await post(pathOf(subject.host, "resume"));
    onDone();
  };
  const call = async (verb) => {
    if (verb !== "resume") {
      const isSure = await confirm({ title: t(`operator.${verb}.title`, { name: subject.name }), text: t(`operator.${verb}.${kind}`), action: t(`operator.${verb}`) });
      if (!isSure) return;
    }
    await post(pathOf(subject.name, verb));
    onDone();
    if (verb === "resume" && kind === "workers") await resumeHost();
  };
  const verbs = subject.state === "running" ? ["pause", "drain"] : ["resume"];
  return html`<div class="row">${verbs.map((verb) => html`<${Action} key=${verb} kind="small" label="${t(`operator.${verb}`)}: ${subject.name}" run=${() => call(verb)}>${t(`operator.${verb}`)}<//>`)}</div>`;
}
