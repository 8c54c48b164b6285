"""The bytes of a picture do not depend on its batch, whatever kernels a CPU has: oneDNN and ATen are held back."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import core
from tests.processes import python
from worker.generators.unclip.precision import HAS_BFLOAT16

ROOT = Path(core.__file__).parent.parent
KERNELS = {
    "own": {},
    "sse41": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "bf16": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
}
"""More than a CPU has is ignored."""


def drawn(dtype: str, kernels: dict[str, str]) -> Any:
    """What a process with these kernels says of pictures drawn alone and in batches."""
    command = python("-m", "tests.model.drawn_together", dtype, "2", "128", "2,5")
    done = subprocess.run(command, cwd=ROOT, env=os.environ | kernels, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kernels", ["own", "sse41", "avx2", "avx512"])
def test_in_single_precision_pictures_alone_are_those_of_batches(kernels: str) -> None:
    assert drawn("float32", KERNELS[kernels]) == {"dtype": "float32", "different": []}


@pytest.mark.parametrize("kernels", ["own", "avx512", "bf16"])
def test_in_the_arithmetic_of_this_cpu_pictures_alone_are_those_of_batches(kernels: str) -> None:
    assert drawn("auto", KERNELS[kernels]) == {"dtype": "bfloat16" if HAS_BFLOAT16 else "float32", "different": []}


def test_with_weights_in_bfloat16_pictures_alone_are_those_of_batches() -> None:
    assert drawn("bfloat16", KERNELS["own"]) == {"dtype": "bfloat16", "different": []}
