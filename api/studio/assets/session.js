// Who uses the studio: with an API key, or without where keys are off. The key itself is never stored in the browser.

import { failures, get, post, remove } from "./api.js";
import { closeStream } from "./jobs.js";
import { createStore } from "./store.js";

/** null until the first answer; then what `GET /studio/session` says. */
export const session = createStore(null);

export async function loadSession() {
  session.set(await get("/studio/session"));
}

export async function signIn(key) {
  session.set(await post("/studio/session", { key }));
}

export async function signOut() {
  closeStream();
  await remove("/studio/session");
  await loadSession();
}

/** Whether the views can be shown: keys are off, or a key has been entered. */
export function isSignedIn(value) {
  return value !== null && value.project_id !== null;
}

export function hasScope(value, scope) {
  return scope === undefined || (value?.scopes ?? []).includes(scope);
}

// A key that was revoked or has expired: the next call is refused, and the form to sign in comes back.
let seen = failures.value.unauthorized;
failures.subscribe(({ unauthorized }) => {
  if (unauthorized === seen) return;
  seen = unauthorized;
  if (isSignedIn(session.value) && session.value.needs_key) loadSession().catch(() => {});
});
