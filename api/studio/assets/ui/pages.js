// A list that is loaded a page at a time, the newest first. Its first page is read again while it can change.

import { useRef, useState } from "../vendor/preact.js";
import { useRefreshed } from "./refresh.js";

/** The first page, and the known rows that are older. Without a row in common, rows between them may be missing. */
function merge(page, known) {
  const last = page.data.at(-1)?.id;
  const older = known.rows.filter(({ id }) => id < last);
  const isConnected = page.has_more && older.length > 0 && known.rows[0].id >= last;
  return isConnected ? { rows: [...page.data, ...older], isMore: known.isMore } : { rows: page.data, isMore: page.has_more };
}

/**
 * `{ rows, error, reload, more, isMore }`; rows: undefined until loaded.
 * load(after, signal): a page of rows older than the id `after`. isOpen(row): whether a row can still change.
 */
export function useRows(load, inputs, isOpen) {
  const canChange = (page) => page?.data.some(isOpen);
  const { value, error, reload } = useRefreshed((signal) => load(undefined, signal), inputs, { canChange });
  const known = useRef({ rows: [], isMore: false });
  const [, setRounds] = useState(0);
  if (value) known.current = merge(value, known.current);
  const { rows, isMore } = known.current;
  const more = async () => {
    const after = rows.at(-1).id;
    const page = await load(after);
    if (known.current.rows.at(-1)?.id !== after) return; // a refresh has dropped the older rows
    known.current = { rows: [...known.current.rows, ...page.data], isMore: page.has_more };
    setRounds((count) => count + 1);
  };
  return { rows: value && rows, error, reload, more, isMore };
}
