"""The `input` of OpenAI's Responses API: the prompt and the images of the last turn of a conversation.

There is no text model here that reads a whole conversation. So the prompt is what the user said last, and the image to
edit is the user's, or the last one before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import InvalidParameter, InvalidRequest, MissingParameter
from core.job_warnings import JobWarning
from core.parameters.image_source import ImageSource
from core.requests.inputs import decode_data_url
from core.requests.job import validate
from core.requests.openai import warning
from core.text import quote

_SOURCES = ("file_id", "image_id", "image_url")


@dataclass(frozen=True, slots=True)
class EarlierCall:
    """An earlier image call of the conversation, whose image is to be edited. param: where the request names it."""

    id: str
    param: str


ConversationImage = ImageSource | EarlierCall


@dataclass(slots=True)
class ResponseInput:
    """What is drawn: a prompt, and the images to edit, if any."""

    prompt: str
    images: list[ConversationImage] = field(default_factory=list)
    warnings: list[JobWarning] = field(default_factory=list)


def read_input(value: Any) -> ResponseInput:
    """The last turn of an input. Raises InvalidRequest with the path of what is wrong."""
    if value is None:
        raise MissingParameter("input is required: say what the image shows.", param="input")
    conversation = _Conversation()
    if isinstance(value, str):
        conversation.texts.append(value)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            conversation.add(item, f"input.{index}")
    else:
        raise InvalidParameter("input must be text or a list of messages.", param="input")
    prompt = "\n".join(conversation.texts)
    if not prompt.strip():
        raise MissingParameter(
            "input has no text of the user after the last answer: say what the image shows, or what to change.",
            param="input",
        )
    return ResponseInput(prompt, conversation.images or conversation.earlier_images, conversation.warnings)


@dataclass(slots=True)
class _Conversation:
    """The items of an input so far. Each answer ends a turn."""

    texts: list[str] = field(default_factory=list)
    images: list[ConversationImage] = field(default_factory=list)
    earlier_images: list[ConversationImage] = field(default_factory=list)
    has_earlier_text: bool = False
    has_instructions: bool = False

    @property
    def warnings(self) -> list[JobWarning]:
        """What of the input is not used."""
        messages = []
        if self.has_earlier_text:
            messages.append("Earlier messages are not used: the prompt is the text of the user's last turn.")
        if self.has_instructions:
            messages.append("Messages of the roles system and developer are not used: there is no text model here.")
        return [warning("input", message) for message in messages]

    def add(self, item: Any, param: str) -> None:
        """Add an item. Raises InvalidRequest."""
        if not isinstance(item, dict):
            raise InvalidParameter(f"{param} should be an object, such as a message.", param=param)
        kind = item.get("type") or ("message" if "role" in item else None)
        if not isinstance(kind, str):
            raise MissingParameter(f"{param}.type is required, for example message.", param=f"{param}.type")
        if kind == "message":
            self._add_message(item, param)
        elif kind == "image_generation_call" or (kind == "item_reference" and str(item.get("id")).startswith("ig_")):
            self._end_turn()
            self.earlier_images = [_image_of_call(item, param)]
        elif kind in ("input_text", "input_image"):
            raise InvalidParameter(f"{param} must be a message, with {kind} in its content.", param=f"{param}.type")
        else:  # function calls, reasoning and so on: a part of the conversation that is no prompt
            self.has_earlier_text = True

    def _end_turn(self) -> None:
        self.has_earlier_text = self.has_earlier_text or bool(self.texts)
        self.earlier_images = self.images or self.earlier_images
        self.texts, self.images = [], []

    def _add_message(self, item: Mapping[str, Any], param: str) -> None:
        match item.get("role"):
            case "user":
                self._add_content(item.get("content"), f"{param}.content")
            case "assistant":
                self._end_turn()
            case "system" | "developer":
                self.has_instructions = True
            case role:
                raise InvalidParameter(
                    f"{param}.role is {quote(str(role))}; choose from user, assistant, system, developer.",
                    param=f"{param}.role",
                )

    def _add_content(self, content: Any, param: str) -> None:
        if isinstance(content, str):
            self.texts.append(content)
            return
        if not isinstance(content, list):
            raise InvalidParameter(f"{param} must be text or a list of input_text and input_image.", param=param)
        for index, part in enumerate(content):
            self._add_part(part, f"{param}.{index}")

    def _add_part(self, part: Any, param: str) -> None:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "input_text":
            if not isinstance(part.get("text"), str):
                raise InvalidParameter(f"{param}.text must be text.", param=f"{param}.text")
            self.texts.append(part["text"])
        elif kind == "input_image":
            self.images.append(_image_of_part(part, param))
        else:
            raise InvalidParameter(
                f"{param}.type is {quote(str(kind))}; an image is made from input_text and input_image.",
                param=f"{param}.type",
            )


def _image_of_call(item: Mapping[str, Any], param: str) -> ConversationImage:
    """The image of an earlier call: that which the client sends, or else the one of the call's id."""
    if isinstance(result := item.get("result"), str) and result:
        url = result if result.startswith("data:") else f"data:image/png;base64,{result}"
        return ImageSource.from_form(decode_data_url(f"{param}.result", url))
    call_id = item.get("id")
    if not isinstance(call_id, str):
        raise MissingParameter(f"{param} needs the id or the result of an image call.", param=f"{param}.id")
    return EarlierCall(call_id, f"{param}.id")


def _image_of_part(part: Mapping[str, Any], param: str) -> ImageSource:
    source = {name: part[name] for name in _SOURCES if part.get(name) is not None}
    if len(source) != 1:
        raise InvalidParameter(f"{param} must have exactly one of image_url, file_id, image_id.", param=param)
    if isinstance(url := source.get("image_url"), str):
        return ImageSource.from_form(decode_data_url(f"{param}.image_url", url))
    try:
        return validate(ImageSource, source)
    except InvalidRequest as error:
        error.param = f"{param}.{error.param}"
        raise
