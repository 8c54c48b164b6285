// One webhook endpoint: test it, change it, and see each delivery with what was answered.

import { html, useEffect, useState } from "../vendor/preact.js";
import { useKeys } from "../keyboard.js";
import { go, link } from "../router.js";
import { formatAge, formatNumber, formatTime, t } from "../text.js";
import { Action } from "../ui/action.js";
import { confirm } from "../ui/dialog.js";
import { EndpointForm, Secret } from "../ui/endpointform.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { useRows } from "../ui/pages.js";
import { Problem } from "../ui/problem.js";
import { say, sayError } from "../ui/toasts.js";
import { changeEndpoint, deleteEndpoint, loadDeliveries, loadDelivery, loadEndpoint, redeliver, redeliverSince, rotateSecret, sendTest } from "../webhooks.js";
import { State } from "./webhooks.js";

const PERIODS = { hour: 3600, day: 86400, week: 604800 };

export default function Webhook({ params: { id } }) {
  const { value, error, reload, set } = useLoad((signal) => loadEndpoint(id, signal), [id]);
  useKeys([{ keys: ["Escape"], label: t("key.back"), run: () => go(link("webhooks")) }]);
  if (error && !value) return html`<${Problem} error=${error} onRetry=${reload} />`;
  return value?.id === id ? html`<${Page} key=${id} endpoint=${value} onChange=${set} />` : null;
}

function Page({ endpoint, onChange }) {
  const [isEdited, setEdited] = useState(false);
  const [secret, setSecret] = useState(null);
  const [round, setRound] = useState(0);
  const change = async (changes) => {
    onChange(await changeEndpoint(endpoint.id, changes));
    setEdited(false);
  };
  const rotate = async () => {
    const isSure = await confirm({ title: t("webhook.rotate.title"), text: t("webhook.rotate.text"), action: t("webhook.rotate") });
    if (isSure) setSecret((await rotateSecret(endpoint.id)).signing_secret);
  };
  const erase = async () => {
    const isSure = await confirm({ title: t("webhook.delete.title"), text: t("webhook.delete.text"), action: t("job.delete") });
    if (!isSure) return;
    await deleteEndpoint(endpoint.id);
    say(t("delete.done"));
    go(link("webhooks"));
  };
  const again = () => setRound((count) => count + 1);
  return html`<div class="heading"><h1 class="truncate">${endpoint.name}</h1><${State} endpoint=${endpoint} /></div>
    <div class="stack">
      <dl class="facts narrow">
        <div><dt>${t("webhook.url")}</dt><dd><code>${endpoint.url}</code></dd></div>
        <div><dt>${t("webhook.events")}</dt><dd>${endpoint.event_types.map((type) => html`<code key=${type}>${type}</code> `)}</dd></div>
        <div><dt>${t("webhook.secret")}</dt><dd><code>${endpoint.signing_secret_hint}</code></dd></div>
        <div><dt>Id</dt><dd><code>${endpoint.id}</code></dd></div>
      </dl>
      ${endpoint.disabled_reason && html`<p class="notice warn">${t("webhook.disabled", { reason: endpoint.disabled_reason })}</p>`}
      ${endpoint.failing_since && html`<p class="notice warn">${t("webhook.failing", { time: formatTime(endpoint.failing_since) })}</p>`}
      <div class="row">
        <button onClick=${() => setEdited(true)}><${Icon} name="edit" size="16" />${t("webhook.change")}</button>
        <${Action} run=${() => change({ enabled: !endpoint.enabled })}>${t(endpoint.enabled ? "webhook.disable" : "webhook.enable")}<//>
        <${Action} icon="keys" run=${rotate}>${t("webhook.rotate")}<//>
        <${Action} icon="trash" kind="danger" run=${erase}>${t("job.delete")}<//>
      </div>
      <${Test} endpoint=${endpoint} />
      <${Since} endpoint=${endpoint} onDone=${again} />
    </div>
    <${Deliveries} endpoint=${endpoint} round=${round} />
    ${isEdited && html`<${EndpointForm} endpoint=${endpoint} onSubmit=${change} onClose=${() => setEdited(false)} />`}
    ${secret && html`<${Secret} secret=${secret} onClose=${() => setSecret(null)} />`}`;
}

function Test({ endpoint }) {
  const [type, setType] = useState(endpoint.event_types[0]);
  const [result, setResult] = useState(null);
  const run = async () => {
    setResult(null);
    try {
      setResult((await sendTest(endpoint.id, type)).status_code);
    } catch (error) {
      setResult(error.message);
    }
  };
  const isGood = result >= 200 && result < 300;
  return html`<div class="row"><label class="row small muted">${t("webhook.test.event")} <select class="short" value=${type} onChange=${(event) => setType(event.target.value)}>
      ${endpoint.event_types.map((name) => html`<option key=${name} value=${name} selected=${name === type}>${name}</option>`)}</select></label>
    <${Action} run=${run}>${t("webhook.test")}<//>
    <span role="status" class=${isGood ? "good" : "error"}>${result !== null && (typeof result === "number" ? t(isGood ? "webhook.test.good" : "webhook.test.bad", { status: String(result) }) : result)}</span></div>`;
}

