// The list of batches, and the place where a new one begins: a file.

import { html, useEffect, useState } from "../vendor/preact.js";
import { get } from "../api.js";
import { isFinalBatch, nameOf, upload, useVisibility } from "../batches.js";
import { go, link } from "../router.js";
import { hasScope, session } from "../session.js";
import { useStore } from "../store.js";
import { formatAge, t } from "../text.js";
import { Bar } from "../ui/counts.js";
import { FileDrop } from "../ui/filedrop.js";
import { useLoad } from "../ui/load.js";
import { Empty, Problem } from "../ui/problem.js";
import { sayError } from "../ui/toasts.js";

const PAGE = 30;
const REFRESH_SECONDS = 5;

export default function Batches() {
  const [isBusy, setBusy] = useState(false);
  const canSubmit = hasScope(useStore(session), "submit");
  const { value, error, reload, more, isMore } = useBatches();
  const open = async (file) => {
    setBusy(true);
    try {
      const { id } = await upload(file);
      go(link("batches", "new", { file: id }));
    } catch (problem) {
      sayError(problem);
      setBusy(false);
    }
  };
  const isEmpty = value?.length === 0;
  return html`<div class="heading"><h1>${t("nav.batches")}</h1></div>
    ${canSubmit && html`<${FileDrop} onFile=${open} isBusy=${isBusy} hasIntroduction=${isEmpty} />`}
    ${error && !value && html`<${Problem} error=${error} onRetry=${reload} />`}
    ${isEmpty && !canSubmit && html`<${Empty} icon="batches" title=${t("batch.empty")}><p>${t("batch.empty.text")}</p><//>`}
    ${value?.length > 0 && html`<ul class="list" aria-label=${t("nav.batches")}>${value.map((batch) => html`<${Row} key=${batch.id} batch=${batch} />`)}</ul>`}
    ${isMore && html`<p class="center"><button onClick=${() => more().catch(sayError)}>${t("more")}</button></p>`}`;
}

/** The newest batches. While one of them is in progress they are read again every few seconds. */
function useBatches() {
  const [older, setOlder] = useState([]);
  const [isEnd, setEnd] = useState(false);
  const { value, error, reload } = useLoad((signal) => get("/v1/batches", { query: { limit: PAGE }, signal }));
  const isShown = useVisibility();
  const isOpen = isShown && value?.data.some((batch) => !isFinalBatch(batch));
  useEffect(() => {
    if (!isOpen) return;
    const timer = setInterval(reload, REFRESH_SECONDS * 1000);
    return () => clearInterval(timer);
  }, [isOpen]);
  const list = value && [...value.data, ...older.filter(({ id }) => id < value.last_id)];
  const more = async () => {
    const page = await get("/v1/batches", { query: { limit: PAGE, after: list.at(-1).id } });
    setOlder((before) => [...before, ...page.data]);
    setEnd(!page.has_more);
  };
  return { value: list, error, reload, more, isMore: value?.has_more && !isEnd };
}

function Row({ batch }) {
  const counts = batch.request_counts;
  return html`<li class="item">
    <a class="name truncate" href=${link("batches", batch.id)}>${nameOf(batch)}</a>
    <span class="chip ${batch.status}">${t(`batch.status.${batch.status}`)}</span>
    <span class="muted small number">${counts.total > 0 && t("batch.lines", { count: counts.total })}</span>
    <span class="muted small number">${formatAge(batch.created_at)}</span>
    ${counts.total > 0 && html`<${Bar} counts=${counts} />`}
  </li>`;
}
