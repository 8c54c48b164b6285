"""Which requests may share one call of a pipeline: only those that cannot change each other's images.

Some pipelines of diffusers read a list of images as references for every prompt of the call: FLUX.2, Qwen-Image-Edit-
Plus, Z-Image-Omni. Two jobs in one call would then see each other's images. Other pipelines pad all prompts to the
longest one, and their networks read the padding. So a pipeline is trusted only if its class is listed here. The two
lists were read from the source of diffusers 0.42, and `tests/contract/test_sharing.py` checks each class on them.
"""

from collections.abc import Hashable, Sequence
from typing import Any, Final

from core.generation import ImageRequest
from core.parameters.job import texts
from worker.generators.control_networks import UNSEEDED
from worker.generators.controls import control_key
from worker.generators.ip_adapters import adapter_key, read_by_the_pipeline

SEPARATE_PROMPTS: Final = frozenset(
    {
        "FluxImg2ImgPipeline",
        "FluxInpaintPipeline",
        "FluxPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "StableDiffusionXLPipeline",
        "UnCLIPImageVariationPipeline",
        "UnCLIPPipeline",
        "UnclipPipeline",
    }
)
"""Classes that encode each prompt of a call independently of the others: all are padded to the same fixed length."""

SEPARATE_IMAGES: Final = frozenset(
    {
        "FluxImg2ImgPipeline",
        "FluxInpaintPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
        "UnCLIPImageVariationPipeline",
        "UnclipPipeline",
    }
)
"""Classes for which image i of the call's list belongs to prompt i only."""


SEVERAL_IMAGES: Final = frozenset(
    {
        "Flux2KleinPipeline",
        "Flux2Pipeline",
        "QwenImageEditPlusPipeline",
        "ZImageOmniPipeline",
    }
)
"""Classes that read a list of images as references for the one prompt of a call."""


ONE_PROMPT: Final = frozenset({"DreamLiteMobilePipeline", "DreamLitePipeline", "GlmImagePipeline", "PRXPipeline"})
"""Classes whose call draws one prompt. With several, PRX fails, and GLM-Image plans all images with the first seed."""


def sharing_key(pipe: Any, request: ImageRequest) -> Hashable | None:
    """Requests with an equal key may share a call of `pipe`; see `core.generation.Generator`.

    An exact class is required, because a subclass may encode its prompts in another way.
    """
    name = type(pipe).__name__
    if request.parameters.deterministic or name in UNSEEDED | ONE_PROMPT:
        return None
    if read_by_the_pipeline(request) or (request.image is not None and name not in SEPARATE_IMAGES):
        return None
    # A pipeline with control networks takes one image for each, for all prompts of a call.
    own = (name, control_key(request)) if request.control_images else (name,)
    own = (*own, adapter_key(request)) if request.reference_images else own  # as do IP-Adapters
    # Without a negative prompt, SDXL uses zeros; beside a neighbour with one, it would encode an empty text instead.
    if name in SEPARATE_PROMPTS:
        return (*own, request.has_negative_prompt)
    prompts = (getattr(request.parameters, text) for text in texts("prompt", "negative"))
    return (*own, request.has_negative_prompt, request.prompt, *prompts)


def may_share(keys: Sequence[Hashable | None]) -> bool:
    """Whether requests with these keys may go through one call."""
    return len(keys) < 2 or (None not in keys and len(set(keys)) == 1)
