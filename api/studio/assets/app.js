// The frame of the studio: navigation, the banner, the view of the address, dialogs.

import { html, render, useEffect, useRef, useState } from "./vendor/preact.js";
import { address } from "./api.js";
import { hasScope, isSignedIn, loadSession, session, signOut } from "./session.js";
import { usePausedJobs } from "./jobs.js";
import { currentKeys, useKeys } from "./keyboard.js";
import { t, useLanguage } from "./text.js";
import { ROUTES } from "./routes.js";
import { go, link, route } from "./router.js";
import { startStatus, status } from "./status.js";
import { useStore } from "./store.js";
import { Confirmation, Dialog } from "./ui/dialog.js";
import { Icon } from "./ui/icons.js";
import { Problem } from "./ui/problem.js";
import { LanguageSwitch, ThemeSwitch } from "./ui/switches.js";
import { sayError, Toasts } from "./ui/toasts.js";
import SignIn from "./views/signin.js";

function App() {
  useLanguage();
  const current = useStore(session);
  const [error, setError] = useState(null);
  const [hasHelp, setHelp] = useState(false);
  const recoveries = useStore(status, (value) => value.recoveries);
  useEffect(() => {
    loadSession().then(() => setError(null), setError);
  }, [recoveries]);
  useKeys([
    { keys: ["?"], label: t("key.help"), run: () => setHelp(true) },
    ...visibleRoutes(current).map(({ name, key, path }) => ({
      keys: [`g ${key}`],
      label: t(`nav.${name}`),
      run: () => go(link(path)),
    })),
  ]);
  const isIn = isSignedIn(current);
  return html`
    <a class="skip" href="#main" onClick=${focusMain}>${t("skip")}</a>
    ${isIn && html`<${Navigation} onHelp=${() => setHelp(true)} />`}
    <div class="page ${isIn ? "" : "alone"}">
      <${Banner} />
      <main id="main" tabindex="-1">
        ${isIn ? html`<${View} />` : current && html`<${SignIn} />`}
        ${!current && error && html`<${Problem} error=${error} />`}
      </main>
    </div>
    <${Toasts} />
    <${Confirmation} />
    ${hasHelp && html`<${Help} onClose=${() => setHelp(false)} />`}
  `;
}

function visibleRoutes(current) {
  return isSignedIn(current) ? ROUTES.filter(({ icon, scope }) => icon && hasScope(current, scope)) : [];
}

function focusMain(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function Navigation({ onHelp }) {
  const current = useStore(session);
  const shown = useStore(route);
  const links = useRef(null);
  useEffect(() => {
    links.current.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [shown.route]);
  return html`<nav class="navigation" aria-label=${t("nav.label")}>
    <a class="brand" href=${link("")}><span class="lamp" aria-hidden="true"></span><span>Safelight</span></a>
    <div class="links" ref=${links}>
      ${visibleRoutes(current).map(
        ({ name, path, icon }) => html`<a
          key=${name}
          href=${link(path)}
          aria-current=${[shown.route?.name, shown.route?.parent].includes(name) ? "page" : undefined}
        ><${Icon} name=${icon} /><span>${t(`nav.${name}`)}</span></a>`,
      )}
    </div>
    <div class="tools">
      <${LanguageSwitch} />
      <${ThemeSwitch} />
      <a class="button quiet square" href=${address("/guide/")} aria-label=${t("guide")} title=${t("guide")}><${Icon} name="guide" /></a>
      <button class="quiet square" aria-label=${t("key.help")} title="${t("key.help")} (?)" onClick=${onHelp}><${Icon} name="help" /></button>
      ${current.needs_key && html`<button class="quiet square" aria-label=${t("signout")} title=${t("signout")} onClick=${() => signOut().catch(sayError)}><${Icon} name="leave" /></button>`}
    </div>
  </nav>`;
}

/** What is down, and what that means. It goes away by itself. */
function Banner() {
  const { down, queues } = useStore(status);
  const pausedJobs = usePausedJobs();
  const names = down.includes("api") ? ["api"] : down;
  if (names.length === 0 && queues.length === 0 && pausedJobs === 0) return null;
  return html`<div class="banner ${names.some((name) => name !== "redis") ? "bad" : ""}" role="status">
    <${Icon} name="warning" />
    <div>
      ${names.map((name) => html`<p key=${name}><b>${t(`down.${name}`)}</b> ${t(`down.${name}.advice`)}</p>`)}
      ${names.length === 0 && pausedJobs > 0 && html`<p><b>${t("down.paused", { count: pausedJobs })}</b> ${t("down.paused.advice")}</p>`}
      ${names.length === 0 && queues.length > 0 && html`<p><b>${t("down.worker", { queues: queues.join(", ") })}</b> ${t("down.worker.advice")}</p>`}
    </div>
  </div>`;
}

const modules = new Map();

/** The view of the address. Its module is loaded when it is first needed. */
function View() {
  const { route: current, params, query, hash } = useStore(route);
  const [, draw] = useState(0);
  const [error, setError] = useState(null);
  const isFirst = useRef(true);
  useEffect(() => {
    setError(null);
    if (current === null) return;
    document.title = current.icon ? `${t(`nav.${current.name}`)} · Safelight` : "Safelight";
    if (!isFirst.current) document.getElementById("main").focus({ preventScroll: true });
    isFirst.current = false;
    if (modules.has(current.name)) return;
    current.load().then((module) => {
      modules.set(current.name, module.default);
      draw((count) => count + 1);
    }, setError);
  }, [current]);
  if (current === null) return html`<${Problem} error=${{ code: "not_found", message: t("problem.view") }} />`;
  // A new release has other files: this page is of the release before.
  if (error) return html`<${Problem} error=${{ code: "outdated", message: t("problem.outdated") }} onRetry=${() => location.reload()} />`;
  const Component = modules.get(current.name);
  return Component ? html`<${Component} key=${current.name} params=${params} query=${query} hash=${hash} />` : null;
}

function Help({ onClose }) {
  return html`<${Dialog} title=${t("key.help")} onClose=${onClose}>
    <dl class="keys">
      ${currentKeys().map(
        ({ keys, label }) => html`<div key=${label}>
          <dt>${keys.map((name) => html`<kbd key=${name}>${name.replace("Arrow", "").replace("Escape", "Esc")}</kbd>`)}</dt>
          <dd>${label}</dd>
        </div>`,
      )}
    </dl>
  <//>`;
}

startStatus();
render(html`<${App} />`, document.getElementById("app"));
