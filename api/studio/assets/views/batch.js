// One batch: counts and rate as they change, a contact sheet that grows, downloads, cancel, failed lines again.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { address, get } from "../api.js";
import { cancelBatch, deleteBatch, isFinalBatch, nameOf, retryBatch, Sheet, unsuccessful, useBatch } from "../batches.js";
import { setNeighbours } from "../gallery.js";
import { useKeys } from "../keyboard.js";
import { go, link } from "../router.js";
import { hasScope, session } from "../session.js";
import { useStore } from "../store.js";
import { formatDuration, formatNumber, formatTime, t } from "../text.js";
import { Bar, Counts } from "../ui/counts.js";
import { confirm } from "../ui/dialog.js";
import { Grid } from "../ui/grid.js";
import { Icon } from "../ui/icons.js";
import { Problem } from "../ui/problem.js";
import { useRefreshed } from "../ui/refresh.js";
import { say, sayError } from "../ui/toasts.js";
import { Errors } from "./newbatch.js";

const SHEET_MILLISECONDS = 2000;

export default function Batch({ params: { id }, query }) {
  const { value: batch, error, reload } = useBatch(id);
  useKeys([{ keys: ["Escape"], label: t("key.back"), run: () => go(link("batches")) }]);
  if (error && !batch) return html`<${Problem} error=${error} onRetry=${reload} />`;
  return batch ? html`<${Page} key=${id} batch=${batch} reload=${reload} show=${query.get("show") ?? ""} />` : null;
}

function Page({ batch, reload, show }) {
  const counts = batch.request_counts;
  return html`<div class="heading">
      <h1 class="truncate">${nameOf(batch)}</h1>
      <span class="chip ${batch.status}">${t(`batch.status.${batch.status}`)}</span>
      <${Actions} batch=${batch} reload=${reload} />
    </div>
    <section class="stack" aria-label=${t("batch.progress")}>
      ${counts.total > 0 && html`<${Bar} counts=${counts} /><${Counts} counts=${counts} />`}
      <p class="small muted" role="status">${words(batch)}</p>
      ${batch.status === "in_progress" && counts.in_progress === 0 && batch.model && html`<${Waits} model=${batch.model} />`}
      <${Downloads} batch=${batch} />
    </section>
    ${batch.errors && html`<section class="stack apart"><h2 class="error">${t("batch.invalid")}</h2><p class="small muted">${t("batch.errors.text")}</p><${Errors} errors=${batch.errors.data} /></section>`}
    ${counts.total > 0 && html`<${ContactSheet} batch=${batch} show=${show} />`}`;
}

/** Why nothing of the batch runs, if its queue says it. */
function Waits({ model }) {
  const { value } = useRefreshed((signal) => get(`/v1/models/${model}`, { signal }), [model]);
  if (!value || value.queue.state === "ready") return null;
  return html`<p class="notice warn" role="status">${t(`model.state.${value.queue.state}.text`)}</p>`;
}

/** What the batch does now, and until when; or how long it took. */
function words(batch) {
  const { lines_per_second: rate, estimated_finish_at: end } = batch.progress ?? {};
  if (batch.status === "validating") return t("batch.checking");
  if (rate) {
    const perMinute = t("batch.rate", { count: Math.round(rate * 60) });
    return `${perMinute} · ${t("job.left", { time: formatDuration(end - Date.now() / 1000) })} · ${t("batch.endsAt", { time: formatTime(end, { timeStyle: "short" }) })}`;
  }
  if (batch.status === "in_progress") return t("batch.waits");
  const end_at = batch.completed_at ?? batch.cancelled_at ?? batch.expired_at ?? batch.failed_at;
  if (!end_at) return t(`batch.status.${batch.status}`);
  return t("batch.took", { time: formatTime(end_at), duration: formatDuration(end_at - batch.created_at) });
}

