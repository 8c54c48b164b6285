// All texts, by language: text/en.js and text/zh.js have the same keys. A text with a number has `one` and `other`.

import en from "./text/en.js";
import zh from "./text/zh.js";
import { createStore, useStore } from "./store.js";

export const LANGUAGES = { en: "English", zh: "中文" };
const TABLES = { en, zh };

/** `en` or `zh`: the one that was chosen, else the browser's. start.js has set it. */
export const language = createStore(document.documentElement.lang === "zh" ? "zh" : "en");

export function setLanguage(name) {
  document.documentElement.lang = name;
  try {
    localStorage.setItem("safelight.language", name);
  } catch {
    // It lasts as long as the page.
  }
  language.set(name);
}

export function has(key) {
  return key in en;
}

/** The text of a key, with `{name}` replaced by values. `count` also chooses the plural. */
export function t(key, values = {}) {
  const name = language.value;
  let text = TABLES[name][key] ?? en[key] ?? key;
  if (typeof text === "object") text = text[new Intl.PluralRules(name).select(values.count)] ?? text.other;
  return text.replace(/{(\w+)}/g, (place, part) => {
    const value = values[part];
    return typeof value === "number" ? formatNumber(value) : (value ?? place);
  });
}

/** The language, for components whose texts must change with it. */
export function useLanguage() {
  return useStore(language);
}

export function formatNumber(value, options) {
  return new Intl.NumberFormat(language.value, options).format(value);
}

/** A time of the API, in Unix seconds. */
export function formatTime(seconds, options = { dateStyle: "medium", timeStyle: "short" }) {
  return new Intl.DateTimeFormat(language.value, options).format(new Date(seconds * 1000));
}

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

/** "5 minutes ago". */
export function formatAge(seconds, now = Date.now() / 1000) {
  const age = seconds - now;
  const [unit, size] = UNITS.find(([, length]) => Math.abs(age) >= length) ?? UNITS[3];
  return new Intl.RelativeTimeFormat(language.value, { numeric: "auto", style: "short" }).format(Math.round(age / size), unit);
}

/** "8 s", "3 min": rounded up, as an estimate of what is left. */
export function formatDuration(seconds) {
  const [unit, size] = seconds < 90 ? ["second", 1] : seconds < 5400 ? ["minute", 60] : ["hour", 3600];
  return formatNumber(Math.max(1, Math.ceil(seconds / size)), { style: "unit", unit, unitDisplay: "short" });
}

export function formatBytes(bytes) {
  const [unit, size] = bytes < 1e6 ? ["kilobyte", 1e3] : bytes < 1e9 ? ["megabyte", 1e6] : ["gigabyte", 1e9];
  return formatNumber(bytes / size, { style: "unit", unit, maximumFractionDigits: bytes / size < 10 ? 1 : 0 });
}

/** The label of a parameter of the API; its own name in words if there is no text for it. */
export function parameterLabel(name) {
  const key = `parameter.${name}`;
  return has(key) ? t(key) : name.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
}
