/**
 * Requests to the API, repeated after a lost connection or a temporary error.
 *
 * An outage begins with the first failure and ends with the next response that arrives. If the API has never answered, a failed
 * connection is an error at once: the URL may be wrong.
 */

import { APIError, ConfigurationError, ConnectionFailed, SafelightError, UnexpectedResponse, errorOf, withoutQuery } from "./errors.js";

export interface Options {
  /** Default: SAFELIGHT_URL, else http://127.0.0.1:8000. */
  baseURL?: string;
  /** Default: SAFELIGHT_API_KEY. */
  apiKey?: string;
  /** Seconds to wait for a response; default 20. */
  timeout?: number;
  /** Seconds that requests are repeated during an outage of the API; default 30, and 0 for never. */
  retrySeconds?: number;
  /** Gets the reason when an outage begins. */
  onOutage?: (reason: string) => void;
  /** Replaces the global `fetch`. */
  fetch?: typeof fetch;
}

export interface RequestOptions {
  /** Sent as JSON. */
  body?: unknown;
  form?: FormData;
  query?: Record<string, unknown>;
  headers?: Record<string, string>;
  /** Seconds; default: the client's. */
  timeout?: number;
  /** False if a repetition after a lost connection could have an effect of its own. Default: true. */
  repeatable?: boolean;
}

export interface Message {
  id: string | null;
  type: string;
  data: Record<string, unknown>;
}

interface List {
  data: { id: string }[];
  has_more: boolean;
}

const DEFAULT_URL = "http://127.0.0.1:8000";
const RETRY_DELAY = 1;
const GATEWAY_STATUSES = [502, 503, 504];
/** Errors of Node.js before anything was sent. */
const NOT_CONNECTED: unknown[] = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"];
/** Maximum seconds without data on a stream. The API sends a comment about every 15 s. */
const IDLE_SECONDS = 45;
const PAGE_SIZE = 100;

class TemporaryFailure extends Error {
  constructor(
    readonly error: SafelightError,
    readonly reason: string,
    readonly delay = RETRY_DELAY,
  ) {
    super(reason);
  }
}

export class Transport {
  readonly baseURL: string;
  readonly timeout: number;
  readonly #key: string | undefined;
  readonly #retrySeconds: number;
  readonly #onOutage: (reason: string) => void;
  readonly #fetch: typeof fetch;
  #hasAnswered = false;
  #outageStart: number | undefined;

