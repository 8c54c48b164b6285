"""The names of a batch's images are valid on every file system, sort as the lines do, and show the prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.batch.output_directory import safe_name
from core.batches.image_names import image_stem, slug


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A cat, sitting on a sofa!", "a-cat-sitting-on-a-sofa"),
        ("  ÜBER die Straße ", "über-die-straße"),
        ("一只坐在沙发上的猫", "一只坐在沙发上的猫"),
        ("夜の街、ネオン", "夜の街-ネオン"),
        ("สุนัขวิ่ง เร็ว", "สุนัขวิ่ง-เร็ว"),
        ("बिल्ली सोफे पर", "बिल्ली-सोफे-पर"),
        ("e\u0301te\u0301", "été"),
        ("../../etc/passwd\0", "etc-passwd"),
        ('a<b>:"/\\|?*\n\t\u202ec', "a-b-c"),
        ("🐈 👍🏽", ""),
        ("", ""),
        ("a very long prompt about a boat that goes on and on", "a-very-long-prompt-about-a-boat-that"),
        ("x" * 500, "x" * 40),
    ],
)
def test_a_slug_is_the_beginning_of_a_prompt_in_any_language(prompt: str, expected: str) -> None:
    assert slug(prompt) == expected


@given(st.text(max_size=600))
def test_a_name_is_short_and_has_no_character_that_a_file_system_refuses(prompt: str) -> None:
    name = image_stem("line-7", prompt) or ""

    assert name.startswith("line-00007")
    assert len(f"{name}-15.png".encode()) < 143
    assert not set(name) & set('<>:"/\\|?* .\0\n')
    assert name == name.strip()


def test_lines_sort_by_their_number_and_own_ids_are_kept_apart() -> None:
    stems = [image_stem(f"line-{number}", "x") or "" for number in (2, 10, 99_999)]

    assert stems == sorted(stems)
    assert image_stem("cat", "x") is None
    assert image_stem("line-007", "x") is None
    assert safe_name("line-00002-x") != stems[0]
