"""The header of a table: which column is which parameter.

Names are read without regard to case, spaces and hyphens. A column that is no parameter is an error of the header,
once, or becomes metadata of the jobs.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from core.batches.line_errors import end, message_error
from core.batches.requests import JOBS_ENDPOINT, OPERATIONS
from core.batches.transitions import LineError
from core.errors import MissingParameter, UnknownParameter
from core.images.postprocess import Postprocess
from core.requests.job import JobRequest, models_in
from core.requests.openai import REQUESTS
from core.text import check_printable, quote

MAX_COLUMNS = 200
"""Columns of a table. There are some forty parameters, and the entries of `metadata`."""

MAX_METADATA = 16
MAX_KEY_CHARS = 64
CUSTOM_ID = "custom_id"

SYNONYMS = {
    "prompt": "prompts text texts description caption title positive_prompt image_prompt beschreibung beschreibungen "
    "texte texto descripcion descripción description_image descrizione testo 提示词 提示 描述 プロンプト 프롬프트",
    "custom_id": "id key name filename file_name file image_name nr no number_of_line 编号",
    "n": "count number quantity images num_images number_of_images amount anzahl nombre cantidad 数量",
    "size": "resolution dimensions width height aspect_ratio image_size größe groesse grösse taille tamaño 尺寸",
    "negative_prompt": "negative negativ negativeprompt 负面提示词",
    "guidance_scale": "cfg cfg_scale guidance",
    "steps": "num_steps num_inference_steps sampling_steps schritte",
    "scheduler": "sampler sampler_name",
    "output_format": "format file_format",
    "strength": "denoising_strength",
    "model": "model_name model_id engine modell modèle modelo",
    "seed": "random_seed noise_seed",
}
"""Names that people give to parameters. They are not accepted, as two might mean the same; the error offers ours."""

_OWN_NAMES = {word: name for name, words in SYNONYMS.items() for word in words.split()}


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a table: for each the parameter (with a dot: a field of an object), or "" for none.

    without_name: indexes of columns whose cell in the header is empty. errors: what is wrong with the header.
    """

    names: Sequence[str]
    without_name: frozenset[int] = frozenset()
    errors: Sequence[LineError] = ()
    has_no_prompt: bool = False
    decimals: frozenset[str] = frozenset()  # parameters that are decimal numbers


class HeaderReader:
    """Reads headers for the lines of an endpoint.

    shared_parameters: parameters of the batch. keep_columns: whether columns that are no parameters become metadata.
    """

    def __init__(self, endpoint: str, shared_parameters: Mapping[str, Any], *, keep_columns: bool = False) -> None:
        self._endpoint = endpoint
        self._shared_parameters = shared_parameters
        self._keep_columns = keep_columns
        self._model: type[BaseModel] = JobRequest if endpoint == JOBS_ENDPOINT else REQUESTS[OPERATIONS[endpoint]]
        self._fields = self._model.model_fields

    def count_names(self, cells: Sequence[str]) -> int:
        """The number of cells that name a parameter, among the first MAX_COLUMNS."""
        return sum(self._parameter(cell) is not None for cell in cells[:MAX_COLUMNS])

    def is_header(self, cells: Sequence[str]) -> bool:
        """Whether a line is a header without doubt: it names `prompt`, or two parameters and nothing long."""
        cells = cells[:MAX_COLUMNS]  # a line may have half a million cells
        names = {self._parameter(cell) for cell in cells} - {None}
        return "prompt" in names or (len(names) >= 2 and all(len(cell) <= MAX_KEY_CHARS for cell in cells))

    def may_be_header(self, cells: Sequence[str]) -> bool:
        """Whether a cell of a line is a name of a parameter, or close to one."""
        cells = cells[:MAX_COLUMNS]
        return any(self._parameter(cell) is not None or self._nearest(cell) is not None for cell in cells)

    def read(self, number: int, cells: Sequence[str]) -> Header:
        """The header, with what is wrong with it. Raises EndOfReading if its columns cannot be told apart."""
        columns = [cell.strip() for cell in cells]
        while columns and not columns[-1]:
            columns.pop()
        if len(columns) > MAX_COLUMNS:
            end(number, f"The header names {len(columns)} columns; at most {MAX_COLUMNS} are allowed.")
        names = [self._parameter(column) or "" for column in columns]
        unknown = [index for index, name in enumerate(names) if columns[index] and not name]
        if self._keep_columns:
            for index in unknown:
                names[index] = f"metadata.{columns[index]}"
        _check_names(number, names)
        errors = [*self._unknown_errors(number, [columns[index] for index in unknown])]
        has_no_prompt = self._has_no_prompt(names)
        if has_no_prompt:
            message = self._explain_no_prompt([columns[index] for index in unknown])
            errors.append(message_error(number, message, MissingParameter.code, "prompt"))
        errors += _metadata_errors(number, names)
        names = _valid_names(names)  # so that the errors are not repeated for each row
        without_name = frozenset(index for index, column in enumerate(columns) if not column)
        decimals = frozenset(name for name in names if self._is_decimal(name))
        return Header(names, without_name, errors, has_no_prompt, decimals)

    def _explain_no_prompt(self, columns: Sequence[str]) -> str:
        column = next((column for column in columns if self._nearest(column) == "prompt"), None)
        cure = "" if column is None else f" Rename the column {quote(column)} to prompt."
        return f"The header has no column named prompt.{cure} Nothing after it was read."

    def _parameter(self, cell: str) -> str | None:
        """The parameter that a cell names; None: none."""
        outer, dot, inner = cell.strip().partition(".")
        name = _normalize(outer)
        if not dot:
            return name if name in self._fields or name == CUSTOM_ID else None
        if name not in self._fields:
            return None
        if name == "metadata":
            return f"metadata.{inner}"
        inner_name = _normalize(inner.partition(".")[0])
        inner_fields = {key for model in models_in(self._fields[name].annotation) for key in model.model_fields}
        return f"{name}.{inner_name}" if inner_name in inner_fields else None

    def _nearest(self, cell: str) -> str | None:
        """The parameter that a cell may mean, by a usual other name or a typing error."""
        name = _normalize(cell)
        if (own_name := _OWN_NAMES.get(name)) is not None:
            return own_name if own_name in self._fields or own_name == CUSTOM_ID else None
        matches = difflib.get_close_matches(name, [*self._fields, CUSTOM_ID], 1, 0.8) if len(name) <= 40 else []
        return matches[0] if matches else None

    def _unknown_errors(self, number: int, columns: Sequence[str]) -> Iterator[LineError]:
        if not columns or self._keep_columns:
            return
        texts = []
        for column in columns[:10]:
            nearest = self._nearest(column)
            texts.append(quote(column) + ("" if nearest is None else f" (do you mean {nearest}?)"))
        remainder = f" and {len(columns) - 10} more" if len(columns) > 10 else ""
        is_one = len(columns) == 1
        yield message_error(
            number,
            f"The column{'' if is_one else 's'} {', '.join(texts)}{remainder} {'is' if is_one else 'are'} no "
            f"parameter{'' if is_one else 's'}: rename or delete {'it' if is_one else 'them'}, or keep such columns as "
            "metadata of the jobs with extra_columns=metadata (`safelight batch --keep-columns`). "
            f"Known are: {', '.join(self._column_names())}.",
            UnknownParameter.code,
            columns[0],
        )

    def _has_no_prompt(self, names: Sequence[str]) -> bool:
        """Whether a table has no prompts although each line needs one."""
        if "prompt" in names or "prompt" not in self._fields or "prompt" in self._shared_parameters:
            return False
        if self._endpoint == JOBS_ENDPOINT:  # it may have variations
            return not any(name == "operation" or name.startswith("image") for name in names)
        return OPERATIONS[self._endpoint] != "variation"

    def _column_names(self) -> Iterator[str]:
        """The names of columns for people: without parameters that a cell cannot hold."""
        yield CUSTOM_ID
        for name, field in self._fields.items():
            if name == "metadata":
                yield "metadata.<key>"
            elif name not in ("stream", "partial_images", "dry_run", "webhook") and not any(
                models_in(field.annotation)
            ):
                yield name
        yield from (f"postprocess.{name}" for name in Postprocess.model_fields)

    def _is_decimal(self, name: str) -> bool:
        outer, dot, _ = name.partition(".")
        if not dot:
            field = self._fields.get(outer)
            return field is not None and float in (field.annotation, *get_args(field.annotation))
        return outer == "postprocess"


