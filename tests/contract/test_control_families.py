"""Control networks of every family that diffusers has: the image acts, by its weight, and reaches no neighbour."""

from pathlib import Path
from typing import Any

import numpy
import pytest

from core.catalog import Catalog
from core.errors import InvalidParameter, MissingParameter
from core.generation_errors import GenerationError, ModelUnavailable
from core.parameters.control import Control
from core.requests.job import JobRequest, validate
from core.requests.plan import plan
from core.settings import Settings
from tests.contract.control_families import FAMILIES, INPAINTING, a_generator_of
from tests.contract.kinds import RecordingReporter, a_model, a_photo, a_request
from tests.contract.pipelines import SIDE_PX, warnings_of_diffusers
from tests.image_requests import with_changes
from worker.generators.operations import Task

pytestmark = [
    warnings_of_diffusers,
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The decode_latents method is deprecated:FutureWarning"),
]

GUIDE, OTHER = a_photo(SIDE_PX, 1), a_photo(SIDE_PX, 2)
EDITS: tuple[Task, ...] = ("image-to-image", "inpainting")


def controlled(request: Any, *controls: dict[str, Any], images: Any = ()) -> Any:
    return with_changes(
        request, control=[Control.model_validate(control) for control in controls] or None, control_images=tuple(images)
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if family.in_gate else pytest.mark.slow) for name, family in FAMILIES.items()]
)
def test_a_familys_control_network_acts(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    generator = a_generator_of(family, tmp_path)
    canny: dict[str, Any] = {"type": "canny"}

    def images(*requests: Any) -> list[bytes]:
        reporter = RecordingReporter()
        results = [image.tobytes() for image in generator.generate(requests, reporter)]
        assert [step for step, _ in reporter.steps] == list(range(reporter.steps[-1][1] + 1))
        return results

    plain = a_request("text-to-image", seed=3, steps=3)
    mine, stranger = (controlled(plain, canny, images=[image]) for image in (GUIDE, OTHER))
    sibling = with_changes(mine, seed=4)
    variants = [mine, stranger]
    if family.has_weight:
        variants += [plain, controlled(plain, {**canny, "weight": 0.5}, images=[GUIDE])]
    else:
        with pytest.raises(GenerationError, match="only with a control image"):
            generator.generate([plain], RecordingReporter())
    if family.several:
        both = [canny, {"type": "depth", "weight": 0.7}]
        variants.append(controlled(plain, *both, images=[GUIDE, OTHER]))
        variants.append(controlled(plain, *both, images=[OTHER, GUIDE]))
    results = [images(each)[0] for each in variants]
    assert len(set(results)) == len(results)
    assert images(mine)[0] == results[0], "the same request, the same image"

    assert generator.sharing_key(mine) != generator.sharing_key(stranger) or generator.sharing_key(mine) is None
    assert (generator.sharing_key(mine) is not None) == family.shares
    if family.shares:
        together = generator.generate([mine, sibling], RecordingReporter())
        alone = [generator.generate([each], RecordingReporter())[0] for each in (mine, sibling)]
        for first, second in zip(together, alone, strict=True):
            assert numpy.abs(numpy.asarray(first, dtype=int) - numpy.asarray(second, dtype=int)).max() <= 2
    for task in EDITS:
        edits = [controlled(a_request(task, steps=3), canny, images=[image]) for image in (GUIDE, OTHER)]
        if task in family.edits:
            assert len({images(edit)[0] for edit in edits}) == 2
        else:
            with pytest.raises(GenerationError) as refusal:
                generator.generate(edits[:1], RecordingReporter())
            assert refusal.value.param == "control" or "no pipeline" in refusal.value.message
    digests = [name for name in generator.receipt() if name.startswith("control ")]
    assert len(digests) == (1 if "source" in family.add(family.make(), tmp_path / "again")[0] else 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(INPAINTING))
def test_a_control_network_for_inpainting_fills_the_mask(name: str, tmp_path: Path) -> None:
    generator = a_generator_of(INPAINTING[name], tmp_path)
    canny = {"type": "canny"}
    edit = a_request("inpainting", steps=3)
    images = [
        generator.generate([controlled(each, canny, images=[guide])], RecordingReporter())[0].tobytes()
        for each in (edit, with_changes(edit, seed=2))
        for guide in (GUIDE, OTHER)
    ]
    assert len(set(images)) == len(images)
    again = generator.generate([controlled(edit, canny, images=[GUIDE])], RecordingReporter())[0]
    assert again.tobytes() == images[0]
    for other in (a_request("text-to-image"), a_request("image-to-image")):
        with pytest.raises(GenerationError, match="takes no control 'canny'"):
            generator.generate([controlled(other, canny, images=[GUIDE])], RecordingReporter())


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("FLUX.1, Control-LoRA", {"source": "lora.safetensors"}, "there is no /lora.safetensors"),
        ("Stable Diffusion 1, T2I-Adapter", {"mode": 1}, "it has no modes"),
        ("Stable Diffusion 1, T2I-Adapter", {"source": ""}, "reads no control image itself"),
        ("FLUX.1 Canny", None, "draws only with a control image"),
    ],
)
def test_controls_that_do_not_fit_are_named_when_the_model_is_loaded(
    name: str, change: dict[str, Any] | None, reason: str, tmp_path: Path
) -> None:
    generator = a_generator_of(FAMILIES[name], tmp_path)
    first = generator._model.controls[0]
    entries = () if change is None else (first.model_copy(update=change),)
    generator._model = generator._model.model_copy(update={"controls": entries})
    with pytest.raises(ModelUnavailable, match=reason):
        generator.load()


