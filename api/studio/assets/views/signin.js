// Signing in with an API key. The server answers with a cookie; the key is not stored in the browser.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { signIn } from "../session.js";
import { t } from "../text.js";
import { problemOf } from "../ui/problem.js";
import { LanguageSwitch, ThemeSwitch } from "../ui/switches.js";

export default function SignIn() {
  const [key, setKey] = useState("");
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const input = useRef(null);
  useEffect(() => input.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await signIn(key);
    } catch (failure) {
      setError(failure);
      setBusy(false);
      input.current.focus();
    }
  };
  return html`<form class="signin" onSubmit=${submit}>
    <span class="lamp large" aria-hidden="true"></span>
    <h1>Safelight</h1>
    <p class="muted">${t("signin.intro")}</p>
    <label class="field">
      <span>${t("signin.key")}</span>
      <input ref=${input} type="password" name="key" autocomplete="current-password" spellcheck=${false} placeholder="sl_…" required
        value=${key} onInput=${(event) => setKey(event.target.value)}
        aria-invalid=${error !== null} aria-describedby=${error ? "signin-error" : undefined} />
    </label>
    ${error && html`<p id="signin-error" class="error" role="alert">${problemOf(error).title}</p>`}
    <button class="primary" disabled=${isBusy || key.trim() === ""}>${t("signin.action")}</button>
    <p class="small muted">${t("signin.help")} <code>safelight keys create NAME</code></p>
    <div class="row center"><${LanguageSwitch} /><${ThemeSwitch} /></div>
  </form>`;
}
