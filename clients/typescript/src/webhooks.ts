/** Webhook endpoints and deliveries. `unwrap` verifies what arrives, by Standard Webhooks 1.0.0. */

import type { components } from "./openapi.js";
import { ConfigurationError, SignatureInvalid } from "./errors.js";
import { pathOf } from "./jobs.js";
import { type Transport, variable } from "./transport.js";

type Schemas = components["schemas"];
export type WebhookEvent = Schemas["Event"];

/** Maximum age of a timestamp in seconds. */
const TOLERANCE = 300;

type HeaderSource = Headers | Record<string, string | string[] | undefined>;

/**
 * Verify a webhook and return its event.
 *
 * `body`: exactly as it was received. `secret`: of the endpoint; default: SAFELIGHT_WEBHOOK_SECRET. Throws
 * SignatureInvalid, and ConfigurationError if there is no secret.
 */
export async function unwrap(body: string | Uint8Array, headers: HeaderSource, secret?: string): Promise<WebhookEvent> {
  const key = await keyOf(secret || variable("SAFELIGHT_WEBHOOK_SECRET"));
  const id = headerOf(headers, "webhook-id");
  const timestamp = headerOf(headers, "webhook-timestamp");
  if (id === "" || !/^\d{1,12}$/.test(timestamp)) throw new SignatureInvalid("The webhook has no id or no timestamp.");
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) {
    throw new SignatureInvalid("The timestamp of the webhook is too far from now.");
  }
  const encoder = new TextEncoder();
  const bytes = typeof body === "string" ? encoder.encode(body) : body;
  const start = encoder.encode(`${id}.${timestamp}.`);
  const content = new Uint8Array(start.length + bytes.length);
  content.set(start);
  content.set(bytes, start.length);
  for (const item of headerOf(headers, "webhook-signature").split(" ")) {
    const [version, signature] = item.split(",");
    const signatureBytes = version === "v1" && signature !== undefined ? fromBase64(signature) : null;
    if (signatureBytes && (await globalThis.crypto.subtle.verify("HMAC", key, signatureBytes, content))) {
      return JSON.parse(new TextDecoder().decode(bytes)) as WebhookEvent;
    }
  }
  throw new SignatureInvalid("The webhook is not signed with this secret.");
}

async function keyOf(secret: string | undefined): Promise<CryptoKey> {
  if (!secret) throw new ConfigurationError("There is no secret: pass it, or set SAFELIGHT_WEBHOOK_SECRET.");
  const bytes = fromBase64(secret.replace(/^whsec_/, ""));
  if (bytes === null || bytes.length === 0) {
    throw new ConfigurationError("The secret of webhooks must be whsec_ and base64.");
  }
  return globalThis.crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}

function headerOf(headers: HeaderSource, name: string): string {
  if (headers instanceof Headers) return headers.get(name) ?? "";
  const entry = Object.entries(headers).find(([key]) => key.toLowerCase() === name);
  const value = entry?.[1];
  return (Array.isArray(value) ? value[0] : value) ?? "";
}

/** The API's calls for webhooks. */
export class Webhooks {
  readonly #transport: Transport;
  /** Verify a webhook and return its event. */
  readonly unwrap = unwrap;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Register an endpoint. Its `signing_secret` is shown only here and by `rotateSecret`. */
  async create(request: Schemas["EndpointRequest"]): Promise<Schemas["EndpointWithSecret"]> {
    return this.#transport.request("POST", "/v1/webhook_endpoints", { body: request, repeatable: false });
  }

  /** An endpoint, without its secret. Throws NotFound. */
  async retrieve(endpointId: string): Promise<Schemas["EndpointObject"]> {
    return this.#transport.request("GET", pathOf("webhook_endpoints", endpointId));
  }

  /** All endpoints, page by page. */
  list(limit?: number): AsyncGenerator<Schemas["EndpointObject"]> {
    return this.#transport.list("/v1/webhook_endpoints", {}, limit);
  }

  /** Change an endpoint; `enabled: true` turns it on again after failures. */
  async update(endpointId: string, changes: Schemas["EndpointChanges"]): Promise<Schemas["EndpointObject"]> {
    return this.#transport.request("POST", pathOf("webhook_endpoints", endpointId), { body: changes });
  }

  /** Delete an endpoint. */
  async delete(endpointId: string): Promise<Schemas["EndpointDeleted"]> {
    return this.#transport.request("DELETE", pathOf("webhook_endpoints", endpointId));
  }

  /** Replace the secret of an endpoint; returns the endpoint with the new one. */
  async rotateSecret(endpointId: string, keepOldSecretActiveFor24Hours = false): Promise<Schemas["EndpointWithSecret"]> {
    const body = { keep_old_secret_active_for_24_hours: keepOldSecretActiveFor24Hours };
    return this.#transport.request("POST", `${pathOf("webhook_endpoints", endpointId)}/rotate_secret`, { body, repeatable: false });
  }

  /** The deliveries of an endpoint, a job or a batch, newest first, page by page. */
  deliveries(
    query: { webhook_endpoint_id?: string; job_id?: string; batch_id?: string; limit?: number } = {},
  ): AsyncGenerator<Schemas["DeliveryObject"]> {
    const { limit, ...rest } = query;
    return this.#transport.list("/v1/webhook_deliveries", rest, limit);
  }

  /** Send the event of a delivery again. */
  async redeliver(deliveryId: string): Promise<Schemas["DeliveryObject"]> {
    return this.#transport.request("POST", `${pathOf("webhook_deliveries", deliveryId)}/redeliver`, { repeatable: false });
  }
}
