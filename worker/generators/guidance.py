"""How the prompt guides a pipeline: the arguments of its call, and whether a negative prompt acts.

There are three kinds of networks. Most compute each step twice, with the prompt and without, once `guidance_scale` is
above a threshold. Distilled ones have the scale as an input (FLUX.1 dev). Others have neither (Qwen-Image, FLUX.1
schnell): they compute twice if `true_cfg_scale` is above 1 and there is a negative prompt, which may be blank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.catalog import Model
from core.generation import ImageRequest, Notice
from core.generation_errors import GenerationError
from worker.generators.call import call_parameters

BLANK: Final = " "
"""The negative prompt of a request without one, where guidance needs some. Qwen-Image's authors use it."""
_WITHOUT_GUIDANCE: Final = frozenset({"DreamLiteMobilePipeline"})
"""Classes whose call has a `guidance_scale` and never reads it, as their networks are distilled."""
_WITH_GUIDANCE: Final = frozenset({"BriaFiboPipeline"})
"""Classes that compute each step twice, although they do not say so as others do and their networks have no scale."""
_LARGE: Final = 30.0
"""A guidance scale with which every network that can be guided is guided."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """The guidance of a call.

    unused_scale: whether the request's `guidance_scale` changes nothing and differs from the default, which is used.
    reads_negative_prompt: False if a negative prompt changes nothing. drops_negative_prompt: and no `guidance_scale`
    could change that. default_negative_prompt: of a request that has none, in a call that needs one or beside requests
    that have one.
    """

    arguments: Mapping[str, float] = field(default_factory=dict)
    unused_scale: bool = False
    reads_negative_prompt: bool = True
    drops_negative_prompt: bool = False
    needs_negative_prompt: bool = False
    default_negative_prompt: str = ""


def guidance_of(model: Model, pipe: Any, request: ImageRequest) -> Guidance:
    """The guidance of a request. Raises GenerationError for a scale for which the pipeline has no parameter."""
    parameters = call_parameters(pipe)
    name = next((name for name in ("guidance_scale", "decoder_guidance_scale") if name in parameters), None)
    acts = name is not None and _acts(pipe)
    scale, default_scale = request.guidance_scale, model.guidance_scale.default
    if "true_cfg_scale" in parameters:
        is_second_name = not acts and _replaces(model, parameters)
        default = 1.0 if acts else parameters["true_cfg_scale"].default
        own = request.parameters.true_cfg_scale
        true_scale = float(model.options.get("true_cfg_scale", default) if own is None else own)
        if is_second_name:
            true_scale = max(scale, 1.0)
        arguments = {"true_cfg_scale": true_scale}
        if acts and name is not None:
            arguments[name] = scale
        unused_scale = not acts and not is_second_name and scale != default_scale
        is_on = true_scale > 1
        return Guidance(arguments, unused_scale, is_on, not is_on and not is_second_name, is_on, BLANK)
    if name is None:
        _check_default(model, pipe, scale)
        return Guidance()
    if not acts:
        return Guidance({name: default_scale}, scale != default_scale)
    return Guidance({name: scale}, reads_negative_prompt=_is_guided(pipe, scale))


def guidance_notices(model: Model, pipe: Any, request: ImageRequest) -> Sequence[Notice]:
    """Notices of a guidance scale that has no effect, and of a negative prompt that has none."""
    guidance, notices = guidance_of(model, pipe, request), list[Notice]()
    if guidance.unused_scale:
        default = model.guidance_scale.default
        message = f"guidance_scale is not used: model {model.id} has no other than {default:g}."
        notices.append(Notice("parameter_not_used", message, "guidance_scale", default))
    if request.has_negative_prompt and not guidance.reads_negative_prompt:
        reason = f"it needs a guidance_scale above {request.guidance_scale:g}, such as 4"
        if guidance.drops_negative_prompt:
            is_offered = "true_cfg_scale" in model.parameters
            reason = "it needs a true_cfg_scale above 1" if is_offered else f"model {model.id} has no guidance"
        notices.append(Notice("parameter_not_used", f"negative_prompt is not used: {reason}.", "negative_prompt"))
    return notices


def _replaces(model: Model, parameters: Mapping[str, Any]) -> bool:
    """Whether `guidance_scale` stands for `true_cfg_scale`: nobody sets that, and the pipeline expects none of its own.

    A distilled model such as FLUX.1 schnell has a default, and was made to be used without guidance.
    """
    is_set = "true_cfg_scale" in model.options or "true_cfg_scale" in model.parameters
    default = parameters["guidance_scale"].default if "guidance_scale" in parameters else None
    return default in (None, 1.0) and not is_set  # 1.0 of a ControlNet of Qwen-Image


def _acts(pipe: Any) -> bool:
    """Whether `guidance_scale` changes anything."""
    if type(pipe).__name__ in _WITHOUT_GUIDANCE:
        return False
    if type(pipe).__name__ in _WITH_GUIDANCE:
        return True
    networks = [pipe.components.get(name) for name in ("transformer", "unet")]
    config: Mapping[str, Any] = next((network.config for network in networks if network is not None), {})
    if config.get("guidance_embeds") or config.get("time_cond_proj_dim"):
        return True
    if hasattr(type(pipe), "do_classifier_free_guidance"):
        return _is_guided(pipe, _LARGE)
    return config.get("guidance_embeds") is None


def _is_guided(pipe: Any, scale: float) -> bool:
    """Whether the network computes each step twice. The pipeline knows, once it has the scale as its call sets it."""
    if hasattr(type(pipe), "do_classifier_free_guidance"):
        pipe._guidance_scale = scale
        if "image_guidance_scale" in call_parameters(pipe):  # which InstructPix2Pix looks at too
            pipe._image_guidance_scale = call_parameters(pipe)["image_guidance_scale"].default
        return bool(pipe.do_classifier_free_guidance)
    return scale > 1


def _check_default(model: Model, pipe: Any, scale: float) -> None:
    if scale != (default := model.guidance_scale.default):
        raise GenerationError(
            f"Model {model.id} takes no guidance_scale other than {default} ({type(pipe).__name__} has a fixed one).",
            param="guidance_scale",
        )
