"""Chooses the pipeline for a request: text-to-image, image-to-image, inpainting or variation.

diffusers has a class for each task and knows which classes belong together; the pipelines of one model share all
weights. The tasks of a class are those of its attribute `tasks`, which our own pipelines have; else those of diffusers'
tables; else they follow from the parameters of its call. No pipeline is called here.
"""

import inspect
from typing import Any, Final, Literal

import diffusers
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, AutoPipelineForText2Image
from diffusers.pipelines import auto_pipeline

from core.catalog import Model
from core.generation import ImageRequest
from core.generation_errors import GenerationError, ModelUnavailable
from core.parameters.job import Operation
from worker.generators.cache import check_cache
from worker.generators.call import call_parameters
from worker.generators.controls import Controls, reads_control_image
from worker.generators.optional import check_parameters
from worker.generators.sharing import SEVERAL_IMAGES
from worker.generators.tiling import can_tile
from worker.generators.upscalers import LATENT, takes_latents

Task = Literal["text-to-image", "image-to-image", "inpainting", "variation"]

_TABLES: Final[dict[Task, dict[str, type]]] = {
    "text-to-image": auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
    "image-to-image": auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
    "inpainting": auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING,
}
_AUTOMATIC: Final[dict[Task, Any]] = {
    "text-to-image": AutoPipelineForText2Image,
    "image-to-image": AutoPipelineForImage2Image,
    "inpainting": AutoPipelineForInpainting,
}
_FURTHER_CLASSES: Final[dict[Task, dict[str, type]]] = {
    "image-to-image": {
        "ChromaPipeline": diffusers.ChromaImg2ImgPipeline,
        "SanaSprintPipeline": diffusers.SanaSprintImg2ImgPipeline,
    },
    "inpainting": {
        "Flux2KleinPipeline": diffusers.Flux2KleinInpaintPipeline,
        "FluxKontextPipeline": diffusers.FluxKontextInpaintPipeline,
    },
}
"""Classes that diffusers has and its tables lack, by the class whose networks they use.

ChromaInpaintPipeline reads an option that Chroma's transformer does not have, and fails.
"""
_TASKS: Final[dict[Operation, tuple[Task, ...]]] = {
    "generation": ("text-to-image",),
    "edit": ("image-to-image", "inpainting"),
    "variation": ("variation",),
}
# Has parameters for a prompt and an image, as image-to-image does, but uses the image only.
_VARIES_WITH_A_PROMPT: Final = "StableUnCLIPImg2ImgPipeline"

_WITH_IMAGE_OR_WITHOUT: Final = frozenset(
    {
        "DreamLiteMobilePipeline",
        "DreamLitePipeline",
        "QwenImage21Pipeline",
        "ZImageOmniPipeline",
    }
)
"""Classes whose call edits the image if there is one, and draws from the prompt alone if there is none.

GLM-Image is not one: its edits in diffusers 0.42 fail with the versions of transformers that Safelight admits.
"""

_SEVERAL_RESULTS: Final = frozenset({"QwenImageLayeredPipeline"})
"""Classes whose call gives several images for a prompt: the layers of its image."""

_SCHEDULERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
"""The field's names of samplers: diffusers' class, and what differs from the configuration of the model's own one."""


