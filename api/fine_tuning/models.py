"""The fine-tuned models of a project, as part of the catalogue for its requests."""

from api.context import Context
from core.catalog import Catalog
from core.errors import InvalidParameter
from core.fine_tuning import queries
from core.fine_tuning.rows import FineTunedModelRow
from core.parameters.loras import is_fine_tuned
from core.requests.job import JobRequest
from core.text import quote


async def catalog_for(context: Context, project_id: str, request: JobRequest) -> Catalog:
    """The catalogue with the fine-tuned models that a request names, if they are of its project.

    Raises InvalidParameter for one in `loras` that is not.
    """
    loras = [lora.name for lora in request.loras or () if is_fine_tuned(lora.name)]
    names = {*loras, *([request.model] if is_fine_tuned(request.model or "") and request.model else [])}
    if not names:
        return context.catalog
    rows = await context.database.execute(queries.get_models(project_id, sorted(names)))
    models = {row.id: row.model for row in rows}
    if missing := next((name for name in loras if name not in models), None):
        raise InvalidParameter(f"loras: there is no fine-tuned model {quote(missing)}.", param="loras")
    return context.catalog.with_fine_tuned(models)


async def catalog_of_project(context: Context, project_id: str) -> Catalog:
    """The catalogue with all fine-tuned models of a project, for batches: their lines may name any."""
    rows = await context.database.execute(queries.list_models(project_id, checkpoints=True))
    return context.catalog.with_fine_tuned({row.id: row.model for row in rows}) if rows else context.catalog


async def catalog_with(context: Context, project_id: str, name: object) -> Catalog:
    """The catalogue with the fine-tuned model of a name, if it is one, and of the project."""
    if not isinstance(name, str) or not is_fine_tuned(name):
        return context.catalog
    rows = await context.database.execute(queries.get_models(project_id, [name]))
    return context.catalog.with_fine_tuned({row.id: row.model for row in rows})


async def project_models(context: Context, project_id: str) -> list[FineTunedModelRow]:
    """The fine-tuned models of a project whose base model is in the catalogue, newest first."""
    bases = {model.id for model in context.catalog.models}
    rows = await context.database.execute(queries.list_models(project_id))
    return [row for row in rows if row.model in bases]
