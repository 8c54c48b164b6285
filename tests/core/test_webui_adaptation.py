"""AUTOMATIC1111's requests become jobs: what a model has is honoured, and each thing that it has not is a warning."""

import json
from typing import Any

import pytest

from core.catalog import Catalog, Model
from core.errors import InvalidParameter
from core.parameters.hires import Hires, HiresSpec, Upscaler
from core.parameters.refiner import Refiner, RefinerSpec
from core.requests.job import JobRequest, parse
from core.requests.webui import EXAMPLE_IMAGE, Img2ImgRequest, Txt2ImgRequest
from core.requests.webui_adaptation import find_webui_model, webui_job_request
from core.requests.webui_fields import OPTIONS, UNUSED_FIELDS, UNUSED_IMG2IMG_FIELDS
from core.requests.webui_sizes import sizes_of

CATALOG = Catalog.model_validate(
    {
        "default": "plain",
        "models": [
            {"id": "plain", "generator": "fake", "sizes": ["64x64", "128x64"], "max_images": 4},
            {
                "id": "rich",
                "generator": "diffusers_local",
                "operations": ["generation", "edit"],
                "parameters": {"clip_skip": {"max": 4}},
                "choices": {"scheduler": ["euler_a", "dpmpp_2m", "dpmpp_2m_karras"]},
                "styles": {"vivid": {"prompt_suffix": ", vivid"}, "natural": {"guidance_scale": 4.0}},
            },
            {"id": "provider", "generator": "openai_images", "queue": "openai", "microbatch_size": 1},
        ],
    }
)


def adapt(kind: Any = Txt2ImgRequest, choice: str | None = None, **fields: Any) -> JobRequest:
    """The job of a request. choice: the model that the caller has chosen."""
    request = parse(kind, json.dumps({"prompt": "a cat", **fields}).encode())
    model, notice = find_webui_model(request, CATALOG, choice)
    images = {"image": b"1", "mask": b"2"} if kind is Img2ImgRequest else {}
    job = webui_job_request(request, model, images, sizes_of(request, model), "call")
    job.add_warnings([] if notice is None else [notice])
    return job


def warnings_of(job: JobRequest) -> list[str | None]:
    return [item["param"] for item in job.warnings]


@pytest.mark.parametrize(
    ("fields", "scheduler", "warnings"),
    [
        ({"sampler_name": "Euler a"}, "euler_a", []),
        ({"sampler_index": "Euler a", "scheduler": "Automatic"}, "euler_a", []),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Karras"}, "dpmpp_2m_karras", []),
        ({"sampler_name": "DPM++ 2M Karras"}, "dpmpp_2m_karras", []),
        ({"sampler_name": "Euler a", "scheduler": "karras"}, "euler_a", ["scheduler"]),
        ({"sampler_name": "Restart"}, None, ["sampler_name"]),
        ({"sampler_name": "Default", "scheduler": "Exponential"}, None, ["scheduler"]),
        ({"sampler_name": "Default", "scheduler": "automatic"}, None, []),
        ({}, None, []),
    ],
)
def test_a_sampler_that_the_model_has_is_used(fields: Any, scheduler: str | None, warnings: list[str]) -> None:
    job = adapt(choice="rich", **fields)

    assert (job.scheduler, warnings_of(job)) == (scheduler, warnings)


@pytest.mark.parametrize(
    ("fields", "clip_skip", "warnings"),
    [
        ({"clip_skip": 2}, 1, []),
        ({"clip_skip": 1}, 0, []),
        ({"override_settings": {"CLIP_stop_at_last_layers": 3}}, 2, []),
        ({"clip_skip": 12}, 4, ["clip_skip"]),
        ({"clip_skip": "last"}, None, ["clip_skip"]),
        ({}, None, []),
    ],
)
def test_clip_skip_counts_from_one(fields: Any, clip_skip: int | None, warnings: list[str]) -> None:
    job = adapt(choice="rich", **fields)

    assert (job.clip_skip, warnings_of(job)) == (clip_skip, warnings)
    assert adapt(**fields).clip_skip is None


