// The form of a webhook endpoint, and its secret, which is shown once.

import { html, useState } from "../vendor/preact.js";
import { t } from "../text.js";
import { loadEventTypes } from "../webhooks.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icons.js";
import { useLoad } from "./load.js";
import { problemOf } from "./problem.js";
import { say, sayError } from "./toasts.js";

const USUAL = ["job.completed", "job.failed", "batch.completed", "batch.failed"];

/** endpoint: null for a new one. onSubmit({ name, url, event_types }) may throw an error of the API. */
export function EndpointForm({ endpoint = null, onSubmit, onClose }) {
  const { value: types, error: failure } = useLoad(loadEventTypes);
  const [name, setName] = useState(endpoint?.name ?? "");
  const [url, setUrl] = useState(endpoint?.url ?? "");
  const [chosen, setChosen] = useState(new Set(endpoint?.event_types ?? USUAL));
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await onSubmit({ name: name.trim() || new URL(url).host, url: url.trim(), event_types: types.filter((type) => chosen.has(type)) });
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const choose = (type, isChosen) => {
    const next = new Set(chosen);
    if (isChosen) next.add(type);
    else next.delete(type);
    setChosen(next);
  };
  const invalid = (field) => error?.param?.startsWith(field) || undefined;
  const message = error ?? failure;
  return html`<${Dialog} title=${t(endpoint ? "webhook.edit" : "webhook.new")} onClose=${onClose}>
    <form class="stack" onSubmit=${submit}>
      <label class="field"><span>${t("webhook.url")}</span>
        <input type="url" name="url" required placeholder="https://example.com/hooks" value=${url} aria-invalid=${invalid("url")} onInput=${(event) => setUrl(event.target.value)} /></label>
      <label class="field"><span>${t("webhook.name")}</span>
        <input type="text" name="name" maxlength="200" placeholder=${t("webhook.name.hint")} value=${name} aria-invalid=${invalid("name")} onInput=${(event) => setName(event.target.value)} /></label>
      <fieldset class="field"><legend class="label">${t("webhook.events")}</legend>
        <div class="checks">${(types ?? []).map((type) => html`<label key=${type} class="row"><input type="checkbox" checked=${chosen.has(type)} onChange=${(event) => choose(type, event.target.checked)} /> <code>${type}</code></label>`)}</div>
      </fieldset>
      ${message && html`<p class="error" role="alert">${problemOf(message).title} ${problemOf(message).advice}</p>`}
      <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button>
        <button class="primary" disabled=${isBusy || !types || chosen.size === 0}>${t(endpoint ? "save" : "webhook.create")}</button></div>
    </form>
  <//>`;
}

/** A secret that is shown once: by default that of an endpoint. */
export function Secret({ secret, onClose, title = t("webhook.secret"), text = t("webhook.secret.text"), check = t("webhook.secret.check") }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(secret);
      say(t("image.copied"));
    } catch (error) {
      sayError(error); // over plain HTTP a browser has no clipboard
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p>${text}</p>
    <pre class="secret">${secret}</pre>
    <p class="small muted">${check}</p>
    <div class="row end"><button onClick=${copy}><${Icon} name="copy" size="16" />${t("copy")}</button><button class="primary" onClick=${onClose}>${t("webhook.secret.done")}</button></div>
  <//>`;
}
