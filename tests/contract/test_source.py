"""Where a model's files come from: folders, the hub, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from core.generation_errors import DeviceFailed, ModelUnavailable
from core.settings import Settings
from worker.generators import build

from .kinds import a_diffusers_generator, a_model
from .pipelines import a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers

pytestmark = warnings_of_diffusers

ROOT = Path(__file__).parents[2]


def test_the_revision_is_that_of_the_weights(tiny: Path, tmp_path: Path) -> None:
    pipe = a_tiny_stable_diffusion()
    revision = a_diffusers_generator(tiny).receipt()["revision"]
    copy = save_pipeline(pipe, tmp_path / "same")
    assert a_diffusers_generator(copy).receipt()["revision"] == revision
    with torch.no_grad():
        pipe.unet.conv_in.bias += 1
    assert a_diffusers_generator(save_pipeline(pipe, tmp_path / "other")).receipt()["revision"] != revision
    assert revision.startswith("sha256:")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=str(tmp_path / "absent")):
        a_diffusers_generator(tmp_path / "absent").load()


def test_a_folder_without_an_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"model_index\.json"):
        a_diffusers_generator(tmp_path).load()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_pipeline(a_tiny_stable_diffusion(), tmp_path / "pickled", safetensors=False)
    with pytest.raises(ModelUnavailable, match="pickled weights only"):
        a_diffusers_generator(folder).load()


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    folder = save_pipeline(a_tiny_stable_diffusion(), tmp_path / "own-code")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": ["pipeline", "Mine"]}))
    (folder / "pipeline.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelUnavailable, match="never run"):
        a_diffusers_generator(folder).load()
    (folder / "model_index.json").write_text(json.dumps(index | {"unet": ["mine", "Mine"]}))
    (folder / "unet" / "mine.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        a_diffusers_generator(folder).load()


def test_a_hub_that_is_out_of_reach_is_said_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match=r"some/model.*could not be fetched from the hub.*HF_HUB_OFFLINE=1"):
        build(a_model(source="some/model"), Settings(device="cpu", torch_threads=1)).load()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sharpness": 3}, "takes no option sharpness"),
        ({"guidance_scale": 3.0}, "takes no option guidance_scale"),
    ],
)
def test_an_option_that_the_pipeline_does_not_have_is_refused(tiny: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelUnavailable, match=says):
        a_diffusers_generator(tiny, options=options).load()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dtype": "float8"}, "dtype must be one of float32, float16, bfloat16, not 'float8'"),
        ({"dytpe": "float16"}, "no option 'dytpe'; it looks like dtype"),
    ],
)
def test_a_wrong_dtype_is_refused_when_the_catalogue_is_read(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        a_model(source="x", options=options)


def test_a_device_that_torch_does_not_have_is_named(tiny: Path) -> None:
    with pytest.raises(DeviceFailed, match="SAFELIGHT_DEVICE is 'warp:9'"):
        build(a_model(source=str(tiny)), Settings(device="warp:9")).load()


def test_a_generator_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValidationError, match="no generator 'dalle'; there are diffusers_local, fake, openai_images"):
        a_model(generator="dalle")


def test_building_a_generator_touches_no_device(tiny: Path) -> None:
    program = (
        "import sys; from core.catalog import Model; from core.settings import Settings\n"
        "from worker.generators import build\n"
        "build(Model(id='a', generator='fake'), Settings()); assert 'torch' not in sys.modules\n"
        f"build(Model(id='b', generator='diffusers_local', source={str(tiny)!r}), Settings())\n"
        "import torch; assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
