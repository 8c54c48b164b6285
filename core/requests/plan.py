"""Converts a request to a job: `plan` checks it against the model and fills in the model's defaults."""

import secrets
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, cast

from core.catalog import Catalog, Choices, Model, Range
from core.egress import check_destination
from core.errors import InvalidParameter
from core.estimates import nominal_seconds, second_pass_seconds
from core.ids import new_id
from core.images.postprocess import check_side, output_size
from core.job_warnings import JobWarning
from core.new_job import NewJob
from core.parameters.control import repeated_controls, resolve_controls
from core.parameters.hires import resolve_hires
from core.parameters.image_source import ImageSource
from core.parameters.job import SEED_BITS, Operation, ResolvedParameters, dimensions_of, rules, texts
from core.parameters.loras import Lora, resolve_loras
from core.parameters.reference_images import ReferenceImage, resolve_references, with_files
from core.parameters.refiner import resolve_refiner
from core.priorities import among_projects, within_project
from core.processing_cost import processing_seconds
from core.requests.fields import BatchWebhook, JobWebhook
from core.requests.job import JobRequest
from core.requests.model_limits import choice_of, number_within
from core.rows.job import JobRow
from core.settings import Settings
from core.telemetry import logs, tracing

_TEXTS = frozenset(texts("prompt", "negative"))
_VALUES = frozenset(rules()) - _TEXTS - {"seed"}
"""Parameters that decide what is computed once for equal requests, if their values are short."""

MAX_PLANS = 1000
"""Combinations of parameters that are kept for a model."""

_ALWAYS_SET = frozenset({"seed", "steps", "guidance_scale", "strength", "quality"})
"""Parameters that jobs have by default, also if their model does not support them."""


def plan(
    request: JobRequest,
    catalog: Catalog,
    settings: Settings,
    project_id: str,
    *,
    inputs: Mapping[str, str] | None = None,
    api_key_id: str | None = None,
    retried_from: str | None = None,
    reproduces: Mapping[str, Any] | None = None,
    is_repeat: bool = False,
) -> NewJob:
    """Check a request against its model and fill in the defaults.

    inputs: file ids of the request's images, by `image` and `mask`; the caller has checked the files.
    is_repeat: the request is that of an earlier job, which was checked and has a value for every field.
    Raises ModelNotFound or InvalidParameter, with the field and the allowed values.
    """
    inputs = inputs or {}
    model = find_model(request, catalog)
    if retried_from is None and not is_repeat:
        _reject_unsupported(request, model)
    else:
        _reject_removed(request, model)
    parameters, key, seconds = _plan_parameters(request, model, has_mask="mask" in inputs)
    _check_texts(request, parameters, model)
    return NewJob(
        id=new_id("job"),
        project_id=project_id,
        operation=request.operation,
        model=model.id,
        prompt=request.prompt or "",
        n=request.n,
        parameters=parameters,
        queue=model.queue,
        microbatch_key=key,
        microbatch_size=model.microbatch_size,
        priority=among_projects(request.priority, settings.max_priority),
        project_priority=within_project(request.priority, settings.max_priority),
        cost=seconds * request.n,
        warnings=request.warnings,
        max_attempts=settings.max_attempts,
        ttl=settings.job_ttl if request.expires_after is None else timedelta(seconds=request.expires_after),
        inputs=inputs,
        api_key_id=api_key_id,
        request_id=logs.request_id(),
        traceparent=tracing.current_traceparent(),
        provider_usd=model.usd_per_image * request.n if model.is_remote else None,
        retried_from=retried_from,
        reproduces=reproduces,
        metadata=request.metadata,
        webhook=None if request.webhook is None else check_webhook(request.webhook, settings),
    )


def _plan_parameters(request: JobRequest, model: Model, *, has_mask: bool) -> tuple[ResolvedParameters, str, float]:
    """The parameters of a job, its micro-batch key, and the device-seconds of an image. Raises InvalidParameter.

    What a model makes of the same parameters is always the same, apart from a random seed: it is computed once.
    """
    names = request.model_fields_set
    values = [(name, getattr(request, name)) for name in names & _VALUES]
    if names & _TEXTS or not all(value is None or isinstance(value, str | int | float) for _, value in values):
        return _compute_parameters(request, model, has_mask)
    key = (request.operation, has_mask, frozenset(values))
    entry = model.plans.get(key)
    if entry is None:
        entry = _compute_parameters(request, model, has_mask)
        if len(model.plans) >= MAX_PLANS:
            model.plans.clear()
        model.plans[key] = entry
    parameters, microbatch, seconds = entry
    seed = random_seed(model) if request.seed is None else request.seed
    return parameters.model_copy(update={"seed": seed}), microbatch, seconds


def _compute_parameters(request: JobRequest, model: Model, has_mask: bool) -> tuple[ResolvedParameters, str, float]:
    parameters = resolve(request, model)
    _check_combination(parameters)
    key = microbatch_key(model, request.operation, parameters, has_mask=has_mask)
    return parameters, key, device_seconds(model, parameters)