@pytest.mark.parametrize(
    ("control", "param"),
    [
        ({"start": 0.5}, "control.0.start"),
        ({"end": 0.5}, "control.0.end"),
    ],
)
def test_what_a_t2i_adapter_cannot_honour_is_refused(control: dict[str, Any], param: str, tmp_path: Path) -> None:
    generator = a_generator_of(FAMILIES["Stable Diffusion 1, T2I-Adapter"], tmp_path)
    request = controlled(a_request("text-to-image"), {"type": "canny", **control}, images=[GUIDE])
    with pytest.raises(GenerationError, match=r"takes no (start|end) of a control") as refusal:
        generator.generate([request], RecordingReporter())
    assert refusal.value.param == param


def test_a_model_that_draws_only_with_a_control_image_says_so_when_a_request_has_none() -> None:
    model = a_model(id="canny", controls=[{"type": "canny"}])
    catalog = Catalog(default="canny", models=(model,))

    def job(**fields: Any) -> Any:
        request = validate(JobRequest, {"prompt": "a cat", **fields})
        return plan(request, catalog, Settings(), "proj", inputs={"control_1": "file-1"})

    with pytest.raises(MissingParameter) as missing:
        job()
    assert (missing.value.param, "an image of the type canny" in missing.value.message) == ("control", True)
    file = {"file_id": "file-1"}
    with pytest.raises(InvalidParameter, match="no other weight") as weight:
        job(control=[{"type": "canny", "image": file, "weight": 0.5}])
    assert weight.value.param == "control.0.weight"
    for fields, param in (({"start": 0.2}, "control.0.start"), ({"end": 0.8}, "control.0.end")):
        with pytest.raises(InvalidParameter, match="reads the image in all steps") as share:
            job(control=[{"type": "canny", "image": file, **fields}])
        assert share.value.param == param
    assert job(control=[{"type": "canny", "image": file}]).parameters.control[0].weight == 1
    for controls, reason in (
        ([{"type": "canny"}, {"type": "depth", "source": "depth"}], "there can be no other type"),
        ([{"type": "canny", "weight": 0.5}], "no network as `source`"),
        ([{"type": "canny", "mode": 1}], "only a union network"),
    ):
        with pytest.raises(ValueError, match=reason):
            a_model(controls=controls)
