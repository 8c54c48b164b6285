"""The catalogue with the fine-tuned models of one project changes nothing for another."""

from pathlib import Path

from core.catalog import Catalog, parse_catalog
from core.parameters.loras import Lora
from core.requests.job import JobRequest
from core.requests.plan import plan
from core.requests.webui import Txt2ImgRequest
from core.requests.webui_adaptation import find_webui_model, webui_job_request
from core.requests.webui_sizes import sizes_of
from core.settings import Settings

ENTRY = """
default = "base"

[[models]]
id = "base"
generator = "diffusers_local"
source = "base"
sizes = ["64x64"]
fine_tuning = {}
"""


def loras(catalog: Catalog, name: str) -> list[Lora] | None:
    request = JobRequest(prompt="a flag", model=name, size="64x64")
    return plan(request, catalog, Settings(), "proj_default").parameters.loras


def test_requests_for_the_base_model_and_other_fine_tuned_models_get_their_own_loras() -> None:
    catalog = parse_catalog(ENTRY, Path("catalog.toml"))
    assert loras(catalog, "base") is None
    for name in ("ft:base:proj_a::1", "ft:base:proj_b::2"):
        of_project = catalog.with_fine_tuned({name: "base"})
        assert loras(of_project, name) == [Lora(name=name, weight=1.0)]
        assert loras(of_project, "base") is None
    assert loras(catalog, "base") is None


def test_the_webui_names_fine_tuned_models_too() -> None:
    catalog, name = parse_catalog(ENTRY, Path("catalog.toml")), "ft:base:proj_a::1"
    of_project = catalog.with_fine_tuned({name: "base"})
    request = Txt2ImgRequest(prompt="a flag", override_settings={"sd_model_checkpoint": name})
    model, notice = find_webui_model(request, of_project, None)
    job = plan(
        webui_job_request(request, model, {}, sizes_of(request, model), "txt2img"), of_project, Settings(), "proj_a"
    )
    assert (notice, job.parameters.loras) == (None, [Lora(name=name, weight=1.0)])
