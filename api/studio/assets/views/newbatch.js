// A new batch: its file has been uploaded. All lines are checked before anything runs; then it is started.

import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { post, remove } from "../api.js";
import { check, loadFile, requestOf } from "../batches.js";
import { useKeys } from "../keyboard.js";
import { loadModel, loadModels } from "../models.js";
import { go, link } from "../router.js";
import { formatDuration, formatNumber, formatTime, parameterLabel, t } from "../text.js";
import { Options } from "../ui/form.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { Problem, problemOf } from "../ui/problem.js";
import { sayError } from "../ui/toasts.js";

const TYPING_MILLISECONDS = 400;
const LONG_SECONDS = 120;
const MAX_COMPARED_LINES = 5000;
const FASTER = 0.8;

export default function NewBatch({ query }) {
  const id = query.get("file") ?? "";
  const { value: source, error, reload } = useLoad((signal) => loadFile(id, signal), [id]);
  if (error && !source) return html`<${Problem} error=${error} onRetry=${reload} />`;
  return source ? html`<${Form} key=${id} source=${source} />` : null;
}

function Form({ source }) {
  const { file } = source;
  const [values, setValues] = useState({});
  const [keepColumns, setKeepColumns] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const key = useMemo(() => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, []);
  const request = useLater(requestOf(source, values, keepColumns));
  const { value: checked, error } = useLoad(async (signal) => ({ key: JSON.stringify(request), ...(await check(request, signal)) }), [JSON.stringify(request)]);
  const current = JSON.stringify(requestOf(source, values, keepColumns));
  const isChecking = !error && checked?.key !== current;
  const isReady = checked && !error && !isChecking && checked.errors.data.length === 0;
  const faster = useFaster(source, values, keepColumns, isReady ? checked : null);
  const start = async () => {
    if (!isReady || isBusy) return;
    setBusy(true);
    try {
      const batch = await post("/v1/batches", request, { headers: { "idempotency-key": key } });
      go(link("batches", batch.id), { replace: true });
    } catch (problem) {
      sayError(problem);
      setBusy(false);
    }
  };
  const leave = () => {
    remove(`/v1/files/${file.id}`).catch(() => {});
    go(link("batches"));
  };
  useKeys([
    { keys: ["Ctrl+Enter"], label: t("batch.start"), run: start },
    { keys: ["Escape"], label: t("key.back"), run: leave },
  ]);
  return html`<div class="heading">
      <h1 class="truncate">${file.filename}</h1>
      <button onClick=${leave}>${t("batch.other")}</button>
      <button class="primary" disabled=${!isReady || isBusy} onClick=${start}>${checked && isReady ? t("batch.start.lines", { count: checked.total }) : t("batch.start")}</button>
    </div>
    <div class="create">
      <section class="stack" aria-label=${t("create.options")}>
        <p class="small muted">${t("batch.options")}</p>
        <${Defaults} values=${values} onChange=${setValues} />
      </section>
      <section class="stack checked" aria-live="polite" aria-busy=${isChecking} aria-label=${t("batch.check")}>
        ${error && html`<p class="error" role="alert">${problemOf(error).title} ${problemOf(error).advice}</p>`}
        ${!checked && !error && html`<p class="muted">${t("batch.checking")}</p>`}
        ${checked && html`<${Result} checked=${checked} isChecking=${isChecking} keepColumns=${keepColumns} onKeepColumns=${setKeepColumns} />`}
        ${isReady && html`<${Faster} choices=${faster} onChoose=${setValues} />`}
      </section>
    </div>`;
}

/**
 * What would be done much sooner than a batch that takes minutes: `[{ values, seconds }]`. Each choice is a dry run of its
 * own, as lines may set quality and size themselves.
 */
function useFaster(source, values, keepColumns, checked) {
  const seconds = checked && secondsOf(checked);
  const isLong = seconds > LONG_SECONDS && checked.total <= MAX_COMPARED_LINES;
  const { value } = useLoad(async (signal) => {
    if (!isLong) return [];
    const choices = [];
    for (const choice of await quickerValues(values)) {
      const result = await check(requestOf(source, choice, keepColumns), signal);
      if (secondsOf(result) < FASTER * (choices.at(-1)?.seconds ?? seconds)) choices.push({ values: choice, seconds: secondsOf(result) });
    }
    return choices;
  }, [checked?.key, isLong]);
  return isLong ? value ?? [] : [];
}

/** Options that take less time: the lowest quality, then also the smallest size. */
async function quickerValues(values) {
  const model = await loadModel(values.model ?? (await loadModels())[0].id);
  const { steps: _, ...rest } = values;
  const low = model.qualities.includes("low") ? { ...rest, quality: "low" } : values;
  const area = (size) => size.split("x").reduce((product, side) => product * side, 1);
  const [smallest] = [...model.sizes].sort((one, other) => area(one) - area(other));
  return [low, { ...low, size: smallest }];
}

