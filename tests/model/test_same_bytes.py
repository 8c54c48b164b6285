"""The bytes of an image do not depend on its batch, whatever kernels a CPU has: oneDNN and ATen are restricted here.

In this CPU's own arithmetic a story checks it through the API with each run (tests/story/test_bundled_model.py).
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import core
from tests.processes import python
from worker.generators.unclip.precision import HAS_BFLOAT16

pytestmark = pytest.mark.slow

ROOT = Path(core.__file__).parent.parent
KERNELS = {
    "own": {},
    "sse41": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
"""A restriction to more than the CPU has is ignored."""


def comparison(dtype: str, kernels: str) -> Any:
    """The output of `same_bytes` in a process with these kernels."""
    command = python("-m", "tests.model.same_bytes", dtype, "2", "128", "2,3")
    process = subprocess.run(command, cwd=ROOT, env=os.environ | KERNELS[kernels], text=True, capture_output=True)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_in_single_precision_images_alone_are_those_of_batches() -> None:
    assert comparison("float32", "sse41") == {"dtype": "float32", "different": []}


@pytest.mark.parametrize("kernels", ["own", "avx512"])
def test_in_the_arithmetic_of_this_cpu_images_alone_are_those_of_batches(kernels: str) -> None:
    result: dict[str, Any] = {"dtype": "bfloat16" if HAS_BFLOAT16 else "float32", "different": []}
    assert comparison("auto", kernels) == result


def test_with_weights_in_bfloat16_images_alone_are_those_of_batches() -> None:
    assert comparison("bfloat16", "own") == {"dtype": "bfloat16", "different": []}
