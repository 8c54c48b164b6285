"""Loaded by schemathesis (tests/contract/test_openapi.py): what it takes for wrong in forms, and is not.

An empty list or object breaks a schema that wants a number, but a form has no way to send one: the field is not there
at all, and the request that arrives is a good one.
"""

from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure


@schemathesis.hook
def filter_failure(
    _context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case[Any], _response: schemathesis.Response
) -> bool:
    """Whether a failure is one."""
    if not isinstance(failure, AcceptedNegativeData) or not isinstance(case.body, dict):
        return True
    return case.media_type != "multipart/form-data" or not any(value in ([], {}) for value in case.body.values())
