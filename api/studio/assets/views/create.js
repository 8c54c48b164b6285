// Create: the prompt and the options of a model on one side, the jobs as they develop on the other.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { get } from "../api.js";
import { deletions, putJobs, submissions, submit } from "../jobs.js";
import { useKeys } from "../keyboard.js";
import { loadModel, loadModels } from "../models.js";
import { draft, valuesOf } from "../requests.js";
import { storedValue, useStore } from "../store.js";
import { t } from "../text.js";
import { Card } from "../ui/card.js";
import { Options } from "../ui/form.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { Empty, Problem, problemOf } from "../ui/problem.js";

const FIRST_JOBS = 24;
const MAX_CARDS = 100;
const PREVIEWS = 2;
const form = storedValue("form");

export default function Create() {
  const [ids, setIds] = useState([]);
  const list = useLoad((signal) => get("/v1/jobs", { query: { limit: FIRST_JOBS }, signal }));
  const deleted = useStore(deletions);
  useEffect(() => {
    if (!list.value) return;
    putJobs(list.value.data);
    const first = list.value.data.map(({ id }) => id);
    setIds((before) => [...before.filter((id) => !first.includes(id) && id > (first[0] ?? "")), ...first]);
  }, [list.value]);
  useEffect(() => setIds((before) => before.filter((id) => id !== deleted)), [deleted]);
  const add = (job) => setIds((before) => [job.id, ...before.filter((id) => id !== job.id)].slice(0, MAX_CARDS));
  useEffect(() => submissions.subscribe(add), []);
  const isEmpty = list.value && ids.length === 0;
  return html`<div class="create">
    <h1 class="visually-hidden">${t("nav.create")}</h1>
    <${Composer} hasExample=${isEmpty} />
    <section class="results" aria-label=${t("create.results")}>
      ${list.error && !list.value && html`<${Problem} error=${list.error} onRetry=${list.reload} />`}
      ${isEmpty && html`<${Empty} icon="create" title=${t("create.empty")}><p>${t("create.empty.text")}</p><//>`}
      <div class="cards">${ids.map((id) => html`<${Card} key=${id} id=${id} />`)}</div>
    </section>
  </div>`;
}

function Composer({ hasExample }) {
  const stored = useMemo(() => form.read() ?? {}, []);
  const [prompt, setPrompt] = useState(stored.prompt ?? "");
  const [modelId, setModelId] = useState(stored.model ?? null);
  const [values, setValues] = useState(stored.values ?? {});
  const [model, setModel] = useState(null);
  const [error, setError] = useState(null);
  const input = useRef(null);
  const isWide = useMemo(() => matchMedia("(min-width: 901px)").matches, []);
  const { value: models, error: failure, reload } = useLoad(loadModels);

  useEffect(() => {
    if (!models) return;
    const wish = draft.read();
    const [first] = models;
    const id = [wish?.model, modelId].find((name) => isCheckpoint(name) || models.some((item) => item.id === name)) ?? first.id;
    loadModel(id).catch((problem) => (isCheckpoint(id) ? loadModel(first.id) : Promise.reject(problem))).then((loaded) => {
      setModel(loaded);
      setModelId(loaded.id);
      if (wish?.job) {
        setPrompt(wish.prompt);
        setValues(valuesOf(wish.job, loaded.parameters, wish.seed));
      } else {
        setValues((before) => supported(before, loaded));
      }
      if (wish) draft.write(null);
    }, setError);
  }, [models, modelId]);
  useEffect(() => {
    const apply = () => setModelId((id) => (draft.read()?.model === id ? null : (draft.read()?.model ?? id)));
    window.addEventListener("safelight:draft", apply);
    return () => window.removeEventListener("safelight:draft", apply);
  }, []);
  useEffect(() => form.write({ prompt, model: modelId, values }), [prompt, modelId, values]);
  useEffect(() => {
    if (isWide) input.current?.focus();
  }, []);

  const operation = "generation";
  const generate = async () => {
    if (prompt.trim() === "") return;
    setError(null);
    const chosen = model ? { model: model.id, ...previewsOf(model, values), ...values } : {}; // without: the default model
    try {
      await submit({ prompt, ...chosen });
    } catch (problem) {
      setError(problem);
    }
  };
  useKeys([
    { keys: ["Ctrl+Enter"], label: t("key.generate"), run: generate },
    { keys: ["p", "/"], label: t("key.prompt"), run: () => input.current.focus() },
    { keys: ["Escape"], run: () => document.activeElement.blur() },
  ]);
  const onEnter = (event) => {
    // While an input method composes, as for Chinese, Enter only ends a word.
    if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    event.preventDefault();
    generate();
  };
  const change = (name, value) => setValues(({ [name]: _, ...rest }) => (value === undefined ? rest : { ...rest, [name]: value }));
  if (failure && !models) return html`<div class="composer"><${Problem} error=${failure} onRetry=${reload} /></div>`;
  const message = error && problemOf(error);
  return html`<form class="composer stack" onSubmit=${(event) => { event.preventDefault(); generate(); }}>
    <label class="field">
      <span>${t("create.prompt")}</span>
      <textarea ref=${input} class="prompt-box" name="prompt" rows="5" placeholder=${t("create.placeholder")} value=${prompt}
        aria-invalid=${error?.param === "prompt" || undefined} aria-describedby=${message ? "composer-error" : undefined}
        maxlength=${model?.max_prompt_chars} onInput=${(event) => setPrompt(event.target.value)} onKeyDown=${onEnter} enterkeyhint="go"></textarea>
    </label>
    ${hasExample && prompt === "" && html`<button type="button" class="quiet small" onClick=${() => setPrompt(t("create.example.prompt"))}>${t("create.example")}</button>`}
    <button class="primary generate" disabled=${prompt.trim() === ""}>
      <${Icon} name="create" /> ${t("create.generate")} <span class="shortcut" aria-hidden="true">⏎</span>
    </button>
    ${message && html`<p id="composer-error" class="error" role="alert">${message.title} ${message.advice}</p>`}
    ${models?.length > 1 && html`<label class="field"><span>${t("create.model")}</span>
      <select name="model" value=${modelId} onChange=${(event) => setModelId(event.target.value)}>
        ${namesOf(models, operation, modelId).map((id) => html`<option key=${id} value=${id} selected=${id === modelId}>${id}</option>`)}
      </select></label>`}
    ${model && html`<details class="options" open=${isWide || error?.param}><summary>${t("create.options")}</summary>
      <div class="stack"><${Options} model=${model} operation=${operation} values=${values} onChange=${change} invalid=${error?.param} />
    ${Object.keys(values).length > 0 && html`<button type="button" class="quiet small" onClick=${() => setValues({})}>${t("create.reset")}</button>`}</div></details>`}
  </form>`;
}

/** Whether a name may be that of a checkpoint: the list of models has only finished ones. */
const isCheckpoint = (name) => name?.startsWith("ft:");

/** The models to choose from, and a checkpoint that is chosen. */
function namesOf(models, operation, chosen) {
  const names = models.filter(({ operations }) => operations.includes(operation)).map(({ id }) => id);
  return isCheckpoint(chosen) && !names.includes(chosen) ? [...names, chosen] : names;
}

/** The values that another model takes too: known parameters, within its limits. */
function supported(values, model) {
  const entries = Object.entries(values).filter(([name, value]) => {
    if (name === "n") return value <= model.max_images;
    const schema = model.parameters[name];
    if (!schema) return false;
    if (schema.enum) return schema.enum.includes(value);
    return !(value < (schema.minimum ?? -Infinity) || value > (schema.maximum ?? Infinity));
  });
  return Object.fromEntries(entries);
}

/** Previews, where the model makes them. Those of a model without seeds have no index, so only for one image. */
function previewsOf(model, values) {
  const canPreview = model.parameters.partial_images && ((values.n ?? 1) === 1 || model.parameters.seed);
  return canPreview ? { partial_images: PREVIEWS } : {};
}
