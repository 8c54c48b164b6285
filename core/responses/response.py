"""The response object of OpenAI's Responses API, made of a job's row: one image call of the tool `image_generation`."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from core.ids import derived_id
from core.images.postprocess import output_size
from core.metadata_keys import PREVIOUS_RESPONSE_KEY, RESPONSE_MODEL_KEY
from core.responses.job import JobWarning, seconds
from core.responses.openai import InputTokens, Usage, background, dimensions, output_format, quality
from core.rows.job import JobRow
from core.status import JobStatus

HIDDEN_KEYS = (PREVIOUS_RESPONSE_KEY, RESPONSE_MODEL_KEY)
"""The keys of a job's metadata that its response shows in other fields."""

ResponseStatus = Literal["queued", "in_progress", "completed", "failed", "cancelled"]
_STATUS: dict[str, ResponseStatus] = {
    JobStatus.QUEUED: "queued",
    JobStatus.IN_PROGRESS: "in_progress",
    JobStatus.COMPLETED: "completed",
    JobStatus.CANCELLED: "cancelled",
}
"""OpenAI's status of a job. An expired one is `failed`."""

_ERROR_CODES = {"content_policy_violation": "image_content_policy_violation"}
"""OpenAI's codes. All others are `server_error`."""


class ImageGenerationCall(BaseModel):
    """The call of the tool: the image."""

    id: str = Field(description="Send it in the input of a later request to edit the image.")
    type: Literal["image_generation_call"] = "image_generation_call"
    status: Literal["in_progress", "generating", "completed", "failed"]
    result: str | None = Field(None, description="The image in base64.")
    action: Literal["generate", "edit"]
    background: str
    output_format: str
    quality: str
    size: str
    revised_prompt: str | None = Field(None, description="The prompt of the image.")


class OutputText(BaseModel):
    """Text of a message."""

    type: Literal["output_text"] = "output_text"
    text: str = ""
    annotations: list[dict[str, Any]] = []
    logprobs: list[dict[str, Any]] = []


class OutputMessage(BaseModel):
    """The last item of a completed response, with its warnings. Without it, agents would take another turn."""

    id: str
    type: Literal["message"] = "message"
    status: Literal["in_progress", "completed"] = "completed"
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class ResponseFailure(BaseModel):
    """Why there is no image."""

    code: str = Field(description="One of OpenAI's codes.")
    message: str
    type: str = Field(description="One of the codes in docs/reference/errors.md.")


class CachedTokens(BaseModel):
    """Tokens that came from a cache."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class ReasoningTokens(BaseModel):
    """Tokens of a text model's reasoning."""

    reasoning_tokens: int = 0


class ResponseUsage(BaseModel):
    """Tokens of the text model. All zero: there is none."""

    input_tokens: int = 0
    input_tokens_details: CachedTokens = CachedTokens()
    output_tokens: int = 0
    output_tokens_details: ReasoningTokens = ReasoningTokens()
    total_tokens: int = 0


class ImageTokens(BaseModel):
    """Tokens of the image, if a provider generated it."""

    input_tokens: int = 0
    input_tokens_details: InputTokens = InputTokens()
    output_tokens: int = 0
    total_tokens: int = 0


class SearchUsage(BaseModel):
    """Searches. There are none."""

    num_requests: int = 0


class ToolUsage(BaseModel):
    """What the tools used."""

    image_gen: ImageTokens
    web_search: SearchUsage = SearchUsage()


class ResponseObject(BaseModel):
    """OpenAI's response object, with the additional fields `job_id` and `warnings`."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None
    status: ResponseStatus
    background: bool | None = Field(None, description="Whether this request did not wait; null in later responses.")
    error: ResponseFailure | None
    incomplete_details: None = None
    instructions: None = None
    metadata: dict[str, str]
    model: str = Field(description="The text model that the request named. The image's model is in `tools`.")
    output: list[ImageGenerationCall | OutputMessage]
    parallel_tool_calls: bool = False
    previous_response_id: str | None
    temperature: None = None
    tool_choice: dict[str, str] = Field(default_factory=lambda: {"type": "image_generation"})
    tools: list[dict[str, Any]]
    top_p: None = None
    usage: ResponseUsage | None
    tool_usage: ToolUsage | None
    job_id: str
    warnings: list[JobWarning] = Field(description="What of the request is not honoured in full.")


class DeletedResponse(BaseModel):
    """The result of a deletion."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


