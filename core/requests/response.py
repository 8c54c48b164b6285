"""The request of OpenAI's Responses API, for its tool `image_generation`: the only tool that Safelight executes.

A request makes a generation, or an edit of the image in its input. The parameters of the tool are those of OpenAI's
images calls, and are adapted to the model in the same way.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

from annotated_types import MaxLen
from pydantic import ConfigDict, Field, model_validator

from core.errors import InvalidParameter, InvalidRequest, MissingParameter
from core.job_warnings import JobWarning
from core.metadata_keys import PREVIOUS_RESPONSE_KEY, RESPONSE_MODEL_KEY
from core.parameters.image_source import ImageSource
from core.requests.fields import MetadataKey, MetadataValue
from core.requests.job import SharedParameters, validate
from core.requests.openai import EditRequest, GenerateRequest, OpenAIQuality, warning, without_unsupported
from core.requests.response_input import ResponseInput
from core.requests.text_options import TextOptions
from core.text import quote

TOOL = "image_generation"

ONLY_IMAGES = (
    f"This endpoint only executes the tool {TOOL}; it has no text model. "
    f'Send tools: [{{"type": "{TOOL}"}}] and describe the image in input.'
)


class ImageGenerationTool(SharedParameters):
    """OpenAI's tool, with its fields and the parameters of Safelight."""

    type: Literal["image_generation"]
    action: Literal["generate", "edit", "auto"] | None = Field(
        None, description="`auto`: an edit if the input has an image or continues a response, else a generation."
    )
    quality: OpenAIQuality = Field("auto", description="`standard` means `auto`, `hd` means `high`.")
    moderation: Literal["low", "auto"] | None = Field(None, description="Moderation level of a provider.")
    input_image_mask: ImageSource | None = Field(
        None, description="Area that an edit may change: transparent pixels, or white ones of an opaque mask."
    )

    @model_validator(mode="before")
    @classmethod
    def _reject_unsupported(cls, values: Any) -> Any:
        return without_unsupported(values)

    @model_validator(mode="after")
    def _has_one_image(self) -> Self:
        if self.n != 1:
            raise InvalidParameter(f"n is {self.n}; a call of the tool makes 1 image.", param="n")
        return self


