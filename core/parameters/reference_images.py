"""Reference images: images whose content or style the result takes up.

Some pipelines read several images by themselves (`max_input_images` of the catalogue). Others need an IP-Adapter: small
weights that let the denoiser read what an image encoder sees. The catalogue lists those of a model as `ip_adapters`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from annotated_types import Ge, Le
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from core.errors import InvalidParameter
from core.model_files.weights import check_folder
from core.parameters.image_source import ImageSource, source_of_text
from core.parameters.loras import check_file
from core.text import quote

MAX_INPUT_IMAGES = 16
"""Input images of an edit, as at OpenAI."""
REFERENCE_ROLES = tuple(f"image_{number}" for number in range(2, MAX_INPUT_IMAGES + 1))
"""The names of reference images in the `inputs` of their job: `image_2` and so on."""
MAX_ADAPTER_IMAGES = 4
"""Reference images of a request that IP-Adapters read."""
MAX_WEIGHT = 2.0

AdapterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
AdapterWeight = Annotated[float, Ge(0), Le(MAX_WEIGHT)]

_TEXT = re.compile(
    r"(?P<adapter>[A-Za-z0-9][A-Za-z0-9._-]{0,63})?(?::(?P<weight>[0-9.]{1,10}))?=(?P<image>[^=].*)", re.S
)


class ReferenceImage(ImageSource):
    """A reference image. Set exactly one of file_id, image_id and image_url.

    A text stands for an image too, also `adapter:weight=image`, for forms and the command line.
    """

    adapter: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="The IP-Adapter that reads it, one of the model's `ip_adapters`. Default: the first."
    )
    weight: AdapterWeight | None = Field(
        None,
        allow_inf_nan=False,
        description="How strongly it acts, by an IP-Adapter. Default: the catalogue's weight of the adapter.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        values: dict[str, Any] = {}
        if parts := _TEXT.fullmatch(value):
            value = parts["image"]
            values = {"adapter": parts["adapter"]} if parts["adapter"] else {}
            if parts["weight"]:
                values["weight"] = _number(parts["weight"])
        try:
            return source_of_text("", value) | values
        except InvalidParameter as error:
            raise ValueError(error.message.strip()) from None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        """At most one: the parameters of a job have none, as its images are its inputs."""
        if len(self.model_fields_set & ImageSource.model_fields.keys()) > 1:
            raise ValueError("must have exactly one of file_id, image_id, image_url")
        return self

    @property
    def has_image(self) -> bool:
        """Whether there is an image, not only how it is read."""
        return self.content is not None or self.reference is not None


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # pydantic explains what is wrong with it


def reference_of(source: ImageSource) -> ReferenceImage:
    """The reference to an image that came as an input image."""
    reference = ReferenceImage.model_construct(**{name: getattr(source, name) for name in source.model_fields_set})
    reference._content = source.content
    return reference


class IpAdapterSpec(BaseModel):
    """An IP-Adapter of a model in the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: AdapterName
    file: Annotated[str, AfterValidator(check_file)] = Field(exclude=True)
    image_encoder: Annotated[str, AfterValidator(check_folder)] = Field(exclude=True)
    weight: AdapterWeight = 0.6
    description: str = Field("", description="What it takes from its images, such as the style.")


def check_adapters(adapters: tuple[IpAdapterSpec, ...]) -> tuple[IpAdapterSpec, ...]:
    """Check that each name occurs once. Raises ValueError."""
    names = [adapter.name for adapter in adapters]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"duplicate names: {', '.join(sorted(duplicates))}")
    return adapters


def resolve_references(
    references: Sequence[ReferenceImage], specs: Sequence[IpAdapterSpec], model_id: str, *, reads_several: bool
) -> list[ReferenceImage] | None:
    """How each reference image of a request is read: by an adapter, with a weight, or by the model itself.

    The images themselves are inputs of the job. reads_several: whether the pipeline takes several images, which is the
    default then. None: it reads all of them. Raises InvalidParameter for an adapter that the model does not have.
    """
    weights = {spec.name: spec.weight for spec in specs}
    uses = list[ReferenceImage]()
    for index, reference in enumerate(references):
        name = reference.adapter
        if name is None and not reads_several:
            name = next(iter(weights), None)
        if name is not None and name not in weights:
            available = f"choose from {', '.join(weights)}" if weights else "it has none: leave it out"
            raise InvalidParameter(
                f"reference_images: the IP-Adapter {quote(name)} is not available for {model_id}; {available}.",
                param=f"reference_images.{index}.adapter",
            )
        if name is None and reference.weight is not None:
            raise InvalidParameter(
                f"reference_images: {model_id} reads this image without an IP-Adapter, so it has no weight.",
                param=f"reference_images.{index}.weight",
            )
        weight = None if name is None else weights[name] if reference.weight is None else reference.weight
        uses.append(ReferenceImage(adapter=name, weight=weight))
    of_adapters = [reference for reference in uses if reference.adapter is not None]
    if len(of_adapters) > MAX_ADAPTER_IMAGES:
        raise InvalidParameter(
            f"reference_images: {len(of_adapters)} images were sent; the IP-Adapters of {model_id} read up to "
            f"{MAX_ADAPTER_IMAGES}.",
            param="reference_images",
        )
    return uses if of_adapters else None


def with_files(references: Sequence[ReferenceImage] | None, inputs: Mapping[str, str]) -> list[ReferenceImage]:
    """The reference images of a job with their files, which are among its `inputs`."""
    file_ids = [inputs[role] for role in REFERENCE_ROLES if role in inputs]
    if references is None:
        return [ReferenceImage(file_id=file_id) for file_id in file_ids]
    return [
        reference.model_copy(update={"file_id": file_id})
        for reference, file_id in zip(references, file_ids, strict=True)
    ]
