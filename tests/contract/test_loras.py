"""LoRAs: each changes the image by its weight, none leaves a trace, and one that does not fit is named."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from api.model_parameters import parameters_of
from core.catalog import Catalog, Model
from core.errors import InvalidParameter
from core.generation_errors import GenerationError
from core.model_files.loras import lora_family_of
from core.parameters.job import ResolvedParameters
from core.parameters.loras import Lora
from core.requests.job import JobRequest
from core.requests.plan import plan
from core.requests.webui import Txt2ImgRequest
from core.requests.webui_adaptation import webui_job_request
from core.requests.webui_sizes import sizes_of
from core.settings import Settings
from tests.contract.kinds import RecordingReporter, a_diffusers_generator, a_model
from tests.contract.networks import a_lora
from tests.contract.pipelines import SIDE_PX, warnings_of_diffusers
from tests.image_requests import image_request

pytestmark = warnings_of_diffusers

NAMES = ("pixel", "oil v1.5", *(f"style-{number}" for number in range(8)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a LoRA for each name, and two that do not fit."""
    folder = tmp_path_factory.mktemp("loras")
    for seed, name in enumerate(NAMES):
        a_lora(folder / f"{name}.safetensors", seed)
    layer = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    wrong_shape = {f"{layer}.lora_A.weight": torch.ones(2, 24), f"{layer}.lora_B.weight": torch.ones(24, 2)}
    save_file(wrong_shape, folder / "large.safetensors")
    other = {"unet.nowhere.lora_A.weight": torch.ones(2, 16), "unet.nowhere.lora_B.weight": torch.ones(16, 2)}
    save_file(other, folder / "other.safetensors")
    (folder / "broken.safetensors").write_bytes(b"no weights")
    pixel = load_file(folder / "pixel.safetensors")
    save_file(pixel | other, folder / "part.safetensors")
    save_file(pixel | {f"{layer}.dora_scale": torch.ones(16, 1)}, folder / "dora.safetensors")
    save_file(as_kohya(pixel), folder / "kohya.safetensors")
    return folder


