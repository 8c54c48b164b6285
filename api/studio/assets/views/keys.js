// The API keys of the project: what each may do, when it was used; a new one is shown once.

import { html, useState } from "../vendor/preact.js";
import { createKey, loadKeys, revokeKey } from "../keys.js";
import { session } from "../session.js";
import { useStore } from "../store.js";
import { formatAge, formatTime, t } from "../text.js";
import { Action } from "../ui/action.js";
import { confirm, Dialog } from "../ui/dialog.js";
import { Secret } from "../ui/endpointform.js";
import { useRows } from "../ui/pages.js";
import { Empty, Problem, problemOf } from "../ui/problem.js";
import { say } from "../ui/toasts.js";

const DAY = 86_400;
const LIFETIMES = { never: null, day: DAY, month: 30 * DAY, year: 365 * DAY };
const USUAL = ["submit", "read", "webhooks"];

export default function Keys() {
  const { rows, error, reload, more, isMore } = useRows(loadKeys, [], () => false);
  const [isNew, setNew] = useState(false);
  const [value, setValue] = useState(null);
  const create = async (key) => {
    setValue((await createKey(key)).value);
    setNew(false);
    reload();
  };
  const button = html`<button class="primary" onClick=${() => setNew(true)}>${t("apikey.new")}</button>`;
  return html`<div class="heading"><h1>${t("nav.keys")}</h1>${rows?.length > 0 && button}</div>
    ${error && !rows && html`<${Problem} error=${error} onRetry=${reload} />`}
    ${rows?.length === 0 && html`<${Empty} icon="keys" title=${t("apikey.empty")}><p>${t("apikey.empty.text")}</p>${button}<//>`}
    ${rows?.length > 0 && html`<p class="muted">${t("apikey.project")} <code>${session.value.project_id}</code></p>
      <ul class="list">${rows.map((key) => html`<${Row} key=${key.id} apiKey=${key} onDone=${reload} />`)}</ul>`}
    ${isMore && html`<p class="center"><${Action} run=${more}>${t("more")}<//></p>`}
    ${isNew && html`<${Form} onSubmit=${create} onClose=${() => setNew(false)} />`}
    ${value && html`<${Secret} title=${t("apikey.made")} text=${t("apikey.made.text")} check=${t("apikey.made.use")} secret=${value} onClose=${() => setValue(null)} />`}`;
}

function Row({ apiKey: key, onDone }) {
  const isOwn = useStore(session).key_id === key.id;
  const revoke = async () => {
    const text = t(isOwn ? "apikey.revoke.own" : "apikey.revoke.text", { name: key.name });
    if (!(await confirm({ title: t("apikey.revoke.title"), text, action: t("apikey.revoke") }))) return;
    await revokeKey(key.id);
    say(t("apikey.revoked", { name: key.name }));
    onDone();
  };
  return html`<li class="item key">
    <span class="name truncate">${key.name}${isOwn && html` <span class="chip">${t("apikey.own")}</span>`}</span>
    <${State} apiKey=${key} />
    <span class="muted small number">${key.last_used_at ? t("apikey.used", { time: formatAge(key.last_used_at) }) : t("apikey.unused")}</span>
    ${key.is_valid ? html`<${Action} kind="small" icon="trash" label=${t("apikey.revoke.label", { name: key.name })} run=${revoke}>${t("apikey.revoke")}<//>` : html`<span class="muted small number">${formatAge(key.created_at)}</span>`}
    <span class="muted small truncate wide"><code>${key.redacted_value}</code> · ${key.scopes.join(", ")} · <code>${key.id}</code></span>
  </li>`;
}

function State({ apiKey: key }) {
  const time = (seconds) => formatTime(seconds, { dateStyle: "medium" });
  if (key.revoked_at) return html`<span class="chip cancelled">${t("apikey.state.revoked", { time: time(key.revoked_at) })}</span>`;
  if (!key.is_valid) return html`<span class="chip failed">${t("apikey.state.expired", { time: time(key.expires_at) })}</span>`;
  return html`<span class="chip completed">${key.expires_at ? t("apikey.state.until", { time: time(key.expires_at) }) : t("apikey.state.valid")}</span>`;
}

/** onSubmit({ name, scopes, expires_in_seconds }) may throw an error of the API. */
function Form({ onSubmit, onClose }) {
  const { scopes } = useStore(session);
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState(scopes.filter((scope) => USUAL.includes(scope)));
  const [lifetime, setLifetime] = useState("never");
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await onSubmit({ name: name.trim(), scopes: chosen, expires_in_seconds: LIFETIMES[lifetime] });
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const choose = (scope) => setChosen(chosen.includes(scope) ? chosen.filter((other) => other !== scope) : [...chosen, scope]);
  return html`<${Dialog} title=${t("apikey.new")} onClose=${onClose}>
    <form class="stack" onSubmit=${submit}>
      <label class="field"><span>${t("apikey.name")}</span>
        <input type="text" name="name" required maxlength="200" placeholder=${t("apikey.name.hint")} value=${name} onInput=${(event) => setName(event.target.value)} /></label>
      <fieldset class="field"><legend class="label">${t("apikey.scopes")}</legend>
        <div class="checks">${scopes.map((scope) => html`<label key=${scope} class="row"><input type="checkbox" checked=${chosen.includes(scope)} onChange=${() => choose(scope)} /> <span><code>${scope}</code> <span class="muted">${t(`scope.${scope}`)}</span></span></label>`)}</div>
      </fieldset>
      <label class="field"><span>${t("apikey.expires")}</span>
        <select value=${lifetime} onChange=${(event) => setLifetime(event.target.value)}>${Object.keys(LIFETIMES).map((period) => html`<option key=${period} value=${period} selected=${period === lifetime}>${t(`apikey.expires.${period}`)}</option>`)}</select></label>
      ${error && html`<p class="error" role="alert">${problemOf(error).title} ${problemOf(error).advice}</p>`}
      <div class="row end"><button type="button" onClick=${onClose}>${t("cancel")}</button>
        <button class="primary" disabled=${isBusy || name.trim() === "" || chosen.length === 0}>${t("apikey.create")}</button></div>
    </form>
  <//>`;
}