def expected_seconds(request: JobRequest, model: Model) -> float:
    """The device-seconds of a job, before its input images are read. Raises InvalidParameter, as `plan` does."""
    _reject_unsupported(request, model)
    return device_seconds(model, resolve(request, model)) * request.n


def find_model(request: JobRequest, catalog: Catalog) -> Model:
    """The model of a request. Raises ModelNotFound, or InvalidParameter if it does not support the operation."""
    model = catalog.model(request.model)
    if request.operation not in model.operations:
        models = ", ".join(catalog.models_for(request.operation)) or "none"
        raise InvalidParameter(
            f"{model.id} does not support the operation {request.operation!r}, only {', '.join(model.operations)}. "
            f"Models that support it: {models}.",
            param="operation",
        )
    return model


def resolve(request: JobRequest, model: Model) -> ResolvedParameters:
    """The parameters of a job: those of the request, within the catalogue's limits, and the model's defaults."""
    values: dict[str, Any] = {}
    chosen_values = _values_of_choices(request, model)
    for name in rules():
        value = getattr(request, name)
        if value is None:
            value = chosen_values.get(name)
        match model.limit(name):
            case Range() as limit:
                values[name] = number_within(limit, name, value)
            case Choices() as limit:
                values[name] = choice_of(limit, name, value, model)
            case None:
                values[name] = value
    values["loras"] = resolve_loras(_loras_of(request, model), model.loras, model.id)
    values["control"] = resolve_controls(request.control or (), model.controls, model.id, model.preprocessors)
    values["reference_images"] = _references(request, model)
    bounds = model.steps.min, model.steps.max
    values["hires"] = resolve_hires(request.hires, model.hires, dimensions_of(values["size"]), values["steps"], bounds)
    values["tiling"] = values["tiling"] or None
    values["refiner"] = resolve_refiner(request.refiner, model.refiners, values["steps"], model.id)
    if values["seed"] is None:
        values["seed"] = random_seed(model)
    if request.operation == "edit" and values["strength"] is None:
        values["strength"] = model.strength
    return ResolvedParameters.model_construct(**values)


def _references(request: JobRequest, model: Model) -> list[ReferenceImage] | None:
    """How a request's reference images are read; see `resolve_references`. Raises InvalidParameter."""
    references = request.reference_images or ()
    reads_several = model.input_image_count > 1 and request.operation == "edit"
    uses = resolve_references(references, model.ip_adapters, model.id, reads_several=reads_several)
    count = len(request.input_images) - sum(item.adapter is not None for item in uses or ())
    if count > model.input_image_count:
        raise InvalidParameter(
            f"{count} images were sent; {model.id} takes {model.input_image_count}.", param="reference_images"
        )
    if references and uses is None and request.operation == "generation":
        raise InvalidParameter(
            f"reference_images of {model.id} are for operation edit: send the first of them as image.",
            param="reference_images",
        )
    return uses


def _loras_of(request: JobRequest, model: Model) -> list[Lora]:
    """The LoRAs of a request, the first that of a fine-tuned model, unless it is named with a weight of its own."""
    loras = list(request.loras or ())
    name = model.fine_tuned_name
    return loras if name is None or any(lora.name == name for lora in loras) else [Lora(name=name), *loras]


def _values_of_choices(request: JobRequest, model: Model) -> dict[str, Any]:
    """The parameters that a request's quality and style stand for, by name."""
    values: dict[str, Any] = {"steps": model.quality_steps.get(request.quality)}
    if request.style in model.styles:
        values["guidance_scale"] = model.styles[request.style].guidance_scale
    return values


def random_seed(model: Model) -> int:
    """A seed for a request without one. 0 if the model ignores seeds: another number would suggest a meaning."""
    return secrets.randbits(SEED_BITS) if uses_seeds(model) else 0


def uses_seeds(model: Model) -> bool:
    """Whether a model's images depend on the seed."""
    return "seed" not in model.lacks


def random_seeds() -> Iterator[int]:
    """Seeds for requests without one, faster than `random_seed` for many."""
    while True:
        yield from memoryview(secrets.token_bytes(4096)).cast("I")


def request_of(row: JobRow) -> JobRequest:
    """The request of a job, with the job's seed, to execute it again with the same parameters."""
    values: dict[str, Any] = {name: getattr(row.parameters, name) for name in rules()}
    columns = JobRequest.model_fields.keys() - values.keys() - {"webhook"}
    values |= {name: getattr(row, name) for name in columns if hasattr(row, name)}
    sources = {role: ImageSource(file_id=file_id) for role, file_id in row.inputs.items()}
    values |= {name: source for name, source in sources.items() if name in JobRequest.model_fields}
    values["reference_images"] = with_files(row.parameters.reference_images, row.inputs) or None
    values["control"] = repeated_controls(row.parameters.control, row.inputs)
    values["priority"] = row.requested_priority
    values["webhook"] = None if row.webhook is None else JobWebhook.model_validate(row.webhook)
    request = JobRequest.model_construct(**values)
    request.add_warnings(cast(JobWarning, warning) for warning in row.warnings)
    return request


