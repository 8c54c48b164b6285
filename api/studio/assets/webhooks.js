// Calls about webhook endpoints and their deliveries.

import { get, post, remove } from "./api.js";

export const PAGE = 25;

export async function loadEndpoints(signal) {
  const { data } = await get("/v1/webhook_endpoints", { query: { limit: 100 }, signal });
  return data;
}

export async function loadEventTypes(signal) {
  return (await get("/v1/webhook_event_types", { signal })).data;
}

export const loadEndpoint = (id, signal) => get(`/v1/webhook_endpoints/${id}`, { signal });
export const createEndpoint = (endpoint) => post("/v1/webhook_endpoints", endpoint);
export const changeEndpoint = (id, changes) => post(`/v1/webhook_endpoints/${id}`, changes);
export const deleteEndpoint = (id) => remove(`/v1/webhook_endpoints/${id}`);
export const rotateSecret = (id) => post(`/v1/webhook_endpoints/${id}/rotate_secret`, { keep_old_secret_active_for_24_hours: true });
export const sendTest = (id, type) => post(`/v1/webhook_endpoints/${id}/test`, { event_type: type });
export const redeliverSince = (id, since) => post(`/v1/webhook_endpoints/${id}/redeliver`, { since });
export const redeliver = (id) => post(`/v1/webhook_deliveries/${id}/redeliver`);
export const loadDelivery = (id, signal) => get(`/v1/webhook_deliveries/${id}`, { signal });

export function loadDeliveries(endpointId, after, signal) {
  return get("/v1/webhook_deliveries", { query: { webhook_endpoint_id: endpointId, limit: PAGE, after }, signal });
}
