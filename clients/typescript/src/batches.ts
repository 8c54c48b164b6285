/** Batches: submit, wait, follow, list, cancel, retry, delete, download. */

import type { components } from "./openapi.js";
import { BatchFailed, WaitTimeout } from "./errors.js";
import { Files } from "./files.js";
import { type Job, Jobs, type SubmitOptions, type WaitOptions, pathOf } from "./jobs.js";
import { type Transport, sleep } from "./transport.js";

type Schemas = components["schemas"];
export type BatchRequest = Omit<Schemas["BatchRequest"], "dry_run">;
export type BatchEstimate = Schemas["BatchEstimate"];
export type Erasure = Schemas["ErasureObject"];

const FINAL = ["completed", "failed", "cancelled", "expired"];
/** Maximum seconds for a response for which the API reads the complete input file. */
const FILE_SECONDS = 300;

/** An event of a batch, with the batch at that moment. `batch.progress` has no id. */
export interface BatchEvent {
  id: string | null;
  type: string;
  batch: Batch;
}

export interface BatchInput {
  /** A .csv, .txt or .jsonl file, which is uploaded. `input_file_id` names one that is there. */
  file?: File;
}

type BatchData = Schemas["BatchObject"];
export interface Batch extends Readonly<BatchData> {}

/** A batch. Its fields are its state when the client got it; `refresh` gets it again. */
export class Batch {
  readonly #transport: Transport;

  constructor(transport: Transport, data: BatchData) {
    this.#transport = transport;
    Object.assign(this, data);
  }

  /** Whether the batch has ended and its output files are written. */
  get isFinal(): boolean {
    return FINAL.includes(this.status);
  }

