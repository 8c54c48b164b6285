"""Preprocessing: a photo becomes the edges, the lines or the depth that a control network reads."""

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

from api.model_parameters import parameters_of
from core.catalog import Catalog
from core.errors import InvalidParameter
from core.generation_errors import ModelUnavailable
from core.images.preprocess import preprocess
from core.parameters.control import Control, repeated_controls, resolve_controls
from core.parameters.image_source import ImageSource
from core.requests.job import JobRequest, validate
from core.requests.plan import plan
from core.settings import Settings
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_model, a_request
from tests.contract.networks import a_control_network
from tests.contract.pipelines import SIDE_PX, a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers
from tests.image_requests import with_changes

pytestmark = warnings_of_diffusers


def a_drawing(side: int = 64) -> Image.Image:
    """A black circle line on white."""
    image = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(image).circle((side // 2, side // 2), side * 5 // 16, outline="black", width=2)
    return image


def test_edges_and_lines_are_white_on_black() -> None:
    for kind in ("canny", "lineart"):
        pixels = numpy.asarray(preprocess(a_drawing(), kind))
        assert pixels.shape == (64, 64, 3)
        assert (pixels[32, 32].max(), pixels[0, 0].max()) == (0, 0), "neither the middle nor a corner is a line"
        assert pixels[32, 8:16].max() > 100, "the circle is"
    for kind in ("none", "tile"):
        assert preprocess(a_drawing(), kind).tobytes() == a_drawing().tobytes()


def a_depth_network(folder: Path) -> str:
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder).lstrip("/")


def test_a_photo_guides_as_its_preprocessed_image_does(tmp_path: Path) -> None:
    pipe: Any = a_tiny_stable_diffusion()
    generator = a_diffusers_generator(
        save_pipeline(pipe, tmp_path / "model"),
        controls=[{"type": "canny", "source": a_control_network(pipe.unet, tmp_path / "canny", 0)}],
        preprocessors={"depth": a_depth_network(tmp_path / "depth")},
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    photo = a_drawing(SIDE_PX)

    def request(kind: Any, image: Image.Image = photo, seed: int = 1) -> Any:
        control = Control(type="canny", weight=1.0, preprocess=kind)
        return with_changes(a_request("text-to-image", seed=seed), control=[control], control_images=(image,))

    def draw(*requests: Any) -> list[bytes]:
        return [image.tobytes() for image in generator.generate(requests, RecordingReporter())]

    results = {kind: draw(request(kind))[0] for kind in ("canny", "lineart", "depth", None)}
    assert len(set(results.values())) == 4
    assert any(name == "preprocess depth" for name in _receipt_of(generator, request("depth")))
    assert not any(name == "preprocess depth" for name in _receipt_of(generator, request("canny")))
    assert draw(request(None, preprocess(photo, "canny"))) == [results["canny"]]
    assert draw(request("tile")) == [results[None]]
    assert draw(request("canny"), request("canny", seed=2)) == [results["canny"], *draw(request("canny", seed=2))]
    networks = sum(part.numel() * 4 for part in generator._preprocessors.networks[0].parameters())
    assert generator.memory().weights > networks > 0


def _receipt_of(generator: Any, request: Any) -> dict[str, str]:
    generator.generate([request], RecordingReporter())
    receipt: dict[str, str] = generator.receipt()
    return receipt


def test_a_depth_network_that_is_missing_is_named_when_the_model_is_loaded(tmp_path: Path) -> None:
    pipe: Any = a_tiny_stable_diffusion()
    generator = a_diffusers_generator(
        save_pipeline(pipe, tmp_path / "model"),
        controls=[{"type": "depth", "source": a_control_network(pipe.unet, tmp_path / "depth", 0)}],
        preprocessors={"depth": "nothing"},
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    with pytest.raises(ModelUnavailable, match=r"preprocessors: depth: there is no /nothing/config.json"):
        generator.load()


def test_a_network_without_all_of_its_weights_is_no_random_one(tmp_path: Path) -> None:
    pipe: Any = a_tiny_stable_diffusion()
    depth = a_depth_network(tmp_path / "depth")
    path = tmp_path / "depth" / "model.safetensors"
    weights = load_file(path)
    save_file({name: weight for name, weight in weights.items() if name != "head.head.0.weight"}, path)
    generator = a_diffusers_generator(
        save_pipeline(pipe, tmp_path / "model"),
        controls=[{"type": "depth", "source": a_control_network(pipe.unet, tmp_path / "net", 0)}],
        preprocessors={"depth": depth},
    )
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})
    with pytest.raises(ModelUnavailable, match=r"its files have no head\.head\.0\.weight"):
        generator.load()


def test_a_job_that_preprocesses_nothing_does_not_when_it_is_repeated() -> None:
    types = [{"type": "canny", "source": "a", "preprocess": "canny"}]
    inputs = {"control_1": "file-1"}
    for kind, expected in (("none", "none"), ("lineart", "lineart"), (None, "canny")):
        control = Control.model_validate({"type": "canny", "preprocess": kind})
        stored_controls = resolve_controls([control], a_model(controls=types).controls, "edges")
        repeated = repeated_controls(stored_controls, inputs)
        assert repeated is not None
        assert (repeated[0].preprocess, repeated[0].image) == (expected, ImageSource(file_id="file-1"))
        assert resolve_controls(repeated, a_model(controls=types).controls, "edges") == stored_controls


def test_requests_name_what_the_catalogue_can_make() -> None:
    types = [{"type": "canny", "source": "a", "preprocess": "canny"}, {"type": "depth", "source": "b"}]
    models = a_model(id="edges", controls=types), a_model(id="all", controls=types, preprocessors={"depth": "c"})
    catalog = Catalog(default="edges", models=models)

    def controls(model: str, **fields: Any) -> Any:
        control = {"type": "canny", "image": {"file_id": "file-1"}, **fields}
        request = validate(JobRequest, {"prompt": "a cat", "model": model, "control": [control]})
        return plan(request, catalog, Settings(), "proj", inputs={"control_1": "file-1"}).parameters.control

    assert controls("edges")[0].preprocess == "canny", "that of the catalogue"
    assert controls("edges", preprocess="none")[0].preprocess is None
    assert controls("edges", type="depth")[0].preprocess is None
    assert controls("all", preprocess="depth")[0].preprocess == "depth"
    for model, kind in (("edges", "depth"), ("edges", "pose"), ("all", "pose")):
        with pytest.raises(InvalidParameter, match=f"cannot make {kind} of an image.*choose from none, canny") as error:
            controls(model, preprocess=kind)
        assert error.value.param == "control.0.preprocess"
    with pytest.raises(InvalidParameter) as unknown:
        controls("edges", preprocess="sketch")
    assert unknown.value.param == "control.0.preprocess"
    schema = parameters_of(models[1])["control"]["items"]["properties"]["preprocess"]
    assert schema["enum"] == ["none", "canny", "lineart", "tile", "depth"]
    with pytest.raises(ValueError, match="preprocess depth of depth has no network"):
        a_model(controls=[{"type": "depth", "source": "b", "preprocess": "depth"}])
    with pytest.raises(ValueError, match="preprocessors are not available for fake"):
        a_model(generator="fake", preprocessors={"depth": "c"})
