"""Compares the images of a job with those that it draws again.

The new image is in storage by then. A comparison that fails says why and costs no image.
"""

import logging
from collections.abc import Mapping
from typing import Any

from core import queries
from core.errors import SafelightError
from core.images.comparison import compare
from core.jobs import StoredImage
from core.rows.job import ImageRow, JobRow
from worker.generation.context import Context

log = logging.getLogger(__name__)

_NOT_COMPARED = frozenset({"device_seconds", "processing_seconds", "worker", "usage"})
"""Values of a receipt that differ from run to run."""

_FILE_FIELDS = ("media_type", "width", "height")


def compare_with_original(context: Context, job: JobRow, image: StoredImage, data: bytes) -> Mapping[str, Any] | None:
    """How an image compares with the one that it draws again. None: its job draws nothing again."""
    if job.reproduces is None:
        return None
    original_id: str = job.reproduces["image_ids"][image["index"]]
    try:
        originals = context.database.execute(queries.list_images(job.project_id, [original_id]))
        if not originals:
            return _failure(original_id, "The original image has been deleted.")
        comparison = compare(context.storage.get(originals[0].storage_key), data)
    except SafelightError as error:
        return _failure(original_id, f"The original image could not be read: {error.message}")
    except Exception as error:  # whatever it was, the new image is worth more than the comparison
        log.warning("job %s: %s could not be compared", job.id, original_id, exc_info=True)
        return _failure(original_id, f"The comparison failed: {type(error).__name__}.")
    return {
        "reproduces": original_id,
        "identical": comparison.is_identical,
        "same_file": originals[0].sha256 == image["sha256"],
        "psnr_db": comparison.psnr_db,
        "max_difference": comparison.max_difference,
        "differences": _differences(originals[0], image),
        "reason": None,
    }


def _failure(original_id: str, reason: str) -> Mapping[str, Any]:
    return {"reproduces": original_id, "identical": None, "differences": {}, "reason": reason}


def _differences(original: ImageRow, image: StoredImage) -> Mapping[str, Any]:
    """What the receipts of two images say differently, by name."""
    first = dict(original.receipt) | {name: getattr(original, name) for name in _FILE_FIELDS}
    second = dict(image["receipt"]) | {name: value for name, value in image.items() if name in _FILE_FIELDS}
    names = sorted((first.keys() | second.keys()) - _NOT_COMPARED)
    return {
        name: {"original": first.get(name), "reproduction": second.get(name)}
        for name in names
        if first.get(name) != second.get(name)
    }
