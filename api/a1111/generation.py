"""One call of `txt2img` or `img2img`: a job, a wait, and the answer."""

import base64
import binascii
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from api.a1111.answers import answer_with_images
from api.a1111.callers import caller_id
from api.authentication import Caller
from api.context import Context
from api.edge.address import api_path
from api.fine_tuning.models import catalog_with
from api.inputs import read_inputs
from api.jobs.routes import submit_job
from api.jobs.waiting import wait_until_final_or_disconnected
from api.openai.responses import failure, warnings_header
from core import idempotency
from core.catalog import Catalog, Model
from core.errors import InvalidParameter
from core.job_warnings import JobWarning
from core.priorities import among_projects
from core.requests.job import JobRequest
from core.requests.plan import expected_seconds, find_model, plan
from core.requests.webui import Img2ImgRequest, WebuiRequest
from core.requests.webui_adaptation import find_webui_model, webui_job_request
from core.requests.webui_sizes import preparation, sizes_of
from core.rows.job import JobRow
from core.status import JobStatus

CHUNK_CHARACTERS = 1_000_000
"""Characters of base64 that are decoded at once, in a millisecond. A multiple of four."""

CLIENT_CLOSED_REQUEST = 499
"""The status in the log of a call whose client disconnected; nobody receives it."""


async def generate(http: Request, context: Context, caller: Caller, parameters: WebuiRequest, name: str) -> Response:
    """Submit the job of a call, wait for it, and answer with its images. name: of the call."""
    row = await _submit(context, caller, *await _job_request(context, caller, parameters, name))
    parameters = _without_images(parameters)  # they would stay in memory while the job waits
    await context.webui_state.add_job(caller_id(caller), row.id)
    fingerprint = idempotency.fingerprint(api_path(http), {"job": row.id})  # its own: the webui's clients do not retry
    async with context.sync_calls.track(caller.project_id, fingerprint, row.id) as call:
        final = await wait_until_final_or_disconnected(http, context, caller.project_id, row.id)
        if final is None:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        await context.webui_state.remove_job(caller_id(caller), row.id)
        if final.status != JobStatus.COMPLETED:
            raise failure(context, final)
        content = await answer_with_images(context, final, parameters)
        call.is_answered = True
    headers = warnings_header(final.warnings) | {"x-safelight-job": row.id}
    return Response(json.dumps(content), media_type="application/json", headers=headers)


async def _job_request(
    context: Context, caller: Caller, parameters: WebuiRequest, name: str
) -> tuple[JobRequest, Catalog, Model]:
    """The request for the job, with all warnings, and its catalogue and model. Raises InvalidParameter."""
    catalog, model, notice = await _find_model(context, caller, parameters)
    sizes = sizes_of(parameters, model)
    images: Mapping[str, bytes] = {}
    if isinstance(parameters, Img2ImgRequest):
        sources = {"init_images": await decode_image(context, caller, "init_images", parameters.init_images[0])}
        if parameters.mask is not None:
            sources["mask"] = await decode_image(context, caller, "mask", parameters.mask)
        pngs = await context.decoders.prepare(caller.project_id, sources, preparation(parameters, sizes))
        images = {"image" if source == "init_images" else source: png for source, png in pngs.items()}
    request = webui_job_request(parameters, model, images, sizes, name)
    if notice is not None:
        request.add_warnings([notice])
    return request, catalog, find_model(request, catalog)


def _without_images(parameters: WebuiRequest) -> WebuiRequest:
    """The fields that the answer needs."""
    if not isinstance(parameters, Img2ImgRequest) or parameters.include_init_images:
        return parameters
    return parameters.model_copy(update={"init_images": None, "mask": None})


async def _find_model(
    context: Context, caller: Caller, parameters: WebuiRequest
) -> tuple[Catalog, Model, JobWarning | None]:
    """The model that the request names, else the one that the caller has chosen, else the default."""
    name = parameters.settings.get("sd_model_checkpoint")
    chosen_model = None if name else await context.webui_state.get_model(caller_id(caller))
    catalog = await catalog_with(context, caller.project_id, name or chosen_model)
    return catalog, *find_webui_model(parameters, catalog, chosen_model)


async def _submit(context: Context, caller: Caller, request: JobRequest, catalog: Catalog, model: Model) -> JobRow:
    """Submit the job. Raises QueueFull, and what the limits of the caller raise."""
    priority = among_projects(request.priority, context.settings.max_priority)
    cost = expected_seconds(request, model)
    async with context.sync_calls.slot(model.queue, caller.project_id, priority, cost):
        inputs = await read_inputs(context, caller.project_id, request)
        job = plan(
            request,
            catalog,
            context.settings,
            caller.project_id,
            inputs=inputs.ids,
            api_key_id=caller.key_id,
        )
        return await submit_job(context, job, inputs)


async def decode_image(context: Context, caller: Caller, param: str, text: str) -> bytes:
    """`decode_base64`, a large text in a thread, so that other requests do not wait. Raises InvalidParameter."""
    if len(text) <= CHUNK_CHARACTERS:
        return decode_base64(param, text)
    return await context.threads.parsing.run(caller.project_id, decode_base64, param, text)


def decode_base64(param: str, text: str) -> bytes:
    """The bytes of an image in base64, with or without `data:image/png;base64,`. Raises InvalidParameter."""
    if text.startswith(("http://", "https://")):
        raise InvalidParameter(f"{param} must be an image in base64: URLs are not fetched.", param=param)
    try:
        return _decode_chunks(text.partition(",")[2] if text.startswith("data:") else text)
    except (binascii.Error, ValueError):
        raise InvalidParameter(f"{param} is not valid base64.", param=param) from None


def _decode_chunks(text: str) -> bytes:
    """The bytes of a text, in chunks: Python runs other threads between two of them. Raises binascii.Error."""
    with suppress(binascii.Error):
        chunks = (text[start : start + CHUNK_CHARACTERS] for start in range(0, len(text), CHUNK_CHARACTERS))
        return b"".join(base64.b64decode(chunk, validate=True) for chunk in chunks)
    return base64.b64decode(text)  # it has other characters, such as line breaks, which are passed over


def with_warnings(content: Any, warnings: list[JobWarning]) -> Response:
    """A response as JSON, with its warnings in a header."""
    return Response(json.dumps(content), media_type="application/json", headers=warnings_header(warnings))