def response_object(
    row: JobRow, *, image: str | None = None, usage: Usage | None = None, is_background: bool | None = None
) -> ResponseObject:
    """The response of a job that `POST /v1/responses` submitted. image: in base64."""
    status = _STATUS.get(row.status, "failed")
    return ResponseObject(
        id=derived_id("resp", row.id),
        created_at=int(row.created_at.timestamp()),
        completed_at=seconds(row.finished_at) if status == "completed" else None,
        status=status,
        background=is_background,
        error=_failure(row) if status == "failed" else None,
        metadata={name: value for name, value in row.metadata.items() if name not in HIDDEN_KEYS},
        model=row.metadata.get(RESPONSE_MODEL_KEY) or row.model,
        output=[image_call(row, image), output_message(row)] if status == "completed" else [],
        previous_response_id=row.metadata.get(PREVIOUS_RESPONSE_KEY),
        tools=[_tool(row)],
        usage=None if usage is None else ResponseUsage(),
        tool_usage=None if usage is None else ToolUsage(image_gen=ImageTokens(**usage.model_dump())),
        job_id=row.id,
        warnings=[JobWarning.model_validate(item) for item in row.warnings],
    )


def image_call(row: JobRow, image: str | None = None) -> ImageGenerationCall:
    """The image call of a job. image: in base64, once the job is completed."""
    parameters, is_completed = row.parameters, row.status == JobStatus.COMPLETED
    stored_image = row.images[0] if is_completed and row.images else None
    status: Literal["in_progress", "completed", "failed"] = "in_progress"
    if JobStatus(row.status).is_final:
        status = "completed" if is_completed else "failed"
    return ImageGenerationCall(
        id=derived_id("ig", row.id),
        status=status,
        result=image,
        action="edit" if row.operation == "edit" else "generate",
        background="opaque" if stored_image is None else background(stored_image),
        output_format=parameters.output_format if stored_image is None else output_format(stored_image),
        quality=(None if stored_image is None else quality(stored_image)) or parameters.quality,
        size=target_size(row) if stored_image is None else dimensions(stored_image),
        revised_prompt=row.prompt,
    )


def output_message(row: JobRow) -> OutputMessage:
    """The message of a completed job."""
    sentences = ["The image is ready.", *(str(item["message"]) for item in row.warnings)]
    return OutputMessage(id=derived_id("msg", row.id), content=[OutputText(text="\n".join(sentences))])


def target_size(row: JobRow) -> str:
    """The size that the finished image will have."""
    return output_size(row.parameters.output_size or row.parameters.generated_size, row.parameters.postprocess)


def _tool(row: JobRow) -> dict[str, Any]:
    """The tool with the values that the job has."""
    parameters = row.parameters
    return {
        "type": "image_generation",
        "model": row.model,
        "action": "edit" if row.operation == "edit" else "generate",
        "size": target_size(row),
        "quality": parameters.quality,
        "background": parameters.background or "auto",
        "output_format": parameters.output_format,
        "output_compression": 100 if parameters.output_compression is None else parameters.output_compression,
        "moderation": parameters.moderation_level or "auto",
        "partial_images": parameters.partial_images,
    }


def _failure(row: JobRow) -> ResponseFailure:
    code = row.error_code or "generation_failed"
    message = row.error_message or f"The job was {row.status}."
    return ResponseFailure(code=_ERROR_CODES.get(code, "server_error"), message=f"{message} (job {row.id})", type=code)
