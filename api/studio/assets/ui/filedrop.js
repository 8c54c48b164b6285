// A place for a file: drop it, choose it, or paste cells of a spreadsheet.

import { html, useEffect } from "../vendor/preact.js";
import { pastedFile, sampleFile } from "../batches.js";
import { t } from "../text.js";
import { Drop } from "./drop.js";
import { Icon } from "./icons.js";

const TYPES = ".csv,.tsv,.xlsx,.jsonl,.txt,text/csv,text/plain";

/** onFile(file): a file was given. isBusy: it is being uploaded. */
export function FileDrop({ onFile, isBusy, hasIntroduction }) {
  useEffect(() => {
    const isTyping = (target) => target.closest?.("input, textarea, select") !== null;
    const paste = (event) => {
      const text = event.clipboardData.getData("text/plain");
      const [file] = event.clipboardData.files;
      if (isTyping(event.target) || !(file || text.trim())) return;
      event.preventDefault();
      onFile(file ?? pastedFile(text));
    };
    window.addEventListener("paste", paste);
    return () => window.removeEventListener("paste", paste);
  }, []);
  const buttons = html`${hasIntroduction && html`<button disabled=${isBusy} onClick=${() => onFile(sampleFile())}>${t("batch.sample.try")}</button>`}
    <button class="quiet" onClick=${() => download(sampleFile())}><${Icon} name="download" size="16" />${t("batch.sample.download")}</button>`;
  return html`<${Drop} label=${t("batch.new")} title=${t("batch.drop")} text=${t("batch.drop.text")} types=${TYPES} action=${t("batch.choose")}
    isBusy=${isBusy} onFiles=${([file]) => onFile(file)} buttons=${buttons}>${hasIntroduction && html`<${Introduction} />`}<//>`;
}

/** What a file looks like, as a table. */
function Introduction() {
  const rows = [1, 2, 3];
  return html`<div class="scroll sample"><table>
    <caption class="small muted">${t("batch.sample.caption")}</caption>
    <thead><tr><th scope="col">prompt</th><th scope="col">custom_id</th><th scope="col">seed</th></tr></thead>
    <tbody>${rows.map((number) => html`<tr key=${number}><td>${t(`batch.sample.${number}`)}</td><td>${number}</td><td>${number}</td></tr>`)}</tbody>
  </table></div>`;
}

function download(file) {
  const anchor = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: file.name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}
