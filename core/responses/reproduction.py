"""The JSON of a job that draws another one again."""

from typing import Any

from pydantic import BaseModel, Field

from core.rows.job import JobRow


class Reproduces(BaseModel):
    """What a job draws again."""

    job_id: str
    image_ids: list[str] = Field(description="The original of each image of the job.")


class Difference(BaseModel):
    """A value of a receipt that differs; null where a receipt does not have it."""

    original: Any
    reproduction: Any


class ImageReproduction(BaseModel):
    """How an image compares with the one that it draws again."""

    image_id: str
    reproduces: str = Field(description="Id of the original image.")
    identical: bool | None = Field(description="Whether all pixels are equal. Null: `reason` says why it is not known.")
    same_file: bool | None = Field(None, description="Whether the files are equal, metadata included.")
    psnr_db: float | None = Field(
        None, description="Peak signal-to-noise ratio, in dB. Null if the pixels are equal or the sizes differ."
    )
    max_difference: int | None = Field(None, description="Largest difference of a channel, 0 to 255.")
    differences: dict[str, Difference] = Field(
        description="What the receipts say differently: revision, versions, device, dtype, size of the micro-batch."
    )
    reason: str | None = Field(None, description="Why the images could not be compared.")


class Reproduction(BaseModel):
    """Whether a job has drawn the same images again."""

    identical: bool | None = Field(description="Whether all images are identical. Null: one could not be compared.")
    images: list[ImageReproduction]


def reproduction_of(row: JobRow) -> Reproduction | None:
    """The comparison of a job's images with their originals. None: there is none, or a worker of 0.1 drew them."""
    images = [
        ImageReproduction(image_id=image["id"], **comparison)
        for image in row.images
        if (comparison := image.get("reproduction"))
    ]
    if row.reproduces is None or not images:
        return None
    verdicts = {image.identical for image in images}
    is_complete = len(images) == len(row.images) and None not in verdicts
    return Reproduction(identical=verdicts == {True} if is_complete else None, images=images)