def as_kohya(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A LoRA with the names of kohya's scripts."""
    state = {}
    for name, weight in weights.items():
        layer, _, kind = name.removeprefix("unet.").removesuffix(".weight").rpartition(".lora")
        layer = f"lora_unet_{layer.replace('.', '_')}"
        state[f"{layer}.lora_{'down' if kind in ('_A', '.down') else 'up'}.weight"] = weight
        state[f"{layer}.alpha"] = torch.tensor(2.0)
    return state


def with_loras(folder: Path) -> list[dict[str, Any]]:
    names = (*NAMES, "kohya", "large", "other", "broken", "missing", "part", "dora")
    return [{"name": name, "file": str(folder / f"{name}.safetensors").lstrip("/")} for name in names]


def test_loras_change_the_image_by_their_weights_and_leave_no_trace(tiny: Path, files: Path) -> None:
    generator = a_diffusers_generator(tiny, loras=with_loras(files))
    generator._settings = generator._settings.model_copy(update={"models_dir": Path("/")})

    def image(**weights: float) -> bytes:
        loras = [Lora(name=name, weight=weight) for name, weight in weights.items()]
        request = image_request("a cat", side=SIDE_PX, seed=1, loras=loras or None)
        return numpy.asarray(generator.generate([request], RecordingReporter())[0]).tobytes()

    plain = image()
    size = generator.memory().weights
    changed = [image(pixel=1), image(pixel=0.5), image(**{"oil v1.5": 1}), image(**{"pixel": 1, "oil v1.5": 1})]
    assert len({plain, *changed}) == 5
    assert generator.memory().weights > size
    assert generator.receipt().keys() >= {"lora pixel", "lora oil v1.5"}
    assert image(pixel=0) == image() == plain
    assert not [name for name in generator.receipt() if name.startswith("lora ")]
    assert image(kohya=1) == changed[0]
    digest = sha256((files / "kohya.safetensors").read_bytes()).hexdigest()
    assert generator.receipt()["lora kohya"] == f"sha256:{digest}"

    for name, says in (
        ("large", ""),
        ("other", "nowhere"),
        ("broken", "no safetensors file"),
        ("missing", "there is no"),
        ("part", "1 of its 17 layers are not in the networks"),
        ("dora", "it is DoRA, which cannot be loaded completely"),
    ):
        with pytest.raises(GenerationError, match=f"LoRA '{name}'.*{says}"):
            image(**{name: 1})
        assert image() == plain
    for name in NAMES:
        image(**{name: 1})
    assert len(generator._loras._resident) == 8
    assert image(pixel=1) == changed[0]
    assert image(**{"pixel": 1, "oil v1.5": 1}) == changed[3]
    assert image() == plain


def test_the_loras_of_one_request_never_reach_another(tiny: Path, files: Path) -> None:
    generator = a_diffusers_generator(tiny, loras=with_loras(files))
    requests = [image_request("a cat", side=SIDE_PX, loras=loras) for loras in (None, [Lora(name="pixel", weight=1.0)])]
    assert len({generator.sharing_key(request) for request in requests}) == 2
    with pytest.raises(GenerationError, match="must not share a call"):
        generator.generate(requests, RecordingReporter())


DOWN = "down_blocks_1_attentions_0_transformer_blocks_0"


@pytest.mark.parametrize(
    ("name", "width", "family"),
    [
        (f"lora_unet_{DOWN}_attn2_to_k.lora_down.weight", 768, "Stable Diffusion 1"),
        (
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora.down.weight",
            1024,
            "Stable Diffusion 2",
        ),
        ("unet.up_blocks.0.attentions.0.attn2.processor.to_k_lora.down.weight", 2048, "Stable Diffusion XL"),
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", 3072, "FLUX.1"),
        ("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", 3072, "FLUX.1"),
        ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight", 3072, "FLUX.2"),
        ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", 3072, "Qwen-Image"),
        ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", 1536, "Stable Diffusion 3"),
        ("diffusion_model.layers.0.attention.to_q.lora_A.weight", 3840, "Z-Image"),
        ("unet.nowhere.lora_A.weight", 16, None),
    ],
)
def test_the_tensors_of_a_lora_tell_its_family(name: str, width: int, family: str | None) -> None:
    recognised = lora_family_of({name: (4, width)})
    assert (recognised and recognised.name) == family


def styled() -> Model:
    return a_model(
        id="styled",
        loras=[
            {"name": "pixel", "file": "pixel.safetensors", "weight": 0.7, "trigger": "pixel art"},
            {"name": "oil", "file": "oil.safetensors"},
        ],
    )


def test_requests_name_the_loras_of_the_catalogue() -> None:
    catalog = Catalog(default="styled", models=(styled(), a_model(id="plain")))

    def job(**fields: Any) -> Any:
        return plan(JobRequest.model_validate({"prompt": "a cat", **fields}), catalog, Settings(), "proj")

    first, second = job(loras=[{"name": "pixel"}]), job(loras=["pixel:0.8"])
    assert first.parameters.loras == [Lora(name="pixel", weight=0.7)]
    assert ResolvedParameters.load(second.parameters.dump()).loras == [Lora(name="pixel", weight=0.8)]
    assert len({first.microbatch_key, second.microbatch_key, job().microbatch_key}) == 3
    assert parameters_of(styled())["loras"]["items"]["properties"]["name"]["enum"] == ["pixel", "oil"]
    assert "loras" not in parameters_of(a_model(id="plain"))
    for fields, message in (
        ({"loras": [{"name": "ink"}]}, "loras: 'ink' is not available for styled; choose from pixel, oil"),
        ({"loras": ["oil", "oil"]}, "must occur only once"),
        ({"loras": ["oil"], "model": "plain"}, "plain does not support loras"),
    ):
        with pytest.raises(InvalidParameter, match=message) as error:
            job(**fields)
        assert error.value.param == "loras"
    for wrong in ([{"name": "pixel", "weight": 5}], [{"name": "pixel", "scale": 1}], ["pixel:much"], ["oil"] * 9):
        with pytest.raises(ValueError, match="loras"):
            job(loras=wrong)


@pytest.mark.parametrize(
    "lora", [{"file": "a.bin"}, {"file": "../a.safetensors"}, {"file": "a.safetensors", "name": "x:y"}]
)
def test_the_catalogue_takes_no_other_files(lora: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="loras"):
        a_model(loras=[{"name": "pixel", **lora}])
    entry = {"name": "pixel", "file": "a.safetensors"}
    with pytest.raises(ValueError, match="duplicate names: pixel"):
        a_model(loras=[entry, entry])
    with pytest.raises(ValueError, match="loras are not available for fake"):
        a_model(generator="fake", loras=[entry])


def test_the_webuis_syntax_names_loras() -> None:
    model = styled()
    request = Txt2ImgRequest(prompt="<lora:pixel:0.8>a cat<lora:ink:1><lora:oil>")
    job = webui_job_request(request, model, {}, sizes_of(request, model), "txt2img")

    assert job.prompt == "a cat"
    assert job.loras == [Lora(name="pixel", weight=0.8), Lora(name="oil", weight=1.0)]
    assert any("styled has pixel, oil" in warning["message"] for warning in job.warnings)
