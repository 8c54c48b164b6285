"""Control images: each guides the result by its weight, in the steps that it names, and reaches no other job."""

import base64
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxControlNetModel
from PIL import Image
from safetensors.torch import load_file, save_file

from api.model_parameters import parameters_of
from core.batches.requests import BatchRequest
from core.catalog import Catalog, Model
from core.errors import InvalidParameter, MissingParameter
from core.generation_errors import GenerationError, GeneratorFailed, ModelUnavailable
from core.parameters.control import Control
from core.parameters.image_source import ImageSource
from core.parameters.job import ResolvedParameters
from core.requests.job import JobRequest, validate
from core.requests.plan import plan
from core.requests.webui import Txt2ImgRequest
from core.requests.webui_adaptation import webui_job_request
from core.requests.webui_sizes import sizes_of
from core.settings import Settings
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_model, a_photo, a_request
from tests.contract.networks import a_controlled_generator
from tests.contract.pipelines import (
    SIDE_PX,
    a_tiny_flux,
    a_tiny_sdxl,
    a_tiny_stable_diffusion,
    save_pipeline,
    warnings_of_diffusers,
)
from tests.image_requests import with_changes
from worker.generators.operations import Task

pytestmark = warnings_of_diffusers

TASKS: tuple[Task, ...] = ("text-to-image", "image-to-image", "inpainting")


def controlled(request: Any, *controls: Mapping[str, Any], images: tuple[Image.Image, ...] = ()) -> Any:
    return with_changes(
        request, control=[Control.model_validate(control) for control in controls] or None, control_images=images
    )


@pytest.mark.parametrize("make", [a_tiny_stable_diffusion, a_tiny_sdxl])
def test_a_control_image_changes_the_image_by_its_weight(make: Any, tmp_path: Path) -> None:
    generator = a_controlled_generator(make, tmp_path)
    first, second = a_photo(SIDE_PX, 1), a_photo(SIDE_PX, 2)

    def image(request: Any, *controls: Mapping[str, Any], images: tuple[Image.Image, ...] = ()) -> bytes:
        reporter = RecordingReporter()
        (result,) = generator.generate([controlled(request, *controls, images=images)], reporter)
        steps = [step for step, _ in reporter.steps]
        assert steps == list(range(reporter.steps[-1][1] + 1)), "the control network's calls are no steps"
        return bytes(result.tobytes())

    for task in TASKS:
        request = a_request(task)
        plain = image(request)
        results = [
            plain,
            image(request, {"type": "canny"}, images=(first,)),
            image(request, {"type": "canny"}, images=(second,)),
            image(request, {"type": "canny", "weight": 0.5}, images=(first,)),
            image(request, {"type": "depth"}, images=(first,)),
            image(request, {"type": "canny"}, {"type": "depth", "weight": 0.5}, images=(first, second)),
        ]
        if task == "text-to-image":
            results.append(image(request, {"type": "canny", "end": 0.5}, images=(first,)))
        assert len(set(results)) == len(results)
        assert image(request, {"type": "canny", "weight": 0.0}, images=(first,)) == plain
        assert image(request) == plain
    base = sum(part.numel() * 4 for name in ("unet", "vae") for part in generator._pipe.components[name].parameters())
    assert generator.memory().weights > base + sum(
        part.numel() * 4 for network in generator._controls.networks for part in network.parameters()
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")
def test_flux_takes_control_images(tmp_path: Path) -> None:
    pipe = a_tiny_flux()
    torch.manual_seed(1)
    network = FluxControlNetModel.from_transformer(
        pipe.transformer, 1, 1, attention_head_dim=16, num_attention_heads=2, load_weights_from_transformer=False
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(tmp_path / "canny")
    generator = a_diffusers_generator(
        save_pipeline(pipe, tmp_path / "model"),
        operations=["generation", "edit"],
        controls=[{"type": "canny", "source": str(tmp_path / "canny").lstrip("/")}],
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    guide, other = a_photo(SIDE_PX, 1), a_photo(SIDE_PX, 2)
    for task in TASKS:
        request = a_request(task, guidance_scale=1.0)
        requests = [
            request,
            controlled(request, {"type": "canny"}, images=(guide,)),
            controlled(request, {"type": "canny"}, images=(other,)),
            controlled(request, {"type": "canny"}, {"type": "canny", "weight": 0.5}, images=(guide, other)),
        ]
        results = {generator.generate([each], RecordingReporter())[0].tobytes() for each in requests}
        assert len(results) == len(requests)


def test_no_control_image_reaches_another_image(tmp_path: Path) -> None:
    generator = a_controlled_generator(a_tiny_stable_diffusion, tmp_path)
    first, other = a_photo(SIDE_PX, 1), a_photo(SIDE_PX, 2)
    mine = controlled(a_request("text-to-image"), {"type": "canny"}, images=(first,))
    sibling = with_changes(mine, seed=2)
    stranger = with_changes(mine, control_images=(other,))
    plain = a_request("text-to-image")

    assert generator.sharing_key(mine) == generator.sharing_key(sibling)
    alone = [generator.generate([each], RecordingReporter())[0].tobytes() for each in (mine, sibling)]
    assert [image.tobytes() for image in generator.generate([mine, sibling], RecordingReporter())] == alone
    for neighbour in (stranger, plain):
        assert generator.sharing_key(mine) != generator.sharing_key(neighbour)
        with pytest.raises(GeneratorFailed, match="must not share"):
            generator.generate([mine, neighbour], RecordingReporter())
    edit = controlled(a_request("image-to-image"), {"type": "canny"}, images=(first,))
    assert generator.sharing_key(edit) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "is none of the classes"),
        ({"_class_name": "FluxControlNetModel"}, "could not be loaded|is for a FluxTransformer2DModel"),
        ({"cross_attention_dim": 32}, "could not be loaded|trained for another model"),
        (None, "there is no .*config.json"),
    ],
)
def test_a_control_network_that_does_not_fit_is_named_when_the_model_is_loaded(
    change: dict[str, Any] | None, reason: str, tmp_path: Path
) -> None:
    generator = a_controlled_generator(a_tiny_stable_diffusion, tmp_path)
    path = tmp_path / "canny" / "config.json"
    config = json.loads(path.read_text())
    path.unlink() if change is None else path.write_text(json.dumps(config | change))
    with pytest.raises(ModelUnavailable, match="control network 'canny'") as caught:
        generator.load()
    assert any(part in caught.value.message for part in reason.split("|")) or change is None


@pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")
def test_a_union_network_needs_a_mode_when_the_model_is_loaded(tmp_path: Path) -> None:
    pipe: Any = a_tiny_flux()
    config = dict(pipe.transformer.config) | {"num_mode": 2}
    FluxControlNetModel.from_config(config).save_pretrained(tmp_path / "canny")
    generator = a_diffusers_generator(
        save_pipeline(pipe, tmp_path / "model"),
        controls=[{"type": "canny", "source": str(tmp_path / "canny").lstrip("/")}],
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    with pytest.raises(ModelUnavailable, match="set `mode`, from 0 to 1"):
        generator.load()


def test_a_control_network_may_be_a_checkpoint_with_a_config(tmp_path: Path) -> None:
    generator = a_controlled_generator(a_tiny_stable_diffusion, tmp_path)
    request = controlled(a_request("text-to-image"), {"type": "canny"}, images=(a_photo(SIDE_PX),))
    (of_folder,) = generator.generate([request], RecordingReporter())

    file = (tmp_path / "canny" / "diffusion_pytorch_model.safetensors").rename(tmp_path / "canny.safetensors")
    place = str(tmp_path).lstrip("/")
    checkpoint = {"type": "canny", "source": f"{place}/canny.safetensors", "config": f"{place}/canny"}

    def generate() -> Any:
        other = a_diffusers_generator(tmp_path / "model", controls=[checkpoint])
        other._settings = generator._settings
        (image,) = other.generate([request], RecordingReporter())
        return image, other.receipt()

    image, receipt = generate()
    assert image.tobytes() == of_folder.tobytes()
    assert receipt["control canny"] == f"sha256:{sha256(file.read_bytes()).hexdigest()}"

    tensors = load_file(file)
    save_file({name: tensors[name] for name in sorted(tensors)[1:]}, file)
    with pytest.raises(ModelUnavailable, match=r"canny\.safetensors lacks tensors of the ControlNetModel"):
        generate()
    config = tmp_path / "canny" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "T2IAdapter"}))
    with pytest.raises(ModelUnavailable, match="no single file of a T2IAdapter"):
        generate()
    with pytest.raises(ValueError, match=r"a config, which only a \.safetensors file"):
        a_model(controls=[checkpoint | {"source": "canny"}])


