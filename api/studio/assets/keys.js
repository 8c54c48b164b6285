// Calls about the API keys of the project.

import { get, post, remove } from "./api.js";
import { session } from "./session.js";

export const PAGE = 50;

const path = (...parts) => ["/v1/organization/projects", session.value.project_id, "api_keys", ...parts].join("/");

export const loadKeys = (after, signal) => get(path(), { query: { limit: PAGE, after }, signal });
export const createKey = (key) => post(path(), key);
export const revokeKey = (id) => remove(path(id));