class Operations:
    """The pipelines of one model, made from the pipeline that its folder contains."""

    def __init__(self, model: Model, pipe: Any, controls: Controls | None = None) -> None:
        """Raises ModelUnavailable if the pipeline can do none of the operations that the catalogue lists."""
        self._model = model
        self._pipe = pipe
        self._controls = controls
        self._pipes: dict[Task, Any] = dict.fromkeys(tasks(pipe), pipe)
        self._schedulers: dict[str | None, Any] = {None: getattr(pipe, "scheduler", None)}
        if not self._pipes:
            raise ModelUnavailable(
                f"Model {model.id}: {type(pipe).__name__} takes no prompt and no image; it cannot be used here."
            )
        if type(pipe).__name__ in _SEVERAL_RESULTS:
            raise ModelUnavailable(
                f"Model {model.id}: {type(pipe).__name__} gives several layers for an image, and a job has one image "
                "for each; it cannot be used here."
            )
        if controls is None and reads_control_image(pipe):
            raise ModelUnavailable(
                f"Model {model.id}: {type(pipe).__name__} draws only with a control image; list its type in "
                "`controls`, without a source: controls = [{ type = 'depth' }]."
            )
        for scheduler in model.choices.get("scheduler", ()):
            self._scheduler(scheduler)
        if not any(self._can(task) for operation in model.operations for task in _TASKS[operation]):
            raise ModelUnavailable(
                f"Model {model.id}: {type(pipe).__name__} cannot do what the catalogue lists: "
                f"{', '.join(model.operations)}."
            )
        possible = {task for operation in model.operations for task in _TASKS[operation] if self._can(task)}
        check_cache(model, [self._pipes[task] for task in possible])
        check_parameters(model, [self._pipes[task] for task in possible], list(self._schedulers.values()))
        if model.hires is not None and not self._edits_by_strength():
            raise ModelUnavailable(
                f"Model {model.id}: {type(pipe).__name__} cannot edit an image with a strength, so there is no second "
                "pass; remove `hires`."
            )
        if model.tiling and not can_tile(pipe):
            raise ModelUnavailable(
                f"Model {model.id}: {type(pipe).__name__} draws no seamless images, as it has networks other than "
                "convolutions; remove `tiling`."
            )
        latent = [name for name in (model.hires.upscalers if model.hires else ()) if name in LATENT]
        if latent and not takes_latents(self._pipes["image-to-image"]):
            raise ModelUnavailable(
                f"Model {model.id}: {type(self._pipes['image-to-image']).__name__} cannot begin with latents; remove "
                f"{latent[0]} from hires.upscalers."
            )
        if model.input_image_count > 1 and not self._takes_several_images():
            raise ModelUnavailable(
                f"Model {model.id}: max_input_images must be 1, because {type(pipe).__name__} takes one image."
            )

    def _edits_by_strength(self) -> bool:
        return self._can("image-to-image") and "strength" in call_parameters(self._pipes["image-to-image"])

    def _takes_several_images(self) -> bool:
        return self._can("image-to-image") and type(self._pipes["image-to-image"]).__name__ in SEVERAL_IMAGES

    def pipeline(self, request: ImageRequest) -> Any:
        """The pipeline for a request. Raises GenerationError if there is none."""
        task = task_of(request)
        if self._can(task):
            pipe = self._pipes[task]
            if request.parameters.control:
                pipe = self._with_control(task, pipe, request)
            elif reads_control_image(pipe):
                raise GenerationError(f"Model {self._model.id} draws only with a control image.", param="control")
            if hasattr(pipe, "scheduler"):
                pipe.scheduler = self._scheduler(request.parameters.scheduler)
            return pipe
        raise GenerationError(
            f"Model {self._model.id} cannot do {task}: {type(self._pipe).__name__} has no pipeline for it."
        )

    def _with_control(self, task: Task, pipe: Any, request: ImageRequest) -> Any:
        """The pipeline for a request with controls. Raises GenerationError."""
        if self._controls is None or task not in _AUTOMATIC:
            raise GenerationError(f"Model {self._model.id} takes no control here.", param="control")
        return self._controls.pipeline(pipe, request)

    def _scheduler(self, name: str | None) -> Any:
        """The scheduler with a name, with the configuration of the model's own one, which is that of None.

        Raises ModelUnavailable for an unknown name, or a class that diffusers does not count as compatible.
        """
        if name not in self._schedulers:
            own = self._schedulers[None]
            kind, options = _SCHEDULERS.get(str(name), ("", {}))
            compatible = {scheduler.__name__: scheduler for scheduler in getattr(own, "compatibles", [])}
            if kind not in compatible:
                names = [name for name, (kind, _) in _SCHEDULERS.items() if kind in compatible]
                raise ModelUnavailable(
                    f"Model {self._model.id} has no scheduler {name!r}: {type(own).__name__} can be replaced by "
                    f"{', '.join(names) or 'no other'}."
                )
            self._schedulers[name] = compatible[kind].from_config(own.config, **options)
        return self._schedulers[name]

    def _can(self, task: Task) -> bool:
        if task == "inpainting" and _lacks_mask_channels(self._pipe):
            return False
        if task not in self._pipes and task in _AUTOMATIC and not _only_inpaints(self._pipe):
            try:
                pipe = _further_pipeline(task, self._pipe) or _AUTOMATIC[task].from_pipe(
                    self._pipe
                )  # shares the networks
            except ValueError:  # diffusers has no such class for this family
                return False
            pipe.set_progress_bar_config(disable=True)
            self._pipes[task] = pipe
        return task in self._pipes


def _further_pipeline(task: Task, pipe: Any) -> Any:
    """The pipeline for a task with the networks of `pipe`, where only diffusers' tables lack it; else None."""
    kind = _FURTHER_CLASSES.get(task, {}).get(type(pipe).__name__)
    if kind is None:
        return None
    values = dict(pipe.config) | pipe.components
    return kind(**{name: values[name] for name in inspect.signature(kind).parameters if name in values})


def task_of(request: ImageRequest) -> Task:
    """The task of a request, by the name that diffusers uses."""
    if request.operation == "edit":
        return "image-to-image" if request.mask is None else "inpainting"
    return "text-to-image" if request.operation == "generation" else "variation"


def tasks(pipe: Any) -> set[Task]:
    """The tasks that a pipeline itself can do; empty if its input is neither a prompt nor an image."""
    if (declared_tasks := getattr(pipe, "tasks", None)) is not None:
        return set(declared_tasks)
    if _only_inpaints(pipe):
        return {"inpainting"}
    if type(pipe).__name__ in _WITH_IMAGE_OR_WITHOUT:
        return {"text-to-image", "image-to-image"}
    if listed_tasks := {task for task, table in _TABLES.items() if type(pipe) in table.values()}:
        return listed_tasks
    names = call_parameters(pipe).keys()
    if "image" not in names:
        return {"text-to-image"} if "prompt" in names else set()
    if "prompt" not in names or type(pipe).__name__ == _VARIES_WITH_A_PROMPT:
        return {"variation"}
    return {"inpainting"} if "mask_image" in names else {"image-to-image"}


def _only_inpaints(pipe: Any) -> bool:
    """Whether the denoiser is trained for inpainting: its input is latents, mask and masked latents."""
    unet, vae = pipe.components.get("unet"), pipe.components.get("vae")
    if unet is None or vae is None or not hasattr(vae.config, "latent_channels"):
        return False
    return bool(unet.config.in_channels == 2 * vae.config.latent_channels + 1)


def _lacks_mask_channels(pipe: Any) -> bool:
    """Whether this is a Kandinsky whose denoiser takes latents only; its inpainting would add mask and image."""
    unet, movq = pipe.components.get("unet"), pipe.components.get("movq")
    return unet is not None and movq is not None and unet.config.in_channels == movq.config.latent_channels
