"""JSON from clients is bounded before it is validated, whatever it contains."""

import json

from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidRequest
from core.requests.structure import MAX_KEYS, MAX_LEVELS, MAX_SEPARATORS, load_json


def reason(content: bytes) -> str:
    try:
        load_json(content)
    except InvalidRequest as error:
        return error.message.removeprefix("The body ")
    return "valid"


def test_a_text_at_each_bound_is_read_and_one_beyond_it_is_not() -> None:
    keys = {str(n): 0 for n in range(MAX_KEYS + 1)}
    too_deep = f"has more than {MAX_LEVELS} lists and objects inside each other."
    assert [
        reason(json.dumps([0] * MAX_SEPARATORS).encode()),
        reason(json.dumps([0] * (MAX_SEPARATORS + 1)).encode()),
        reason(b"[" * MAX_LEVELS + b"]" * MAX_LEVELS),
        reason(b"[" * (MAX_LEVELS + 1) + b"]" * (MAX_LEVELS + 1)),
        reason(b'{"a":' * (MAX_LEVELS + 1) + b"0" + b"}" * (MAX_LEVELS + 1)),
        reason(b"[" * MAX_SEPARATORS),
        reason(json.dumps({name: 0 for name in list(keys)[1:]}).encode()),
        reason(json.dumps(keys).encode()),
        reason(b"9" * 4300),
        reason(b"9" * 4301),
        reason(b'"\\ud83d\\udc27"'),
        reason(b'"\\ud83d"'),
        reason(b'{"\\udc27": 0}'),
    ] == [
        "valid",
        f"has more than {MAX_SEPARATORS} commas and opening brackets.",
        "valid",
        too_deep,
        too_deep,
        too_deep,
        "valid",
        f"has an object with more than {MAX_KEYS} keys.",
        "valid",
        "is not valid JSON: a number has too many digits.",
        "valid",
        "is not valid JSON: a surrogate of a hex escape has no other half.",
        "is not valid JSON: a surrogate of a hex escape has no other half.",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=20,
)


@given(JSON)
def test_valid_json_is_read_as_it_is(value: object) -> None:
    content = json.dumps(value)
    if reason(content.encode()) == "valid":
        assert load_json(content.encode()) == value
    else:
        assert "inside each other" in reason(content.encode())


@given(st.binary() | st.text(alphabet='{}[]":,\\ud0aN-.e1 ').map(str.encode))
def test_whatever_is_sent_is_a_value_or_a_refusal(content: bytes) -> None:
    reason(content)
