// Dialogs: the browser's own, so the focus stays inside and Esc closes them.

import { html, useEffect, useRef } from "../vendor/preact.js";
import { createStore, useStore } from "../store.js";
import { t } from "../text.js";
import { Icon } from "./icons.js";

export function Dialog({ title, onClose, children, wide = false }) {
  const element = useRef(null);
  useEffect(() => {
    const dialog = element.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  const onBackdrop = (event) => event.target === element.current && onClose();
  return html`<dialog ref=${element} class=${wide ? "wide" : ""} aria-label=${title} onClose=${onClose} onMouseDown=${onBackdrop}>
    <header>
      <h2>${title}</h2>
      <button class="quiet square" aria-label=${t("close")} onClick=${onClose}><${Icon} name="close" /></button>
    </header>
    <div class="content">${children}</div>
  </dialog>`;
}

const question = createStore(null);

/** Ask before something that cannot be undone. Resolves to whether the person agrees. */
export function confirm({ title, text, action }) {
  return new Promise((resolve) => question.set({ title, text, action, resolve }));
}

/** Shows the question of `confirm`; once in the page. */
export function Confirmation() {
  const current = useStore(question);
  if (current === null) return null;
  const answer = (value) => {
    question.set(null);
    current.resolve(value);
  };
  return html`<${Dialog} title=${current.title} onClose=${() => answer(false)}>
    <p>${current.text}</p>
    <div class="row end">
      <button onClick=${() => answer(false)}>${t("cancel")}</button>
      <button class="danger" onClick=${() => answer(true)}>${current.action}</button>
    </div>
  <//>`;
}