/** The choices, as buttons: each says what it sets, and the time that it takes. */
function Faster({ choices, onChoose }) {
  if (choices.length === 0) return null;
  const words = ({ quality, size }) => [quality && `${parameterLabel("quality")} ${quality}`, size && `${parameterLabel("size")} ${size}`].filter(Boolean).join(", ");
  return html`<div class="notice" role="group" aria-label=${t("batch.faster")}><div class="stack"><span>${t("batch.faster")}</span>
    <div class="row">${choices.map(({ values, seconds }) => html`<button key=${words(values)} type="button" class="small" onClick=${() => onChoose(values)}>${words(values)}: ${t("batch.about", { time: formatDuration(seconds) })}</button>`)}</div></div></div>`;
}

/** A value as it was some time ago, so that a dry run follows the end of typing. */
function useLater(value) {
  const [later, setLater] = useState(value);
  const key = JSON.stringify(value);
  useEffect(() => {
    const timer = setTimeout(() => setLater(value), TYPING_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [key]);
  return later;
}

/** The parameters of the lines that do not set them. */
function Defaults({ values, onChange }) {
  const { value: models } = useLoad(loadModels);
  const { value: model } = useLoad(async () => models && loadModel(values.model ?? models[0].id), [values.model, models]);
  if (!models || !model) return null;
  const choose = (event) => onChange(event.target.selectedIndex === 0 ? {} : { model: event.target.value });
  const change = (name, value) => onChange(({ [name]: _, ...rest }) => (value === undefined ? rest : { ...rest, [name]: value }));
  return html`${models.length > 1 && html`<label class="field"><span>${t("create.model")}</span>
      <select name="model" onChange=${choose}>${models.map(({ id }) => html`<option key=${id} value=${id} selected=${id === model.id}>${id}</option>`)}</select></label>`}
    <${Options} key=${model.id} model=${model} operation="generation" values=${values} onChange=${change} />`;
}

function Result({ checked, isChecking, keepColumns, onKeepColumns }) {
  const errors = checked.errors.data;
  const hasUnknownColumns = errors.some(({ code, message }) => code === "unknown_parameter" && message.includes("extra_columns"));
  return html`<${Facts} checked=${checked} />
    <${HowRead} input=${checked.input} />
    ${(hasUnknownColumns || keepColumns) && html`<label class="row notice"><input type="checkbox" checked=${keepColumns} onChange=${(event) => onKeepColumns(event.target.checked)} />
      <span>${t("batch.columns")}</span></label>`}
    ${isChecking && html`<p class="muted small">${t("batch.checking")}</p>`}
    ${errors.length === 0 && !isChecking && html`<p class="good"><${Icon} name="check" size="16" /> ${t("batch.valid")}</p>`}
    ${errors.length > 0 && html`<h2 class="error">${t("batch.errors", { count: errors.length })}</h2>
      <p class="small muted">${t("batch.errors.text")}</p><${Errors} errors=${errors} />`}`;
}

/** The seconds until the end, after what waits in the queue; null if a provider draws. */
function secondsOf(checked) {
  return checked.estimated_finish_at === null ? null : Math.max(1, checked.estimated_finish_at - Date.now() / 1000);
}

/** How much it is, how long it takes, what it costs. */
function Facts({ checked }) {
  const seconds = secondsOf(checked);
  const facts = [
    [t("batch.fact.lines"), formatNumber(checked.total)],
    [t("batch.fact.images"), formatNumber(checked.images)],
    [t("batch.fact.model"), Object.keys(checked.models).join(", ") || "–"],
    [t("batch.fact.time"), checked.images === 0 || seconds === null ? "–" : formatDuration(seconds)],
    [t("batch.fact.end"), checked.images === 0 || seconds === null ? "–" : formatTime(checked.estimated_finish_at, seconds < 64800 ? { timeStyle: "short" } : undefined)],
    [t("batch.fact.cost"), checked.cost_usd === null ? t("batch.cost.unknown") : checked.cost_usd === 0 ? t("batch.cost.none") : formatNumber(checked.cost_usd, { style: "currency", currency: "USD" })],
  ];
  return html`<dl class="numbers">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** How the file was read, and whether that should be looked at. */
function HowRead({ input }) {
  if (!input) return null;
  const parts = [input.format.toUpperCase(), input.sheet && t("batch.sheet", { name: input.sheet }), input.encoding?.toUpperCase(),
    input.empty_rows > 0 && t("batch.emptyRows", { count: input.empty_rows }),
    input.metadata_columns.length > 0 && t("batch.tags", { names: input.metadata_columns.join(", ") })];
  return html`<p class="small muted">${t("batch.read")} ${parts.filter(Boolean).join(" · ")}</p>
    ${input.encoding_is_guess && html`<p class="notice warn"><span>${t("batch.guess", { encoding: input.encoding })} <q>${input.example}</q></span></p>`}`;
}

/** Errors, each with its line. */
export function Errors({ errors }) {
  return html`<div class="scroll"><table>
    <thead><tr><th scope="col" class="number">${t("batch.line")}</th><th scope="col">${t("batch.field")}</th><th scope="col">${t("batch.problem")}</th></tr></thead>
    <tbody>${errors.map(({ line, param, message }, index) => html`<tr key=${index}><td class="number">${line ?? "–"}</td><td><code>${param}</code></td><td class="wrap">${message}</td></tr>`)}</tbody>
  </table></div>`;
}