@pytest.mark.parametrize(
    ("fields", "size", "output_size", "warnings"),
    [
        ({}, "64x64", None, []),
        ({"width": 128, "height": 64}, "128x64", None, []),
        ({"width": 300, "height": 150}, "128x64", "300x150", ["width"]),
        ({"height": 256}, "128x64", "512x256", ["width"]),
        ({"width": 64, "height": 64, "enable_hr": True}, "64x64", "128x128", ["enable_hr"]),
        ({"width": 64, "height": 64, "enable_hr": True, "hr_scale": 1.5}, "64x64", "96x96", ["enable_hr"]),
        ({"width": 128, "height": 64, "enable_hr": 1, "hr_resize_x": 300}, "128x64", "300x150", ["enable_hr"]),
        ({"width": 9000, "height": 3000}, "128x64", "4096x1365", ["width"]),
        ({"width": 9999, "height": 16}, "128x64", "4096x16", ["width"]),
        ({"width": 1600, "height": 64, "enable_hr": True, "hr_resize_x": 100}, "128x64", "100x16", ["enable_hr"]),
        ({"width": 4000, "height": 4000, "enable_hr": True}, "64x64", "4096x4096", ["enable_hr", "width"]),
    ],
)
def test_the_result_has_the_size_of_the_request(fields: Any, size: str, output_size: Any, warnings: list[str]) -> None:
    job = adapt(**fields)

    assert (job.size, job.output_size, warnings_of(job)) == (size, output_size, warnings)


def test_numbers_are_brought_within_the_limits_of_the_model() -> None:
    job = adapt(steps="150", cfg_scale=99, seed=2**32 + 5, batch_size="3", n_iter=2.0)

    assert (job.steps, job.guidance_scale, job.seed, job.n) == (100, 30.0, 5, 4)
    assert set(warnings_of(job)) == {"steps", "cfg_scale", "seed", "batch_size"}
    assert adapt(seed="-1").seed is None
    edit = adapt(Img2ImgRequest, init_images=[EXAMPLE_IMAGE], denoising_strength=0, choice="rich")
    assert (edit.strength, warnings_of(edit)) == (0.01, ["denoising_strength"])


def test_the_webuis_defaults_cause_no_warning() -> None:
    fields = {name: field.default for name, field in UNUSED_FIELDS.items()}
    edit_fields = fields | {name: field.default for name, field in UNUSED_IMG2IMG_FIELDS.items()}

    assert warnings_of(adapt(**fields, override_settings=dict(OPTIONS), alwayson_scripts={}, styles=["None"])) == []
    edit = adapt(Img2ImgRequest, init_images=[EXAMPLE_IMAGE], choice="rich", **edit_fields)
    assert warnings_of(edit) == []


def test_what_there_is_not_is_a_warning_each() -> None:
    scripts = {"Tiled VAE": {"args": [True]}, "ADetailer": {"args": [False]}}
    job = adapt(
        tiling=True, subseed_strength=0.5, unknown=1, override_settings={"sd_vae": "x.pt"}, alwayson_scripts=scripts
    )

    assert sorted(map(str, warnings_of(job))) == [
        "alwayson_scripts", "override_settings", "subseed_strength", "tiling", "unknown",
    ]  # fmt: skip
    many_fields: dict[str, Any] = {f"field{number}": 1 for number in range(150)}
    assert len(adapt(**many_fields).warnings) == 21
    edit = adapt(
        Img2ImgRequest, choice="rich", init_images=[EXAMPLE_IMAGE] * 2, mask=EXAMPLE_IMAGE, resize_mode=3,
        inpaint_full_res=True, mask_blur=9,
    )  # fmt: skip
    assert set(warnings_of(edit)) == {"init_images", "resize_mode", "inpaint_full_res", "mask_blur"}


def test_a_provider_lacks_what_it_lacks() -> None:
    job = adapt(choice="provider", negative_prompt="x", steps=5, cfg_scale=7, seed=3, width=512, height=512)

    assert (job.model, job.partial_images, job.steps, job.seed) == ("provider", 0, None, None)
    assert set(warnings_of(job)) == {"negative_prompt", "steps", "cfg_scale", "seed"}


def test_an_unknown_model_becomes_the_default_one_with_a_warning() -> None:
    named = adapt(choice="rich", override_settings={"sd_model_checkpoint": "v1-5.safetensors [6ce01]"})
    gone = adapt(choice="gone")

    assert [(job.model, warnings_of(job)) for job in (named, gone)] == [("plain", ["sd_model_checkpoint"])] * 2


@pytest.mark.parametrize(
    ("quality", "compression", "warnings"),
    [(80, 80, []), (80.0, 80, []), (None, None, []), (101, None, ["jpeg_quality"]), ("best", None, ["jpeg_quality"])],
)
def test_a_quality_that_is_not_used_is_a_warning(quality: Any, compression: int | None, warnings: list[str]) -> None:
    job = adapt(override_settings={"samples_format": "jpg", "jpeg_quality": quality})

    assert (job.output_format, job.output_compression, warnings_of(job)) == ("jpeg", compression, warnings)


def test_a_style_is_used_unless_it_contradicts_cfg_scale() -> None:
    assert adapt(choice="rich", styles=["x", "vivid"], cfg_scale=7).style == "vivid"
    job = adapt(choice="rich", styles=["natural"], cfg_scale=7)
    assert (job.style, warnings_of(job)) == (None, ["styles"])


