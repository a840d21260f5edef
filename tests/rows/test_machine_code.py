"""The cost of a class in the Triton kernels, by their machine code: no GPU is needed to compile them."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("triton", minversion="3.3", reason="older versions compile by other names")

from tests.support.machine_code import ARCHITECTURES, CASES, COUNTS

LONG, SHORT, GRADIENTS = CASES[1], CASES[5], CASES[10]
MARGIN = 1.1
"""Other versions of Triton may need as many more instructions."""


@pytest.fixture(scope="module")
def found() -> Any:
    """The counts of both kernels. The first pass of a kernel for all terms is that of the one for KL."""
    wanted = [
        *(f"{CASES.index(LONG)}:{x}" for x in ARCHITECTURES),
        *(f"{CASES.index(x)}:90" for x in (SHORT, GRADIENTS)),
    ]
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.support.machine_code", *wanted]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(output.stdout)


def test_no_kernel_needs_more_instructions_than_the_table_says(found: Any) -> None:
    expected = json.loads(COUNTS.read_text())
    for case, architectures in found.items():
        for architecture, parts in architectures.items():
            for part, limit in zip(parts, expected[case][architecture], strict=True):
                assert part["all"] <= MARGIN * limit["all"], (case, architecture)
                assert part["special"] <= MARGIN * limit["special"], (case, architecture)


def test_inner_loops_read_16_bytes_at_once_and_have_no_fp64_local_memory_or_exchange(found: Any) -> None:
    for architecture, loops in found[str(LONG)].items():
        assert len(loops) == 2, "one for each reading of a row"
        for loop in loops:
            assert loop["loads"] == ["LDG.E.128"], architecture
            assert loop["fp64"] == loop["local"] == loop["exchange"] == 0, architecture


def test_short_rows_keep_no_number_in_local_memory(found: Any) -> None:
    [program] = found[str(SHORT)]["sm_90"]
    assert program["local"] == 0


def test_gradients_are_read_and_written_16_bytes_at_once_in_one_loop(found: Any) -> None:
    [loop] = found[str(GRADIENTS)]["sm_90"]
    assert (loop["loads"], loop["stores"]) == (["LDG.E.128"], ["STG.E.128"])
    assert loop["fp64"] == loop["local"] == loop["exchange"] == 0
