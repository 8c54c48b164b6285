"""The receipt of an image as a document: how the image was made, and what its bytes are."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from core.parameters.job import rules, texts
from core.responses.job import seconds
from core.rows.job import ImageRow, JobRow

_TIMES = ("device_seconds", "processing_seconds")
_OWN_FIELDS = frozenset({"model", "revision", "device", "dtype", "safelight", "operation", "microbatch", "worker"})


class ReceiptInput(BaseModel):
    """An input image of the job."""

    role: str = Field(description="`image`, `mask`, or `image_2` and so on for reference images.")
    file_id: str
    sha256: str | None = Field(description="Of the bytes that the worker read. Null: the image is from version 0.1.")


class ReceiptTiming(BaseModel):
    """When the image was made and how long it took."""

    created_at: int = Field(description="Time at which the job was submitted.")
    started_at: int | None = Field(description="Start of the attempt that made the image.")
    finished_at: int | None
    device_seconds: float | None = Field(description="Time of the whole micro-batch on the device.")
    processing_seconds: float | None = Field(description="CPU time of the filters and of writing the file.")


class ReceiptFile(BaseModel):
    """The file of the image."""

    sha256: str
    bytes: int
    media_type: str
    width: int
    height: int


class Receipt(BaseModel):
    """How an image was made: all that its pixels depend on, and the checksum of its file."""

    object: Literal["image.receipt"] = "image.receipt"
    image_id: str
    job_id: str
    index: int
    model: str
    revision: str | None = Field(description="Of the weights. Null: a provider does not say.")
    operation: str
    prompt: str | None = Field(
        description="Null if a signed link opened the receipt and SAFELIGHT_EMBED_METADATA is false."
    )
    parameters: dict[str, Any] = Field(description="The parameters that the pixels depend on, with the image's seed.")
    inputs: list[ReceiptInput]
    device: str | None
    dtype: str | None = Field(description="The type of the arithmetic.")
    microbatch: int | None = Field(description="Images that were generated together with it, itself included.")
    details: dict[str, Any] = Field(description="What else the generator says: versions, options of loading, prices.")
    safelight: str | None = Field(description="Version of the worker. Null: the image is from version 0.1.")
    timing: ReceiptTiming
    file: ReceiptFile


def receipt_of(job: JobRow, image: ImageRow, *, has_texts: bool) -> Receipt:
    """The receipt of an image of a job. has_texts: False leaves out the prompts."""
    values: Mapping[str, Any] = image.receipt
    digests: Mapping[str, str] = values.get("input_sha256", {})
    hidden_names = () if has_texts else texts("prompt", "negative")
    parameters = {name: values[name] for name in rules() if name in values and name not in hidden_names}
    other_names = {*rules(), *_OWN_FIELDS, *_TIMES, *job.inputs, "input_sha256"}
    return Receipt(
        image_id=image.id,
        job_id=job.id,
        index=image.index,
        model=values.get("model", job.model),
        revision=values.get("revision"),
        operation=job.operation,
        prompt=job.prompt if has_texts else None,
        parameters={**parameters, "seed": image.seed},
        inputs=[ReceiptInput(role=role, file_id=id_, sha256=digests.get(role)) for role, id_ in job.inputs.items()],
        device=values.get("device"),
        dtype=values.get("dtype"),
        microbatch=values.get("microbatch"),
        details={name: value for name, value in values.items() if name not in other_names},
        safelight=values.get("safelight"),
        timing=ReceiptTiming(
            created_at=int(job.created_at.timestamp()),
            started_at=seconds(job.started_at),
            finished_at=seconds(job.finished_at),
            **{name: values.get(name) for name in _TIMES},
        ),
        file=ReceiptFile(
            sha256=image.sha256,
            bytes=image.bytes,
            media_type=image.media_type,
            width=image.width,
            height=image.height,
        ),
    )
