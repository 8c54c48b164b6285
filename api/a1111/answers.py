"""The answer of `txt2img` and `img2img`: images, the fields of the request, and `info` as JSON in a string."""

import base64
import json
from typing import Any

from pydantic import BaseModel, Field

from api.context import Context
from core.parameters.infotext import infotext
from core.parameters.job import ResolvedParameters
from core.parameters.samplers import label_of
from core.requests.webui import Img2ImgRequest, WebuiRequest
from core.requests.webui_fields import UNUSED_FIELDS, UNUSED_IMG2IMG_FIELDS
from core.rows.job import JobRow

PRIVATE = frozenset({"url", "auth"})
"""Fields that SillyTavern sends along by mistake: its password is nobody's business."""


class ImagesAnswer(BaseModel):
    """The images of a call."""

    images: list[str] = Field(
        description="The images in base64; PNG files have the infotext. Empty: send_images false."
    )
    parameters: dict[str, Any] = Field(description="The fields of the request, with the webui's defaults.")
    info: str = Field(
        description="JSON: `seed`, `all_seeds`, `all_prompts`, `infotexts` and so on, as the webui; and `job_id` and "
        "`warnings`, which say what of the request is not honoured in full."
    )


async def answer_with_images(context: Context, row: JobRow, parameters: WebuiRequest) -> dict[str, Any]:
    """The answer for a completed job."""
    images = []
    if parameters.send_images is not False:
        for image in row.images:
            images.append(base64.b64encode(await context.storage.get_async(image["storage_key"])).decode())
    return {"images": images, "parameters": _echo(parameters), "info": json.dumps(info_of(row, parameters))}


def _echo(parameters: WebuiRequest) -> dict[str, Any]:
    """All fields that the webui has."""
    fields = {**UNUSED_FIELDS, **(UNUSED_IMG2IMG_FIELDS if isinstance(parameters, Img2ImgRequest) else {})}
    values = {name: field.default for name, field in fields.items() if name not in PRIVATE}
    values |= {name: value for name, value in (parameters.model_extra or {}).items() if name in values}
    return values | {name: getattr(parameters, name) for name in type(parameters).model_fields}


def info_of(row: JobRow, parameters: WebuiRequest) -> dict[str, Any]:
    """The object in `info`."""
    used_parameters = _used_parameters(row)
    parameters_of_images = [used_parameters.of_image(index) for index in range(row.n)]
    width, height = row.parameters.output_dimensions
    negative_prompt = row.parameters.negative_prompt or ""
    seeds = [item.seed for item in parameters_of_images]
    return {
        "prompt": row.prompt,
        "all_prompts": [row.prompt] * row.n,
        "negative_prompt": negative_prompt,
        "all_negative_prompts": [negative_prompt] * row.n,
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": seeds[0],
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": width,
        "height": height,
        "sampler_name": label_of(row.parameters.scheduler).sampler,
        "cfg_scale": used_parameters.guidance_scale,
        "steps": used_parameters.steps,
        "batch_size": parameters.batch_size or 1,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": row.model,
        "sd_model_hash": None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": row.parameters.strength,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": [infotext(row.prompt, row.model, row.operation, item) for item in parameters_of_images],
        "styles": parameters.styles or [],
        "job_timestamp": row.created_at.strftime("%Y%m%d%H%M%S"),
        "clip_skip": (row.parameters.clip_skip or 0) + 1,
        "is_using_inpainting_conditioning": False,
        "job_id": row.id,
        "warnings": [item["message"] for item in row.warnings],
    }


def _used_parameters(row: JobRow) -> ResolvedParameters:
    """The parameters with which the images were generated. Some models have one guidance scale for all requests."""
    receipt = row.images[0]["receipt"] if row.images else {}
    names = ("steps", "guidance_scale", "strength")
    values = {name: receipt[name] for name in names if isinstance(receipt.get(name), int | float)}
    return row.parameters.model_copy(update=values)
