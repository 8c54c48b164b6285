// The jobs that the page shows, by id, and one stream of events for all of those that are not final.

import { address, get, post, remove } from "./api.js";
import { failures } from "./api.js";
import { createStore, useStore } from "./store.js";
import { checkStatus } from "./status.js";

const MAX_FOLLOWED = 100;
const RECONNECT_SECONDS = 2;
const FINAL = new Set(["completed", "failed", "cancelled", "expired"]);

/** Map of id to `{ job, step, steps, previews, startedAt, firstStep }`. */
const entries = createStore(new Map());

export function isFinal(job) {
  return FINAL.has(job.status);
}

export function useJobEntry(id) {
  return useStore(entries, (map) => map.get(id));
}

/** How many of the jobs wait for a queue that an operator has paused. */
export function usePausedJobs() {
  return useStore(entries, (map) => [...map.values()].filter(({ job }) => job?.status === "queued" && job.warnings.some(({ code }) => code === "queue_paused")).length);
}

function update(id, change) {
  const entry = entries.value.get(id) ?? { job: null, progress: null, previews: {} };
  entries.value.set(id, { ...entry, ...change });
  entries.set(entries.value);
}

/** Put a job that a call returned; it is followed until it is final. */
export function putJob(job) {
  const known = entries.value.get(job.id)?.job;
  if (known && isFinal(known) && !isFinal(job)) return job;
  update(job.id, { job });
  follow();
  return job;
}

export function putJobs(jobs) {
  for (const job of jobs) {
    const entry = entries.value.get(job.id) ?? { progress: null, previews: {} };
    entries.value.set(job.id, { ...entry, job });
  }
  entries.set(entries.value);
  follow();
}

let source = null;
let followed = "";
let timer = null;

/** Open the stream for the newest jobs that are not final; close it when there is none, or the page is hidden. */
function follow() {
  const ids = [...entries.value.values()].filter(({ job }) => job && !isFinal(job)).map(({ job }) => job.id);
  const wish = document.hidden ? "" : ids.sort().slice(-MAX_FOLLOWED).join(" ");
  if (wish === followed && source !== null) return;
  clearTimeout(timer);
  timer = setTimeout(() => open(wish), followed === "" ? 0 : 200);
}

function open(wish) {
  source?.close();
  source = null;
  followed = wish;
  if (wish === "") return;
  source = new EventSource(address("/v1/jobs/events", { job_id: wish.split(" ") }));
  source.addEventListener("job", (event) => onJob(JSON.parse(event.data)));
  source.addEventListener("job.progress", (event) => onProgress(JSON.parse(event.data)));
  source.addEventListener("preview", (event) => onPreview(JSON.parse(event.data)));
  source.addEventListener("job.deleted", (event) => forget(JSON.parse(event.data).job_id));
  source.onerror = () => {
    const isClosed = source.readyState === EventSource.CLOSED;
    checkStatus();
    if (!isClosed) return; // the browser connects again
    source = null;
    followed = "";
    clearTimeout(timer);
    timer = setTimeout(refresh, RECONNECT_SECONDS * 1000);
  };
}

/** Close the stream before the session ends: the browser would open it again without one. */
export function closeStream() {
  clearTimeout(timer);
  open("");
}

/** After a stream was refused: a job may be gone, or the key. Read each job by itself. */
async function refresh() {
  const open = [...entries.value.values()].filter(({ job }) => job && !isFinal(job)).map(({ job }) => job.id);
  for (const id of open) {
    try {
      update(id, { job: await get(`/v1/jobs/${id}`) });
    } catch (error) {
      if (error.status === 404) forget(id);
    }
  }
  follow();
}

function onJob(job) {
  update(job.id, isFinal(job) ? { job, progress: null, previews: {} } : { job });
  if (isFinal(job)) follow();
}

function onProgress({ job_id: id, step, steps, attempt }) {
  const before = entries.value.get(id)?.progress;
  const isNew = !before || before.attempt !== attempt;
  const first = isNew ? { step, at: performance.now() } : before.first;
  update(id, { progress: { step, steps, attempt, first, at: performance.now() } });
}

function onPreview({ job_id: id, index, media_type: type, b64_json: data }) {
  const previews = entries.value.get(id)?.previews ?? {};
  update(id, { previews: { ...previews, [index]: `data:${type};base64,${data}` } });
}

/** Seconds until the last step, from the pace of the steps so far; null while two steps have not been seen. */
export function secondsLeft(progress) {
  if (!progress || progress.step - progress.first.step < 2) return null;
  const pace = (progress.at - progress.first.at) / (progress.step - progress.first.step) / 1000;
  return pace * (progress.steps - progress.step);
}

export function forget(id) {
  entries.value.delete(id);
  entries.set(entries.value);
  deletions.set(id);
}

/** The id of the job that was deleted last, for lists that show it. */
export const deletions = createStore(null);

/** The job that was submitted last, for lists that show it. */
export const submissions = createStore(null);

function putNewJob(job) {
  putJob(job);
  submissions.set(job);
  return job;
}

export async function submit(request) {
  return putNewJob(await post("/v1/jobs", request));
}

export async function cancel(id) {
  return putJob(await post(`/v1/jobs/${id}/cancel`));
}

export async function retry(id) {
  return putNewJob(await post(`/v1/jobs/${id}/retry`));
}

export async function reproduce(id) {
  return putNewJob(await post(`/v1/jobs/${id}/reproduce`));
}

export async function deleteJob(id) {
  await remove(`/v1/jobs/${id}`);
  forget(id);
}

document.addEventListener("visibilitychange", () => (document.hidden ? follow() : refresh()));
let seen = failures.value.unauthorized;
failures.subscribe(({ unauthorized }) => {
  if (unauthorized !== seen) source?.close();
  seen = unauthorized;
});
