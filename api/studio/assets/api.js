// Calls of Safelight's public API. The address comes from that of this file, so the studio works under any path.

import { createStore } from "./store.js";

const ROOT = new URL("../../", import.meta.url);

/** The absolute address of a path of the API, such as `/v1/jobs`. */
export function address(path, query) {
  const url = new URL(path.replace(/^\//, ""), ROOT);
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null && item !== "") url.searchParams.append(name, item);
    }
  }
  return url.href;
}

/** The address of an image's bytes, or of a smaller version of it. width: 256 or 512 pixels. */
export function imageAddress(id, width) {
  return address(`/v1/images/${id}/content`, { width });
}

/** An error of the API. code: as in docs/reference/errors.md, or `unreachable` if no answer came. */
export class ApiError extends Error {
  constructor(status, { message, code, param } = {}, requestId = null) {
    super(message || `The server answered with status ${status}.`);
    Object.assign(this, { status, code: code || "internal_error", param: param ?? null, requestId });
  }
}

/** Counts answers of 401 and failures, for `session.js` and `status.js`, which follow it. */
export const failures = createStore({ unauthorized: 0, unavailable: 0 });

function count(name) {
  failures.set({ ...failures.value, [name]: failures.value[name] + 1 });
}

/**
 * Send a request. Returns the parsed JSON, null for an empty answer, or the Response itself with `raw`.
 * body: an object, sent as JSON, or a FormData. Throws ApiError.
 */
export async function request(method, path, { body, query, headers = {}, signal, raw = false } = {}) {
  const isForm = body instanceof FormData;
  let response;
  try {
    response = await fetch(address(path, query), {
      method,
      signal,
      headers: body === undefined || isForm ? headers : { "content-type": "application/json", ...headers },
      body: body === undefined || isForm ? body : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    count("unavailable");
    throw new ApiError(0, { code: "unreachable", message: "The server does not answer." });
  }
  if (response.ok) {
    if (raw) return response;
    return response.status === 204 ? null : response.json();
  }
  const content = await response.json().catch(() => ({}));
  if (response.status === 401) count("unauthorized");
  if (response.status === 503) count("unavailable");
  throw new ApiError(response.status, content.error, response.headers.get("x-request-id"));
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, body, options) => request("POST", path, { body, ...options });
export const remove = (path, options) => request("DELETE", path, options);
