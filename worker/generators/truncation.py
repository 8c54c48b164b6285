"""Where a prompt ends for a model: what its tokenizers leave out, in words that a client can act on.

A prompt is cut when every text encoder of a pipeline reads less than all of it; where one reads on, nothing is lost.
"""

from collections.abc import Mapping
from typing import Any, Final

from transformers import CLIPTokenizer, PreTrainedTokenizerBase

from core.generation import Notice
from worker.generators.parameters import parameters

_SHOWN: Final = 30
"""Characters of the prompt that are shown before the place where it is cut."""


def truncated(pipe: Any, options: Mapping[str, Any], prompt: str, param: str) -> Notice | None:
    """A notice about a prompt that the model does not read to its end; None for one that it does.

    options: of the call, for some set max_sequence_length. param: the field of the request that holds the prompt.
    """
    tokenizers = [part for part in pipe.components.values() if isinstance(part, PreTrainedTokenizerBase)]
    cuts = [_cut(tokenizer, _room(tokenizer, pipe, options), prompt) for tokenizer in tokenizers]
    if not cuts or None in cuts:
        return None
    end, kept, total = max(cut for cut in cuts if cut is not None)
    shown = prompt[:end].rstrip()
    last = shown if len(shown) <= _SHOWN else "…" + shown[-_SHOWN:].partition(" ")[2].strip()
    if last == "…":
        last = f"…{shown[-_SHOWN:]}"
    message = f"The model reads {kept} of the {total} tokens of {param}, up to “{last}”; it does not see the rest."
    return Notice("prompt_truncated", message, param)


def _room(tokenizer: PreTrainedTokenizerBase, pipe: Any, options: Mapping[str, Any]) -> int:
    """Tokens that are read at most, special ones included. CLIP's number is fixed, that of the others an argument."""
    room: int = tokenizer.model_max_length
    parameter = parameters(pipe).get("max_sequence_length")
    if parameter is None or isinstance(tokenizer, CLIPTokenizer):
        return room
    return min(room, int(options.get("max_sequence_length", parameter.default) or room))


def _cut(tokenizer: PreTrainedTokenizerBase, room: int, prompt: str) -> tuple[int, int, int] | None:
    """Characters read, tokens read, and tokens in all, special ones left out; None if all of the prompt is read."""
    whole = tokenizer(prompt, return_offsets_mapping=tokenizer.is_fast)
    if len(whole.input_ids) <= room:
        return None
    special = tokenizer.num_special_tokens_to_add()
    cut = tokenizer(prompt, truncation=True, max_length=room, return_offsets_mapping=tokenizer.is_fast)
    if tokenizer.is_fast:
        end = max(end for _, end in cut.offset_mapping)
    else:
        end = len(tokenizer.decode(cut.input_ids, skip_special_tokens=True))
    return end, len(cut.input_ids) - special, len(whole.input_ids) - special
