"""Runs in a copy with the parameter `crispness` that only `diffusers_local` honours: other models refuse it."""

from pathlib import Path

from core.catalog import Catalog, Model, load_catalog
from core.errors import InvalidParameter
from core.requests.job import JobRequest
from core.requests.plan import plan
from core.settings import Settings

SHIPPED = load_catalog(Path("models/catalog.toml"))
FAKE = Model(id="fake", generator="fake", operations=("generation", "edit", "variation"), sizes=("64x64", "256x256"))
CATALOG = Catalog(default=SHIPPED.default, models=(*SHIPPED.models, FAKE))


def refusal_of(model: str) -> InvalidParameter | None:
    request = JobRequest.model_validate({"model": model, "prompt": "a cat", "crispness": 0.5})
    try:
        plan(request, CATALOG, Settings(), "default")
    except InvalidParameter as error:
        return error
    return None


if __name__ == "__main__":
    error = refusal_of("fake")
    assert error is not None
    assert error.param == "crispness"
    assert error.message.startswith("fake does not support crispness"), error.message
    assert refusal_of("unclip-mini") is None
