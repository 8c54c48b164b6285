"""The registry of generators: a row for each kind of code that turns requests into images.

A new generator is a row here and a module in `worker/generators/`. The implementation is named as text, so that the
API knows what a generator can do without importing it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """A kind of generator.

    implementation: `module:Class`, called with the model and the settings. It has the protocol
    `core.generation.Generator` or, if `is_remote`, `core.generation.RemoteGenerator`.
    is_remote: a provider generates the images, so that no device is needed; each job is a call of its own.
    lacks: parameters of a request that it cannot honour; see also `Rule.generators` in `core/parameters/job.py`.
    max_input_images: how many input images an edit may have, unless the catalogue says more of a model.
    operations: what its models may be asked for.
    setting: the setting without which its models are not offered; None: none is needed.
    extra: the pip extra that brings its libraries; None: nothing beyond the worker.
    options: by name, default and meaning of the options that its models may have in the catalogue.
    option_values: by name, the values of the options that have only some; they are checked when the catalogue is read.
    """

    name: str
    implementation: str
    description: str
    is_remote: bool = False
    lacks: frozenset[str] = frozenset()
    max_input_images: int = 1
    operations: tuple[str, ...] = ("generation", "edit", "variation")
    setting: str | None = None
    extra: str | None = None
    options: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    option_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


GENERATORS: Mapping[str, GeneratorSpec] = {
    spec.name: spec
    for spec in (
        GeneratorSpec(
            "diffusers_local",
            "worker.generators.diffusers_local:DiffusersGenerator",
            "Any diffusers pipeline on a device of the worker. `source` is a folder or a hub id.",
            extra="worker",
            option_values={"dtype": ("float32", "float16", "bfloat16")},
            options={
                "`dtype`": (
                    "",
                    "Arithmetic of the model: `float32`, `float16` or `bfloat16`. Default: `bfloat16` on CUDA "
                    "(`float16` on older cards), `float32` elsewhere. The bundled model uses `bfloat16` on CPUs that "
                    "have it.",
                ),
                "`variant`": ("", "Variant of the weight files, such as `fp16`."),
                "any other": (
                    "the pipeline's",
                    "Argument of the pipeline's call that requests do not set, such as `max_sequence_length` or "
                    "`true_cfg_scale`. An option that the pipeline does not have is an error when the model is loaded.",
                ),
            },
        ),
        GeneratorSpec(
            "fake",
            "worker.generators.fake:FakeGenerator",
            "A deterministic pattern from prompt and seed, for tests and load. It needs no torch.",
            options={
                "`step_seconds`": ("`0.0`", "Duration of a denoising step in seconds."),
                "`faults`": (
                    "`false`",
                    "Whether words in a prompt cause failures, such as the death of the worker. Only for tests.",
                ),
                "`memory`": ("`0`", "Bytes that its weights take, as it says. Only for tests."),
                "`unequal`": (
                    "`false`",
                    "Whether an image in a micro-batch is brighter by 1 than alone. Only for tests.",
                ),
                "`broken`": ("`false`", "Whether every call fails as if the device were broken. Only for tests."),
            },
        ),
        GeneratorSpec(
            "openai_images",
            "worker.generators.openai_images:OpenAIImages",
            "OpenAI's images API or a compatible one (`SAFELIGHT_OPENAI_BASE_URL`). It needs "
            "`SAFELIGHT_OPENAI_API_KEY`; `microbatch_size` must be 1. Costs are computed only if all three prices are "
            "set.",
            is_remote=True,
            lacks=frozenset({"negative_prompt", "seed", "steps", "guidance_scale", "strength"}),
            max_input_images=16,
            operations=("generation", "edit"),
            setting="openai_api_key",
            extra="openai",
            options={
                "`quality`": ('`"auto"`', "Quality of requests that do not set one."),
                "`moderation`": ('`"auto"`', "Moderation level of generations that do not set one: `low` or `auto`."),
                "`usd_text_input`": ("", "Price of a million text input tokens (the prompt) in US dollars."),
                "`usd_image_input`": ("", "Price of a million image input tokens (images of an edit) in US dollars."),
                "`usd_output`": ("", "Price of a million output tokens (the generated images) in US dollars."),
            },
        ),
    )
}
