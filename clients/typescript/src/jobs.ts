/** Jobs: submit, wait, follow, list, cancel, retry, reproduce, delete. */

import type { components } from "./openapi.js";
import { DownloadDamaged, JobFailed, WaitTimeout } from "./errors.js";
import type { Transport } from "./transport.js";

type Schemas = components["schemas"];
export type JobRequest = Omit<Schemas["JobRequest"], "dry_run">;
export type Deleted = Schemas["Deleted"];
export type Estimate = Schemas["Estimate"];

/** Maximum seconds of one waiting request; the API allows 60, but proxies may not. */
const MAX_WAIT = 30;

export interface SubmitOptions {
  /** Two requests with the same key are one job. Default: a new key, so that a repetition is no second job. */
  idempotencyKey?: string;
}

export interface WaitOptions {
  /** Seconds; default: as long as it takes. */
  timeout?: number;
  /** Throw JobFailed or BatchFailed if it did not complete. Default: true. */
  check?: boolean;
}

export interface JobQuery {
  status?: string | string[];
  model?: string;
  batch_id?: string;
  metadata?: Record<string, string>;
  created_after?: number;
  created_before?: number;
  after?: string;
  order?: "asc" | "desc";
  /** Of the number of jobs; default: all. */
  limit?: number;
}

/** A preview of an image during its generation. */
export interface Preview {
  index: number;
  partial_image_index: number;
  step: number;
  steps: number;
  media_type: string;
  b64_json: string;
}

/** An event of a job. Progress and previews have no id. `job`: the job, in its last event. */
export interface JobEvent {
  id: string | null;
  type: string;
  data: Record<string, unknown>;
  progress: Schemas["StepProgress"] | null;
  preview: Preview | null;
  job: Job | null;
}

export interface Image extends Readonly<ImageData> {}
type ImageData = Schemas["ImageObject"];

/** An image of a job. */
export class Image {
  readonly #transport: Transport;

  constructor(transport: Transport, data: ImageData) {
    this.#transport = transport;
    Object.assign(this, data);
  }

  /** The image file. Throws DownloadDamaged if its SHA-256 is wrong. */
  async download(): Promise<Uint8Array<ArrayBuffer>> {
    const content = await this.#transport.download(`${pathOf("images", this.id)}/content`);
    const digest = new Uint8Array(await globalThis.crypto.subtle.digest("SHA-256", content));
    const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (sha256 !== this.sha256) throw new DownloadDamaged(this.id);
    return content;
  }
}

type JobData = Schemas["JobObject"];
export interface Job extends Readonly<Omit<JobData, "images">> {}

/** A job. Its fields are its state when the client got it; `refresh` gets it again. */
export class Job {
  readonly images: Image[];
  readonly #transport: Transport;

  constructor(transport: Transport, data: JobData) {
    this.#transport = transport;
    Object.assign(this, data);
    this.images = data.images.map((image) => new Image(transport, image));
  }

  /** Whether the job has ended. */
  get isFinal(): boolean {
    return this.finished_at !== null;
  }