function Actions({ batch, reload }) {
  const canSubmit = hasScope(useStore(session), "submit");
  if (!canSubmit) return null;
  const failures = unsuccessful(batch);
  const run = (action) => async () => {
    try {
      await action();
    } catch (problem) {
      sayError(problem);
    }
  };
  const cancel = run(async () => {
    const isSure = await confirm({ title: t("batch.cancel.title"), text: t("batch.cancel.text"), action: t("batch.cancel") });
    if (!isSure) return;
    await cancelBatch(batch.id);
    reload();
  });
  const retry = run(async () => {
    const made = await retryBatch(batch.id);
    say(t("batch.retried"));
    go(link("batches", made.id));
  });
  const erase = run(async () => {
    const isSure = await confirm({ title: t("batch.delete.title"), text: t("batch.delete.text", { count: batch.request_counts.total }), action: t("job.delete") });
    if (!isSure) return;
    await deleteBatch(batch.id);
    say(t("delete.done"));
    go(link("batches"));
  });
  if (!isFinalBatch(batch)) return html`<button onClick=${cancel} disabled=${batch.status === "cancelling" || batch.status === "finalizing"}>${t("batch.cancel")}</button>`;
  return html`${failures > 0 && html`<button class="primary" onClick=${retry}><${Icon} name="retry" size="16" />${t("batch.retry", { count: failures })}</button>`}
    <button class="danger" onClick=${erase}><${Icon} name="trash" size="16" />${t("job.delete")}</button>`;
}

/** The results as files. While the batch runs they have what is there so far. */
function Downloads({ batch }) {
  const counts = batch.request_counts;
  const file = (path, label, name) => html`<a class="button small" href=${address(path)} download=${name}><${Icon} name="download" size="14" />${label}</a>`;
  if (counts.total === 0) return null;
  return html`<div class="row">
    ${counts.completed > 0 && file(`/v1/batches/${batch.id}/images.zip`, t("batch.zip"), `${batch.id}.zip`)}
    ${file(`/v1/batches/${batch.id}/manifest.csv`, t("batch.manifest"), `${batch.id}.csv`)}
    ${batch.output_file_id && file(`/v1/files/${batch.output_file_id}/content`, t("batch.output"), `${batch.id}-output.jsonl`)}
    ${batch.error_file_id && file(`/v1/files/${batch.error_file_id}/content`, t("batch.errorFile"), `${batch.id}-errors.jsonl`)}
    ${!isFinalBatch(batch) && html`<span class="small muted">${t("batch.soFar")}</span>`}
  </div>`;
}

const positions = new Map();

function ContactSheet({ batch, show }) {
  const [items, setItems] = useState([]);
  const sheet = useRef(null);
  const onlyUnsuccessful = show === "failed";
  const { total, queued, in_progress: running } = batch.request_counts;
  const ended = total - queued - running;
  const failures = unsuccessful(batch);
  useEffect(() => {
    const made = new Sheet(batch.id, onlyUnsuccessful, (next) => sheet.current === made && setItems(next));
    sheet.current = made;
    setItems([]);
    made.more().catch(sayError);
  }, [batch.id, onlyUnsuccessful]);
  useThrottled(() => sheet.current.refresh().catch(() => {}), `${ended} ${running} ${batch.status}`);
  useEffect(() => setNeighbours(link("batches", batch.id, { show }), items), [items]);
  const label = `${batch.id} ${show}`;
  if (!positions.has(label)) positions.set(label, { top: 0 });
  const choice = (value, text) => html`<label><input type="radio" name="show" checked=${show === value} onChange=${() => go(link("batches", batch.id, { show: value }), { replace: true })} /><span>${text}</span></label>`;
  return html`<section class="apart" aria-label=${t("batch.sheet.label")}>
    <div class="row spread sheet-head"><h2>${t("batch.sheet.label")}</h2>
      ${(failures > 0 || onlyUnsuccessful) && html`<div class="segments" role="group" aria-label=${t("gallery.filters")}>${choice("", t("batch.show.all"))}${choice("failed", t("batch.show.failed", { count: failures }))}</div>`}
    </div>
    ${items.length > 0 && html`<${Grid} key=${label} items=${items} scroll=${positions.get(label)} label=${t("batch.sheet.label")} onEnd=${() => sheet.current.more().catch(sayError)} />`}
  </section>`;
}

/** Call something when a key changes, at most once in SHEET_MILLISECONDS, and always after the last change. */
function useThrottled(run, key) {
  const last = useRef({ at: 0, timer: null, key });
  useEffect(() => {
    const state = last.current;
    if (state.key === key) return;
    state.key = key;
    clearTimeout(state.timer);
    const wait = Math.max(0, state.at + SHEET_MILLISECONDS - performance.now());
    state.timer = setTimeout(() => {
      state.at = performance.now();
      run();
    }, wait);
  }, [key]);
  useEffect(() => () => clearTimeout(last.current.timer), []);
}
