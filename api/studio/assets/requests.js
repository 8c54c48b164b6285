// Requests that are made from a job: its parameters again, a variation, an edit, an upscaled image.

import { storedValue } from "./store.js";

/** What the form of `create` starts with: `{ model, prompt, values, source }`. Another view may set it. */
export const draft = storedValue("draft");

const NOT_COPIED = new Set(["partial_images"]);

/** The parameters of a job that a model takes, for the form. seed: a seed, or null for a random one. */
export function valuesOf(job, parameters, seed = null) {
  const values = { n: job.n };
  for (const [name, schema] of Object.entries(parameters)) {
    const value = job[name];
    if (name === "loras" && modelNameOf(job) !== job.model) continue;
    const isSet = value !== null && value !== undefined && value !== schema.default;
    if (isSet && name !== "seed" && !NOT_COPIED.has(name)) values[name] = value;
  }
  if (seed !== null) values.seed = seed;
  return values;
}

/** The model of a job as a request names it: a fine-tuned one is stored as its base model with a LoRA. */
export function modelNameOf(job) {
  const [lora] = job.loras ?? [];
  return job.loras?.length === 1 && lora.name.startsWith("ft:") && lora.weight === 1 ? lora.name : job.model;
}

/** The model of a job, with its LoRAs if the name does not say them. */
export function modelFields(job) {
  const model = modelNameOf(job);
  return model === job.model && job.loras?.length > 0 ? { model, loras: job.loras } : { model };
}

/** Remember a job for the form of `create`. */
export function useJob(job, seed = null) {
  draft.write({ model: modelNameOf(job), prompt: job.prompt, job, seed });
}

/** A request for images like this one: a variation if the model can make it, else the same prompt with another seed. */
export function similar(job, image, model) {
  const shared = { ...modelFields(job), size: job.size, metadata: job.metadata };
  if (model.operations.includes("variation")) {
    return { ...shared, operation: "variation", image: { image_id: image.id }, n: Math.min(4, model.max_images) };
  }
  return { ...shared, prompt: job.prompt, steps: job.steps, guidance_scale: job.guidance_scale, n: job.n };
}

/** A request that makes one image again, twice as large. */
export function upscaled(job, image) {
  const request = { ...modelFields(job), prompt: job.prompt, size: job.size, steps: job.steps, seed: image.seed };
  const names = ["guidance_scale", "negative_prompt", "scheduler", "style", "output_format"];
  for (const name of names) if (job[name] !== null && job[name] !== undefined) request[name] = job[name];
  return { ...request, postprocess: { ...job.postprocess, upscale: 2 }, metadata: job.metadata };
}
