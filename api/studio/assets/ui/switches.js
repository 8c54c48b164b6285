// The switches of the page: language and theme.

import { html } from "../vendor/preact.js";
import { useStore } from "../store.js";
import { LANGUAGES, language, setLanguage, t } from "../text.js";
import { switchTheme, theme } from "../theme.js";
import { Icon } from "./icons.js";

export function LanguageSwitch() {
  const other = useStore(language) === "zh" ? "en" : "zh";
  return html`<button class="quiet square" lang=${other} aria-label=${LANGUAGES[other]} title=${LANGUAGES[other]} onClick=${() => setLanguage(other)}>
    <span aria-hidden="true">${other === "zh" ? "文" : "A"}</span>
  </button>`;
}

export function ThemeSwitch() {
  const isDark = useStore(theme) === "dark";
  const label = t(isDark ? "theme.light" : "theme.dark");
  return html`<button class="quiet square" aria-label=${label} title=${label} onClick=${switchTheme}>
    <${Icon} name=${isDark ? "sun" : "moon"} />
  </button>`;
}
