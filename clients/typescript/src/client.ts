/** The client of one Safelight. */

import type { components } from "./openapi.js";
import { Batches } from "./batches.js";
import { Files } from "./files.js";
import { Jobs, pathOf } from "./jobs.js";
import { type Options, type RequestOptions, Transport } from "./transport.js";
import { Webhooks } from "./webhooks.js";

type Schemas = components["schemas"];

export class Safelight {
  readonly jobs: Jobs;
  readonly batches: Batches;
  readonly files: Files;
  readonly webhooks: Webhooks;
  readonly #transport: Transport;

  constructor(options: Options = {}) {
    this.#transport = new Transport(options);
    this.jobs = new Jobs(this.#transport);
    this.batches = new Batches(this.#transport);
    this.files = new Files(this.#transport);
    this.webhooks = new Webhooks(this.#transport);
  }

  /** All models and their aliases, with their sizes, steps and operations. */
  async models(): Promise<Schemas["ModelObject"][]> {
    return (await this.#transport.request<Schemas["ModelList"]>("GET", "/v1/models")).data;
  }

  /** A model, by its name or an alias. Throws NotFound. */
  async model(name: string): Promise<Schemas["ModelObject"]> {
    return this.#transport.request("GET", pathOf("models", name));
  }

  /** The limits of your project and your key, and what they use. */
  async limits(): Promise<Schemas["LimitObject"][]> {
    return (await this.#transport.request<Schemas["LimitList"]>("GET", "/v1/organization/limits")).data;
  }

  /** Call a route that has no method of its own; returns the object in the response. */
  async request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    return this.#transport.request<T>(method, path, options);
  }
}
