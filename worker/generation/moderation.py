"""Moderates the jobs of a micro-batch: prompts and input images before generation, images after it."""

from collections.abc import Mapping, Sequence

from PIL.Image import Image

from core.catalog import Catalog
from core.generation_errors import ContentPolicyViolation, GenerationError, ModerationUnavailable
from core.moderation import Content, Stage, Verdict
from core.parameters.job import texts
from core.rows.job import JobRow
from worker.generation.inputs import Inputs
from worker.moderation.moderator import Moderator

JobInputs = Mapping[str, Inputs | GenerationError]


def reject_inputs(moderator: Moderator, claimed_jobs: Sequence[JobRow], inputs: JobInputs) -> JobInputs:
    """The inputs of each job; the error instead, if a prompt or its input image is rejected."""
    results = dict(inputs)
    _reject(
        moderator, results, [_content(job, "prompt", prompt=text) for job in claimed_jobs for text in _prompts(job)]
    )
    if moderator.judges_images:
        _reject(
            moderator,
            results,
            [
                _content(job, "input", image)
                for job in claimed_jobs
                if isinstance(job_inputs := results[job.id], Inputs)
                for image in (job_inputs.image, *job_inputs.reference_images, *job_inputs.control_images)
                if image is not None
            ],
        )
    return results


def check_images(moderator: Moderator, job: JobRow, images: Sequence[Image]) -> None:
    """Check the generated images of a job. Raises ContentPolicyViolation or ModerationUnavailable."""
    if not moderator.judges_images:
        return
    for violation in moderator.judge([_content(job, "image", image) for image in images]):
        if violation is not None:
            raise violation


def verdict_of(error: GenerationError, catalog: Catalog, model_id: str) -> Verdict | None:
    """The verdict to store with the error of a job. None: the error has nothing to do with moderation.

    The catalogue may have lost the model meanwhile.
    """
    if not isinstance(error, ContentPolicyViolation):
        return None
    is_remote = any(model.is_remote for model in catalog.models if model.id == model_id)
    check = "provider" if is_remote else "safety_checker"
    return error.verdict or Verdict(outcome="reject", checks=[check], check=check)


def _reject(moderator: Moderator, results: dict[str, Inputs | GenerationError], contents: Sequence[Content]) -> None:
    try:
        violations: Sequence[ContentPolicyViolation | None] = moderator.judge(contents)
    except ModerationUnavailable as error:
        results.update(dict.fromkeys([content.job_id for content in contents], error))
        return
    for content, violation in zip(contents, violations, strict=True):
        if violation is not None:
            results[content.job_id] = violation


def _prompts(job: JobRow) -> list[str]:
    """The texts that say what the images show: `prompt`, `prompt_2`."""
    return [text for text in (job.prompt, *(getattr(job.parameters, name) for name in texts("prompt"))) if text]


def _content(job: JobRow, stage: Stage, image: Image | None = None, prompt: str | None = None) -> Content:
    return Content(stage, prompt or job.prompt, job.id, job.project_id, job.model, image)
