// What the project, or for an operator all projects, has used; the limits; and the key of this session.

import { html, useState } from "../vendor/preact.js";
import { get } from "../api.js";
import { hasScope, session } from "../session.js";
import { useStore } from "../store.js";
import { formatBytes, formatDuration, formatNumber, formatTime, t } from "../text.js";
import { useLoad } from "../ui/load.js";
import { Problem } from "../ui/problem.js";

const PERIODS = { day: ["1h", 24, 3600], month: ["1d", 30, 86400] };
const USD = { style: "currency", currency: "USD" };
const USE_OF = { active_jobs: "jobs" };

async function load(period, signal) {
  const [width, count, seconds] = PERIODS[period];
  const start = (Math.floor(Date.now() / 1000 / seconds) - count + 1) * seconds;
  const query = { start_time: start, bucket_width: width, limit: count };
  const [images, costs, limits] = await Promise.all([
    get("/v1/organization/usage/images", { query: { ...query, group_by: ["project_id", "api_key_id", "model"] }, signal }),
    get("/v1/organization/costs", { query, signal }),
    get("/v1/organization/limits", { signal }),
  ]);
  return { period, images: images.data, costs: costs.data, limits: limits.data };
}

export default function Usage() {
  const [period, setPeriod] = useState("month");
  const { value, error, reload } = useLoad((signal) => load(period, signal), [period]);
  return html`<div class="heading"><h1>${t("nav.usage")}</h1>
      <div class="segments" role="group" aria-label=${t("usage.period")}>${Object.keys(PERIODS).map((name) => html`<label key=${name}><input type="radio" name="period" checked=${name === period} onChange=${() => setPeriod(name)} /><span>${t(`usage.${name}`)}</span></label>`)}</div></div>
    ${error && !value && html`<${Problem} error=${error} onRetry=${reload} />`}
    ${value && html`<${Report} ...${value} />`}
    <${Key} />`;
}

function Report({ period, images, costs, limits }) {
  const results = images.flatMap(({ results: list }) => list);
  const sum = (name, list = results) => list.reduce((total, item) => total + item[name], 0);
  const money = costs.flatMap(({ results: list }) => list).reduce((total, { amount }) => total + amount.value, 0);
  const facts = [
    [t("usage.images"), formatNumber(sum("images"))],
    [t("usage.jobs"), formatNumber(sum("num_model_requests"))],
    [t("usage.deviceTime"), durationOf(sum("device_seconds"))],
    [t("usage.bytes"), formatBytes(sum("bytes"))],
    [t("usage.cost"), formatNumber(money, USD)],
  ];
  const bars = images.map(({ start_time: start, results: list }) => ({ start, value: sum("images", list) }));
  const isOperator = hasScope(session.value, "admin");
  return html`<div class="stack">
    <dl class="numbers">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <${Chart} bars=${bars} period=${period} />
    ${results.length === 0 && html`<p class="muted">${t("usage.none")}</p>`}
    ${results.length > 0 && html`<${Table} results=${results} name="model" label=${t("create.model")} />
      <${Table} results=${results} name="api_key_id" label=${t("usage.key")} />
      ${isOperator && html`<${Table} results=${results} name="project_id" label=${t("usage.project")} />`}`}
    ${limits.length > 0 && html`<${Limits} limits=${limits} />`}
  </div>`;
}

function durationOf(seconds) {
  return seconds === 0 ? formatNumber(0) : formatDuration(seconds);
}

/** Images by hour or day. */
function Chart({ bars, period }) {
  const most = Math.max(1, ...bars.map(({ value }) => value));
  const timeOf = (start) => formatTime(start, period === "day" ? { timeStyle: "short" } : { month: "short", day: "numeric" });
  const name = t("usage.chart", { most });
  return html`<figure class="chart" role="img" aria-label=${name}>
    <div class="columns">${bars.map(({ start, value }) => html`<i key=${start} title="${timeOf(start)}: ${formatNumber(value)}" style=${{ height: `${Math.max(value ? 2 : 0, (100 * value) / most)}%` }}></i>`)}</div>
    <figcaption class="row spread small muted"><span>${timeOf(bars[0].start)}</span><span>${name}</span><span>${timeOf(bars.at(-1).start)}</span></figcaption>
  </figure>`;
}

function Table({ results, name, label }) {
  const groups = new Map();
  for (const result of results) {
    const key = result[name] ?? "–";
    const before = groups.get(key) ?? { images: 0, jobs: 0, seconds: 0 };
    groups.set(key, { images: before.images + result.images, jobs: before.jobs + result.num_model_requests, seconds: before.seconds + result.device_seconds });
  }
  const rows = [...groups].sort(([, one], [, other]) => other.images - one.images);
  return html`<div class="scroll"><table class="figures">
    <thead><tr><th scope="col">${label}</th><th scope="col" class="number">${t("usage.images")}</th><th scope="col" class="number">${t("usage.jobs")}</th><th scope="col" class="number">${t("usage.deviceTime")}</th></tr></thead>
    <tbody>${rows.map(([key, row]) => html`<tr key=${key}><td><code>${key}</code></td><td class="number">${formatNumber(row.images)}</td><td class="number">${formatNumber(row.jobs)}</td><td class="number">${durationOf(row.seconds)}</td></tr>`)}</tbody>
  </table></div>`;
}

function Limits({ limits }) {
  const rows = limits.flatMap(({ subject_id: subject, limits: own, use }) => Object.entries(own)
    .filter(([, limit]) => limit !== null)
    .map(([name, limit]) => ({ subject, name, limit, use: use[USE_OF[name] ?? name] })));
  return html`<div class="scroll"><table class="figures"><caption class="small muted">${t("usage.limits")}</caption>
    <thead><tr><th scope="col">${t("usage.subject")}</th><th scope="col">${t("usage.limit")}</th><th scope="col" class="number">${t("usage.maximum")}</th><th scope="col" class="number">${t("usage.used")}</th></tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.subject + row.name}><td><code>${row.subject}</code></td><td>${row.name.replaceAll("_", " ")}</td><td class="number">${formatNumber(row.limit)}</td><td class="number">${row.use === undefined ? "–" : formatNumber(row.use, { maximumFractionDigits: 1 })}</td></tr>`)}</tbody>
  </table></div>`;
}

/** Who is signed in, and what the key may do. */
function Key() {
  const { project_id: project, key_id: key, scopes } = useStore(session);
  return html`<section class="apart"><h2>${t("usage.session")}</h2><dl class="facts narrow">
    <div><dt>${t("usage.project")}</dt><dd><code>${project}</code></dd></div>
    <div><dt>${t("usage.key")}</dt><dd>${key ? html`<code>${key}</code>` : t("usage.noKey")}</dd></div>
    <div><dt>${t("usage.scopes")}</dt><dd>${scopes.map((scope) => html`<p key=${scope}><code>${scope}</code> <span class="muted">${t(`scope.${scope}`)}</span></p>`)}</dd></div>
  </dl><p class="small muted">${t("usage.keys")} <code>safelight keys create</code>, <code>safelight keys list</code>, <code>safelight keys revoke</code></p></section>`;
}
