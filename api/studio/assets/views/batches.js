// The list of batches, and the place where a new one begins: a file.

import { html, useState } from "../vendor/preact.js";
import { get } from "../api.js";
import { isFinalBatch, nameOf, upload } from "../batches.js";
import { go, link } from "../router.js";
import { hasScope, session } from "../session.js";
import { useStore } from "../store.js";
import { formatAge, t } from "../text.js";
import { Bar } from "../ui/counts.js";
import { FileDrop } from "../ui/filedrop.js";
import { useRows } from "../ui/pages.js";
import { Empty, Problem } from "../ui/problem.js";
import { sayError } from "../ui/toasts.js";

const PAGE = 30;

export default function Batches() {
  const [isBusy, setBusy] = useState(false);
  const canSubmit = hasScope(useStore(session), "submit");
  const load = (after, signal) => get("/v1/batches", { query: { limit: PAGE, after }, signal });
  const { rows, error, reload, more, isMore } = useRows(load, [], (batch) => !isFinalBatch(batch));
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
  const isEmpty = rows?.length === 0;
  return html`<div class="heading"><h1>${t("nav.batches")}</h1></div>
    ${canSubmit && html`<${FileDrop} onFile=${open} isBusy=${isBusy} hasIntroduction=${isEmpty} />`}
    ${error && !rows && html`<${Problem} error=${error} onRetry=${reload} />`}
    ${isEmpty && !canSubmit && html`<${Empty} icon="batches" title=${t("batch.empty")}><p>${t("batch.empty.text")}</p><//>`}
    ${rows?.length > 0 && html`<ul class="list" aria-label=${t("nav.batches")}>${rows.map((batch) => html`<${Row} key=${batch.id} batch=${batch} />`)}</ul>`}
    ${isMore && html`<p class="center"><button onClick=${() => more().catch(sayError)}>${t("more")}</button></p>`}`;
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
