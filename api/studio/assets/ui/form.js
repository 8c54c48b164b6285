// The options of a model, made from the JSON schemas of its parameters: a new parameter appears by itself.

import { html } from "../vendor/preact.js";
import { formatNumber, parameterLabel, t } from "../text.js";
import { Icon } from "./icons.js";

const MAX_SEGMENTS = 4;
const FIRST = ["size", "n", "steps", "guidance_scale", "seed", "negative_prompt"];
const LEFT_OUT = new Set(["partial_images"]);

/**
 * The fields of a form. parameters: of `GET /v1/models/{id}`; values: those that differ from the defaults;
 * onChange(name, value): undefined is the default. operation: fields that it does not take are left out.
 */
export function Options({ model, operation, values, onChange, invalid }) {
  const shown = Object.entries({ n: countOf(model), ...model.parameters }).filter(
    ([name, schema]) => !LEFT_OUT.has(name) && (schema.operations ?? [operation]).includes(operation),
  );
  const schemas = Object.fromEntries(shown);
  const first = FIRST.filter((name) => name in schemas);
  const others = Object.keys(schemas).filter((name) => !FIRST.includes(name));
  const field = (name) => html`<${Field} key=${name} name=${name} schema=${schemas[name]} value=${values[name]}
    isInvalid=${invalid?.split(".")[0] === name} onChange=${(value) => onChange(name, value)} />`;
  const isOpen = others.some((name) => values[name] !== undefined || invalid?.split(".")[0] === name);
  return html`${first.map(field)}
    ${others.length > 0 && html`<details open=${isOpen}>
      <summary>${t("create.more")}</summary>
      <div class="stack">${others.map(field)}</div>
    </details>`}`;
}

function countOf(model) {
  return { type: "integer", minimum: 1, maximum: model.max_images, default: 1 };
}

function Field(props) {
  const { name, schema } = props;
  if (name === "seed") return html`<${Seed} ...${props} />`;
  if (schema.enum) return html`<${Choice} ...${props} />`;
  if (schema.type === "object" && schema.properties) return html`<${Group} ...${props} />`;
  if (schema.type === "integer" || schema.type === "number") return html`<${NumberField} ...${props} />`;
  if (schema.type === "boolean") return html`<${Switch} ...${props} />`;
  if (schema.type === "string") return html`<${TextField} ...${props} />`;
  return html`<${JsonField} ...${props} />`;
}

function Choice({ name, schema, value, onChange, isInvalid }) {
  const chosen = value ?? schema.default ?? "";
  const options = schema.default === undefined || schema.default === null ? ["", ...schema.enum] : schema.enum;
  const text = (option) => (option === "" ? t("create.default") : String(option));
  const pick = (option) => onChange(option === "" || option === schema.default ? undefined : option);
  const isShort = options.length <= MAX_SEGMENTS && options.map(text).join("").length < 34;
  if (!isShort) {
    return html`<label class="field"><span>${parameterLabel(name)}</span>
      <select name=${name} value=${chosen} aria-invalid=${isInvalid || undefined} title=${schema.description}
        onChange=${(event) => pick(options[event.target.selectedIndex])}>
        ${options.map((option) => html`<option key=${option} value=${option} selected=${option === chosen}>${text(option)}</option>`)}
      </select></label>`;
  }
  return html`<fieldset class="field" title=${schema.description}>
    <legend class="label">${parameterLabel(name)}</legend>
    <div class="segments">
      ${options.map((option) => html`<label key=${option}>
        <input type="radio" name=${name} checked=${option === chosen} onChange=${() => pick(option)} />
        <span>${text(option)}</span></label>`)}
    </div></fieldset>`;
}

