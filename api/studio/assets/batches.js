// Batches: a file of prompts is uploaded, checked without running anything, started, and followed by its events.

import { address, get, post, remove } from "./api.js";
import { checkStatus } from "./status.js";
import { t } from "./text.js";
import { useEffect, useState } from "./vendor/preact.js";
import { useLoad } from "./ui/load.js";

const FINAL = new Set(["completed", "failed", "expired", "cancelled"]);
const EVENTS = ["validating", "failed", "in_progress", "cancelling", "finalizing", "completed", "expired", "cancelled", "progress"];
const RETRY_SECONDS = 3;
const PAGE = 100;
const MAX_REFRESHED_PAGES = 4;
const MAX_NAME_CHARS = 512;
const UNSUCCESSFUL = ["failed", "cancelled", "expired"];

export function isFinalBatch(batch) {
  return FINAL.has(batch.status);
}

/** What people call a batch: the name of its file. */
export function nameOf(batch) {
  return batch.metadata.name ?? batch.id;
}

/** How many lines have ended without an image. */
export function unsuccessful({ request_counts: counts }) {
  return UNSUCCESSFUL.reduce((sum, name) => sum + counts[name], 0);
}

/** Upload a file, or cells that were copied from a spreadsheet. Returns the file of the API. */
export function upload(file) {
  const form = new FormData();
  form.append("purpose", "batch");
  form.append("file", file, file.name);
  return post("/v1/files", form);
}

export function pastedFile(text) {
  return new File([text], text.includes("\t") ? "pasted.tsv" : "pasted.txt");
}

/** A small table that shows what a file looks like. The byte order mark makes Excel read UTF-8. */
export function sampleFile() {
  const prompts = [1, 2, 3, 4, 5].map((number) => t(`batch.sample.${number}`));
  const rows = ["prompt,custom_id,seed", ...prompts.map((prompt, index) => `"${prompt}",${index + 1},${index + 1}`)];
  return new File(["\ufeff", rows.join("\r\n"), "\r\n"], "prompts.csv", { type: "text/csv" });
}

/** The endpoint of OpenAI's JSONL: its first line names it. Other files have none. */
async function endpointOf(fileId) {
  const response = await fetch(address(`/v1/files/${fileId}/content`), { headers: { range: "bytes=0-65535" } });
  const reader = response.body.getReader();
  const { value } = await reader.read();
  reader.cancel();
  const line = new TextDecoder().decode(value).split("\n")[0].trim();
  try {
    return line.startsWith("{") ? JSON.parse(line).url : undefined;
  } catch {
    return undefined;
  }
}

/** A file with what its requests go to. */
export async function loadFile(id, signal) {
  const file = await get(`/v1/files/${id}`, { signal });
  return { file, endpoint: await endpointOf(id).catch(() => undefined) };
}

/** The body of `POST /v1/batches`. values: parameters for the lines that do not set them. */
export function requestOf({ file, endpoint }, values, keepColumns) {
  const name = file.filename.slice(0, MAX_NAME_CHARS);
  const columns = keepColumns ? { extra_columns: "metadata" } : {};
  return { input_file_id: file.id, ...(endpoint && { endpoint }), ...columns, ...values, metadata: { name } };
}

/** Check all lines. Nothing runs, and nothing is stored. */
export function check(request, signal) {
  return post("/v1/batches", { ...request, dry_run: true }, { signal });
}

export const cancelBatch = (id) => post(`/v1/batches/${id}/cancel`);
export const retryBatch = (id) => post(`/v1/batches/${id}/retry`);
export const deleteBatch = (id) => remove(`/v1/batches/${id}`);

/** `{ value, error, reload }` of a batch that changes as its events arrive, until it is final. */
export function useBatch(id) {
  const { value, error, reload, set } = useLoad((signal) => get(`/v1/batches/${id}`, { signal }), [id]);
  const isShown = useVisibility();
  const isOpen = value?.id === id && !isFinalBatch(value) && isShown;
  useEffect(() => {
    if (!isOpen) return;
    let timer = null;
    const source = new EventSource(address(`/v1/batches/${id}/events`));
    const onEvent = (event) => {
      const content = JSON.parse(event.data);
      const batch = content.data?.batch ?? content;
      if (isFinalBatch(batch)) source.close();
      set(batch);
    };
    for (const name of EVENTS) source.addEventListener(`batch.${name}`, onEvent);
    source.onerror = () => {
      checkStatus();
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(reload, RETRY_SECONDS * 1000);
    };
    return () => {
      clearTimeout(timer);
      source.close();
    };
  }, [id, isOpen]);
  return { value: value?.id === id ? value : undefined, error, reload };
}

/** Whether a person can see the page: a hidden one follows nothing. */
export function useVisibility() {
  const [isShown, setShown] = useState(!document.hidden);
  useEffect(() => {
    const follow = () => setShown(!document.hidden);
    document.addEventListener("visibilitychange", follow);
    return () => document.removeEventListener("visibilitychange", follow);
  }, []);
  return isShown;
}

/**
 * The lines of a batch for a contact sheet, a page at a time. Pages whose jobs are all final are never read again.
 * onlyUnsuccessful: those that ended without an image.
 */
export class Sheet {
  constructor(batchId, onlyUnsuccessful, onChange) {
    Object.assign(this, { batchId, onlyUnsuccessful, onChange, pages: [], isComplete: false, isLoading: false });
  }

  async read(after) {
    const status = this.onlyUnsuccessful ? UNSUCCESSFUL : undefined;
    return get("/v1/jobs", { query: { batch_id: this.batchId, order: "asc", limit: PAGE, after, status } });
  }

  /** Read the next page. */
  async more() {
    if (this.isLoading || this.isComplete) return;
    this.isLoading = true;
    try {
      const after = this.pages.at(-1)?.jobs.at(-1)?.id;
      const { data, has_more: hasMore } = await this.read(after);
      if (data.length > 0) this.pages.push({ after, jobs: data });
      this.isComplete = !hasMore;
    } finally {
      this.isLoading = false;
    }
    this.onChange(this.items());
  }

  /** Read the first pages again that have jobs that are not final. */
  async refresh() {
    if (this.isLoading) return;
    if (this.onlyUnsuccessful || this.pages.length === 0) {
      this.isComplete = false;
      if (this.pages.at(-1)?.jobs.length < PAGE) this.pages.pop();
      await this.more();
      return;
    }
    this.isLoading = true;
    try {
      const open = this.pages.filter(({ jobs }) => jobs.some(({ status }) => status === "queued" || status === "in_progress"));
      for (const page of open.slice(0, MAX_REFRESHED_PAGES)) page.jobs = (await this.read(page.after)).data;
    } finally {
      this.isLoading = false;
    }
    this.onChange(this.items());
  }

  /** As the gallery has them: one for each image, and for a job without one. */
  items() {
    return this.pages.flatMap(({ jobs }) => jobs).flatMap((job) => {
      const shared = { job: job.id, prompt: job.prompt, status: job.status, label: job.custom_id };
      if (job.images.length === 0) return [{ ...shared, id: job.id, error: job.error?.message ?? null }];
      return job.images.map((image) => ({ ...shared, id: image.id }));
    });
  }
}
