// Loading data for a view: the value, the error, and loading again when something that was down is back.

import { useCallback, useEffect, useState } from "../vendor/preact.js";
import { useStore } from "../store.js";
import { status } from "../status.js";

/** `{ value, error, reload, set }` of an asynchronous function, called again when `inputs` change. */
export function useLoad(load, inputs = []) {
  const [state, setState] = useState({ value: undefined, error: null });
  const [round, setRound] = useState(0);
  const recoveries = useStore(status, (value) => value.recoveries);
  useEffect(() => {
    const abort = new AbortController();
    load(abort.signal).then(
      (value) => abort.signal.aborted || setState({ value, error: null }),
      (error) => abort.signal.aborted || setState((before) => ({ ...before, error })),
    );
    return () => abort.abort();
  }, [...inputs, round, recoveries]);
  const reload = useCallback(() => setRound((count) => count + 1), []);
  const set = useCallback((value) => setState({ value, error: null }), []);
  return { ...state, reload, set };
}