class ResponseRequest(TextOptions):
    """A request for an image, as OpenAI's Responses API has it."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"model": "gpt-5", "input": "A penguin on the beach", "tools": [{"type": TOOL}]},
                {
                    "model": "gpt-5",
                    "input": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "input_text", "text": "a red sofa"},
                                {"type": "input_image", "file_id": "file-01kc3m9w8yq6k0v2t5x7z1b4dn"},
                            ],
                        }
                    ],
                    "tools": [{"type": TOOL, "size": "1024x1024", "quality": "high"}],
                },
                {
                    "model": "gpt-5",
                    "input": "now at night",
                    "previous_response_id": "resp_01kc3m9w8yq6k0v2t5x7z1b4dn",
                    "tools": [{"type": TOOL}],
                },
            ]
        },
    )

    model: MetadataValue | None = Field(
        None, description="Name of a text model: any. `model` of the tool is the model of the image."
    )
    input: Any = Field(
        None,
        description="The prompt; or messages with `input_text` and `input_image`, and earlier items of the "
        "conversation. The prompt is the text of the user's last turn.",
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
    )
    tools: Annotated[list[dict[str, Any]], MaxLen(128)] = Field(
        default_factory=list,
        description="One tool `image_generation`: " + ", ".join(sorted(ImageGenerationTool.model_fields)) + ". "
        "Other tools are not called.",
    )
    tool_choice: Any = Field(
        None,
        description="`auto`, `required`, or the tool `image_generation`.",
        json_schema_extra={"anyOf": [{"type": "string"}, {"type": "object"}]},
    )
    stream: bool | None = Field(None, description="Respond with server-sent events.")
    background: bool | None = Field(
        None, description="Respond at once; `GET /v1/responses/{id}` has the image when it is done."
    )
    previous_response_id: str | None = Field(None, description="The response whose image is to be edited.")
    metadata: Annotated[dict[MetadataKey, MetadataValue], MaxLen(14)] | None = Field(
        None, description="Up to 14 key-value pairs, stored in the metadata of the job."
    )
    user: MetadataValue | None = Field(None, description="Id of your end user, as in the images calls.")
    safety_identifier: MetadataValue | None = Field(None, description="The newer name of `user`.")
    conversation: Any = Field(None, description="Not supported: use `previous_response_id`.")
    prompt: Any = Field(None, description="Not supported: a template of prompts that OpenAI stores.")

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        is_object = isinstance(values, dict)
        return {name: value for name, value in values.items() if value is not None} if is_object else values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.conversation is not None:
            raise InvalidParameter(
                "conversation is not supported: use previous_response_id, or send the earlier items in input.",
                param="conversation",
            )
        if self.prompt is not None:
            raise InvalidParameter("prompt is not supported: there are no stored templates; use input.", param="prompt")
        for name in (RESPONSE_MODEL_KEY, PREVIOUS_RESPONSE_KEY):
            if name in (self.metadata or {}):
                raise InvalidParameter(f"metadata.{name} is set by Safelight: leave it out.", param=f"metadata.{name}")
        return self

    def tool(self) -> tuple[int, ImageGenerationTool]:
        """The tool `image_generation`, and its index. Raises InvalidRequest if the request is not for it."""
        indices = [index for index, tool in enumerate(self.tools) if tool.get("type") == TOOL]
        if not indices:
            raise MissingParameter(f"tools has no {TOOL}. {ONLY_IMAGES}", param="tools")
        if len(indices) > 1:
            raise InvalidParameter(f"tools has {TOOL} {len(indices)} times; send it once.", param="tools")
        if not _allows_tool(self.tool_choice):
            raise InvalidParameter(f"tool_choice does not allow {TOOL}. {ONLY_IMAGES}", param="tool_choice")
        try:
            return indices[0], validate(ImageGenerationTool, self.tools[indices[0]])
        except InvalidRequest as error:
            error.param = f"tools.{indices[0]}.{error.param}"
            raise

    def warnings(self) -> list[JobWarning]:
        """What of the request has no effect."""
        items = self.warnings_of_text()
        kinds = sorted({quote(str(tool.get("type"))) for tool in self.tools if tool.get("type") != TOOL})
        if kinds:
            items.append(
                warning("tools", f"Tools of the type {', '.join(kinds)} are not called: {TOOL} is the only one.")
            )
        return items


def _allows_tool(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return choice in (None, "auto", "required", TOOL)
    if choice.get("type") == "allowed_tools":
        tools = choice.get("tools")
        return isinstance(tools, list) and any(isinstance(tool, dict) and tool.get("type") == TOOL for tool in tools)
    return choice.get("type") == TOOL


def images_request(
    request: ResponseRequest, tool: ImageGenerationTool, content: ResponseInput, images: Sequence[ImageSource]
) -> GenerateRequest | EditRequest:
    """The call of OpenAI's images API that makes the image. Raises InvalidRequest.

    images: those of the input or of the previous response. With the action `generate` they are not used.
    """
    is_edit = tool.action == "edit" or (tool.action != "generate" and bool(images))
    names = tool.model_fields_set & GenerateRequest.model_fields.keys()
    values: dict[str, Any] = {name: getattr(tool, name) for name in names}
    if not is_edit and values.pop("input_fidelity", None) is not None:  # Home Assistant always sends it
        content.warnings.append(warning("input_fidelity", "input_fidelity is not used: there is no image to edit."))
    values |= {"prompt": content.prompt, "stream": bool(request.stream or request.background)}
    values["metadata"] = dict(request.metadata or {})
    for name in ("user", "safety_identifier"):
        if (value := getattr(request, name)) is not None:
            values[name] = value
    if not is_edit:
        if tool.input_image_mask is not None:
            raise InvalidParameter("input_image_mask is for an edit: input needs an image.", param="mask")
        return validate(GenerateRequest, values)
    if not images:
        raise MissingParameter(
            "action edit needs an image: an input_image, an image_generation_call, or previous_response_id.",
            param="input",
        )
    return validate(EditRequest, values | {"images": list(images), "mask": tool.input_image_mask})


def response_metadata(request: ResponseRequest) -> dict[str, str]:
    """What the job stores for its response."""
    values = {RESPONSE_MODEL_KEY: request.model or "", PREVIOUS_RESPONSE_KEY: request.previous_response_id}
    return {name: value for name, value in values.items() if value is not None}


_INPUT_FIELDS = ("prompt", "image", "images", "reference_images")


@contextmanager
def paths_of_tool(index: int) -> Iterator[None]:
    """Let errors name the fields of the request: those of the tool with its index, prompt and images as `input`."""
    try:
        yield
    except InvalidRequest as error:
        head, dot, rest = (error.param or "").partition(".")
        if head in _INPUT_FIELDS:
            error.param = "input"
        elif head == "mask":
            error.param = f"tools.{index}.input_image_mask{dot}{rest}"
        elif head == "operation":
            error.param = f"tools.{index}.model"
        elif head in ImageGenerationTool.model_fields:
            error.param = f"tools.{index}.{error.param}"
        raise
