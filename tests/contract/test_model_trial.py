"""`safelight models add` and `check` with real networks: each is recognised, and drawn with once."""

from pathlib import Path
from typing import Any

import pytest

from cli.models.control_entry import control_entry_of, control_lora_entry_of
from cli.models.trial import try_model
from core.catalog import Catalog
from core.model_files.control_networks import KINDS, family_and_task
from core.settings import Settings
from tests.contract.control_families import FAMILIES, INPAINTING
from tests.contract.ip_adapters import an_adapted_generator
from tests.contract.kinds import a_model
from tests.contract.networks import a_control_network
from tests.contract.pipelines import a_tiny_stable_diffusion, save_pipeline, warnings_of_diffusers
from worker.generators.control_networks import CLASSES

pytestmark = [
    warnings_of_diffusers,
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The decode_latents method is deprecated:FutureWarning"),
]
IN_GATE = ("FLUX.1, Control-LoRA",)
SLOW = [*FAMILIES, *(f"{name}, inpainting" for name in INPAINTING)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in IN_GATE else pytest.mark.slow) for name in SLOW]
)
def test_the_networks_of_each_family_are_recognised_and_tried(name: str, tmp_path: Path, capsys: Any) -> None:
    family = FAMILIES[name] if name in FAMILIES else INPAINTING[name.removesuffix(", inpainting")]
    models_dir = tmp_path / "models"
    pipe = family.make()
    specs = family.add(pipe, tmp_path / "models" / "networks")
    save_pipeline(pipe, models_dir / "model")
    settings = Settings(device="cpu", torch_threads=1, models_dir=models_dir)
    steps = {"default": 2, "min": 1, "max": 50}
    options = dict(family.options or {})
    model = a_model(source="model", operations=["generation", "edit"], steps=steps, options=options)

    entries = []
    for spec in specs:
        if "source" not in spec:
            entries.append(dict(spec))
            continue
        path, catalog = Path("/") / spec["source"], Catalog(default=model.id, models=(model,))
        entry = (
            control_lora_entry_of(path, spec["type"], None, catalog, settings)
            if path.is_file()
            else control_entry_of(path, spec["type"], spec.get("mode"), None, catalog, settings)
        )
        assert entry is not None
        entries.append(entry.values)
    model = a_model(source="model", operations=["generation", "edit"], steps=steps, options=options, controls=entries)

    assert try_model(model, settings, None) is None
    assert f"{len(entries)} control(s) tried" in capsys.readouterr().out


def test_a_model_is_tried_with_each_control_and_adapter(tmp_path: Path, capsys: Any) -> None:
    adapted = an_adapted_generator(a_tiny_stable_diffusion, tmp_path)
    unet = a_tiny_stable_diffusion().unet
    controls = [{"type": "canny", "source": a_control_network(unet, tmp_path / "canny", 1), "preprocess": "lineart"}]
    fields = adapted._model.model_dump(include={"id", "generator", "operations"}) | {
        "source": adapted._model.source,
        "sizes": ["32x32"],
        "steps": {"default": 2, "min": 1, "max": 2},
        "controls": controls,
        "ip_adapters": adapted._model.ip_adapters,
    }
    settings = adapted._settings

    assert try_model(a_model(**fields), settings, None) is None
    assert "1 control(s), 2 IP-Adapter(s) tried" in capsys.readouterr().out

    first = adapted._model.ip_adapters[0]
    missing = first.model_copy(update={"name": "lost", "file": f"{first.file}.gone"})
    reason = try_model(a_model(**fields | {"ip_adapters": [missing]}), settings, None)
    assert reason is not None
    assert ".gone" in reason


def test_the_kinds_of_networks_are_those_of_diffusers() -> None:
    import diffusers

    assert KINDS.keys() == CLASSES.keys()
    for name, kind in KINDS.items():
        word = CLASSES[name].word
        classes = [f"{family}{word}Pipeline" for family in kind.pipelines]
        assert [each for each in classes if not hasattr(diffusers, each)] == []
    assert family_and_task("FluxImg2ImgPipeline") == ("Flux", "Img2Img")
