"""Reference images: an IP-Adapter takes them up by its weight, and they reach no other image."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from api.model_parameters import parameters_of
from core.batches.requests import BatchRequest
from core.catalog import Catalog, Model
from core.errors import InvalidParameter, MissingParameter
from core.generation_errors import GenerationError, GeneratorFailed, ModelUnavailable
from core.parameters.image_source import ImageSource
from core.parameters.job import ResolvedParameters
from core.parameters.reference_images import ReferenceImage, reference_of
from core.requests.job import JobRequest, validate
from core.requests.plan import plan
from core.requests.webui import Txt2ImgRequest
from core.requests.webui_adaptation import webui_job_request
from core.requests.webui_sizes import sizes_of
from core.settings import Settings
from tests.contract.ip_adapters import an_adapted_generator
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_model, a_photo, a_request
from tests.contract.pipelines import (
    SIDE_PX,
    a_tiny_flux,
    a_tiny_flux2,
    a_tiny_sdxl,
    a_tiny_stable_diffusion,
    save_pipeline,
    warnings_of_diffusers,
)
from tests.families.pipelines import stable_diffusion_3
from tests.image_requests import with_changes
from worker.generators.operations import Task

pytestmark = [
    warnings_of_diffusers,
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
]

FIRST, SECOND = a_photo(SIDE_PX * 2, 1), a_photo(SIDE_PX, 2)


def referring(request: Any, *references: Any, images: tuple[Image.Image, ...] = ()) -> Any:
    update = {"reference_images": [ReferenceImage.model_validate(reference) for reference in references] or None}
    return replace(request, parameters=request.parameters.model_copy(update=update), reference_images=images)


def draw(generator: Any, *requests: Any) -> list[bytes]:
    return [image.tobytes() for image in generator.generate(requests, RecordingReporter())]


@pytest.mark.parametrize(
    "make",
    [
        a_tiny_stable_diffusion,
        *(pytest.param(make, marks=pytest.mark.slow) for make in (a_tiny_sdxl, a_tiny_flux, stable_diffusion_3)),
    ],
)
def test_a_reference_image_changes_the_image_by_its_weight(make: Any, tmp_path: Path) -> None:
    generator = an_adapted_generator(make, tmp_path)
    takes_several = make is not stable_diffusion_3
    tasks: tuple[Task, ...] = ("text-to-image", "image-to-image", "inpainting")
    for task in tasks:
        request = a_request(task, guidance_scale=4.0)
        (plain,) = draw(generator, request)
        assert not any("adapter" in name for name in generator.receipt())
        plus, style = {"adapter": "plus", "weight": 1.0}, {"adapter": "style", "weight": 1.0}
        requests = [
            referring(request, plus, images=(FIRST,)),
            referring(request, plus, images=(SECOND,)),
            referring(request, {**plus, "weight": 0.5}, images=(FIRST,)),
            referring(request, style, images=(FIRST,)),
        ]
        if takes_several:
            requests.append(referring(request, plus, style, images=(FIRST, SECOND)))
        results = [plain, *(draw(generator, each)[0] for each in requests)]
        assert len(set(results)) == len(results)
        receipt = generator.receipt()
        assert receipt["ip_adapter style"].startswith("sha256:")
        assert ("ip_adapter plus" in receipt) == takes_several
        if takes_several:
            assert draw(generator, referring(request, {**plus, "weight": 0.0}, images=(FIRST,))) == [plain]
        else:
            with pytest.raises(GenerationError, match="reads one reference image"):
                draw(generator, referring(request, plus, style, images=(FIRST, SECOND)))
        assert draw(generator, request) == [plain], "the adapter stayed in the denoiser"
    encoder = sum(part.numel() * 4 for network in generator._ip_adapters.networks for part in network.parameters())
    assert encoder > 0


def test_an_adapter_is_read_once_while_plain_and_adapted_images_take_turns(tmp_path: Path) -> None:
    generator = an_adapted_generator(a_tiny_stable_diffusion, tmp_path)
    plain = a_request("text-to-image")
    plus = referring(plain, {"adapter": "plus", "weight": 1.0}, images=(FIRST,))
    style = referring(plain, {"adapter": "style", "weight": 1.0}, images=(FIRST,))
    generator.load()
    size = generator.memory().weights
    first = [draw(generator, request) for request in (plain, plus, style)]
    assert generator.memory().weights > size
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()

    assert [draw(generator, request) for request in (plain, plus, style, plus, plain)] == [*first, first[1], first[0]]
    weights = {"adapter": "plus", "weight": 0.5}
    pairs = [referring(plain, *[weights] * count, images=(FIRST,) * count) for count in (2, 3)]
    for request in pairs:
        with pytest.raises(GenerationError, match="has lost its IP-Adapter"):
            draw(generator, request)
    assert draw(generator, style) == first[2]


def test_no_reference_image_reaches_another_image(tmp_path: Path) -> None:
    generator = an_adapted_generator(a_tiny_stable_diffusion, tmp_path)
    plain = a_request("text-to-image")
    mine = referring(plain, {"adapter": "plus", "weight": 1.0}, images=(FIRST,))
    sibling = with_changes(mine, seed=2, prompt="a house")
    strangers = [
        plain,
        referring(plain, {"adapter": "plus", "weight": 1.0}, images=(SECOND,)),
        referring(plain, {"adapter": "style", "weight": 1.0}, images=(FIRST,)),
    ]
    assert generator.sharing_key(mine) == generator.sharing_key(sibling)
    alone = [draw(generator, each)[0] for each in (mine, sibling)]
    together = draw(generator, mine, sibling)
    for pair in zip(alone, together, strict=True):
        assert max(abs(a - b) for a, b in zip(*pair, strict=True)) <= 2
    for stranger in strangers:
        assert generator.sharing_key(mine) != generator.sharing_key(stranger)
        with pytest.raises(GeneratorFailed, match="must not share"):
            draw(generator, mine, stranger)


def _faces(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"ip_adapter.0.to_q_lora.down.weight": state["image_proj.norm.weight"].clone()}


def _of_another_model(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value.repeat(1, 2) if name.endswith("_ip.weight") else value for name, value in state.items()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_faces, "is a FaceID adapter"),
        pytest.param(_of_another_model, "was trained for another model", marks=pytest.mark.slow),
        pytest.param(
            lambda state: {"a": state["image_proj.norm.weight"]},
            "has no tensors of an IP-Adapter",
            marks=pytest.mark.slow,
        ),
        pytest.param(None, "there is no .*plus.safetensors", marks=pytest.mark.slow),
        ("encoder", "is no image encoder"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named_when_the_model_is_loaded(
    change: Any, reason: str, tmp_path: Path
) -> None:
    generator = an_adapted_generator(a_tiny_stable_diffusion, tmp_path)
    file = tmp_path / "plus.safetensors"
    if change is None:
        file.unlink()
    elif change == "encoder":
        (tmp_path / "encoder" / "config.json").write_text('{"model_type": "bert"}')
    else:
        save_file({name: value.contiguous() for name, value in change(load_file(file)).items()}, file)
    with pytest.raises(ModelUnavailable, match=reason):
        generator.load()


def test_a_pipeline_without_adapters_is_named(tmp_path: Path) -> None:
    entry = {"name": "plus", "file": "plus.safetensors", "image_encoder": "encoder"}
    other = a_diffusers_generator(save_pipeline(a_tiny_flux2(), tmp_path / "model"), ip_adapters=[entry])
    with pytest.raises(ModelUnavailable, match="takes no IP-Adapter; remove its `ip_adapters`"):
        other.load()


def adapted_model() -> Model:
    entry = {"image_encoder": "clip"}
    return a_model(
        id="adapted",
        operations=["generation", "edit", "variation"],
        ip_adapters=[
            {"name": "plus", "file": "plus.safetensors", **entry},
            {"name": "style", "file": "style.safetensors", "weight": 0.9, **entry},
        ],
    )


FILE = {"file_id": "file-1"}
EDIT = {"operation": "edit", "image": FILE}
REFUSALS: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"reference_images": [{**FILE, "adapter": "face"}]}, "reference_images.0.adapter", "choose from plus, style"),
    ({"reference_images": [FILE], "model": "plain"}, "reference_images", "plain does not support reference_images"),
    ({"reference_images": [FILE] * 5}, "reference_images", "read up to 4"),
    ({"reference_images": [{**FILE, "weight": 3}]}, "reference_images.0.weight", "less than or equal to 2"),
    ({"reference_images": [{**FILE, "image_id": "img_1"}]}, "reference_images.0", "exactly one of"),
    ({"reference_images": ["cat.png"]}, "reference_images.0", "is no image"),
    ({"reference_images": ["plus:.=img_1"]}, "reference_images.0.weight", "number"),
    ({"reference_images": [FILE] * 3, "model": "several", **EDIT}, "reference_images", "several takes 3"),
    ({"reference_images": [FILE], "model": "several"}, "reference_images", "send the first of them as image"),
    (
        {"reference_images": [{**FILE, "adapter": "plus"}], "model": "several", **EDIT},
        "reference_images.0.adapter",
        "it has none",
    ),
    (
        {"reference_images": [{**FILE, "weight": 1.0}], "model": "several", **EDIT},
        "reference_images.0.weight",
        "without an IP-Adapter",
    ),
    (
        {"operation": "variation", "image": FILE, "reference_images": [FILE], "prompt": None},
        "reference_images",
        "not variation",
    ),
)
"""Fields of a request, the parameter that the error names, and a part of its message."""


def test_requests_name_the_adapters_of_the_catalogue() -> None:
    several = a_model(id="several", operations=["generation", "edit"], max_input_images=3)
    catalog = Catalog(default="adapted", models=(adapted_model(), several, a_model(id="plain")))

    def job(**fields: Any) -> Any:
        request = validate(JobRequest, {"prompt": "a cat", **fields})
        return plan(request, catalog, Settings(), "proj", inputs={"image_2": "file-1"})

    jobs = [
        job(reference_images=[FILE]),
        job(reference_images=["style=file-1"]),
        job(reference_images=[{"image_id": "img_1", "weight": 0.2}]),
        job(reference_images=["plus:0.25=file-1", ":0.3=img_1"], **EDIT),
    ]
    assert [[(each.adapter, each.weight) for each in job.parameters.reference_images] for job in jobs] == [
        [("plus", 0.6)],
        [("style", 0.9)],
        [("plus", 0.2)],
        [("plus", 0.25), ("plus", 0.3)],
    ]
    assert all(not each.has_image for job in jobs for each in job.parameters.reference_images)
    assert ResolvedParameters.load(jobs[3].parameters.dump()) == jobs[3].parameters
    assert len({job().microbatch_key, *(each.microbatch_key for each in jobs)}) == 5
    assert job(model="several", reference_images=[FILE, FILE], **EDIT).parameters.reference_images is None
    schema = parameters_of(adapted_model())["reference_images"]
    assert schema["items"]["properties"]["adapter"]["enum"] == ["plus", "style"]
    assert schema["operations"] == ["generation", "edit"]
    assert "reference_images" not in parameters_of(a_model(id="plain"))
    assert "reference_images" in parameters_of(several)
    for fields, param, message in REFUSALS:
        with pytest.raises(InvalidParameter, match=message) as error:
            job(**fields)
        assert error.value.param == param
    for missing in ({}, {"weight": 0.5}, {"file_id": None}):
        with pytest.raises(MissingParameter) as absent:
            job(reference_images=[missing])
        assert absent.value.param == "reference_images.0"


def test_an_input_image_of_openais_edit_becomes_a_reference() -> None:
    source = ImageSource.from_form(b"bytes")
    reference = reference_of(source)
    assert (reference.content, reference.has_image) == (b"bytes", True)
    assert reference_of(ImageSource(file_id="file-1")).file_id == "file-1"


def test_the_lines_of_a_batch_share_only_references_to_files() -> None:
    with pytest.raises(InvalidParameter, match="Upload the image first") as error:
        validate(BatchRequest, {"prompts": ["a cat"], "reference_images": ["data:image/png;base64,aGVsbG8="]})
    assert error.value.param == "reference_images.0"
    batch = validate(BatchRequest, {"prompts": ["a cat"], "reference_images": ["style:0.5=file-1"]})
    assert batch.shared_parameters["reference_images"] == [{"file_id": "file-1", "adapter": "style", "weight": 0.5}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "a.bin"}, "must be a .safetensors file"),
        ({"file": "../a.safetensors"}, "must be a .safetensors file"),
        ({"image_encoder": "/a"}, "must be a folder in models_dir"),
        ({"name": "a b"}, "name"),
        ({"weight": 3}, "weight"),
    ],
)
def test_the_catalogue_takes_no_other_adapters(change: dict[str, Any], message: str) -> None:
    entry = {"name": "plus", "file": "a.safetensors", "image_encoder": "clip"}
    with pytest.raises(ValueError, match=message):
        a_model(ip_adapters=[{**entry, **change}])
    with pytest.raises(ValueError, match="duplicate names: plus"):
        a_model(ip_adapters=[entry, entry])
    with pytest.raises(ValueError, match="ip_adapters are not available for fake"):
        a_model(generator="fake", ip_adapters=[entry])


def test_the_webuis_units_of_ip_adapters_are_reference_images() -> None:
    image = base64.b64encode(b"an image").decode()
    unit = {"image": image, "model": "Style [d14c016b]", "weight": 0.4, "module": "ip-adapter_clip_sd15"}
    request = Txt2ImgRequest(
        prompt="a cat",
        alwayson_scripts={"ControlNet": {"args": [unit, {**unit, "image": None}, {**unit, "model": "other"}]}},
    )
    model = adapted_model()
    job = webui_job_request(request, model, {}, sizes_of(request, model), "txt2img")
    assert job.reference_images is not None
    (reference,) = job.reference_images
    assert (reference.adapter, reference.weight, reference.content) == ("style", 0.4, b"an image")
    assert [warning["param"] for warning in job.warnings] == [
        f"alwayson_scripts.controlnet.args.{number}" for number in (1, 2)
    ]
