// Whether the API and what it needs are there: read often while something is down, else rarely.

import { address, failures } from "./api.js";
import { createStore } from "./store.js";

const SECONDS_WHILE_UP = 30;
const SECONDS_WHILE_DOWN = 2;

/**
 * down: names of what does not answer: `api`, `database`, `redis`, `storage`. queues: those without a worker.
 * recoveries: grows when what was down is back: views load again.
 */
export const status = createStore({ down: [], queues: [], recoveries: 0 });

let timer = null;

export async function checkStatus() {
  clearTimeout(timer);
  const before = status.value;
  const { down, queues } = await read();
  const isBack = before.down.some((name) => !down.includes(name));
  const isSame = String(down) === String(before.down) && String(queues) === String(before.queues);
  if (!isSame) status.set({ down, queues, recoveries: before.recoveries + (isBack ? 1 : 0) });
  if (!document.hidden) timer = setTimeout(checkStatus, 1000 * (down.length ? SECONDS_WHILE_DOWN : SECONDS_WHILE_UP));
}

async function read() {
  try {
    const response = await fetch(address("/readyz"));
    const { checks = {}, queues = {} } = await response.json();
    return {
      down: Object.keys(checks).filter((name) => checks[name] === "down"),
      queues: Object.keys(queues).filter((name) => queues[name] === "no_worker"),
    };
  } catch {
    return { down: ["api"], queues: [] };
  }
}

export function startStatus() {
  document.addEventListener("visibilitychange", () => document.hidden || checkStatus());
  let seen = failures.value.unavailable;
  failures.subscribe(({ unavailable }) => {
    if (unavailable === seen) return;
    seen = unavailable;
    checkStatus();
  });
  checkStatus();
}
