"""The self-test of a model: whether an image is the same alone and in a micro-batch."""

from typing import TypedDict


class SelfTest(TypedDict):
    """The result of a worker's self-test. difference: the largest of a colour value, 0 .. 255; 0: the bytes agree."""

    size: str
    images: int
    difference: int


def describe(result: SelfTest) -> str:
    """For receipts."""
    verdict = f"differs by up to {result['difference']} of 255" if result["difference"] else "equal"
    return f"{result['images']} images of {result['size']}: {verdict}"
