// A value that components can follow: `useStore(store)` draws a component again when the value changes.

import { useEffect, useState } from "./vendor/preact.js";

export function createStore(value) {
  const listeners = new Set();
  return {
    get value() {
      return value;
    },
    set(next) {
      value = next;
      for (const listener of [...listeners]) listener(value);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The part of a store that a component needs; it is drawn again only when that part is another value. */
export function useStore(store, select = (value) => value) {
  const [part, setPart] = useState(() => select(store.value));
  useEffect(() => {
    const follow = () => setPart(() => select(store.value));
    follow();
    return store.subscribe(follow);
  }, [store]);
  return part;
}

/** What the browser stores between visits. Without storage, the value lasts as long as the page. */
export function storedValue(name) {
  const key = `safelight.${name}`;
  return {
    read() {
      try {
        return JSON.parse(localStorage.getItem(key));
      } catch {
        return null;
      }
    },
    write(value) {
      try {
        localStorage.setItem(key, JSON.stringify(value));
      } catch {
        // Private windows may have no storage.
      }
    },
  };
}
