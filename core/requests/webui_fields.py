"""What Safelight does not have of AUTOMATIC1111's webui, field by field, and the values that ask for nothing of it.

Clients send most fields always, with the webui's defaults. Only another value causes a warning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.text import quote

ANY_VALUE: tuple[Any, ...] = ()
"""Of a field that changes no image here."""

EMPTY: tuple[Any, ...] = (None, "", "None", "none", False, 0, (), {})
"""Values of unknown fields that ask for nothing."""


@dataclass(frozen=True, slots=True)
class UnusedField:
    """A field that is not used. default: of the webui. neutral: values without a warning; ANY_VALUE: all."""

    default: Any
    neutral: tuple[Any, ...]
    reason: str = ""


def _unused(default: Any = None) -> UnusedField:
    return UnusedField(default, ANY_VALUE)


UNUSED_FIELDS: Mapping[str, UnusedField] = {
    "subseed": _unused(-1),
    "subseed_strength": UnusedField(0, (0,), "there are no variation seeds"),
    "seed_resize_from_h": UnusedField(-1, (-1, 0), "seeds belong to a size"),
    "seed_resize_from_w": UnusedField(-1, (-1, 0), "seeds belong to a size"),
    "restore_faces": UnusedField(None, (False,), "there is no restoration of faces"),
    "tiling": UnusedField(None, (False,), "the model draws no seamless images"),
    "do_not_save_samples": UnusedField(
        False, (False,), "images are stored until SAFELIGHT_RETENTION ends or DELETE /v1/jobs/{id}"
    ),
    "do_not_save_grid": _unused(False),
    "save_images": _unused(False),
    "eta": UnusedField(None, (0, 1), "the sampler's own is used"),
    "s_min_uncond": UnusedField(None, (0,), "the sampler's own is used"),
    "s_churn": UnusedField(None, (0,), "the sampler's own is used"),
    "s_tmax": UnusedField(None, (0,), "the sampler's own is used"),
    "s_tmin": UnusedField(None, (0,), "the sampler's own is used"),
    "s_noise": UnusedField(None, (1,), "the sampler's own is used"),
    "override_settings_restore_afterwards": _unused(True),
    "refiner_checkpoint": UnusedField(None, ("", "None"), "only txt2img has refiners"),
    "refiner_switch_at": _unused(),
    "disable_extra_networks": _unused(False),
    "comments": _unused(),
    "firstpass_image": UnusedField(None, ("",), "there is no second pass"),
    "firstphase_width": _unused(0),
    "firstphase_height": _unused(0),
    "hr_upscaler": _unused(),
    "hr_second_pass_steps": _unused(0),
    "hr_checkpoint_name": _unused(),
    "hr_sampler_name": _unused(),
    "hr_scheduler": _unused(),
    "hr_prompt": _unused(""),
    "hr_negative_prompt": _unused(""),
    "hr_additional_modules": _unused(),
    "hr_cfg": _unused(),
    "script_name": UnusedField(None, ("", "None"), "there are no scripts"),
    "script_args": _unused([]),
    "force_task_id": _unused(),
    "infotext": UnusedField(None, ("",), "send the fields themselves"),
    "clip_skip": UnusedField(1, (0, 1), "all layers of the text encoder are used"),
    "url": _unused(),  # SillyTavern sends its own address and password along
    "auth": _unused(),
}
"""Fields of both calls."""

UNUSED_IMG2IMG_FIELDS: Mapping[str, UnusedField] = {
    "image_cfg_scale": UnusedField(None, (1.5,), "only the prompt guides the edit"),
    "initial_noise_multiplier": UnusedField(None, (1,), "denoising_strength sets the noise"),
    "latent_mask": UnusedField(None, ("",), "send mask"),
    "mask_round": _unused(True),
    "mask_blur": UnusedField(None, (4,), "the edge of the mask is soft by some pixels of its own"),
    "mask_blur_x": UnusedField(4, (4,), "the edge of the mask is soft by some pixels of its own"),
    "mask_blur_y": UnusedField(4, (4,), "the edge of the mask is soft by some pixels of its own"),
    "inpainting_fill": UnusedField(0, (0, 1), "the edit begins with the image itself"),
    "inpaint_full_res": _unused(True),  # `webui_adaptation.py` warns of it if there is a mask
    "inpaint_full_res_padding": _unused(0),
}
"""Further fields of img2img."""

OPTIONS: Mapping[str, Any] = {
    "samples_format": "png",
    "jpeg_quality": 90,
    "live_previews_enable": True,
    "show_progress_every_n_steps": 10,
    "CLIP_stop_at_last_layers": 1,
    "sd_vae": "Automatic",
    "sd_vae_as_default": True,
    "sd_checkpoint_hash": "",
    "eta_noise_seed_delta": 0,
    "face_restoration": False,
    "face_restoration_model": "None",
    "img2img_color_correction": False,
    "img2img_fix_steps": False,
    "inpainting_mask_weight": 1.0,
    "initial_noise_multiplier": 1.0,
    "upscaler_for_img2img": "Lanczos",
    "filter_nsfw": False,
    "return_grid": False,
    "samples_save": False,
    "do_not_show_images": False,
}
"""The webui's options that clients read, beside `sd_model_checkpoint`. None of them can be changed."""

_NEUTRAL_OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "sd_vae": ("", "None", "Automatic", "automatic"),
    "CLIP_stop_at_last_layers": (0, 1),
    "samples_save": (True, False),
    "face_restoration_model": ("", "None"),
    "sd_vae_as_default": (True, False),
}


def unused_fields(fields: Mapping[str, Any], img2img: bool) -> Iterator[tuple[str, str]]:
    """The fields of a request that ask for what there is not, and the reason, known and unknown ones."""
    known_fields = {**UNUSED_FIELDS, **UNUSED_IMG2IMG_FIELDS} if img2img else UNUSED_FIELDS
    for name, value in fields.items():
        field = known_fields.get(name)
        if field is None:
            if not img2img and name in UNUSED_IMG2IMG_FIELDS:
                continue
            if not _is_in(value, EMPTY):
                yield name, "it is not known here"
        elif field.neutral and not _is_in(value, (field.default, *field.neutral)):
            yield name, field.reason


def unused_options(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The options of a request that are not those of this server, and the reason."""
    for name, value in options.items():
        neutral = (*_NEUTRAL_OPTIONS.get(name, ()), *((OPTIONS[name],) if name in OPTIONS else EMPTY))
        if not _is_in(value, neutral):
            current = f"here it is {quote(str(OPTIONS[name]))}" if name in OPTIONS else "it is not known here"
            yield name, current


def _is_in(value: Any, values: tuple[Any, ...]) -> bool:
    """Whether a value is one of several. An empty list counts as an empty tuple."""
    return (tuple(value) if isinstance(value, list) else value) in values
