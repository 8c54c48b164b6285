"""Tells a client how much of a long prompt the model reads.

A prompt is truncated if every text encoder of the pipeline reads less than all of it. If one of them reads it to the
end, nothing is lost.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from transformers import CLIPTokenizer, PreTrainedTokenizerBase

from core.generation import ImageRequest, Notice
from worker.generators.call import call_parameters

_EXCERPT_LENGTH: Final = 30
"""Characters of the prompt that the notice quotes before the place where it is truncated."""


def truncation_notices(pipe: Any, options: Mapping[str, Any], request: ImageRequest) -> Iterator[Notice]:
    """Notices about the prompts of a request that the model does not read to the end.

    options: of the call, which may contain max_sequence_length.
    """
    components = pipe.components.items()
    tokenizers = {name: item for name, item in components if isinstance(item, PreTrainedTokenizerBase)}
    if (length := request.parameters.max_sequence_length) is not None:
        options = {**options, "max_sequence_length": length}
    for name, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
        second_name = f"{name}_2"
        second: str | None = getattr(request.parameters, second_name)
        # A second prompt is read by the second tokenizer, and the first one by all others.
        own_tokenizers = [item for key, item in tokenizers.items() if second is None or key != "tokenizer_2"]
        yield from _notices(pipe, options, own_tokenizers, text or "", name)
        if second is not None and "tokenizer_2" in tokenizers:
            yield from _notices(pipe, options, [tokenizers["tokenizer_2"]], second, second_name)


def _notices(
    pipe: Any, options: Mapping[str, Any], tokenizers: Sequence[PreTrainedTokenizerBase], prompt: str, param: str
) -> Iterator[Notice]:
    truncations = [_truncation(tokenizer, _max_tokens(tokenizer, pipe, options), prompt) for tokenizer in tokenizers]
    if not truncations or None in truncations:
        return
    end, read_count, total = max(truncation for truncation in truncations if truncation is not None)
    text = prompt[:end].rstrip()
    last = text if len(text) <= _EXCERPT_LENGTH else "…" + text[-_EXCERPT_LENGTH:].partition(" ")[2].strip()
    if last == "…":
        last = f"…{text[-_EXCERPT_LENGTH:]}"
    message = (
        f"The model reads {read_count} of the {total} tokens of {param}, up to “{last}”; it does not see the rest."
    )
    yield Notice("prompt_truncated", message, param)


def _max_tokens(tokenizer: PreTrainedTokenizerBase, pipe: Any, options: Mapping[str, Any]) -> int:
    """The tokens that are read at most, with special tokens. Fixed for CLIP, for others an argument of the call."""
    maximum: int = tokenizer.model_max_length
    parameter = call_parameters(pipe).get("max_sequence_length")
    if parameter is None or isinstance(tokenizer, CLIPTokenizer):
        return maximum
    return min(maximum, int(options.get("max_sequence_length", parameter.default) or maximum))


def _truncation(tokenizer: PreTrainedTokenizerBase, max_tokens: int, prompt: str) -> tuple[int, int, int] | None:
    """Characters read, tokens read, and all tokens, without special tokens; None if the whole prompt is read."""
    full_encoding = tokenizer(prompt, return_offsets_mapping=tokenizer.is_fast)
    if len(full_encoding.input_ids) <= max_tokens:
        return None
    special_count = tokenizer.num_special_tokens_to_add()
    encoding = tokenizer(prompt, truncation=True, max_length=max_tokens, return_offsets_mapping=tokenizer.is_fast)
    if tokenizer.is_fast:
        end = max(end for _, end in encoding.offset_mapping)
    else:
        end = len(tokenizer.decode(encoding.input_ids, skip_special_tokens=True))
    return end, len(encoding.input_ids) - special_count, len(full_encoding.input_ids) - special_count
