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

const details = new Map();

/** A model with its `parameters`. */
export async function loadModel(id) {
  if (!details.has(id)) details.set(id, await get(`/v1/models/${id}`));
  return details.get(id);
}
