// Editing an image: paint what may change, say what should be there.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { get, imageAddress } from "../api.js";
import { submit } from "../jobs.js";
import { useKeys } from "../keyboard.js";
import { loadModel, loadModels } from "../models.js";
import { modelNameOf } from "../requests.js";
import { link } from "../router.js";
import { t } from "../text.js";
import { Card } from "../ui/card.js";
import { Options } from "../ui/form.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { Empty, Problem, problemOf } from "../ui/problem.js";

const BRUSH = { min: 4, max: 160, start: 40 };

export default function Edit({ params: { id } }) {
  const { value, error, reload } = useLoad(async (signal) => {
    const image = await get(`/v1/images/${id}`, { signal });
    const [job, models] = await Promise.all([get(`/v1/jobs/${image.job_id}`, { signal }), loadModels()]);
    const able = models.filter(({ operations }) => operations.includes("edit"));
    const chosen = [modelNameOf(job), job.model].map((name) => able.find(({ id }) => id === name)).find(Boolean) ?? able[0];
    return { image, job, model: chosen ? await loadModel(chosen.id) : null };
  }, [id]);
  if (error && !value) return html`<${Problem} error=${error} onRetry=${reload} />`;
  if (!value) return null;
  if (!value.model) return html`<${Empty} icon="edit" title=${t("edit.none")}><p>${t("edit.none.text")}</p><//>`;
  return html`<${Editor} key=${id} ...${value} />`;
}

function Editor({ image, job, model }) {
  const [strokes, setStrokes] = useState([]);
  const [brush, setBrush] = useState(BRUSH.start);
  const [prompt, setPrompt] = useState(job.prompt);
  const [values, setValues] = useState(model.parameters.size?.enum?.includes(job.size) ? { size: job.size } : {});
  const [ids, setIds] = useState([]);
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const undo = () => setStrokes((list) => list.slice(0, -1));
  const grow = (factor) => () => setBrush((size) => Math.round(Math.min(BRUSH.max, Math.max(BRUSH.min, size * factor))));
  const apply = async () => {
    if (isBusy || prompt.trim() === "") return;
    setBusy(true);
    setError(null);
    const mask = strokes.length ? { mask: { image_url: maskOf(image, strokes) } } : {};
    try {
      const request = { operation: "edit", model: model.id, prompt, image: { image_id: image.id }, ...mask, ...values };
      const made = await submit(request);
      setIds((list) => [made.id, ...list]);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  useKeys([
    { keys: ["Ctrl+Enter"], label: t("edit.apply"), run: apply },
    { keys: ["Ctrl+z"], label: t("key.undo"), run: undo },
    { keys: ["]", "["], label: t("key.brush"), run: (event) => grow(event.key === "]" ? 1.25 : 0.8)() },
    { keys: ["Escape"], label: t("key.back"), run: () => { location.hash = link("images", image.id); } },
  ]);
  const change = (name, value) => setValues(({ [name]: _, ...rest }) => (value === undefined ? rest : { ...rest, [name]: value }));
  const message = error && problemOf(error);
  return html`<div class="image-view">
    <div class="stage">
      <${Canvas} image=${image} alt=${job.prompt} strokes=${strokes} brush=${brush} onStroke=${(stroke) => setStrokes((list) => [...list, stroke])} />
      <div class="row">
        <label class="row grow"><span class="label">${t("edit.brush")}</span>
          <input class="grow" type="range" min=${BRUSH.min} max=${BRUSH.max} value=${brush} onInput=${(event) => setBrush(event.target.valueAsNumber)} /></label>
        <button class="small" disabled=${strokes.length === 0} onClick=${undo}><${Icon} name="undo" size="14" />${t("edit.undo")}</button>
        <button class="small" disabled=${strokes.length === 0} onClick=${() => setStrokes([])}>${t("edit.clear")}</button>
      </div>
    </div>
    <form class="stack side" onSubmit=${(event) => { event.preventDefault(); apply(); }}>
      <h1>${t("edit.title")}</h1>
      <p class="muted small">${t("edit.help")}</p>
      <label class="field"><span>${t("edit.prompt")}</span>
        <textarea class="prompt-box" name="prompt" rows="3" value=${prompt} onInput=${(event) => setPrompt(event.target.value)}></textarea></label>
      <button class="primary generate" disabled=${isBusy || prompt.trim() === ""}>${t("edit.apply")} <span class="shortcut" aria-hidden="true">Ctrl ⏎</span></button>
      ${message && html`<p class="error" role="alert">${message.title} ${message.advice}</p>`}
      <div class="cards narrow">${ids.map((id) => html`<${Card} key=${id} id=${id} />`)}</div>
      <${Options} model=${model} operation="edit" values=${values} onChange=${change} invalid=${error?.param} />
    </form>
  </div>`;
}

/** The image with a canvas over it. A stroke is `{ size, points }` in pixels of the image. */
function Canvas({ image, alt, strokes, brush, onStroke }) {
  const canvas = useRef(null);
  const current = useRef(null);
  const [cursor, setCursor] = useState(null);
  const [scale, setScale] = useState(1);
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => setScale(contentRect.width / image.width));
    observer.observe(canvas.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    const context = canvas.current.getContext("2d");
    context.clearRect(0, 0, image.width, image.height);
    const color = getComputedStyle(canvas.current).color;
    for (const stroke of strokes) draw(context, stroke, color);
  }, [strokes]);
  const at = (event) => {
    const box = canvas.current.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * image.width, ((event.clientY - box.top) / box.height) * image.height];
  };
  const down = (event) => {
    if (event.button !== 0) return;
    canvas.current.setPointerCapture(event.pointerId);
    current.current = { size: brush / scale, points: [at(event)] };
    draw(canvas.current.getContext("2d"), current.current, getComputedStyle(canvas.current).color);
  };
  const move = (event) => {
    const box = canvas.current.getBoundingClientRect();
    setCursor([event.clientX - box.left, event.clientY - box.top]);
    if (!current.current) return;
    const { size, points } = current.current;
    const added = (event.getCoalescedEvents?.() ?? []).map(at);
    const segment = { size, points: [points.at(-1), ...(added.length ? added : [at(event)])] };
    points.push(...segment.points.slice(1));
    draw(canvas.current.getContext("2d"), segment, getComputedStyle(canvas.current).color);
  };
  const up = () => {
    if (current.current) onStroke(current.current);
    current.current = null;
  };
  return html`<div class="canvas" style=${{ aspectRatio: `${image.width} / ${image.height}` }}>
    <img src=${imageAddress(image.id)} alt=${alt} draggable=${false} />
    <canvas ref=${canvas} width=${image.width} height=${image.height} role="img" aria-label=${t("edit.canvas")}
      onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onPointerCancel=${up} onPointerLeave=${() => setCursor(null)}></canvas>
    ${cursor && html`<span class="brush" style=${{ width: `${brush}px`, height: `${brush}px`, transform: `translate(${cursor[0] - brush / 2}px, ${cursor[1] - brush / 2}px)` }}></span>`}
  </div>`;
}

function draw(context, { size, points }, color) {
  context.strokeStyle = color;
  context.lineWidth = size;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...points[0]);
  for (const point of points.slice(1)) context.lineTo(...point);
  if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
  context.stroke();
}

/** The mask as a data URL: white where the image may change. */
function maskOf(image, strokes) {
  const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, image.width, image.height);
  for (const stroke of strokes) draw(context, stroke, "#fff");
  return canvas.toDataURL("image/png");
}