  /** The current state of the batch. */
  refresh(): Promise<Batch> {
    return new Batches(this.#transport).retrieve(this.id);
  }

  /** Wait until the batch has ended; returns it. Throws WaitTimeout, and BatchFailed unless all lines completed. */
  wait(options: WaitOptions = {}): Promise<Batch> {
    return new Batches(this.#transport).wait(this.id, options);
  }

  /** All events of the batch until it has ended, each with the batch. */
  events(after?: string): AsyncGenerator<BatchEvent> {
    return new Batches(this.#transport).events(this.id, after);
  }

  /** The jobs of the batch, in the order of its lines. */
  jobs(query: { status?: string | string[]; limit?: number } = {}): AsyncGenerator<Job> {
    return new Jobs(this.#transport).list({ ...query, batch_id: this.id, order: "asc" });
  }

  /** Request the cancellation of the batch; returns its new state. */
  cancel(): Promise<Batch> {
    return new Batches(this.#transport).cancel(this.id);
  }

  /** Submit the lines that did not complete as a new batch; returns it. */
  retry(): Promise<Batch> {
    return new Batches(this.#transport).retry(this.id);
  }

  /** Delete the batch with its jobs, images and files; returns the erasure, which goes on. */
  delete(): Promise<Erasure> {
    return new Batches(this.#transport).delete(this.id);
  }

  /** A ZIP file of all images of the batch. */
  zip(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#transport.download(`${pathOf("batches", this.id)}/images.zip`);
  }

  /** A CSV file with a row for each image or error of the batch. */
  manifest(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#transport.download(`${pathOf("batches", this.id)}/manifest.csv`);
  }

  /** Throw BatchFailed with the reason if the batch has ended and a line did not complete. */
  checkCompleted(): void {
    const { completed = 0, total } = this.request_counts;
    if (!this.isFinal || (this.status === "completed" && completed === total)) return;
    const detail = this.errors?.data?.[0]?.message;
    const message = `${this.id} is ${this.status}: ${completed} of ${total} lines completed.${detail ? ` ${detail}` : ""}`;
    throw new BatchFailed(message, this.id, this.status);
  }
}

/** The API's calls for batches. */
export class Batches {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * Submit a batch of `prompts`, `requests` or a file; the other parameters apply to all of its lines.
   *
   * With an `idempotencyKey`, pass `input_file_id`: two uploads of a file are two files, so the second request would be an
   * error.
   */
  async create(request: BatchRequest & BatchInput, options: SubmitOptions = {}): Promise<Batch> {
    const { file, ...body } = request;
    if (file !== undefined) body.input_file_id = (await new Files(this.#transport).upload(file, { purpose: "batch" })).id;
    return this.#batch(await this.#transport.submit<BatchData>("/v1/batches", body, options.idempotencyKey));
  }

  /** Check all lines of a batch and estimate its time and cost. Nothing is stored; the file is deleted again. */
  async dryRun(request: BatchRequest & BatchInput): Promise<BatchEstimate> {
    const { file, ...body } = request;
    const files = new Files(this.#transport);
    const upload = file && (await files.upload(file, { purpose: "batch", expiresAfter: 3600 }));
    if (upload) body.input_file_id = upload.id;
    try {
      const options = { body: { ...body, dry_run: true }, timeout: FILE_SECONDS };
      return await this.#transport.request<BatchEstimate>("POST", "/v1/batches", options);
    } finally {
      if (upload) await files.delete(upload.id);
    }
  }

  /** The current state of a batch. Throws NotFound. */
  async retrieve(batchId: string): Promise<Batch> {
    return this.#batch(await this.#transport.request<BatchData>("GET", pathOf("batches", batchId)));
  }

  /** All batches, newest first, page by page. */
  async *list(query: { after?: string; limit?: number } = {}): AsyncGenerator<Batch> {
    const { limit, ...rest } = query;
    for await (const batch of this.#transport.list<BatchData>("/v1/batches", rest, limit)) yield this.#batch(batch);
  }

  /** Wait until a batch has ended; returns it. Throws WaitTimeout, and BatchFailed unless all lines completed. */
  async wait(batchId: string, { timeout = Infinity, check = true }: WaitOptions = {}): Promise<Batch> {
    const start = performance.now();
    for (;;) {
      const batch = await this.retrieve(batchId);
      if (batch.isFinal) {
        if (check) batch.checkCompleted();
        return batch;
      }
      const elapsed = (performance.now() - start) / 1000;
      if (elapsed >= timeout) throw new WaitTimeout(`${batchId} is still ${batch.status} after ${timeout} s.`);
      await sleep(Math.min(2, Math.max(0.2, elapsed / 10), timeout - elapsed));
    }
  }

  /** All events of a batch after an id until it has ended, each with the batch; `batch.progress` as its lines end. */
  async *events(batchId: string, after = "0"): AsyncGenerator<BatchEvent> {
    for await (const { id, type, data } of this.#transport.messages(`${pathOf("batches", batchId)}/events`, after)) {
      yield { id, type, batch: this.#batch((data["batch"] ?? data) as BatchData) };
      if (FINAL.includes(type.replace("batch.", ""))) return;
    }
  }

  /** Cancel a batch with its queued and running jobs; returns its new state. */
  async cancel(batchId: string): Promise<Batch> {
    return this.#batch(await this.#transport.request<BatchData>("POST", `${pathOf("batches", batchId)}/cancel`));
  }

  /** Submit the lines that did not complete as a new batch. A second call returns the same batch. */
  async retry(batchId: string): Promise<Batch> {
    const path = `${pathOf("batches", batchId)}/retry`;
    return this.#batch(await this.#transport.request<BatchData>("POST", path, { timeout: FILE_SECONDS }));
  }

  /** Delete a batch with its jobs, images and files; returns the erasure, which goes on. */
  async delete(batchId: string): Promise<Erasure> {
    return this.#transport.request<Erasure>("DELETE", pathOf("batches", batchId));
  }

  #batch(data: BatchData): Batch {
    return new Batch(this.#transport, data);
  }
}
