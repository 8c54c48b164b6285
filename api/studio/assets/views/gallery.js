// The gallery: all images of the project. Only the rows that can be seen are in the page, however many there are.

import { html, useEffect, useRef } from "../vendor/preact.js";
import { gallery, loadMore, openGallery, refresh, scroll, tags } from "../gallery.js";
import { useKeys } from "../keyboard.js";
import { loadModels } from "../models.js";
import { go, link } from "../router.js";
import { status } from "../status.js";
import { useStore } from "../store.js";
import { t } from "../text.js";
import { Grid } from "../ui/grid.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { Empty, Problem } from "../ui/problem.js";

const REFRESH_SECONDS = 5;
const TYPING_MILLISECONDS = 300;
const STATUSES = ["queued", "in_progress", "completed", "failed", "cancelled", "expired"];
const OPERATIONS = ["generation", "edit", "variation"];

export default function Gallery({ query }) {
  const state = useStore(gallery);
  const recoveries = useStore(status, (value) => value.recoveries);
  const key = query.toString();
  useEffect(() => openGallery(query), [key]);
  useEffect(() => {
    if (gallery.value.error) loadMore(query);
  }, [recoveries]);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || refresh(query).catch(() => {}), REFRESH_SECONDS * 1000);
    return () => clearInterval(timer);
  }, [key]);
  const { items, isComplete, isLoading, error } = state;
  const isEmpty = isComplete && items.length === 0;
  return html`<div class="heading">
      <h1>${t("nav.gallery")}</h1>
      <span class="muted small" role="status">${state.key === key && items.length > 0 && t(isComplete ? "gallery.count" : "gallery.countMore", { count: items.length })}</span>
    </div>
    <${Filters} query=${query} />
    ${items.length > 0 && html`<${Grid} items=${items} scroll=${scroll} label=${t("gallery.label")} onEnd=${() => loadMore(query)} />`}
    ${error && html`<${Problem} error=${error} onRetry=${() => loadMore(query)} />`}
    ${isLoading && html`<p class="muted small center">${t(key && items.length === 0 ? "gallery.searching" : "gallery.loading")}</p>`}
    ${isEmpty && key !== "" && html`<${Empty} icon="search" title=${t("gallery.none")}><p>${t("gallery.none.text")}</p>
      <button onClick=${() => go(link("gallery"))}>${t("gallery.clear")}</button><//>`}
    ${isEmpty && key === "" && html`<${Empty} icon="gallery" title=${t("gallery.empty")}><p>${t("gallery.empty.text")}</p>
      <a class="button primary" href=${link("")}>${t("gallery.empty.action")}</a><//>`}`;
}

function Filters({ query }) {
  const search = useRef(null);
  const timer = useRef(null);
  const { value: models } = useLoad(loadModels);
  const known = useStore(tags);
  const set = (name, value) => {
    const next = new URLSearchParams(query);
    if (value) next.set(name, value);
    else next.delete(name);
    go(link("gallery", Object.fromEntries(next)), { replace: true });
  };
  const type = (event) => {
    const { value } = event.target;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => set("prompt", value.trim()), TYPING_MILLISECONDS);
  };
  useKeys([{ keys: ["/"], label: t("key.search"), run: () => search.current.focus() }]);
  const others = ["status", "model", "operation", "batch_id", "tag", "after", "before"].filter((name) => query.get(name));
  const select = (name, label, options, text) => html`<label class="field"><span>${label}</span>
    <select name=${name} onChange=${(event) => set(name, event.target.value)}>
      <option value="">${t("gallery.all")}</option>
      ${options.map((option) => html`<option key=${option} value=${option} selected=${option === query.get(name)}>${text(option)}</option>`)}
    </select></label>`;
  const input = (name, label, type = "text", list = undefined) => html`<label class="field"><span>${label}</span>
    <input type=${type} name=${name} list=${list} value=${query.get(name) ?? ""} onChange=${(event) => set(name, event.target.value.trim())} /></label>`;
  return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
    <div class="searchbox"><${Icon} name="search" size="16" />
      <input ref=${search} type="search" aria-label=${t("gallery.search")} placeholder="${t("gallery.search")}  /" value=${query.get("prompt") ?? ""} onInput=${type} /></div>
    <details open=${others.length > 0}>
      <summary>${t("gallery.filters")}${others.length > 0 && ` · ${others.length}`}</summary>
      <div class="fields">
        ${select("status", t("gallery.status"), STATUSES, (name) => t(`status.${name}`))}
        ${select("model", t("gallery.model"), (models ?? []).map(({ id }) => id), (name) => name)}
        ${select("operation", t("gallery.operation"), OPERATIONS, (name) => t(`operation.${name}`))}
        ${input("tag", t("gallery.tag"), "text", "known-tags")}
        <datalist id="known-tags">${known.map((tag) => html`<option key=${tag} value=${tag} />`)}</datalist>
        ${input("batch_id", t("gallery.batch"))}
        ${input("after", t("gallery.after"), "date")}
        ${input("before", t("gallery.before"), "date")}
      </div>
    </details>
  </form>`;
}
