// The images of the gallery, loaded page by page, newest first. It lasts while other views are shown.

import { get } from "./api.js";
import { deletions } from "./jobs.js";
import { createStore } from "./store.js";

const PAGE = 100;
const MAX_AGE_MILLISECONDS = 60_000;
const FILTERS = ["prompt", "status", "model", "batch_id"];

/**
 * items: one for each image, and for a job without one if a status is chosen. Small, as there may be 100,000.
 * isComplete: whether all have been loaded.
 */
export const gallery = createStore({ key: null, items: [], cursor: null, isComplete: false, isLoading: false, error: null });

/** Tags of the images that were loaded, `key=value`, as suggestions for the filter. */
export const tags = createStore([]);
const MAX_TAGS = 100;

function collectTags(jobs) {
  const loaded = jobs.flatMap(({ metadata }) => Object.entries(metadata).map(([key, value]) => `${key}=${value}`));
  const all = new Set([...tags.value, ...loaded]);
  if (all.size > tags.value.length) tags.set([...all].slice(0, MAX_TAGS));
}

let loadedAt = 0;
export const scroll = { top: 0 };

function queryOf(filters) {
  const query = Object.fromEntries(FILTERS.map((name) => [name, filters.get(name)]));
  const [key, ...value] = (filters.get("tag") ?? "").split("=");
  if (key && value.length) query[`metadata[${key.trim()}]`] = value.join("=").trim();
  if (filters.get("after")) query.created_after = Date.parse(filters.get("after")) / 1000;
  if (filters.get("before")) query.created_before = Date.parse(filters.get("before")) / 1000 + 86400;
  return query;
}

/** Show the images that match filters; what was loaded within a minute stays. */
export function openGallery(filters) {
  const key = filters.toString();
  origin.link = null;
  const isFresh = performance.now() - loadedAt < MAX_AGE_MILLISECONDS && gallery.value.items.length > 0;
  if (gallery.value.key === key && isFresh) return;
  if (gallery.value.key !== key) scroll.top = 0;
  loadedAt = performance.now();
  gallery.set({ key, items: [], cursor: null, isComplete: false, isLoading: false, error: null });
  loadMore(filters);
}

/** Load the next page. Pages without a match go on by themselves. */
export async function loadMore(filters) {
  const { key, isLoading, isComplete, cursor } = gallery.value;
  if (isLoading || isComplete) return;
  gallery.set({ ...gallery.value, isLoading: true, error: null });
  try {
    const page = await get("/v1/jobs", { query: { ...queryOf(filters), limit: PAGE, after: cursor } });
    if (gallery.value.key !== key) return;
    collectTags(page.data);
    const items = page.data.flatMap((job) => itemsOf(job, filters));
    gallery.set({
      ...gallery.value,
      items: [...gallery.value.items, ...items],
      cursor: page.last_id,
      isComplete: !page.has_more,
      isLoading: false,
    });
    if (items.length === 0) await loadMore(filters);
  } catch (error) {
    if (gallery.value.key === key) gallery.set({ ...gallery.value, isLoading: false, error });
  }
}

/** Read the newest page again, for images that were made meanwhile. */
export async function refresh(filters) {
  const { key, isLoading } = gallery.value;
  if (isLoading) return;
  const page = await get("/v1/jobs", { query: { ...queryOf(filters), limit: PAGE } });
  if (gallery.value.key !== key) return;
  const known = new Set(gallery.value.items.map(({ id }) => id));
  const added = page.data.flatMap((job) => itemsOf(job, filters)).filter(({ id }) => !known.has(id));
  if (added.length === 0) return;
  // Ids of jobs are in the order of time, except in the list of a batch, which has the order of its lines.
  const items = [...added, ...gallery.value.items];
  if (!filters.get("batch_id")) items.sort((one, other) => (one.job < other.job ? 1 : one.job > other.job ? -1 : 0));
  gallery.set({ ...gallery.value, items });
}

function itemsOf(job, filters) {
  const operation = filters.get("operation");
  if (operation && job.operation !== operation) return [];
  if (job.images.length === 0 && !filters.get("status")) return [];
  const shared = { job: job.id, prompt: job.prompt, status: job.status };
  if (job.images.length === 0) return [{ ...shared, id: job.id, error: job.error?.message ?? null }];
  return job.images.map((image) => ({ ...shared, id: image.id }));
}

/** Where the images that a person looks through were opened: the link to their list. */
export const origin = { link: null };

/** Look through the images of another list, until the gallery is opened. */
export function setNeighbours(link, items) {
  origin.link = link;
  gallery.set({ key: link, items, cursor: null, isComplete: true, isLoading: false, error: null });
}

/** The neighbours of an image: `{ before, after }`, ids or null. */
export function neighbours(id, images) {
  const { items } = gallery.value;
  const list = items.some((item) => item.id === id) ? items.filter((item) => item.id !== item.job) : images;
  const index = list.findIndex((item) => item.id === id);
  return { before: list[index - 1]?.id ?? null, after: list[index + 1]?.id ?? null };
}

deletions.subscribe((id) => {
  gallery.set({ ...gallery.value, items: gallery.value.items.filter((item) => item.job !== id) });
});