def microbatch_key(
    model: Model, operation: Operation, parameters: ResolvedParameters, *, has_mask: bool = False
) -> str:
    """A string that is equal for jobs that can share a pass over the device; see `Rule.microbatch`."""
    parts = [f"{model.id}@{model.revision or '-'}", operation, *(["mask"] if has_mask else [])]
    for name, rule in rules().items():
        value = getattr(parameters, name)
        if value is None or rule.microbatch is None or (rule.neutral and value in rule.neutral):
            continue
        if rule.microbatch == "presence" and not value:  # an empty text is none
            continue
        parts.append(name if rule.microbatch == "presence" else f"{name}={value}")
    return "|".join(parts)


def device_seconds(model: Model, parameters: ResolvedParameters) -> float:
    """Estimated seconds for one image: the catalogue's figure, scaled by steps and area, and the work after it.

    Raises InvalidParameter if the output would be too large.
    """
    seconds = nominal_seconds(model, parameters.size, parameters.steps) + second_pass_seconds(model, parameters)
    return seconds + processing_seconds(parameters)


def check_webhook(webhook: JobWebhook | BatchWebhook, settings: Settings) -> dict[str, Any]:
    """A webhook as it is stored. Raises InvalidParameter if its URL is not allowed."""
    check_destination(webhook.url, settings, "webhook.url")
    return webhook.model_dump()


def check_length(name: str, text: str, model: Model) -> None:
    """Check the length of a prompt or negative prompt. Raises InvalidParameter."""
    if len(text) > model.max_prompt_chars:
        raise InvalidParameter(
            f"{name} has {len(text)} characters; {model.id} accepts at most {model.max_prompt_chars}.", param=name
        )


def is_unsupported(name: str, request: JobRequest, model: Model) -> bool:
    """Whether a request has a value for a parameter that its model does not support."""
    if name not in model.lacks:
        return False
    return getattr(request, name) not in (None, JobRequest.model_fields[name].default, *rules()[name].neutral)


def _reject_removed(request: JobRequest, model: Model) -> None:
    """Raise InvalidParameter for the first parameter of an earlier job that its model no longer supports."""
    for name in rules():
        if name not in _ALWAYS_SET and is_unsupported(name, request, model):
            raise InvalidParameter(f"The job has {name}, which {model.id} no longer supports.", param=name)


def _reject_unsupported(request: JobRequest, model: Model) -> None:
    """Raise InvalidParameter for the first parameter that the model does not support."""
    # Fields that the request does not set have a value that asks for nothing.
    has_unsupported = not model.lacks.isdisjoint(request.model_fields_set)
    for name in rules() if has_unsupported else ():
        if is_unsupported(name, request, model):
            raise InvalidParameter(f"{model.id} does not support {name}: leave it out.", param=name)
    if model.is_remote and request.partial_images and request.n > 1:
        raise InvalidParameter(
            f"partial_images must be 0 if n is more than 1: the previews of {model.id} have no image index.",
            param="partial_images",
        )
    if (conflict := conflicting_choice(request, model)) is not None:
        choice, value = conflict
        raise InvalidParameter(f"{choice} and {value} must not both be set: {choice} stands for {value}.", param=choice)
    if model.is_remote and request.operation == "edit" and request.moderation_level == "low":
        raise InvalidParameter("moderation_level is for operation generation, not edit.", param="moderation_level")


def conflicting_choice(request: JobRequest, model: Model) -> tuple[str, str] | None:
    """A choice of a request and the parameter that it stands for, if both are set."""
    values = _values_of_choices(request, model)
    for choice, name in (("quality", "steps"), ("style", "guidance_scale")):
        if values.get(name) is not None and getattr(request, name) is not None:
            return choice, name
    return None


def _check_texts(request: JobRequest, parameters: ResolvedParameters, model: Model) -> None:
    """Check the number of images, and the length of each text. Raises InvalidParameter."""
    number_within(Range(1, 1, model.max_images), "n", request.n)
    prompts = {"prompt": request.prompt} | {name: getattr(parameters, name) for name in texts("prompt", "negative")}
    for name, text in prompts.items():
        if text is not None:
            check_length(name, text, model)


def _check_combination(parameters: ResolvedParameters) -> None:
    """Check what depends on several parameters."""
    if parameters.refiner is not None and parameters.hires is not None:
        raise InvalidParameter("refiner and hires must not both be set: an image has one second pass.", param="refiner")
    if parameters.tiling and parameters.hires is not None and not parameters.hires.keeps_ratio(parameters.dimensions):
        raise InvalidParameter(
            f"hires would make {parameters.size} an image of {parameters.hires.size}; a seamless one keeps its ratio.",
            param="hires",
        )
    check_side("output_size", parameters.output_size)
    output_size(parameters.output_size or parameters.generated_size, parameters.postprocess)
    if parameters.background == "transparent" and parameters.output_format == "jpeg":
        raise InvalidParameter("background transparent is for output_format png or webp.", param="background")
    if parameters.output_compression is not None and parameters.output_format == "png":
        raise InvalidParameter(
            "output_compression is for output_format webp or jpeg; png is lossless.", param="output_compression"
        )