def test_the_webuis_syntax_is_no_part_of_a_prompt() -> None:
    job = adapt(prompt="a (cat:1.2), <lora:oil:0.8> (x)", negative_prompt="")

    assert (job.prompt, job.negative_prompt, warnings_of(job)) == ("a cat,  (x)", None, ["prompt", "prompt"])
    with pytest.raises(InvalidParameter, match="prompt must not be empty"):
        adapt(prompt="<lora:oil:0.8>")


@pytest.mark.parametrize(
    "fields",
    [{"steps": 0}, {"steps": "x"}, {"steps": 1.5}, {"width": 8}, {"batch_size": 0}, {"seed": "1e9"}, {"prompt": "a\0"},
     {"cfg_scale": "nan"}, {"send_images": "yes"}, {"override_settings": []}, {"denoising_strength": 1.1},
     {"override_settings": {"sd_model_checkpoint": 5}}],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter) as error:
        adapt(**fields)
    assert (error.value.param or "").partition(".")[0] == next(iter(fields))


def test_enable_hr_is_the_second_pass_of_a_model_that_has_one() -> None:
    model = Model(id="fine", generator="fake", sizes=("64x64",), hires=HiresSpec(max_scale=2, multiple=16))

    def job(**fields: Any) -> Any:
        request = Txt2ImgRequest(prompt="a cat", enable_hr=True, **fields)
        return webui_job_request(request, model, {}, sizes_of(request, model), "txt2img")

    plain = job(width=64, height=64, hr_scale=1.5, denoising_strength=0.4, hr_second_pass_steps=7)
    assert (plain.size, plain.output_size, plain.warnings) == ("64x64", None, ())
    assert plain.hires == Hires(width=96, height=96, strength=0.4, steps=7)
    large = job(width=64, height=64, hr_resize_x=300)
    assert (large.hires.size, large.output_size) == ("128x128", "300x300")
    assert [warning["code"] for warning in large.warnings] == ["size_scaled"]
    assert job(width=64, height=64, hr_scale=1).hires is None
    clipped = job(width=64, height=64, hr_scale=1.5, denoising_strength=0, hr_second_pass_steps=1000)
    assert clipped.hires == Hires(width=96, height=96, strength=0.01, steps=100)
    assert warnings_of(clipped) == ["hr_second_pass_steps", "denoising_strength"]
    short = job(width=64, height=64, hr_scale=1.5, denoising_strength=0.1, steps=8)
    assert (short.hires.steps, short.hires.strength) == (8, 0.125)


def test_the_webuis_names_of_upscalers_and_refiners_are_those_of_the_model() -> None:
    hires = HiresSpec(upscalers=("lanczos", "latent"), networks=(Upscaler(name="swin2sr", source="a"),))
    refiners = (RefinerSpec(name="XL-refiner", source="b"),)
    model = Model(id="fine", generator="diffusers_local", sizes=("64x64",), hires=hires, refiners=refiners)

    def job(**fields: Any) -> Any:
        request = Txt2ImgRequest(prompt="a cat", steps=20, width=64, height=64, **fields)
        return webui_job_request(request, model, {}, sizes_of(request, model), "txt2img")

    for label, name in (("Latent", "latent"), ("Swin2SR", "swin2sr"), ("None", "lanczos"), ("lanczos", "lanczos")):
        named = job(enable_hr=True, hr_upscaler=label)
        assert (named.hires.upscaler, warnings_of(named)) == (name, [])
    unknown = job(enable_hr=True, hr_upscaler="R-ESRGAN 4x+")
    assert (unknown.hires.upscaler, warnings_of(unknown)) == ("lanczos", ["hr_upscaler"])
    assert "This model has Lanczos, Latent, swin2sr." in unknown.warnings[0]["message"]
    refined = job(refiner_checkpoint="xl-refiner.safetensors [8d0ce6c0]", refiner_switch_at=0.7)
    assert (refined.refiner, warnings_of(refined)) == (Refiner(model="XL-refiner", switch_at=0.7), [])
    assert job(refiner_checkpoint="None").refiner is None
    for fields, reason in (
        ({"refiner_checkpoint": "other"}, "fine has XL-refiner"),
        ({"refiner_checkpoint": "xl-refiner", "refiner_switch_at": 1}, "refiner_switch_at is 1"),
        ({"refiner_checkpoint": "xl-refiner", "enable_hr": True}, "enable_hr is set"),
    ):
        plain = job(**fields)
        assert (plain.refiner, warnings_of(plain)) == (None, ["refiner_checkpoint"])
        assert reason in plain.warnings[0]["message"]
