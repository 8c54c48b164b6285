// The models: what each can do, and how many jobs wait for it.

import { html } from "../vendor/preact.js";
import { deleteModel } from "../finetuning.js";
import { loadModels } from "../models.js";
import { draft } from "../requests.js";
import { link } from "../router.js";
import { hasScope, session } from "../session.js";
import { useStore } from "../store.js";
import { formatDuration, t } from "../text.js";
import { Action } from "../ui/action.js";
import { confirm } from "../ui/dialog.js";
import { Icon } from "../ui/icons.js";
import { Empty, Problem } from "../ui/problem.js";
import { useRefreshed } from "../ui/refresh.js";
import { say } from "../ui/toasts.js";

const CHIPS = { ready: "completed", loading: "queued", no_worker: "failed", paused: "cancelled", draining: "cancelled" };

export default function Models() {
  const { value, error, reload } = useRefreshed(loadModels);
  return html`<div class="heading"><h1>${t("nav.models")}</h1></div>
    ${error && !value && html`<${Problem} error=${error} onRetry=${reload} />`}
    ${value?.length === 0 && html`<${Empty} icon="models" title=${t("model.empty")}><p>${t("model.empty.text")} <code>safelight models add</code></p><//>`}
    <div class="model-cards">${value?.map((model) => html`<${Model} key=${model.id} model=${model} onDone=${reload} />`)}</div>`;
}

function Model({ model, onDone }) {
  const { queue } = model;
  const canSubmit = hasScope(useStore(session), "submit");
  const erase = async () => {
    const isSure = await confirm({ title: t("tune.delete.title"), text: t("tune.delete.text"), action: t("job.delete") });
    if (!isSure) return;
    await deleteModel(model.id);
    say(t("delete.done"));
    onDone();
  };
  const sizes = model.free_sizes ? t("model.freeSizes", { sizes: model.sizes.join(", ") }) : model.sizes.join(", ");
  const rows = [
    [t("model.operations"), model.operations.map((name) => t(`operation.${name}`)).join(", ")],
    [t("parameter.size"), sizes],
    [t("parameter.steps"), `${model.steps.min}–${model.steps.max}, ${t("model.usually", { value: model.steps.default })}`],
    [t("model.perJob"), t("model.images", { count: model.max_images })],
    model.styles.length > 0 && [t("parameter.style"), model.styles.join(", ")],
    model.loras.length > 0 && ["LoRA", model.loras.map(({ name }) => name).join(", ")],
    model.aliases.length > 0 && [t("model.aliases"), model.aliases.join(", ")],
    model.licence && [t("model.licence"), model.licence],
  ];
  return html`<article class="panel stack" aria-label=${model.id}>
    <div class="row spread"><h2>${model.id}</h2><span class="chip ${CHIPS[queue.state]}">${t(`model.state.${queue.state}`)}</span></div>
    ${model.description && html`<p class="muted small">${model.description}</p>`}
    <p class="small">${t("model.queue", { name: queue.name, queued: queue.queued, running: queue.in_progress })}
      ${queue.device_seconds >= 1 && ` · ${t("job.left", { time: formatDuration(queue.device_seconds) })}`}</p>
    ${queue.state !== "ready" && html`<p class="notice warn small">${t(`model.state.${queue.state}.text`)}</p>`}
    <dl class="facts">${rows.filter(Boolean).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${model.operations.includes("generation") && html`<div class="row"><a class="button small" href=${link("")} onClick=${() => draft.write({ model: model.id })}><${Icon} name="create" size="14" />${t("model.use")}</a>
      ${model.fine_tuning && html`<a class="button small" href=${link("fine-tuning", { model: model.id })}><${Icon} name="finetuning" size="14" />${t("model.tune")}</a>`}
      ${model.id.startsWith("ft:") && canSubmit && html`<${Action} kind="small" icon="trash" label=${t("tune.delete", { name: model.id })} run=${erase}>${t("job.delete")}<//>`}</div>`}
  </article>`;
}
