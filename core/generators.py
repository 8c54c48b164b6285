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
    lacks: parameters of a request that it cannot honour; see also `Rule.generators` in `core/parameters.py`.
    operations: what its models may be asked for.
    setting: the setting without which its models are not offered; None: none is needed.
    extra: the pip extra that brings its libraries; None: nothing beyond the worker.
    options: names and meanings of the options that its models may have in the catalogue.
    """

    name: str
    implementation: str
    is_remote: bool = False
    lacks: frozenset[str] = frozenset()
    operations: tuple[str, ...] = ("generation", "edit", "variation")
    setting: str | None = None
    extra: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


GENERATORS: Mapping[str, GeneratorSpec] = {
    spec.name: spec
    for spec in (
        GeneratorSpec(
            "diffusers_local",
            "worker.generators.diffusers_local:DiffusersGenerator",
            extra="worker",
            options={
                "dtype": "Arithmetic: `float32`, `float16` or `bfloat16`. Default: what the device does best.",
                "variant": "Variant of the weight files, such as `fp16`.",
                "any other": "Passed to each call of the pipeline, such as `true_cfg_scale`.",
            },
        ),
        GeneratorSpec(
            "fake",
            "worker.generators.fake:FakeGenerator",
            options={"step_seconds": "Seconds that each denoising step takes. Default: 0."},
        ),
        GeneratorSpec(
            "openai_images",
            "worker.generators.openai_images:OpenAIImages",
            is_remote=True,
            lacks=frozenset({"negative_prompt", "seed", "steps", "guidance_scale", "strength"}),
            operations=("generation", "edit"),
            setting="openai_api_key",
            extra="openai",
            options={
                "quality": "Quality of requests that name none. Default: `auto`, OpenAI's choice.",
                "moderation": "OpenAI's `moderation`: `auto` or `low`. Default: `auto`.",
                "usd_text_input": "US dollars for a million text input tokens.",
                "usd_image_input": "US dollars for a million image input tokens.",
                "usd_output": "US dollars for a million output tokens.",
            },
        ),
    )
}
