// Keys of the whole studio and of each view. The dialog of `?` lists what applies at the moment.

import { useLayoutEffect, useRef } from "./vendor/preact.js";

const groups = new Set();
const PREFIX_MILLISECONDS = 1200;
let prefix = "";
let prefixAt = 0;

function isTyping(target) {
  return target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

/** The name of a key: `Ctrl+Enter` (also for ⌘), `?`, `g c` after the key `g`. */
function nameOf(event) {
  const modifier = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  return `${modifier}${event.key.length === 1 ? event.key.toLowerCase() : event.key}`;
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.altKey) return;
  const name = nameOf(event);
  const isDialog = document.querySelector("dialog[open]") !== null;
  const isPlain = !name.startsWith("Ctrl+");
  if (isPlain && name !== "Escape" && isTyping(event.target)) return;
  if (isDialog && isPlain) return;
  const isPrefixed = prefix && performance.now() - prefixAt < PREFIX_MILLISECONDS;
  const names = isPrefixed ? [`${prefix} ${name}`] : [name];
  prefix = !isPrefixed && name === "g" ? "g" : "";
  prefixAt = performance.now();
  for (const group of [...groups].reverse()) {
    for (const candidate of names) {
      const entry = group.current.find(({ keys }) => keys.includes(candidate));
      if (entry && entry.run(event) !== false) {
        event.preventDefault();
        return;
      }
    }
  }
});

/** Keys while a component is shown: `[{ keys: ["j", "ArrowDown"], label: t("…"), run }]`. */
export function useKeys(entries) {
  const group = useRef(entries);
  group.current = entries;
  useLayoutEffect(() => { // not after the next paint: who sees a view can use its keys
    groups.add(group);
    return () => groups.delete(group);
  }, []);
}

/** All keys that apply now, for the help. */
export function currentKeys() {
  return [...groups].flatMap((group) => group.current).filter(({ label }) => label);
}
