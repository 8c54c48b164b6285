// For operators: what failed, what took long, what crashed workers, dead deliveries, and storage, of all projects.

import { html } from "../vendor/preact.js";
import { get } from "../api.js";
import { formatAge, formatBytes, formatDuration, formatNumber, formatTime, t } from "../text.js";
import { Problem } from "../ui/problem.js";
import { useRefreshed } from "../ui/refresh.js";

const HOUR = 3600;
const HOURS = 24;
const REFRESH_SECONDS = 30;

/** A report: its path, and the component that shows its answer. */
export const REPORTS = {
  failures: ["/v1/admin/failures", Failures],
  slow: ["/v1/admin/slow_jobs", Slow],
  crashes: ["/v1/admin/crashed_jobs", Crashes],
  deliveries: ["/v1/admin/dead_deliveries", Deliveries],
  storage: ["/v1/admin/storage", Storage],
};

export function Report({ name }) {
  const [path, Content] = REPORTS[name];
  const { value, error, reload } = useRefreshed((signal) => get(path, { signal }), [path], { seconds: REFRESH_SECONDS });
  if (error && !value) return html`<${Problem} error=${error} onRetry=${reload} />`;
  if (!value) return null;
  return html`<p class="small muted">${t(`operator.${name}.text`)}</p>
    ${value.data.length === 0 ? html`<p class="good">${t(`operator.${name}.none`)}</p>` : html`<${Content} list=${value} />`}`;
}

/** columns: names of texts; those with a `+` have numbers. rows: lists of cells. */
function Table({ columns, rows }) {
  const isNumber = (index) => columns[index].endsWith("+");
  return html`<div class="scroll" tabindex="0"><table class="figures">
    <thead><tr>${columns.map((name, index) => html`<th key=${name} scope="col" class=${isNumber(index) ? "number" : ""}>${t(`operator.column.${name.replace("+", "")}`)}</th>`)}</tr></thead>
    <tbody>${rows.map((cells, row) => html`<tr key=${row}>${cells.map((cell, index) => html`<td key=${index} class=${isNumber(index) ? "number" : ""}>${cell}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

const code = (value) => value && html`<code>${value}</code>`;

function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds >= 60) return formatDuration(seconds);
  return formatNumber(seconds, { style: "unit", unit: "second", unitDisplay: "short", maximumFractionDigits: seconds < 10 ? 2 : 0 });
}

function Failures({ list }) {
  const groups = new Map();
  const clockHour = Math.floor(Date.now() / 1000 / HOUR) * HOUR;
  const last = Math.max(clockHour, ...list.data.map((row) => row.start_time)); // the browser's clock may be behind
  for (const { code: name, model, jobs, start_time: start } of list.data) {
    const key = `${name} ${model}`;
    const group = groups.get(key) ?? { name, model, jobs: 0, hours: Array(HOURS + 1).fill(0) };
    const index = HOURS - (last - start) / HOUR;
    if (index >= 0) group.hours[index] += jobs;
    group.jobs += jobs;
    groups.set(key, group);
  }
  const rows = [...groups.values()].sort((one, other) => other.jobs - one.jobs);
  const most = Math.max(1, ...rows.flatMap(({ hours }) => hours));
  return html`${!list.is_complete && html`<p class="notice warn">${t("operator.failures.more")}</p>`}
    <${Table} columns=${["error", "model", "jobs+", "hours"]} rows=${rows.map((row) => [code(row.name), row.model, formatNumber(row.jobs), html`<${Hours} hours=${row.hours} most=${most} last=${last} />`])} />`;
}

/** Jobs an hour, as small bars; the title of each has its number. */
function Hours({ hours, most, last }) {
  return html`<div class="columns small-columns" aria-hidden="true">${hours.map((jobs, index) => html`<i key=${index}
    title="${formatTime(last - (HOURS - index) * HOUR, { timeStyle: "short" })}: ${formatNumber(jobs)}" style=${{ height: `${jobs ? Math.max(8, (100 * jobs) / most) : 0}%` }}></i>`)}</div>`;
}

function Slow({ list }) {
  return html`<${Table} columns=${["job", "project", "model", "state", "wait+", "run+", "total+", "ended"]}
    rows=${list.data.map((job) => [code(job.id), code(job.project_id), job.model, t(`status.${job.status}`), duration(job.wait_seconds), duration(job.run_seconds), duration(job.total_seconds), formatAge(job.finished_at)])} />`;
}

function Crashes({ list }) {
  return html`<${Table} columns=${["job", "project", "model", "state", "crashes+", "attempts+", "workersOf", "crashed"]}
    rows=${list.data.map((job) => [code(job.id), code(job.project_id), job.model, t(`status.${job.status}`), job.crashes, job.attempts, job.workers.join(", "), job.crashed_at ? formatAge(job.crashed_at) : "–"])} />`;
}

function Deliveries({ list }) {
  return html`<${Table} columns=${["destination", "project", "deliveries+", "last"]}
      rows=${list.destinations.map((row) => [code(row.destination), code(row.project_id), formatNumber(row.deliveries), formatAge(row.last_finished_at)])} />
    <${Table} columns=${["event", "destination", "subject", "attempts+", "answer", "ended"]}
      rows=${list.data.map((row) => [code(row.event_type), code(row.destination), code(row.batch_id ?? row.job_id), row.attempts, row.status_code ?? row.error_code, formatAge(row.finished_at)])} />`;
}

function Storage({ list }) {
  return html`<${Table} columns=${["project", "images+", "imageBytes+", "files+", "fileBytes+", "models+", "modelBytes+", "bytes+", "counted"]}
    rows=${list.data.map((row) => [code(row.project_id), formatNumber(row.images), formatBytes(row.image_bytes), formatNumber(row.files), formatBytes(row.file_bytes), formatNumber(row.models), formatBytes(row.model_bytes), formatBytes(row.bytes), row.counted_at ? formatAge(row.counted_at) : "–"])} />`;
}
