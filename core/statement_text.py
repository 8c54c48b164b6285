"""The text of a statement that is built once and executed with other values each time.

SQLAlchemy computes the key of its cache of texts again for every statement with new values, and psycopg looks for the
parameters in the text again: half of the time of a short statement. Here both are done once. Constants are a part of
the text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg, PGDialect_psycopg

Encode = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class StatementText:
    """A text with `$1`, `$2` for its parameters. parameters: name and encoder of each, in this order."""

    text: bytes
    parameters: Sequence[tuple[str, Encode | None]]

    def bind(self, values: Mapping[str, Any]) -> tuple[bytes, list[Any]]:
        """The text, and the values of its parameters as the driver takes them. Raises KeyError for a missing value."""
        return self.text, [
            values[name] if encode is None or values[name] is None else encode(values[name])
            for name, encode in self.parameters
        ]


class _Compiler(PGCompiler_psycopg):
    """Writes a parameter that has a value as a constant."""

    def visit_bindparam(self, bindparam: sa.BindParameter[Any], *args: Any, **options: Any) -> str:
        if bindparam.required:
            return super().visit_bindparam(bindparam, *args, **options)  # type: ignore[no-any-return,no-untyped-call]  # untyped
        constant: str = super().visit_bindparam(bindparam, *args, **options | {"literal_binds": True})  # type: ignore[no-untyped-call]  # untyped
        kind = bindparam.type.dialect_impl(self.dialect)
        return self.render_bind_cast(bindparam.type, kind, constant) if kind.render_bind_cast else constant  # type: ignore[no-untyped-call]  # untyped


class _Dialect(PGDialect_psycopg):
    statement_compiler = _Compiler
    supports_statement_cache = False


@cache
def text_of(statement: sa.Executable) -> StatementText:
    """The text of a statement. Call it only with statements that are built once: their texts are kept."""
    dialect = _Dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # untyped
    compilation: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every statement is a ClauseElement
    return StatementText(
        str(compilation).encode(),
        [
            (name, _encode_json if isinstance(compilation.binds[name].type, JSONB) else None)
            for name in compilation.positiontup
        ],
    )


def _encode_json(value: Any) -> str:
    """JSON as text, as the driver sends bytes as binary data. Made in Rust: a group of new jobs is mostly this."""
    return to_json(value).decode()