def test_a_control_that_a_worker_does_not_have_fails_its_job_only(tmp_path: Path) -> None:
    generator = a_controlled_generator(a_tiny_stable_diffusion, tmp_path)
    request = controlled(a_request("text-to-image"), {"type": "pose"}, images=(a_photo(SIDE_PX),))
    assert generator.sharing_key(request) is None
    with pytest.raises(GenerationError, match="has no control 'pose' any more"):
        generator.generate([request], RecordingReporter())


def guided() -> Model:
    return a_model(
        id="guided",
        operations=["generation", "edit", "variation"],
        controls=[{"type": "canny", "source": "sd-canny", "weight": 0.7}, {"type": "depth", "source": "sd-depth"}],
    )


def test_requests_name_the_controls_of_the_catalogue() -> None:
    catalog = Catalog(default="guided", models=(guided(), a_model(id="plain")))
    file = {"file_id": "file-1"}

    def job(**fields: Any) -> Any:
        request = validate(JobRequest, {"prompt": "a cat", **fields})
        return plan(request, catalog, Settings(), "proj", inputs={"control_1": "file-1"})

    first, second = job(control=[{"type": "canny", "image": file}]), job(control=["canny:0.8=file-1"])
    assert first.parameters.control == [Control(type="canny", weight=0.7)]
    assert ResolvedParameters.load(second.parameters.dump()).control == [Control(type="canny", weight=0.8)]
    assert len({first.microbatch_key, second.microbatch_key, job().microbatch_key}) == 3
    schema = parameters_of(guided())["control"]
    assert schema["items"]["properties"]["type"]["enum"] == ["canny", "depth"]
    assert schema["operations"] == ["generation", "edit"]
    assert "control" not in parameters_of(a_model(id="plain"))
    for fields, param, message in (
        ({"control": [{"type": "pose", "image": file}]}, "control.0.type", "choose from canny, depth"),
        ({"control": [{"type": "canny", "image": file}], "model": "plain"}, "control", "does not support control"),
        ({"control": [{"type": "canny", "image": file, "start": 0.5, "end": 0.5}]}, "control.0", "less than end"),
        ({"control": [{"type": "canny", "image": file, "weight": 3}]}, "control.0.weight", "less than or equal to 2"),
        ({"control": [{"type": "canny", "image": "cat.png"}]}, "control.0.image", "is no image"),
        ({"control": ["canny"]}, "control.0", "must be type=image"),
        ({"control": [{"type": "canny", "image": file}] * 5}, "control", "at most 4"),
    ):
        with pytest.raises(InvalidParameter, match=message) as error:
            job(**fields)
        assert error.value.param == param
    with pytest.raises(MissingParameter) as missing:
        job(control=[{"type": "canny"}])
    assert missing.value.param == "control.0.image"


def test_the_lines_of_a_batch_share_only_references_to_control_images() -> None:
    inline = "data:image/png;base64,aGVsbG8="
    for image in (inline, {"image_url": inline}):
        with pytest.raises(InvalidParameter, match="Upload the image first") as error:
            validate(BatchRequest, {"prompts": ["a cat"], "control": [{"type": "canny", "image": image}]})
        assert error.value.param == "control.0.image"
    controls = [{"type": "canny", "image": {"file_id": "file-1"}}, "canny=img_1"]
    batch = validate(BatchRequest, {"prompts": ["a cat"], "control": controls})
    assert [item["image"] for item in batch.shared_parameters["control"]] == [
        {"file_id": "file-1"},
        {"image_id": "img_1"},
    ]


