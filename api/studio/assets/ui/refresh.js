// Data of a view that changes by itself: it is read again every few seconds while a person can see the page.

import { useEffect, useRef, useState } from "../vendor/preact.js";
import { useVisibility } from "../batches.js";
import { useLoad } from "./load.js";

const SECONDS = 5;

/**
 * As `useLoad`. seconds: between an answer and the next request, so that a slow answer is never aborted.
 * canChange(value): whether to read it again.
 */
export function useRefreshed(load, inputs = [], { seconds = SECONDS, canChange = () => true } = {}) {
  const isOpen = useRef(false);
  const [answers, setAnswers] = useState(0);
  const state = useLoad(async (signal) => {
    isOpen.current = true;
    try {
      return await load(signal);
    } finally {
      if (!signal.aborted) {
        isOpen.current = false;
        setAnswers((count) => count + 1);
      }
    }
  }, inputs);
  const isActive = useVisibility() && canChange(state.value);
  useEffect(() => {
    if (!isActive) return;
    const timer = setTimeout(() => isOpen.current || state.reload(), seconds * 1000);
    return () => clearTimeout(timer);
  }, [isActive, answers]);
  return state;
}
