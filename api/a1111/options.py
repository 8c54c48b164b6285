"""`/sdapi/v1/options`: the webui's settings, of which a caller can change its model.

The webui changes one setting for everybody. Here `sd_model_checkpoint` belongs to the API key that sets it, or to the
project without keys. It is stored in Redis for 30 days, and may be lost: then the catalogue's default is used. `info`
of each answer names the model. A request that must have a certain model names it in `override_settings`.
"""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from api.a1111.callers import caller_id
from api.a1111.errors import ERRORS
from api.a1111.generation import with_warnings
from api.authentication import Caller, CurrentCaller, requires
from api.context import Context
from api.deps import AppContext, Body
from api.fine_tuning.models import catalog_with
from core.catalog import Model
from core.errors import InvalidParameter, InvalidRequest, ModelNotFound
from core.requests.openai import warning
from core.requests.structure import load_json
from core.requests.webui_adaptation import MAX_WARNINGS
from core.requests.webui_fields import OPTIONS, unused_options
from core.scopes import Scope
from core.text import shorten

router = APIRouter(prefix="/sdapi/v1", tags=["webui"])

CHECKPOINT = "sd_model_checkpoint"

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        CHECKPOINT: {"type": ["string", "null"], "description": "A title of `/sdapi/v1/sd-models`."}
                    },
                    "additionalProperties": True,
                    "examples": [{}],
                }
            }
        },
    }
}


async def current_model(context: Context, caller: Caller) -> Model:
    """The model for requests of a caller that name none."""
    name = await context.webui_state.get_model(caller_id(caller))
    try:
        return (await catalog_with(context, caller.project_id, name)).model(name)
    except ModelNotFound:  # it has left the catalogue
        return context.catalog.model(None)


@router.get("/options", summary="Get the options", response_model=dict[str, Any], responses=ERRORS)
@requires(Scope.READ)
async def options(context: AppContext, caller: CurrentCaller) -> Response:
    """Get the options that clients read. Only `sd_model_checkpoint` can be changed."""
    model = await current_model(context, caller)
    return JSONResponse({CHECKPOINT: model.fine_tuned_name or model.id, **OPTIONS})


@router.post("/options", summary="Choose the model", response_model=None, responses=ERRORS, openapi_extra=_BODY)
@requires(Scope.SUBMIT)
async def set_options(body: Body, context: AppContext, caller: CurrentCaller) -> Response:
    """Choose the model of later requests of this API key. Other options cannot be changed: a header warns of them."""
    values = load_json(body)
    if not isinstance(values, dict):
        raise InvalidRequest("The body should be an object.", param="body")
    name = values.pop(CHECKPOINT, None)
    if name is not None:
        if not isinstance(name, str):
            raise InvalidParameter(f"{CHECKPOINT} should be a valid string.", param=CHECKPOINT)
        model = (await catalog_with(context, caller.project_id, name)).model(name)
        await context.webui_state.set_model(caller_id(caller), model.fine_tuned_name or model.id)
    warnings = [
        warning("body", f"{shorten(name)} is not changed: {reason}.") for name, reason in unused_options(values)
    ]
    return with_warnings(None, warnings[:MAX_WARNINGS])
