// A button that does something on the server: it waits for the answer, and says errors in words.

import { html, useState } from "../vendor/preact.js";
import { Icon } from "./icons.js";
import { sayError } from "./toasts.js";

export function Action({ run, icon, kind = "", disabled = false, label, children }) {
  const [isBusy, setBusy] = useState(false);
  const onClick = async () => {
    setBusy(true);
    try {
      await run();
    } catch (error) {
      sayError(error);
    }
    setBusy(false);
  };
  return html`<button type="button" class=${kind} disabled=${disabled || isBusy} aria-label=${label} title=${label} onClick=${onClick}>
    ${icon && html`<${Icon} name=${icon} size="16" />`}${children}</button>`;
}