/** Send again what was not delivered. */
function Since({ endpoint, onDone }) {
  const [period, setPeriod] = useState("day");
  const run = async () => {
    const { events } = await redeliverSince(endpoint.id, Math.floor(Date.now() / 1000) - PERIODS[period]);
    say(t("webhook.redelivered", { count: events }));
    onDone();
  };
  return html`<div class="row"><label class="row small muted">${t("webhook.since.label")} <select class="short" onChange=${(event) => setPeriod(event.target.value)}>
      ${Object.keys(PERIODS).map((name) => html`<option key=${name} value=${name} selected=${name === period}>${t(`webhook.since.${name}`)}</option>`)}</select></label>
    <${Action} icon="retry" disabled=${!endpoint.enabled} run=${run}>${t("webhook.redeliverAll")}<//></div>`;
}

/** The newest deliveries. While one of them waits they are read again every few seconds. */
function Deliveries({ endpoint, round }) {
  const load = (after, signal) => loadDeliveries(endpoint.id, after, signal);
  const { rows, error, reload, more, isMore } = useRows(load, [endpoint.id, round], ({ status }) => status === "pending");
  if (error && !rows) return html`<${Problem} error=${error} onRetry=${reload} />`;
  if (!rows) return null;
  return html`<section class="apart"><div class="row spread sheet-head"><h2>${t("webhook.deliveries")}</h2>
      <button class="quiet small" onClick=${reload}><${Icon} name="retry" size="14" />${t("refresh")}</button></div>
    ${rows.length === 0 && html`<p class="muted">${t("webhook.deliveries.none")}</p>`}
    ${rows.length > 0 && html`<ul class="list">${rows.map((delivery) => html`<${Delivery} key=${delivery.id} delivery=${delivery} onDone=${reload} />`)}</ul>`}
    ${isMore && html`<p class="center"><${Action} run=${more}>${t("more")}<//></p>`}</section>`;
}

const CHIPS = { delivered: "completed", failed: "failed", pending: "queued" };

function Delivery({ delivery, onDone }) {
  const [isOpen, setOpen] = useState(false);
  const subject = delivery.batch_id ? html`<a href=${link("batches", delivery.batch_id)}><code>${delivery.batch_id}</code></a>` : html`<code>${delivery.job_id}</code>`;
  const again = async () => {
    await redeliver(delivery.id);
    say(t("webhook.redelivered", { count: 1 }));
    onDone();
  };
  const answer = delivery.status_code ?? delivery.error_code ?? "";
  return html`<li class="item delivery">
    <button class="quiet name truncate" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}><${Icon} name=${isOpen ? "down" : "right"} size="14" />${delivery.event_type}</button>
    <span class="chip ${CHIPS[delivery.status]}">${t(`webhook.delivery.${delivery.status}`)}</span>
    <span class="muted small number">${answer} · ${t("webhook.attempts", { count: delivery.attempts })}</span>
    <span class="muted small number">${formatAge(delivery.created_at)}</span>
    ${isOpen && html`<div class="stack wide detail">
      <p class="small">${subject}</p>
      ${delivery.next_attempt_at && html`<p class="small muted">${t("webhook.next", { time: formatTime(delivery.next_attempt_at, { timeStyle: "medium" }) })}</p>`}
      <${Attempts} id=${delivery.id} attempts=${delivery.attempts} />
      <div class="row"><${Action} kind="small" icon="retry" run=${again}>${t("webhook.redeliver")}<//></div>
    </div>`}
  </li>`;
}

function Attempts({ id, attempts }) {
  const { value, error } = useLoad((signal) => loadDelivery(id, signal), [id, attempts]);
  useEffect(() => {
    if (error) sayError(error);
  }, [error]);
  if (!value) return null;
  if (value.log.length === 0) return html`<p class="small muted">${t("webhook.attempts.none")}</p>`;
  return html`<div class="scroll"><table>
    <thead><tr>${["number", "time", "duration", "answer"].map((name) => html`<th key=${name} scope="col">${t(`webhook.attempt.${name}`)}</th>`)}</tr></thead>
    <tbody>${value.log.map((attempt) => html`<tr key=${attempt.number}><td>${attempt.number}</td><td>${formatTime(attempt.started_at, { dateStyle: "short", timeStyle: "medium" })}</td>
      <td>${formatNumber(attempt.seconds, { style: "unit", unit: "second", unitDisplay: "short", maximumFractionDigits: 2 })}</td>
      <td class="wrap"><b>${attempt.status_code ?? attempt.error_code}</b> ${attempt.answer && html`<code>${attempt.answer}</code>`}</td></tr>`)}</tbody>
  </table></div>`;
}
