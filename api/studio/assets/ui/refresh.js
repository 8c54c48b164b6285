// Data of a view that changes by itself: it is read again every few seconds while a person can see the page.

import { useEffect } from "../vendor/preact.js";
import { useVisibility } from "../batches.js";
import { useLoad } from "./load.js";

const SECONDS = 5;

export function useRefreshed(load, inputs = []) {
  const state = useLoad(load, inputs);
  const isShown = useVisibility();
  useEffect(() => {
    if (!isShown) return;
    const timer = setInterval(state.reload, SECONDS * 1000);
    return () => clearInterval(timer);
  }, [isShown]);
  return state;
}
