// Calls about fine-tuning jobs, and the training file that is made of images and their descriptions.

import { get, post, remove } from "./api.js";

const FINAL = new Set(["succeeded", "failed", "cancelled"]);
const PAGE = 30;
const EVENTS = 100;
const PATH = "/v1/fine_tuning/jobs";
const MAX_SUFFIX_CHARS = 64;

export const isFinalTraining = (job) => FINAL.has(job.status);

export const loadTrainings = (after, signal) => get(PATH, { query: { limit: PAGE, after }, signal });
export const loadTraining = (id, signal) => get(`${PATH}/${id}`, { signal });
export const loadEvents = (id, after, signal) => get(`${PATH}/${id}/events`, { query: { limit: EVENTS, after }, signal });
export const loadCheckpoints = async (id, signal) => (await get(`${PATH}/${id}/checkpoints`, { query: { limit: 100 }, signal })).data;
export const cancelTraining = (id) => post(`${PATH}/${id}/cancel`);
export const deleteModel = (name) => remove(`/v1/models/${name}`);

/** The models that can be fine-tuned. */
export const trainable = (models) => models.filter((model) => model.fine_tuning !== null);

/** What its owner calls it: the word, else the part of the model's name that the request had, else the id. */
export function nameOfTraining(job) {
  return job.metadata.name ?? (job.fine_tuned_model?.split(":")[3] || job.id);
}

/** Those of some models that have not been deleted. */
export async function existing(names) {
  const answers = await Promise.all(names.map((name) => get(`/v1/models/${name}`).then(() => true, (error) => error.status !== 404)));
  return names.filter((_, index) => answers[index]);
}

/**
 * What was dropped: `{ examples }` of images, each with the text of the file of the same name; or `{ archive }`, a file
 * that has both.
 */
export async function readFiles(files) {
  const archive = files.find(({ name }) => /\.(zip|jsonl)$/i.test(name));
  if (archive) return { archive, examples: [] };
  const stem = ({ name }) => name.replace(/\.[^.]*$/, "");
  const texts = new Map();
  for (const file of files.filter(({ name }) => /\.txt$/i.test(name))) texts.set(stem(file), (await file.text()).trim());
  const images = files.filter(({ name }) => !/\.txt$/i.test(name));
  const examples = await Promise.all(images.map(async (file) => ({ name: file.name, image: await dataUrl(file), text: texts.get(stem(file)) ?? "" })));
  return { archive: null, examples };
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.replace(/^data:[^;,]*/, `data:${file.type || "application/octet-stream"}`));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** The part of a model's name that a word becomes: the API takes letters, digits, `-` and `_`. */
export function suffixOf(word) {
  return word.trim().replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, MAX_SUFFIX_CHARS);
}

/** Upload the training file and create the job. values: hyperparameters that differ from the model's. */
export async function createTraining({ archive, examples, text, model, word, values, key }) {
  const lines = examples.map((example) => `${JSON.stringify({ image: example.image, text: example.text.trim() || text })}\n`);
  const file = archive ?? new File(lines, "training.jsonl");
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", file, file.name);
  const { id } = await post("/v1/files", form);
  const { seed, ...hyperparameters } = values;
  const suffix = suffixOf(word);
  const request = {
    training_file: id,
    model,
    ...(suffix && { suffix }),
    ...(seed !== undefined && { seed }),
    ...(word.trim() && { metadata: { name: word.trim() } }),
    method: { type: "supervised", supervised: { hyperparameters } },
  };
  try {
    return await post(PATH, request, { headers: { "idempotency-key": `${key}-${id}` } });
  } catch (error) {
    // If the server refused the request, nobody uses the file. Else the answer may be lost, and a job may exist.
    if (error.status >= 400 && error.status < 500) remove(`/v1/files/${id}`).catch(() => {});
    throw error;
  }
}

/** The seconds that are left, by the pace of the last steps; null while that is not known. */
export function secondsLeft(job, metrics) {
  const [last] = metrics;
  const first = metrics.at(-1);
  if (!last || last.data.step === first.data.step || last.created_at === first.created_at) return null;
  const pace = (last.created_at - first.created_at) / (last.data.step - first.data.step);
  return Math.max(1, pace * (job.total_steps - last.data.step) - (Date.now() / 1000 - last.created_at));
}
