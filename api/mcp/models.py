"""The tool for models: `list_models`."""

from pydantic import BaseModel, ConfigDict

from api.mcp.tool import Answer, Call, Tool
from api.models import ModelList, list_models


class ModelsArguments(BaseModel):
    """The arguments of `list_models`: none."""

    model_config = ConfigDict(extra="forbid", strict=True)


async def list_for_agent(call: Call, _arguments: ModelsArguments) -> Answer:
    """The tool `list_models`: each model once, without its aliases."""
    models = await list_models(call.context, call.caller)
    return Answer(ModelList(data=[model for model in models.data if model.alias_of is None]))


LIST_MODELS = Tool(
    name="list_models",
    title="List models",
    description="List the models: operations, sizes, steps, styles and other values that each supports, and how many "
    "jobs wait for it. The default model comes first.",
    arguments=ModelsArguments,
    result=ModelList,
    run=list_for_agent,
    is_read_only=True,
)
