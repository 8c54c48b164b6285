// The webhook endpoints of the project, and a form for a new one.

import { html, useState } from "../vendor/preact.js";
import { go, link } from "../router.js";
import { formatAge, t } from "../text.js";
import { EndpointForm, Secret } from "../ui/endpointform.js";
import { Icon } from "../ui/icons.js";
import { useLoad } from "../ui/load.js";
import { Empty, Problem } from "../ui/problem.js";
import { createEndpoint, loadEndpoints } from "../webhooks.js";

export default function Webhooks() {
  const { value, error, reload } = useLoad(loadEndpoints);
  const [isNew, setNew] = useState(false);
  const [made, setMade] = useState(null);
  const create = async (endpoint) => {
    setMade(await createEndpoint(endpoint));
    setNew(false);
    reload();
  };
  const button = html`<button class="primary" onClick=${() => setNew(true)}>${t("webhook.new")}</button>`;
  return html`<div class="heading"><h1>${t("nav.webhooks")}</h1>${value?.length > 0 && button}</div>
    ${error && !value && html`<${Problem} error=${error} onRetry=${reload} />`}
    ${value?.length === 0 && html`<${Empty} icon="webhooks" title=${t("webhook.empty")}><p>${t("webhook.empty.text")}</p>${button}<//>`}
    ${value?.length > 0 && html`<ul class="list">${value.map((endpoint) => html`<${Row} key=${endpoint.id} endpoint=${endpoint} />`)}</ul>`}
    ${isNew && html`<${EndpointForm} onSubmit=${create} onClose=${() => setNew(false)} />`}
    ${made && html`<${Secret} secret=${made.signing_secret} onClose=${() => go(link("webhooks", made.id))} />`}`;
}

function Row({ endpoint }) {
  return html`<li class="item">
    <a class="name truncate" href=${link("webhooks", endpoint.id)}>${endpoint.name}</a>
    <${State} endpoint=${endpoint} />
    <span class="muted small number">${t("webhook.types", { count: endpoint.event_types.length })}</span>
    <span class="muted small number">${formatAge(endpoint.created_at)}</span>
    <span class="muted small truncate wide">${endpoint.url}</span>
  </li>`;
}

/** Whether events are sent, and whether they arrive. */
export function State({ endpoint }) {
  if (!endpoint.enabled) return html`<span class="chip cancelled">${t("webhook.state.disabled")}</span>`;
  if (endpoint.failing_since) return html`<span class="chip failed" title=${formatAge(endpoint.failing_since)}><${Icon} name="warning" size="12" />${t("webhook.state.failing")}</span>`;
  return html`<span class="chip completed">${t("webhook.state.enabled")}</span>`;
}
