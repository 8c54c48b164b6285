// A grid of images of any number: only the rows that can be seen are in the page.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { imageAddress } from "../api.js";
import { useKeys } from "../keyboard.js";
import { link } from "../router.js";
import { t } from "../text.js";
import { Missing } from "./card.js";

const TILE = 208;
const GAP = 8;
const ROWS_AROUND = 3;
const NARROW = 560;

/**
 * The grid. Its height is that of all rows; the tiles near the window are the only ones in it.
 * scroll: `{ top }`, where the page was when the grid was last shown. onEnd(): its last rows can be seen.
 */
export function Grid({ items, scroll, label, onEnd }) {
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
  return html`<div ref=${element} class="grid" style=${{ height: `${rows * pitch}px` }} role="list" aria-label=${label}>
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
    return html`<div class="tile status" title=${item.error ?? item.prompt} ...${shared}>
      <span class="chip ${item.status}">${t(`status.${item.status}`)}</span>
      <span class="small">${item.error ?? item.prompt}</span></div>`;
  }
  return html`<a class="tile ${isLoaded ? "loaded" : ""}" href=${link("images", item.id)} title=${item.prompt} ...${shared}>
    ${isGone ? html`<${Missing} />` : html`<img src=${imageAddress(item.id, 256)} alt=${item.prompt || t("create.variation")} decoding="async" onLoad=${() => setLoaded(true)} onError=${() => setGone(true)} />`}</a>`;
}
