// A place for files: drop them anywhere in the window, or choose them.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { useKeys } from "../keyboard.js";
import { t } from "../text.js";
import { Icon } from "./icons.js";

/**
 * onFiles(files): files were given, at least one. types: of the file chooser. action: the text of its button.
 * buttons: beside it. isBusy: they are being uploaded. children: below all.
 */
export function Drop({ label, title, text, types, action, multiple = false, isBusy, onFiles, buttons, children }) {
  const input = useRef(null);
  const receive = useRef(null);
  const [isOver, setOver] = useState(false);
  receive.current = onFiles;
  useEffect(() => {
    const over = (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      setOver(event.type === "dragover");
    };
    const drop = (event) => {
      const files = [...event.dataTransfer.files];
      event.preventDefault();
      setOver(false);
      if (files.length > 0) receive.current(files);
    };
    const listeners = { dragover: over, dragleave: over, drop };
    for (const [name, listener] of Object.entries(listeners)) window.addEventListener(name, listener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) window.removeEventListener(name, listener);
    };
  }, []);
  useKeys([{ keys: ["u"], label: action, run: () => input.current.click() }]);
  const choose = (event) => {
    const files = [...event.target.files];
    event.target.value = ""; // the same file may be chosen again, after a change
    if (files.length > 0) onFiles(files);
  };
  return html`<section class="drop ${isOver ? "over" : ""}" aria-busy=${isBusy} aria-label=${label}>
    <${Icon} name="upload" size="28" />
    <h2>${isBusy ? t("batch.uploading") : title}</h2>
    <p class="muted">${text}</p>
    <div class="row center">
      <label class="button primary"><input ref=${input} class="visually-hidden" type="file" accept=${types} multiple=${multiple} disabled=${isBusy} onChange=${choose} />
        ${action}</label>
      ${buttons}
    </div>
    ${children}
  </section>`;
}