  constructor(options: Options) {
    this.baseURL = checkURL(options.baseURL || variable("SAFELIGHT_URL") || DEFAULT_URL);
    this.#key = options.apiKey || variable("SAFELIGHT_API_KEY");
    if (this.#key !== undefined && !/^[\x20-\x7e]*$/.test(this.#key)) {
      throw new ConfigurationError("The API key has invalid characters.");
    }
    this.timeout = options.timeout ?? 20;
    this.#retrySeconds = options.retrySeconds ?? 30;
    this.#onOutage = options.onOutage ?? (() => undefined);
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /** Send a request; returns the object in the response. */
  async request<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const repeatable = options.repeatable ?? true;
    return this.#repeat(repeatable, async () => {
      const response = await this.#send(method, path, options, AbortSignal.timeout(1000 * (options.timeout ?? this.timeout)));
      await this.#check(response, repeatable);
      const body = (await response.json().catch((error: unknown) => {
        if (error instanceof SyntaxError) return undefined;
        throw error;
      })) as { object?: string } | undefined;
      this.#outageStart = undefined;
      if (typeof body !== "object" || body?.object === undefined) {
        throw new UnexpectedResponse(withoutQuery(response.url), response.status);
      }
      return body as T;
    });
  }

  /** Post what must not be submitted twice: a repetition has the same Idempotency-Key. */
  async submit<T>(path: string, body: unknown, key: string | undefined): Promise<T> {
    const headers = { "idempotency-key": key ?? globalThis.crypto.randomUUID() };
    return this.request<T>("POST", path, { body, headers });
  }

  /** The items of a list, page by page. `limit`: of the number of items. */
  async *list<T>(path: string, query: Record<string, unknown>, limit = Infinity): AsyncGenerator<T> {
    let after: unknown = query["after"];
    for (let count = 0; count < limit; ) {
      const size = Math.min(limit - count, PAGE_SIZE);
      const page = await this.request<List>("GET", path, { query: { ...query, after, limit: size } });
      yield* page.data as T[];
      count += page.data.length;
      if (!page.has_more) return;
      after = page.data.at(-1)?.id;
    }
  }

  /** The content at a path. */
  async download(path: string): Promise<Uint8Array<ArrayBuffer>> {
    return this.#repeat(true, async () => {
      const response = await this.#send("GET", path, {}, undefined);
      await this.#check(response, true);
      const content = new Uint8Array(await response.arrayBuffer());
      this.#outageStart = undefined;
      return content;
    });
  }

  /** The messages of an event stream after an id. A lost connection is opened again after the last message with an id. */
  async *messages(path: string, after: string): AsyncGenerator<Message> {
    for (;;) {
      const controller = new AbortController();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const wait = () => {
        clearTimeout(timer);
        timer = setTimeout(() => controller.abort(new Error("no data")), 1000 * IDLE_SECONDS);
      };
      try {
        wait();
        const response = await this.#send("GET", path, { headers: { "last-event-id": after } }, controller.signal);
        await this.#check(response, true);
        if (response.status === 204) {
          this.#outageStart = undefined;
          return;
        }
        if (response.body === null || !response.headers.get("content-type")?.startsWith("text/event-stream")) {
          throw new UnexpectedResponse(withoutQuery(response.url), response.status);
        }
        const onData = () => {
          this.#outageStart = undefined;
          wait();
        };
        for await (const message of parse(response.body, onData)) {
          after = message.id ?? after;
          // The API ends a stream with an error; the response to the next request is that error.
          if (message.type !== "error") yield message;
        }
        const reason = "closes the stream before its last event";
        throw new TemporaryFailure(new ConnectionFailed(this.baseURL, reason, true), reason);
      } catch (error) {
        await this.#pause(this.#failureOf(error, true));
      } finally {
        clearTimeout(timer);
        controller.abort();
      }
    }
  }

  async #repeat<T>(repeatable: boolean, attempt: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        await this.#pause(this.#failureOf(error, repeatable));
      }
    }
  }

  async #send(method: string, path: string, options: RequestOptions, signal: AbortSignal | undefined): Promise<Response> {
    const headers: Record<string, string> = { ...options.headers };
    if (this.#key !== undefined) headers["authorization"] = `Bearer ${this.#key}`;
    if (options.body !== undefined) headers["content-type"] = "application/json";
    return this.#fetch(this.baseURL + path + queryOf(options.query ?? {}), {
      method,
      headers,
      body: options.form ?? (options.body === undefined ? null : JSON.stringify(options.body)),
      signal: signal ?? null,
      redirect: method === "GET" ? "follow" : "manual", // `fetch` would make a GET of a POST
    });
  }

  /**
   * Throw the error in a response: a TemporaryFailure if the request may be repeated. A success ends no outage before its
   * content has arrived: else a server whose responses always break off would be asked for ever.
   */
  async #check(response: Response, repeatable: boolean): Promise<void> {
    this.#hasAnswered = true;
    if (response.ok) return;
    const error = await errorOf(response);
    const shouldRetry = response.headers.get("x-should-retry");
    if (shouldRetry === "true" || (shouldRetry === null && repeatable && GATEWAY_STATUSES.includes(response.status))) {
      const delay = error instanceof APIError ? error.retryAfter : null;
      throw new TemporaryFailure(error, `answers ${response.status} (${error.message.replace(/\.$/, "")})`, delay || RETRY_DELAY);
    }
    this.#outageStart = undefined;
    throw error;
  }

  /** The failure of a request. Throws the error if the request must not be repeated. */
  #failureOf(error: unknown, repeatable: boolean): TemporaryFailure {
    if (error instanceof TemporaryFailure) return error;
    if (error instanceof SafelightError || !(error instanceof Error)) throw error;
    const reason = `does not answer (${detailOf(error)})`;
    const failure = new ConnectionFailed(this.baseURL, reason, this.#hasAnswered, { cause: error });
    const isRefused = NOT_CONNECTED.includes(codeOf(error));
    if ((isRefused && !this.#hasAnswered) || !(isRefused || repeatable)) throw failure;
    return new TemporaryFailure(failure, reason);
  }

  async #pause(failure: TemporaryFailure): Promise<void> {
    const now = performance.now() / 1000;
    if (this.#outageStart === undefined) this.#onOutage(failure.reason);
    this.#outageStart ??= now;
    if (now + failure.delay > this.#outageStart + this.#retrySeconds) throw failure.error;
    await sleep(failure.delay);
  }
}

export function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

/** Server-sent events (WHATWG HTML, section 9.2.6); comments are skipped. */
async function* parse(body: ReadableStream<Uint8Array>, onData: () => void): AsyncGenerator<Message> {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  let fields: Record<string, string> = {};
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onData();
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line !== "") {
        const [, name = line, text = ""] = /^([^:]*): ?(.*)$/s.exec(line) ?? [];
        fields[name] = text;
        continue;
      }
      if (fields["data"] !== undefined) {
        const data = JSON.parse(fields["data"]) as Record<string, unknown>;
        const inner = (data["data"] ?? data) as Record<string, unknown>;
        yield { id: fields["id"] ?? null, type: fields["event"] ?? "", data: inner };
      }
      fields = {};
    }
  }
}

function queryOf(query: Record<string, unknown>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null) parameters.append(name, String(item));
    }
  }
  const text = parameters.toString();
  return text === "" ? "" : `?${text}`;
}

function checkURL(url: string): string {
  let parts: URL;
  try {
    parts = new URL(url);
  } catch {
    throw new ConfigurationError(`${url} is not a valid URL of Safelight; an example is ${DEFAULT_URL}.`);
  }
  if (!["http:", "https:"].includes(parts.protocol)) {
    throw new ConfigurationError(`${url} is not a valid URL of Safelight; an example is ${DEFAULT_URL}.`);
  }
  const path = url.replace(/\/+$/, "");
  if (path.endsWith("/v1")) throw new ConfigurationError(`The URL ${url} must not end in /v1: the client adds it.`);
  return path;
}

/** A variable of the environment, where there is one: a browser has none. */
export function variable(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name] || undefined;
}

function codeOf(error: Error): unknown {
  return (error.cause as { code?: unknown } | undefined)?.code;
}

function detailOf(error: Error): string {
  const cause = error.cause as Error | undefined;
  return cause?.message || error.message || error.name;
}