def _normalize(name: str) -> str:
    """A name of a column as names of parameters are written: `Negative Prompt` is `negative_prompt`."""
    return re.sub(r"[\s_-]+", "_", name.strip().strip("\"'").strip().casefold())


def _check_names(number: int, names: Sequence[str]) -> None:
    known_names = [name for name in names if name]
    if not known_names:
        return
    if duplicates := {name for name in known_names if known_names.count(name) > 1}:
        end(number, f"The column {quote(min(duplicates))} appears twice.")
    if conflicts := {name for name in known_names if "." in name and name.partition(".")[0] in known_names}:
        name = min(conflicts)
        end(number, f"The columns {quote(name.partition('.')[0])} and {quote(name)} must not both be set.")


def _metadata_errors(number: int, names: Sequence[str]) -> Iterator[LineError]:
    """The bounds of metadata, once for the file."""
    keys = [name.partition(".")[2] for name in names if name.startswith("metadata.")]
    if len(keys) > MAX_METADATA:
        yield message_error(
            number,
            f"The table has {len(keys)} columns for metadata; a job has at most {MAX_METADATA} entries. "
            "Delete columns that you do not need.",
            param="metadata",
        )
    for key in keys:
        if not _is_key(key):
            yield message_error(
                number,
                f"The column {quote(key)} cannot be metadata: a key has 1 to {MAX_KEY_CHARS} printable characters.",
                param="metadata",
            )


def _valid_names(names: Sequence[str]) -> list[str]:
    """The names without columns of metadata that are beyond its bounds."""
    count, valid_names = 0, list[str]()
    for name in names:
        outer, _, key = name.partition(".")
        is_metadata = outer == "metadata" and name != outer
        is_valid = not is_metadata or (_is_key(key) and count < MAX_METADATA)
        count += is_metadata and is_valid
        valid_names.append(name if is_valid else "")
    return valid_names


def _is_key(key: str) -> bool:
    return 0 < len(key) <= MAX_KEY_CHARS and _is_printable(key)


def explain_no_header(cells: Sequence[str]) -> str:
    """The message about a table without a header, from its first line."""
    quotes = ", ".join(quote(cell) for cell in cells[:3])
    is_one = len(cells) == 1
    return (
        f"The first line is no header: {quotes} {'is no name' if is_one else 'are no names'} of parameters. Add a line "
        f"above it that names the columns, such as {'prompt' if is_one else 'prompt,size'}. Nothing was read."
    )


def _is_printable(text: str) -> bool:
    try:
        check_printable(text)
    except ValueError:
        return False
    return True
