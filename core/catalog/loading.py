"""How a model is loaded: the part of its catalogue entry that the worker's loader reads."""

from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from core.model_files.weights import PICKLES, check_folder
from core.parameters.loras import LoraWeight, check_file

Quantization = Literal[
    "bitsandbytes_4bit", "bitsandbytes_8bit", "quanto_float8", "quanto_int8", "torchao_float8", "torchao_int8"
]
QUANTIZATION_PACKAGES: Final = {"bitsandbytes": "bitsandbytes", "quanto": "optimum.quanto", "torchao": "torchao"}
"""The module that each kind of quantization needs, by the first part of its name."""
Component = Annotated[str, StringConstraints(pattern=r"^(transformer|unet|text_encoder)(_[2-4])?$")]
Offload = Literal["none", "model", "sequential", "group"]
Attention = Literal[
    "default", "native", "flash", "flex", "sage", "xformers", "_native_cudnn", "_native_efficient", "_native_math"
]
Compile = Literal["none", "regional", "model"]
LoraFile = Annotated[str, AfterValidator(check_file)]


def _check_no_pickle(field: str, source: str) -> None:
    if (suffix := PurePosixPath(source).suffix) in PICKLES:
        raise ValueError(
            f"{field}: {source} may be a pickle ({suffix}), which can run code when it is loaded; "
            "only .safetensors files are read"
        )


class Vae(BaseModel):
    """How a model's autoencoder is loaded and run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = ""
    tiling: bool = False
    slicing: bool = False

    @model_validator(mode="after")
    def _source_is_no_pickle(self) -> Self:
        _check_no_pickle("vae.source", self.source)
        return self


class Cache(BaseModel):
    """A cache of the denoiser: it skips blocks whose output hardly changes from step to step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["first_block", "mag", "sea", "taylorseer"]
    threshold: Annotated[float, Gt(0), Le(2)] | None = None
    interval: Annotated[int, Ge(2), Le(20)] | None = None
    ratios: tuple[Annotated[float, Gt(0), Le(10)], ...] = ()

    @model_validator(mode="after")
    def _has_its_own_fields(self) -> Self:
        if self.kind == "taylorseer" and self.threshold is not None:
            raise ValueError("cache: taylorseer has an interval, no threshold")
        if self.kind != "taylorseer" and self.interval is not None:
            raise ValueError(f"cache: {self.kind} has a threshold, no interval")
        if self.kind != "mag" and self.ratios:
            raise ValueError(f"cache: {self.kind} has no ratios, only mag")
        return self

    @property
    def looks_at_batch(self) -> bool:
        """Whether it decides by all images of a call together, so that a neighbour would change an image."""
        return self.kind in ("first_block", "sea")

    def __str__(self) -> str:
        """For receipts: kind and value."""
        value = self.interval if self.kind == "taylorseer" else self.threshold
        return self.kind if value is None else f"{self.kind} {value:g}"


class Matting(BaseModel):
    """A network that tells the foreground of an image from its background."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, AfterValidator(check_folder)]
    background: Annotated[str, Field(min_length=1)] = "background"


class FusedLora(BaseModel):
    """A LoRA that is part of the model for every request, such as one that makes it draw in four steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: LoraFile
    weight: LoraWeight = 1.0


