/** Files: upload, list, download, delete. */

import type { components } from "./openapi.js";
import { pathOf } from "./jobs.js";
import type { Transport } from "./transport.js";

type Schemas = components["schemas"];
export type FileObject = Schemas["FileObject"];

/** Maximum seconds for a response to an upload: the API stores the file before it responds. */
const UPLOAD_SECONDS = 120;

export interface UploadOptions {
  /** `vision` (default) for input images of jobs, `batch` for prompts. */
  purpose?: "vision" | "batch" | "user_data";
  /** Seconds, from an hour to 30 days. Default: as long as the API says. */
  expiresAfter?: number;
}

/** The API's calls for files. */
export class Files {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Upload a file, such as `new File([bytes], "room.png")`. A repetition after a lost connection may upload it twice. */
  async upload(file: File, options: UploadOptions = {}): Promise<FileObject> {
    const form = new FormData();
    form.set("purpose", options.purpose ?? "vision");
    if (options.expiresAfter !== undefined) {
      form.set("expires_after[anchor]", "created_at");
      form.set("expires_after[seconds]", String(options.expiresAfter));
    }
    form.set("file", file, file.name);
    return this.#transport.request<FileObject>("POST", "/v1/files", { form, timeout: UPLOAD_SECONDS });
  }

  /** A file: its name, size, purpose and end. Throws NotFound. */
  async retrieve(fileId: string): Promise<FileObject> {
    return this.#transport.request<FileObject>("GET", pathOf("files", fileId));
  }

  /** All files, newest first, page by page. */
  list(query: { purpose?: string; after?: string; limit?: number } = {}): AsyncGenerator<FileObject> {
    const { limit, ...rest } = query;
    return this.#transport.list<FileObject>("/v1/files", rest, limit);
  }

  /** The content of a file. */
  async content(fileId: string): Promise<Uint8Array<ArrayBuffer>> {
    return this.#transport.download(`${pathOf("files", fileId)}/content`);
  }

  /** Delete a file. */
  async delete(fileId: string): Promise<Schemas["Deleted"]> {
    return this.#transport.request<Schemas["Deleted"]>("DELETE", pathOf("files", fileId));
  }
}
