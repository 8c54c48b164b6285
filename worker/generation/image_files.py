"""The file of a generated image: postprocessed, encoded, with metadata.

No image is thrown away because of what comes after it was generated. What cannot be done is left out, and a warning of
the job says so: the postprocessing, the metadata, or the format of the request, in whose place the file is a PNG.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from core.catalog import Model
from core.generation_errors import PostprocessFailed
from core.images import decode
from core.job_warnings import JobWarning
from core.parameters.infotext import infotext
from core.parameters.job import ResolvedParameters, rules
from core.rows.job import JobRow
from worker.generation.encode import encode, xmp
from worker.generation.postprocess import apply_filters

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image as it is stored."""

    data: bytes
    width: int
    height: int
    parameters: ResolvedParameters
    """What was done: without the postprocessing, and with the format `png`, where these had to be left out."""
    processing_seconds: float
    """CPU time of making the file."""
    warnings: tuple[JobWarning, ...] = ()


def make_file(
    image: Image, job: JobRow, index: int, *, has_metadata: bool, used_values: Mapping[str, float] | None = None
) -> ImageFile:
    """The file of image `index` of a job. used_values: parameters with which it was generated, if not as requested.

    Raises PostprocessFailed if not even a PNG can be made of the image.
    """
    began = time.thread_time()
    target = job.parameters.of_image(index)
    warnings: list[JobWarning] = []
    failure: PostprocessFailed | None = None
    is_postprocessing_broken = False
    for parameters, is_last in _versions(target):
        if is_postprocessing_broken and _is_postprocessed(parameters):
            continue
        result: Image | None = None
        try:
            # A generator returns RGB or RGBA. Whatever else came, a PNG of it is better than none.
            must_convert = is_last and image.mode not in ("RGB", "RGBA")
            result = postprocess_image(image.convert("RGB") if must_convert else image, job.operation, parameters)
            values = parameters.model_copy(update=used_values) if used_values else parameters
            data = _encode(result, job, index, values, warnings, has_metadata=has_metadata)
        except Exception as error:  # whatever it was, the image without it is better than none
            log.warning(
                "job %s: image %d cannot be stored as %s", job.id, index, parameters.output_format, exc_info=True
            )
            is_postprocessing_broken = is_postprocessing_broken or result is None
            failure = _failure(error)
            continue
        if failure is not None and parameters != target:
            warnings.append(_warning(index, target, parameters, failure))
        seconds = round(time.thread_time() - began, 4)
        return ImageFile(data, result.width, result.height, parameters, seconds, tuple(warnings))
    raise failure or PostprocessFailed()


def _versions(target: ResolvedParameters) -> Iterator[tuple[ResolvedParameters, bool]]:
    """The ways to store an image, best first: as requested, as a PNG, as it was generated, as it was and as a PNG.

    With each: whether it is the last. The others are made when the first has failed, which is seldom.
    """
    plain = {"postprocess": None, "output_size": None}
    png = {"output_format": "png", "output_compression": None}
    is_plain_png = not _is_postprocessed(target) and target.output_format == "png" and target.output_compression is None
    yield target, is_plain_png
    versions = [target]
    for update in (png, plain, plain | png):
        version = target.model_copy(update=update)
        if version not in versions:
            versions.append(version)
    for version in versions[1:]:
        yield version, version is versions[-1]


def _is_postprocessed(parameters: ResolvedParameters) -> bool:
    return parameters.postprocess is not None or parameters.output_size is not None


def _failure(error: Exception) -> PostprocessFailed:
    return PostprocessFailed(f"{type(error).__name__}: {error}")


def _warning(
    index: int, target: ResolvedParameters, parameters: ResolvedParameters, failure: PostprocessFailed
) -> JobWarning:
    """The warning about an image that is not stored as requested."""
    is_plain = _is_postprocessed(target) and not _is_postprocessed(parameters)
    form = "as it was generated, without postprocessing" if is_plain else "without change"
    if parameters.output_format != target.output_format:
        form = f"{form}, as {parameters.output_format}" if is_plain else f"as {parameters.output_format}"
    message = f"Image {index} is stored {form}, because this failed: {failure.message}"
    return JobWarning(code=failure.code, message=message, param="postprocess" if is_plain else "output_format")


def _encode(
    image: Image,
    job: JobRow,
    index: int,
    parameters: ResolvedParameters,
    warnings: list[JobWarning],
    *,
    has_metadata: bool,
) -> bytes:
    """An image as the bytes of a file; without metadata, and with a warning, if it cannot be written with them."""
    output_format, compression = parameters.output_format, parameters.output_compression
    if has_metadata:
        try:
            packet = xmp(job.prompt, job.model, parameters.seed)
            text = infotext(job.prompt, job.model, job.operation, parameters)
            return encode(image, output_format, compression, packet, text)
        except Exception as error:
            data = encode(image, output_format, compression, None)  # if this fails too, the metadata are not the reason
            reason = _failure(error).message
            message = f"Image {index} is stored without metadata, because writing them failed: {reason}"
            warnings.append(JobWarning(code="metadata_omitted", message=message, param=None))
            return data
    return encode(image, output_format, compression, None)


def postprocess_image(image: Image, operation: str, parameters: ResolvedParameters) -> Image:
    """Bring an image to the size of the result and apply the job's filters."""
    if image.mode == "RGBA" and (parameters.output_format == "jpeg" or parameters.background in (None, "opaque")):
        image = decode.opaque(image)
    if parameters.output_size is not None and image.size != parameters.output_dimensions:
        # The input images of an edit were stretched: see `worker/generation/inputs.py`.
        resize = decode.stretch if operation == "edit" else decode.fit
        image = resize(image, *parameters.output_dimensions)
    if parameters.postprocess is None:
        return image
    if image.mode != "RGBA":
        return apply_filters(image, parameters.postprocess)
    colours = apply_filters(image.convert("RGB"), parameters.postprocess)  # the filters know no transparency
    colours.putalpha(image.getchannel("A").resize(colours.size))
    return colours


def receipt_parameters(job: JobRow, parameters: ResolvedParameters, model: Model) -> Mapping[str, Any]:
    """The part of a receipt that is needed to generate the image again; see `Rule.receipt`."""
    values = parameters.dump()
    receipt_values = {
        name: values[name]
        for name, rule in rules().items()
        if rule.receipt and name in values and name not in model.lacks and job.operation in rule.operations
    }
    operation = {} if job.operation == "generation" else {"operation": job.operation}
    return {**receipt_values, **operation, **job.inputs}
