// A place for a file: drop it, choose it, or paste cells of a spreadsheet.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { pastedFile, sampleFile } from "../batches.js";
import { useKeys } from "../keyboard.js";
import { t } from "../text.js";
import { Icon } from "./icons.js";

const TYPES = ".csv,.tsv,.xlsx,.jsonl,.txt,text/csv,text/plain";

/** onFile(file): a file was given. isBusy: it is being uploaded. */
export function FileDrop({ onFile, isBusy, hasIntroduction }) {
  const input = useRef(null);
  const [isOver, setOver] = useState(false);
  useEffect(() => {
    const isTyping = (target) => target.closest?.("input, textarea, select") !== null;
    const paste = (event) => {
      const text = event.clipboardData.getData("text/plain");
      const [file] = event.clipboardData.files;
      if (isTyping(event.target) || !(file || text.trim())) return;
      event.preventDefault();
      onFile(file ?? pastedFile(text));
    };
    const over = (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      setOver(event.type === "dragover");
    };
    const drop = (event) => {
      const [file] = event.dataTransfer.files;
      event.preventDefault();
      setOver(false);
      if (file) onFile(file);
    };
    const listeners = { paste, dragover: over, dragleave: over, drop };
    for (const [name, listener] of Object.entries(listeners)) window.addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) window.removeEventListener(name, listener);
    };
  }, []);
  useKeys([{ keys: ["u"], label: t("batch.choose"), run: () => input.current.click() }]);
  const choose = (event) => {
    const [file] = event.target.files;
    event.target.value = ""; // the same file may be chosen again, after a change
    if (file) onFile(file);
  };
  return html`<section class="drop ${isOver ? "over" : ""}" aria-busy=${isBusy} aria-label=${t("batch.new")}>
    <${Icon} name="upload" size="28" />
    <h2>${t(isBusy ? "batch.uploading" : "batch.drop")}</h2>
    <p class="muted">${t("batch.drop.text")}</p>
    <div class="row center">
      <label class="button primary"><input ref=${input} class="visually-hidden" type="file" accept=${TYPES} disabled=${isBusy} onChange=${choose} />
        ${t("batch.choose")}</label>
      ${hasIntroduction && html`<button disabled=${isBusy} onClick=${() => onFile(sampleFile())}>${t("batch.sample.try")}</button>`}
      <button class="quiet" onClick=${() => download(sampleFile())}><${Icon} name="download" size="16" />${t("batch.sample.download")}</button>
    </div>
    ${hasIntroduction && html`<${Introduction} />`}
  </section>`;
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