def test_texts_stand_for_the_sources_of_control_images() -> None:
    for text, source in (
        ("canny=img_1", ImageSource(image_id="img_1")),
        ("canny:1=file-2", ImageSource(file_id="file-2")),
        ("canny=data:image/png;base64,QQ==", ImageSource(image_url="data:image/png;base64,QQ==")),
    ):
        assert Control.model_validate(text).image == source


@pytest.mark.parametrize("control", [{"source": "/a"}, {"source": "../a"}, {"type": "A b"}])
def test_the_catalogue_takes_no_other_folders(control: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="controls"):
        a_model(controls=[{"type": "canny", "source": "canny", **control}])
    entry = {"type": "canny", "source": "canny"}
    with pytest.raises(ValueError, match="duplicate types: canny"):
        a_model(controls=[entry, entry])
    with pytest.raises(ValueError, match="controls are not available for openai_images"):
        a_model(generator="openai_images", microbatch_size=1, operations=["generation"], controls=[entry])


def webui_job(*units: Any, images: Mapping[str, bytes] | None = None) -> Any:
    request = Txt2ImgRequest(prompt="a cat", alwayson_scripts={"ControlNet": {"args": list(units)}})
    model = guided()
    return webui_job_request(request, model, images or {}, sizes_of(request, model), "txt2img")


def test_the_webuis_units_name_controls() -> None:
    image = base64.b64encode(b"an image").decode()
    unit = {"image": image, "model": "control_v11p_sd15_canny [d14c016b]", "pixel_perfect": True, "control_mode": 0}
    job = webui_job(
        {**unit, "weight": 2.5, "guidance_end": 0.5, "module": "canny", "mask": image},
        {
            "enabled": True,
            "input_image": f"data:image/png;base64,{image}",
            "model": "Depth",
            "control_mode": "Balanced",
            "module": "openpose_full",
        },
        {**unit, "enabled": False},
        {**unit, "model": "control_openpose"},
        {**unit, "image": None},
        {**unit, "guidance_start": 1},
        "canny",
    )
    first, second = job.control
    assert (first.type, first.weight, first.start, first.end) == ("canny", 2.0, 0.0, 0.5)
    assert (second.type, second.weight, second.end) == ("depth", 1.0, 1.0)
    assert first.image.content == second.image.content == b"an image"
    assert [warning["param"].removeprefix("alwayson_scripts.controlnet.args.") for warning in job.warnings] == [
        "0.weight", "0.mask", "1.module", "3", "4", "5", "6",
    ]  # fmt: skip
    assert (first.preprocess, second.preprocess) == ("canny", "none")
    assert "'openpose_full' is not used: guided has none, canny, lineart, tile" in job.warnings[2]["message"]
    assert "guided has canny, depth, not 'control_openpose'" in job.warnings[3]["message"]
    (control,) = webui_job({**unit, "image": None}, images={"image": b"the image of img2img"}).control
    assert control.image.content == b"the image of img2img"
    assert len(webui_job(*[unit] * 6).control) == 4


def test_the_webuis_units_cannot_ask_a_denoiser_for_what_it_does_not_do() -> None:
    image = base64.b64encode(b"an image").decode()
    unit = {"image": image, "model": "canny", "weight": 0.7, "guidance_start": 0.1, "guidance_end": 0.9}
    request = Txt2ImgRequest(prompt="a cat", alwayson_scripts={"ControlNet": {"args": [unit]}})
    model = a_model(id="flux-canny", controls=[{"type": "canny"}])
    job = webui_job_request(request, model, {}, sizes_of(request, model), "txt2img")
    catalog = Catalog(default=model.id, models=(model,))
    controls = plan(job, catalog, Settings(), "proj", inputs={"control_1": "file-1"}).parameters.control or ()
    assert [(control.weight, control.start, control.end) for control in controls] == [(1.0, 0.0, 1.0)]
    names = [str(warning["param"]).rpartition(".")[2] for warning in job.warnings]
    assert names == ["weight", "guidance_start", "guidance_end"]