function NumberField({ name, schema, value, onChange, isInvalid }) {
  const isWhole = schema.type === "integer";
  const minimum = schema.minimum ?? schema.exclusiveMinimum;
  const { maximum } = schema;
  const step = isWhole ? 1 : (maximum ?? 1) <= 1 ? 0.05 : 0.5;
  const read = (event) => {
    const number = event.target.valueAsNumber;
    onChange(Number.isNaN(number) || number === schema.default ? undefined : number);
  };
  const hasRange = minimum !== undefined && maximum !== undefined;
  const shared = { min: schema.exclusiveMinimum !== undefined ? step : minimum, max: maximum };
  const label = parameterLabel(name);
  return html`<div class="field" title=${schema.description}>
    <label class="label" for="option-${name}">${label}</label>
    <div class=${hasRange ? "pair" : ""}>
      ${hasRange && html`<input type="range" aria-label=${label} tabindex="-1" ...${shared} step=${step} value=${value ?? schema.default ?? minimum} onInput=${read} />`}
      <input id="option-${name}" type="number" inputmode=${isWhole ? "numeric" : "decimal"} name=${name} ...${shared} step=${isWhole ? 1 : "any"}
        placeholder=${schema.default === undefined ? t("create.default") : formatNumber(schema.default, { useGrouping: false })}
        value=${value ?? schema.default ?? ""} aria-invalid=${isInvalid || undefined} onInput=${read} />
    </div></div>`;
}

function Seed({ name, schema, value, onChange, isInvalid }) {
  const read = (event) => onChange(event.target.value === "" ? undefined : event.target.valueAsNumber);
  return html`<div class="field" title=${schema.description}>
    <label class="label" for="option-seed">${parameterLabel(name)}</label>
    <div class="row">
      <input id="option-seed" class="grow" type="number" name="seed" inputmode="numeric" min=${schema.minimum} max=${schema.maximum} step="1"
        placeholder=${t("create.random")} value=${value ?? ""} aria-invalid=${isInvalid || undefined} onInput=${read} />
      <button type="button" class="square" aria-label=${t("create.random.new")} title=${t("create.random.new")} disabled=${value === undefined}
        onClick=${() => onChange(undefined)}><${Icon} name="dice" /></button>
    </div></div>`;
}

function TextField({ name, schema, value, onChange, isInvalid }) {
  const isLong = name.endsWith("prompt");
  const shared = { name, value: value ?? "", "aria-invalid": isInvalid || undefined, title: schema.description };
  const read = (event) => onChange(event.target.value === "" ? undefined : event.target.value);
  return html`<label class="field"><span>${parameterLabel(name)}</span>
    ${isLong ? html`<textarea rows="2" ...${shared} onInput=${read}></textarea>` : html`<input type="text" ...${shared} placeholder=${t("create.default")} onInput=${read} />`}
  </label>`;
}

function Switch({ name, schema, value, onChange }) {
  const isOn = value ?? schema.default ?? false;
  return html`<label class="row" title=${schema.description}>
    <input type="checkbox" name=${name} checked=${isOn} onChange=${(event) => onChange(event.target.checked)} />
    <span>${parameterLabel(name)}</span></label>`;
}

/** The fields of an object, such as `postprocess`. */
function Group({ name, schema, value = {}, onChange }) {
  const change = (inner, next) => {
    const { [inner]: _, ...rest } = value;
    const object = next === undefined ? rest : { ...rest, [inner]: next };
    onChange(Object.keys(object).length ? object : undefined);
  };
  return html`<fieldset class="field group"><legend class="label">${parameterLabel(name)}</legend>
    <div class="stack">${Object.entries(schema.properties).map(([inner, innerSchema]) => html`<${Field} key=${inner} name=${inner}
      schema=${innerSchema} value=${value[inner]} onChange=${(next) => change(inner, next)} />`)}</div>
  </fieldset>`;
}

/** What has no form of its own, such as a list of objects: its JSON. */
function JsonField({ name, schema, value, onChange, isInvalid }) {
  const read = (event) => {
    const text = event.target.value.trim();
    try {
      onChange(text === "" ? undefined : JSON.parse(text));
      event.target.removeAttribute("aria-invalid");
    } catch {
      event.target.setAttribute("aria-invalid", "true");
    }
  };
  return html`<label class="field"><span>${parameterLabel(name)} <span class="hint">JSON</span></span>
    <textarea rows="2" class="mono" name=${name} title=${schema.description} spellcheck=${false} aria-invalid=${isInvalid || undefined}
      onChange=${read}>${value === undefined ? "" : JSON.stringify(value)}</textarea></label>`;
}
