"""A model of the catalogue: its operations, and the values that requests may have."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AfterValidator, AliasChoices, Field, PrivateAttr, model_validator

from core.catalog.bounds import Choices, Guidance, ParameterBounds, Range, Steps, StyleSpec
from core.catalog.fine_tuning import FineTuningSpec
from core.catalog.loading import Loading
from core.generators import GENERATORS, GeneratorSpec
from core.parameters.control import PREPROCESSES, ControlSpec, check_folder, check_types
from core.parameters.hires import HiresSpec
from core.parameters.job import Operation, Quality, SizeText, Style, rules, unsupported_by
from core.parameters.loras import LoraSpec, check_unique
from core.parameters.reference_images import MAX_INPUT_IMAGES, IpAdapterSpec, check_adapters
from core.parameters.refiner import RefinerSpec, check_refiners
from core.parameters.sizes import FreeSizes

ARGUMENTS = tuple(name for name, rule in rules().items() if rule.is_argument)


def _check_generator(name: str) -> str:
    if name not in GENERATORS:
        raise ValueError(f"there is no generator {name!r}; there are {', '.join(GENERATORS)}")
    return name


class Model(Loading):
    """A model of the catalogue."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
    generator: Annotated[str, AfterValidator(_check_generator)] = Field(description="Type of generator; see below.")
    queue: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] = "local"
    description: str = ""
    licence: str = ""
    aliases: tuple[str, ...] = ()
    created: int = Field(0, description="Unix time for the field `created` of OpenAI's model object.")
    operations: Annotated[tuple[Operation, ...], MinLen(1)] = ("generation",)
    sizes: Annotated[tuple[SizeText, ...], MinLen(1)] = ("512x512",)
    default_size: SizeText | None = Field(None, description="Size for `auto`. Default: the first of sizes.")
    free_sizes: FreeSizes | None = Field(
        None,
        description="Bounds of other sizes that requests may name: `{ multiple = 16, min_side = 256, max_side = 2048, "
        "min_pixels = 1, max_pixels = 16777216 }`. Default: only `sizes`. Not for providers.",
    )
    steps: Steps = Steps()
    guidance_scale: Guidance = Guidance()
    qualities: tuple[Quality, ...] = Field(
        (), description="Values of `quality` in addition to `auto`. Only for providers."
    )
    quality_steps: dict[Quality, Annotated[int, Ge(1)]] = Field(
        default_factory=dict, description="Denoising steps for each value of `quality`. Not for providers."
    )
    styles: dict[Style, StyleSpec] = Field(
        default_factory=dict,
        description="What a `style` changes: `vivid = { prompt_suffix = ', …', guidance_scale = 6.0 }`, both optional.",
    )
    choices: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Values of other parameters that are chosen from a list, by parameter name."
    )
    parameters: dict[str, ParameterBounds] = Field(
        default_factory=dict,
        description="Parameters of the pipeline's call that requests may set, with `default`, `min` and `max`, all "
        "optional: `{ clip_skip = { max = 4 }, true_cfg_scale = { default = 4.0, max = 10.0 }, prompt_2 = {} }`. There "
        f"are {', '.join(f'`{name}`' for name in ARGUMENTS)}. One that the pipeline does not have is an error when the "
        "model is loaded.",
    )
    loras: Annotated[tuple[LoraSpec, ...], AfterValidator(check_unique)] = Field(
        (),
        description="LoRAs that requests may name: `[{ name = 'pixel', file = 'pixel.safetensors', weight = 1.0, "
        "trigger = 'pixel art' }]`. `file` is relative to models_dir; `weight` is for requests without one, and "
        "`trigger` tells users which words it was trained with. Only for `diffusers_local`.",
    )
    fine_tuning: FineTuningSpec | None = Field(
        None,
        description="Whether projects may train LoRAs of the model, with defaults and bounds: `{ steps = 500, rank = "
        "16, learning_rate = 1e-4, resolution = 1024 }`, all optional. Only for `diffusers_local`: Stable Diffusion 1, "
        "2 and XL, and unclip-mini. Default: none.",
    )
    tiling: bool = Field(
        False,
        description="Whether requests may ask for seamless images. Only where all networks that draw are convolutions, "
        "as in Stable Diffusion 1, 2 and XL; it is an error elsewhere when the model is loaded.",
    )
    hires: HiresSpec | None = Field(
        None,
        description="Bounds of the second pass: `{ max_scale = 2.0, strength = 0.5, multiple = 16, upscalers = "
        "['lanczos', 'latent'], networks = [{ name = 'swin2sr', source = 'swin2sr-x2' }] }`. Default: none. "
        "`upscalers` are `lanczos`, and for Stable Diffusion, XL, 3 and FLUX.1 `latent`, `latent_antialiased`, "
        "`latent_bicubic`, `latent_bicubic_antialiased`, `latent_nearest` and `latent_nearest_exact`. `networks` are "
        "folders of a Swin2SR with config.json and safetensors, relative to models_dir; they are loaded with the "
        "model.",
    )
    refiners: Annotated[tuple[RefinerSpec, ...], AfterValidator(check_refiners)] = Field(
        (),
        description="Refiners for `refiner`; the first is the default: `[{ name = 'xl-refiner', source = "
        "'sdxl-refiner', switch_at = 0.8 }]`. `source` is a folder of a StableDiffusionXLImg2ImgPipeline, relative to "
        "models_dir. Its denoiser is loaded with the model, whose other parts it shares.",
    )
    max_input_images: Annotated[int, Ge(1), Le(MAX_INPUT_IMAGES)] | None = Field(
        None,
        description="Input images of an edit: `image` and its `reference_images`. More than 1 is for pipelines that "
        "take several, such as FLUX.2 and Qwen-Image-Edit-Plus. Default: that of the generator.",
    )
    controls: Annotated[tuple[ControlSpec, ...], AfterValidator(check_types)] = Field(
        (),
        description="Types of the images of `control`, and the networks that read them: `[{ type = 'canny', source = "
        "'sd15-canny', weight = 1.0, description = 'white edges on black' }]`. `source` is the folder of a ControlNet "
        "or a T2I-Adapter with config.json and safetensors, relative to models_dir; it is loaded with the model. A "
        "union ControlNet has an entry for each type, with `mode`, its number of the type: `{ type = 'depth', source = "
        "'flux-union', mode = 2 }`. A checkpoint, one .safetensors file, needs `config`, the folder of its "
        "config.json. Without `config`, such a file is a Control-LoRA of FLUX.1. FLUX.1 Depth and Canny read the image "
        "themselves: `{ type = 'depth' }`. With these two, every request needs such an image.",
    )
    ip_adapters: Annotated[tuple[IpAdapterSpec, ...], AfterValidator(check_adapters)] = Field(
        (),
        description="IP-Adapters for the images of `reference_images`; the first is the default: `[{ name = 'plus', "
        "file = 'ip-adapter-plus_sd15.safetensors', image_encoder = 'clip-vit-h', weight = 0.6, description = 'content "
        "and style' }]`. `file` and `image_encoder`, a folder with config.json and safetensors, are relative to "
        "models_dir. The encoder is loaded with the model, an adapter when a request names it.",
    )
    preprocessors: dict[Literal["depth"], Annotated[str, AfterValidator(check_folder)]] = Field(
        default_factory=dict,
        description="Networks of transformers that make control images of photos: `{ depth = 'depth-anything-v2-small' "
        "}`. The folder is relative to models_dir, and loaded with the model. `canny` and `lineart` need none.",
    )
    preload: bool = Field(
        False,
        description="Whether a worker loads it at its start, beside the default model. Not for providers.",
    )
    self_test: bool = Field(
        False,
        description="Whether a worker that has loaded the model draws images of the default size alone and in a "
        "micro-batch, and compares their bytes. `/v1/models` and receipts show the result. Not for providers.",
    )
    words: str = Field(
        "",
        description="Of a model with a closed vocabulary: the file of the words that it knows, relative to models_dir. "
        "Other words of a prompt are named in a warning. Only for `diffusers_local`.",
    )
    strength: Annotated[float, Gt(0), Le(1)] = Field(0.75, description="Default strength of edits.")
    max_images: Annotated[int, Ge(1), Le(64)] = Field(10, description="Maximum n of a job.")
    max_prompt_chars: Annotated[int, Ge(1)] = 4000
    microbatch_size: Annotated[int, Ge(1), Le(256)] = Field(
        4,
        description="Maximum number of images in a pass over the device.",
        validation_alias=AliasChoices("microbatch_size", "microbatch"),  # its name in version 0.1
    )
    seconds_per_image: Annotated[float, Gt(0)] = Field(
        1.0,
        description="Device-seconds for an image of default size and steps; used for the fair order and for estimates.",
    )
    seconds_by_size: dict[str, Annotated[float, Gt(0)]] = Field(
        default_factory=dict,
        description="The same for single sizes. Without an entry, the time of a size is in proportion to its pixels; "
        "models that draw small and enlarge the image need entries.",
    )
    usd_per_image: Annotated[float, Ge(0)] = Field(
        0.2,
        description="Expected price of an image in US dollars, for limits of a provider's cost. Only for providers.",
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Options of the generator, such as step_seconds of the fake one.",
    )

    @model_validator(mode="after")
    def _defaults_are_allowed(self) -> "Model":
        if unknown := next((size for size in self.seconds_by_size if size not in self.sizes), None):
            raise ValueError(f"seconds_by_size: {unknown} is not one of sizes")
        if self.default_size is not None and self.default_size not in self.sizes:
            raise ValueError(f"default_size {self.default_size} is not one of sizes")
        for name, bounds in (("steps", self.steps), ("guidance_scale", self.guidance_scale)):
            if not bounds.min <= bounds.default <= bounds.max:
                raise ValueError(f"{name}: default must lie between min and max")
        return self

    @model_validator(mode="after")
    def _matches_generator(self) -> "Model":
        if missing := set(self.operations) - set(self.spec.operations):
            operations = ", ".join(self.spec.operations)
            raise ValueError(f"{self.generator} does not support the operation {min(missing)}, only {operations}")
        if self.is_remote and self.microbatch_size != 1:
            raise ValueError(f"microbatch_size must be 1 for {self.generator}, because each job is a separate call")
        if self.is_remote and self.free_sizes is not None:
            raise ValueError(f"free_sizes are not available for {self.generator}")
        if self.generator != "diffusers_local" and (names := _changed_names(self)):
            raise ValueError(f"{names[0]} is not available for {self.generator}, only for diffusers_local")
        if self.is_remote and self.self_test:
            raise ValueError(f"self_test is not available for {self.generator}")
        if self.self_test and "generation" not in self.operations:
            raise ValueError("self_test needs the operation generation")
        if self.is_remote and self.preload:
            raise ValueError(f"preload is not available for {self.generator}")
        if self.loras and "loras" in unsupported_by(self.generator):
            raise ValueError(f"loras are not available for {self.generator}")
        if self.fine_tuning is not None and "loras" in unsupported_by(self.generator):
            raise ValueError(f"fine_tuning is not available for {self.generator}")
        if self.preprocessors and self.generator != "diffusers_local":
            raise ValueError(f"preprocessors are not available for {self.generator}")
        for control in self.controls:
            if control.preprocess not in (*PREPROCESSES, *self.preprocessors):
                raise ValueError(f"controls: preprocess {control.preprocess} of {control.type} has no network")
        if self.controls and "control" in unsupported_by(self.generator):
            raise ValueError(f"controls are not available for {self.generator}")
        if self.ip_adapters and self.generator != "diffusers_local":
            raise ValueError(f"ip_adapters are not available for {self.generator}, only for diffusers_local")
        if self.tiling and "tiling" in unsupported_by(self.generator):
            raise ValueError(f"tiling is not available for {self.generator}")
        if self.refiners and self.generator != "diffusers_local":
            raise ValueError(f"refiners are not available for {self.generator}, only for diffusers_local")
        if self.hires and self.generator != "diffusers_local" and self.hires.names != ("lanczos",):
            raise ValueError(f"hires.upscalers other than lanczos are not available for {self.generator}")
        if self.hires and "hires" in unsupported_by(self.generator):
            raise ValueError(f"hires is not available for {self.generator}")
        if self.is_remote and self.input_image_count > self.spec.max_input_images:
            raise ValueError(f"max_input_images must be at most {self.spec.max_input_images} for {self.generator}")
        if self.qualities and not self.is_remote:
            raise ValueError(f"qualities are not available for {self.generator}: use quality_steps")
        if self.quality_steps and self.is_remote:
            raise ValueError(f"quality_steps are not available for {self.generator}: use qualities")
        return self

    @model_validator(mode="after")
    def _options_have_known_values(self) -> "Model":
        values = self.spec.option_values
        for name, value in self.options.items():
            if name in values and value not in values[name]:
                raise ValueError(f"options: {name} must be one of {', '.join(values[name])}, not {value!r}")
            # Other options are arguments of the pipeline, whose names are unknown until it is loaded.
            if name not in values and (similar := get_close_matches(name, values, n=1, cutoff=0.75)):
                raise ValueError(f"options: there is no option {name!r}; it looks like {similar[0]}")
        return self

    @model_validator(mode="after")
    def _qualities_and_styles_are_within_bounds(self) -> "Model":
        for quality, steps in self.quality_steps.items():
            if not self.steps.min <= steps <= self.steps.max:
                raise ValueError(f"quality_steps: {quality} must lie between the min and max of steps")
        for name, style in self.styles.items():
            bounds, scale = self.guidance_scale, style.guidance_scale
            if scale is not None and not bounds.min <= scale <= bounds.max:
                raise ValueError(f"styles: {name} must lie between the min and max of guidance_scale")
        return self

    @model_validator(mode="after")
    def _choices_are_of_parameters(self) -> "Model":
        names = [name for name, rule in rules().items() if rule.from_catalog and name not in ("quality", "style")]
        if unknown := self.choices.keys() - set(names):
            available = ", ".join(names) or "none"
            raise ValueError(f"choices: {min(unknown)!r} is not a parameter with choices; there are: {available}")
        return self

    @model_validator(mode="after")
    def _parameters_are_arguments(self) -> "Model":
        for name, bounds in self.parameters.items():
            if name not in ARGUMENTS:
                raise ValueError(f"parameters: {name!r} is not one of {', '.join(ARGUMENTS)}")
            if name in unsupported_by(self.generator):
                raise ValueError(f"parameters: {name} is not available for {self.generator}")
            bounds.range_of(name)
        return self

    _fine_tuned_name: str | None = PrivateAttr(None)

    @property
    def fine_tuned_name(self) -> str | None:
        """The name of the LoRA that each request for this model gets; None if it is the model of the catalogue."""
        return self._fine_tuned_name

    def with_fine_tuned(self, names: Sequence[str], applied_name: str | None = None) -> Self:
        """The model with LoRAs that a project has trained. applied_name: the one that every request gets."""
        specs = [LoraSpec.model_construct(name=name, file="", weight=1.0, trigger="") for name in names]
        model = self.model_copy(update={"loras": (*self.loras, *specs)})
        for name in ("lacks", "plans"):  # computed without them, and `plans` would be filled for other projects too
            model.__dict__.pop(name, None)
        model._fine_tuned_name = applied_name
        return model

    @property
    def spec(self) -> GeneratorSpec:
        """The specification of the model's generator."""
        return GENERATORS[self.generator]

    @property
    def required_controls(self) -> tuple[ControlSpec, ...]:
        """The type of control images without which the model does not draw, if there is one."""
        return tuple(control for control in self.controls if control.is_required)

    @property
    def input_image_count(self) -> int:
        """How many input images an edit may have, without the mask."""
        return self.max_input_images or self.spec.max_input_images

    @property
    def is_remote(self) -> bool:
        """Whether a provider generates the images, so that no device is needed here."""
        return self.spec.is_remote

    @cached_property
    def lacks(self) -> frozenset[str]:
        """Parameters that the model does not support: a request with one of them is rejected.

        Cached, as every request asks for it several times: half of the time of checking a line was spent here.
        """
        without_entry = {name for name, rule in rules().items() if rule.from_catalog and self.limit(name) is None}
        without_entry |= set(ARGUMENTS) - self.parameters.keys()
        if not self.loras:
            without_entry.add("loras")
        if not self.controls:
            without_entry.add("control")
        if not self.ip_adapters and self.input_image_count == 1:
            without_entry.add("reference_images")
        if self.matting is None and not self.is_remote:
            without_entry.add("background")
        if self.hires is None:
            without_entry.add("hires")
        if not self.tiling:
            without_entry.add("tiling")
        if not self.refiners:
            without_entry.add("refiner")
        return self.spec.lacks | unsupported_by(self.generator) | without_entry

    def operations_of(self, parameter: str) -> list[Operation]:
        """The operations of the model that accept a parameter; empty if it does not support it."""
        if parameter in self.lacks:
            return []
        operations = rules()[parameter].operations
        if parameter == "reference_images" and not self.ip_adapters:  # they are further input images
            operations = ("edit",)
        return [operation for operation in self.operations if operation in operations]

    @cached_property
    def plans(self) -> dict[Any, Any]:
        """What `core.requests.plan` has computed for this model, by the parameters of a request."""
        return {}

    @cached_property
    def _limits(self) -> dict[str, Range | Choices]:
        limits: dict[str, Range | Choices] = {name: Choices(None, values) for name, values in self.choices.items()}
        limits["size"] = Choices(self.size, self.sizes, self.free_sizes)
        for name, bounds in (("steps", self.steps), ("guidance_scale", self.guidance_scale)):
            limits[name] = Range(bounds.default, bounds.min, bounds.max)
        for name, optional in self.parameters.items():
            if (limit := optional.range_of(name)) is not None:
                limits[name] = limit
        if qualities := self.qualities or tuple(self.quality_steps):
            limits["quality"] = Choices("auto", ("auto", *qualities))
        if self.styles:
            limits["style"] = Choices(None, tuple(self.styles))
        return limits

    def limit(self, parameter: str) -> Range | Choices | None:
        """The values that the catalogue allows for a parameter; None if it has no entry."""
        return self._limits.get(parameter)

    @property
    def size(self) -> str:
        """The size for a request without one."""
        return self.default_size or self.sizes[0]


def _changed_names(model: Model) -> list[str]:
    """The fields of loading that have not their default; source and revision are harmless."""
    fields = {name: field for name, field in Loading.model_fields.items() if name not in ("source", "revision")}
    return [
        name for name, field in fields.items() if getattr(model, name) != field.get_default(call_default_factory=True)
    ]
