// The models that requests can name, and the parameters of each, loaded when it is first chosen.

import { get } from "./api.js";
import { createStore } from "./store.js";

/** null until loaded; then the models without their aliases, the default first. */
export const models = createStore(null);

export async function loadModels() {
  const { data } = await get("/v1/models");
  models.set(data.filter((model) => !model.alias_of));
  return models.value;
}

/** Promises, so that many cards cause one call. One that failed is tried again. */
const pending = new Map();

function once(key, load) {
  if (!pending.has(key)) {
    const promise = load();
    pending.set(key, promise);
    promise.catch(() => pending.delete(key));
  }
  return pending.get(key);
}

/** A model with its `parameters`. */
export function loadModel(id) {
  return once(`/v1/models/${id}`, () => get(`/v1/models/${id}`));
}

/** The model of a job, or null if the catalogue has it no more. */
export async function modelOf(job) {
  const known = models.value ?? (await once("/v1/models", loadModels));
  return known.some(({ id }) => id === job.model) ? loadModel(job.model) : null;
}