class TextualInversion(BaseModel):
    """A word that the model learnt: a file with its embedding, and the word in prompts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: Annotated[str, StringConstraints(pattern=r"^\S{1,64}$")]
    file: LoraFile


class Loading(BaseModel):
    """The fields of a model that say what is loaded, and how. All are for `diffusers_local` only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(
        "",
        description="Directory (relative to models_dir) or hub id of a diffusers pipeline, or a checkpoint: one file "
        "with the whole model or its denoiser, `.safetensors` or `.gguf` (of a quantised denoiser; needs the package "
        "gguf).",
    )
    config: str = Field(
        "",
        description="Of a checkpoint: directory (relative to models_dir) or hub id of a diffusers pipeline of its "
        "family, for the configuration, the tokenizers, and the parts that the file does not have. A hub id must be in "
        "the cache.",
    )
    revision: str | None = Field(None, description="Commit of the hub repository; part of the micro-batch key.")
    quantization: dict[Component, Quantization] = Field(
        default_factory=dict,
        description="Components with smaller weights: `{ transformer = 'torchao_int8' }`. Components are "
        "`transformer`, `unet`, `text_encoder` and `text_encoder_2` to `_4`; kinds are `bitsandbytes_4bit`, "
        "`bitsandbytes_8bit` (NVIDIA only), `quanto_float8`, `quanto_int8`, `torchao_float8`, `torchao_int8`. Each "
        "kind needs its package: bitsandbytes, optimum-quanto or torchao.",
    )
    offload: Offload = Field(
        "none",
        description="What stays in RAM until it is needed: `model` (whole components), `group` (blocks), `sequential` "
        "(single layers; the slowest, with the least memory). It changes no pixel, and nothing on a CPU.",
    )
    vae: Vae | None = Field(
        None,
        description="The autoencoder: `{ source = 'sdxl-vae-fp16-fix', tiling = true, slicing = true }`. `source` "
        "replaces it, by a directory or a `.safetensors` file relative to models_dir. `tiling` decodes large images in "
        "tiles, `slicing` the images of a batch in turn; both save memory.",
    )
    attention: Attention = Field(
        "default",
        description="Implementation of attention in a transformer: `default`, `native`, `flash`, `flex`, `sage`, "
        "`xformers`, `_native_cudnn`, `_native_efficient` or `_native_math`. Some need a package.",
    )
    compile: Compile = Field(
        "none",
        description="What torch compiles of the denoiser: `none`; `regional`, which is its repeated blocks; or "
        "`model`, which is all of it: faster, but minutes to compile. The worker then draws an image of each of "
        "`sizes` when it loads the model.",
    )
    cache: Cache | None = Field(
        None,
        description="Skips work of a transformer where steps are alike, and changes the image: `{ kind = "
        "'first_block', threshold = 0.05 }`, `{ kind = 'sea', threshold = 0.25 }`, "
        "`{ kind = 'taylorseer', interval = 5 }` or `{ kind = 'mag', threshold = 0.06, ratios = [1.0, 0.98] }`, whose "
        "`ratios` are measured for a model (FLUX.1's are known). With `first_block` and `sea`, each image has a pass "
        "of its own. A task whose pipeline has no use for it, such as edits of FLUX.1, is done without it; it is an "
        "error when the model is loaded if no task has. No pipeline for images of diffusers 0.42 uses `sea`.",
    )
    layerwise_casting: bool = Field(
        False, description="Whether the denoiser's weights are stored in 8 bits (float8) and widened layer by layer."
    )
    fused_loras: tuple[FusedLora, ...] = Field(
        (),
        description="LoRAs that are part of the model for every request, such as a turbo LoRA: `[{ file = "
        "'lcm.safetensors', weight = 1.0 }]`, relative to models_dir.",
    )
    textual_inversions: tuple[TextualInversion, ...] = Field(
        (),
        description="Words with an embedding of their own: `[{ token = '<my-cat>', file = 'my-cat.safetensors' }]`, "
        "relative to models_dir.",
    )

    matting: Matting | None = Field(
        None,
        description="A network that makes the background of images transparent, for requests with `background: "
        "transparent`: `{ source = 'segformer-people', background = 'background' }`. `source` is a folder, relative to "
        "models_dir, of a network for semantic segmentation that transformers has (SegFormer, MobileViT, BEiT, DPT, "
        "UPerNet and others), with config.json, preprocessor_config.json and safetensors. `background` is its label of "
        "the background; a network with one label gives the foreground. Default: images are opaque.",
    )

    @property
    def is_checkpoint(self) -> bool:
        """Whether `source` is one file."""
        return PurePosixPath(self.source).suffix in (".safetensors", ".gguf")

    @property
    def packages(self) -> set[str]:
        """The modules that the quantization needs, beside those of the worker."""
        modules = {QUANTIZATION_PACKAGES[kind.partition("_")[0]] for kind in self.quantization.values()}
        return modules | ({"gguf"} if self.source.endswith(".gguf") else set())

    @model_validator(mode="after")
    def _source_can_be_loaded(self) -> Self:
        _check_no_pickle("source", self.source)
        if self.is_checkpoint and not self.config:
            raise ValueError(
                f"config is missing: {self.source} is one file, so config must name a directory or hub id of a "
                "diffusers pipeline of its family"
            )
        if self.config and not self.is_checkpoint:
            raise ValueError("config is only for a source that is one .safetensors or .gguf file")
        return self

    @model_validator(mode="after")
    def _options_agree(self) -> Self:
        if self.quantization and (self.layerwise_casting or self.is_checkpoint):
            raise ValueError(
                "quantization is neither for checkpoints nor together with layerwise_casting: save the model as a "
                "directory first, or use layerwise_casting"
            )
        if self.quantization and self.offload == "sequential":
            raise ValueError("offload: quantised weights cannot be offloaded layer by layer; use model or group")
        tokens = [inversion.token for inversion in self.textual_inversions]
        if len(set(tokens)) < len(tokens):
            raise ValueError("textual_inversions: each token must occur once")
        return self