  /** The current state of the job. */
  refresh(): Promise<Job> {
    return new Jobs(this.#transport).retrieve(this.id);
  }

  /** Wait until the job has ended; returns it. Throws WaitTimeout, and JobFailed if it has no images. */
  wait(options: WaitOptions = {}): Promise<Job> {
    return new Jobs(this.#transport).wait(this.id, options);
  }

  /** All events of the job until it has ended, progress and previews too; the last one has the job. */
  events(after?: string): AsyncGenerator<JobEvent> {
    return new Jobs(this.#transport).events(this.id, after);
  }

  /** Request the cancellation of the job; returns its new state. */
  cancel(): Promise<Job> {
    return new Jobs(this.#transport).cancel(this.id);
  }

  /** Submit the job again, if it failed, was cancelled or expired; returns the new job. */
  retry(): Promise<Job> {
    return new Jobs(this.#transport).retry(this.id);
  }

  /** Draw the images of the job again; returns the new job, whose `reproduction` compares them. */
  reproduce(): Promise<Job> {
    return new Jobs(this.#transport).reproduce(this.id);
  }

  /** Delete the job, which has ended, with its images. */
  delete(): Promise<Deleted> {
    return new Jobs(this.#transport).delete(this.id);
  }

  /** Throw JobFailed with the reason if the job has ended without images. */
  checkCompleted(): void {
    if (this.error) throw new JobFailed(`${this.id} failed: ${this.error.message}`, this.id, this.status, this.error.code);
    if (this.isFinal && this.status !== "completed") {
      throw new JobFailed(`${this.id} was ${this.status}, so it has no images.`, this.id, this.status, null);
    }
  }
}

/** The API's calls for jobs. */
export class Jobs {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Submit a job. It is stored when this returns; `wait` or `events` follow it. Throws BadRequest. */
  async create(request: JobRequest, options: SubmitOptions = {}): Promise<Job> {
    return this.#job(await this.#transport.submit<JobData>("/v1/jobs", request, options.idempotencyKey));
  }

  /** Check the parameters of a job and estimate its device time. Nothing is stored. */
  async dryRun(request: JobRequest): Promise<Estimate> {
    return this.#transport.request<Estimate>("POST", "/v1/jobs", { body: { ...request, dry_run: true } });
  }

  /** The current state of a job. Throws NotFound. */
  async retrieve(jobId: string): Promise<Job> {
    return this.#job(await this.#transport.request<JobData>("GET", pathOf("jobs", jobId)));
  }

  /** The jobs with these properties, newest first, page by page. */
  async *list(query: JobQuery = {}): AsyncGenerator<Job> {
    const { metadata = {}, limit, ...rest } = query;
    const entries = Object.entries(metadata).map(([name, value]) => [`metadata[${name}]`, value]);
    const parameters = { ...rest, ...Object.fromEntries(entries) };
    for await (const job of this.#transport.list<JobData>("/v1/jobs", parameters, limit)) yield this.#job(job);
  }

  /** Wait until a job has ended; returns it. Throws WaitTimeout, and JobFailed if it has no images. */
  async wait(jobId: string, { timeout = Infinity, check = true }: WaitOptions = {}): Promise<Job> {
    const start = performance.now();
    for (;;) {
      const seconds = Math.max(0, Math.min(timeout - (performance.now() - start) / 1000, MAX_WAIT));
      const options = { query: { wait: seconds.toFixed(3) }, timeout: seconds + this.#transport.timeout };
      const job = this.#job(await this.#transport.request<JobData>("GET", pathOf("jobs", jobId), options));
      if (job.isFinal) {
        if (check) job.checkCompleted();
        return job;
      }
      if ((performance.now() - start) / 1000 >= timeout) {
        throw new WaitTimeout(`${jobId} is still ${job.status} after ${timeout} s.`);
      }
    }
  }

  /** All events of a job after an id until it has ended, progress and previews too; the last one has the job. */
  async *events(jobId: string, after = "0"): AsyncGenerator<JobEvent> {
    for await (const { id, type, data } of this.#transport.messages(`${pathOf("jobs", jobId)}/events`, after)) {
      const job = data["job"] === undefined ? null : this.#job(data["job"] as JobData);
      const progress = type === "job.progress" ? (data as unknown as Schemas["StepProgress"]) : null;
      const preview = type === "preview" ? (data as unknown as Preview) : null;
      yield { id, type, data, progress, preview, job };
      if (job !== null) return;
    }
  }

  /** Cancel a job: at once if it is queued, at its next step if it is running. Returns its new state. */
  async cancel(jobId: string): Promise<Job> {
    return this.#job(await this.#transport.request<JobData>("POST", `${pathOf("jobs", jobId)}/cancel`));
  }

  /** Submit a failed, cancelled or expired job again, with the same seed. A second call returns the same job. */
  async retry(jobId: string): Promise<Job> {
    return this.#job(await this.#transport.request<JobData>("POST", `${pathOf("jobs", jobId)}/retry`));
  }

  /** Draw the images of a completed job again, or only `image`. The new job's `reproduction` compares them. */
  async reproduce(jobId: string, image?: string, options: SubmitOptions = {}): Promise<Job> {
    const body = image === undefined ? {} : { image };
    const path = `${pathOf("jobs", jobId)}/reproduce`;
    return this.#job(await this.#transport.submit<JobData>(path, body, options.idempotencyKey));
  }

  /** Delete a job that has ended, with its images. Throws Conflict if it has not ended. */
  async delete(jobId: string): Promise<Deleted> {
    return this.#transport.request<Deleted>("DELETE", pathOf("jobs", jobId));
  }

  #job(data: JobData): Job {
    return new Job(this.#transport, data);
  }
}

/** The path of an object, such as `/v1/jobs/job_...`. */
export function pathOf(collection: string, id: string): string {
  return `/v1/${collection}/${encodeURIComponent(id)}`;
}
