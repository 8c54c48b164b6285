// The gallery: all images of the project. Only the rows that can be seen are in the page, however many there are.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { imageAddress } from "../api.js";
import { gallery, loadMore, openGallery, refresh, scroll } from "../gallery.js";
import { useKeys } from "../keyboard.js";
import { loadModels } from "../models.js";
import { go, link } from "../router.js";
import { status } from "../status.js";
import { useStore } from "../store.js";
import { t } from "../text.js";
import { Missing } from "../ui/card.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { Empty, Problem } from "../ui/problem.js";

const TILE = 208;
const GAP = 8;
const ROWS_AROUND = 3;
const NARROW = 560;
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
    ${items.length > 0 && html`<${Grid} items=${items} onEnd=${() => loadMore(query)} />`}
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
  const input = (name, label, type = "text") => html`<label class="field"><span>${label}</span>
    <input type=${type} name=${name} value=${query.get(name) ?? ""} onChange=${(event) => set(name, event.target.value.trim())} /></label>`;
  return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
    <div class="searchbox"><${Icon} name="search" size="16" />
      <input ref=${search} type="search" aria-label=${t("gallery.search")} placeholder="${t("gallery.search")}  /" value=${query.get("prompt") ?? ""} onInput=${type} /></div>
    <details open=${others.length > 0}>
      <summary>${t("gallery.filters")}${others.length > 0 && ` · ${others.length}`}</summary>
      <div class="fields">
        ${select("status", t("gallery.status"), STATUSES, (name) => t(`status.${name}`))}
        ${select("model", t("gallery.model"), (models ?? []).map(({ id }) => id), (name) => name)}
        ${select("operation", t("gallery.operation"), OPERATIONS, (name) => t(`operation.${name}`))}
        ${input("tag", t("gallery.tag"))}
        ${input("batch_id", t("gallery.batch"))}
        ${input("after", t("gallery.after"), "date")}
        ${input("before", t("gallery.before"), "date")}
      </div>
    </details>
  </form>`;
}

/** The grid. Its height is that of all rows; the tiles near the window are the only ones in it. */
function Grid({ items, onEnd }) {
  const element = useRef(null);
  const [frame, setFrame] = useState({ width: 0, top: 0, height: 0 });
  const [active, setActive] = useState(0);
  useLayoutEffect(() => {
    const measure = () => {
      const box = element.current.getBoundingClientRect();
      setFrame({ width: box.width, top: Math.max(0, -box.top), height: innerHeight });
      scroll.top = scrollY;
    };
    const top = scroll.top;
    measure();
    if (top > 0) requestAnimationFrame(() => scrollTo(0, top));
    const observer = new ResizeObserver(measure);
    observer.observe(element.current);
    addEventListener("scroll", measure, { passive: true });
    return () => {
      observer.disconnect();
      removeEventListener("scroll", measure);
    };
  }, []);
  const minimum = frame.width < NARROW ? 104 : TILE;
  const columns = Math.max(1, Math.floor((frame.width + GAP) / (minimum + GAP)));
  const side = (frame.width - GAP * (columns - 1)) / columns;
  const pitch = side + GAP;
  const rows = Math.ceil(items.length / columns);
  const first = Math.max(0, Math.floor(frame.top / pitch) - ROWS_AROUND);
  const last = Math.min(rows, Math.ceil((frame.top + frame.height) / pitch) + ROWS_AROUND);
  useEffect(() => {
    if (frame.width > 0 && last >= rows) onEnd();
  }, [last, rows, frame.width]);

  const move = (distance) => () => {
    const next = Math.min(items.length - 1, Math.max(0, active + distance));
    setActive(next);
    const box = element.current.getBoundingClientRect();
    const top = box.top + Math.floor(next / columns) * pitch;
    if (top < 0 || top + side > innerHeight) scrollBy({ top: top - innerHeight / 2 + side / 2 });
    requestAnimationFrame(() => requestAnimationFrame(() => element.current?.querySelector(`[data-index="${next}"]`)?.focus()));
  };
  useKeys([
    { keys: ["j", "ArrowRight"], label: t("key.next"), run: move(1) },
    { keys: ["k", "ArrowLeft"], label: t("key.previous"), run: move(-1) },
    { keys: ["ArrowDown"], run: () => (isInGrid() ? move(columns)() : false) },
    { keys: ["ArrowUp"], run: () => (isInGrid() ? move(-columns)() : false) },
    { keys: ["Enter"], label: t("key.open"), run: () => false },
  ]);
  const isInGrid = () => element.current.contains(document.activeElement);
  const shown = items.slice(first * columns, last * columns);
  return html`<div ref=${element} class="grid" style=${{ height: `${rows * pitch}px` }} role="list" aria-label=${t("gallery.label")}>
    ${frame.width > 0 && shown.map((item, offset) => {
      const index = first * columns + offset;
      const style = {
        width: `${side}px`,
        height: `${side}px`,
        transform: `translate(${(index % columns) * pitch}px, ${Math.floor(index / columns) * pitch}px)`,
      };
      return html`<div key=${item.id} role="listitem" style=${style}><${Item} item=${item} index=${index} isActive=${index === active} onFocus=${() => setActive(index)} /></div>`;
    })}
  </div>`;
}

function Item({ item, index, isActive, onFocus }) {
  const [isLoaded, setLoaded] = useState(false);
  const [isGone, setGone] = useState(false);
  const shared = { "data-index": index, tabIndex: isActive ? 0 : -1, onFocus };
  if (item.id === item.job) {
    return html`<div class="tile status" ...${shared}>
      <span class="chip ${item.status}">${t(`status.${item.status}`)}</span>
      <span class="small">${item.error ?? item.prompt}</span></div>`;
  }
  return html`<a class="tile ${isLoaded ? "loaded" : ""}" href=${link("images", item.id)} title=${item.prompt} ...${shared}>
    ${isGone ? html`<${Missing} />` : html`<img src=${imageAddress(item.id, 256)} alt=${item.prompt || t("create.variation")} decoding="async" onLoad=${() => setLoaded(true)} onError=${() => setGone(true)} />`}</a>`;
}
