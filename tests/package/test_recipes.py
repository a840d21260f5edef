"""The recipes of docs/recipes.md on two processes: each gives the bits of the function over all rows.

The recipes run as written; they assert the same, and that other ways give another value.
"""

import os
import re
from itertools import chain
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.support import ROOT
from tests.support.helpers import assert_same_bits
from tests.support.processes import ProcessPool
from torchdivergence.functional import kl_divergence

COMMON = "# Beside other tools"
RECIPES = ["A loop in plain torch", "Hugging Face Trainer", "Accelerate", "Ignite"]
SINGLE_PROCESS = "The wrappers of torchmetrics"  # tested in metrics/test_wrappers.py


def blocks(page: str = "recipes.md") -> dict[str, list[str]]:
    """The Python blocks of each section."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    sections = (section.partition("\n") for section in re.split("^## ", text, flags=re.MULTILINE))
    return {title: re.findall("^```python\n(.*?)^```$", body, re.DOTALL | re.MULTILINE) for title, _, body in sections}


def run_recipe(recipe: str) -> tuple[int, list[Tensor], list[Tensor]]:
    """The number of processes, p and q, and the value of each block, after the recipe ran on a rank."""
    rank, size = dist.get_rank(), dist.get_world_size()
    # the environment that a launcher sets, and for Accelerate the number of threads
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "OMP_NUM_THREADS": 1}
    os.environ.update({name: str(value) for name, value in environment.items()})
    namespace: dict[str, Any] = {}
    values: list[Tensor] = []
    for block in blocks()[COMMON] + blocks()[recipe]:
        exec(block, namespace)
        values += [torch.as_tensor(namespace.pop("value"), dtype=torch.float64)] if "value" in namespace else []
    return namespace["world"], list(namespace["everything"]), values


def run_page(page: str) -> dict[str, float]:
    """The values that a page gives in the end, after all its blocks ran on a rank."""
    namespace: dict[str, Any] = {}
    for block in chain.from_iterable(blocks(page).values()):
        exec(block, namespace)
    values: dict[str, float] = namespace["values"]
    return values


def test_a_recipe_without_logits_gives_the_bits_of_one_process_on_two(two_processes: ProcessPool) -> None:
    page = "without_logits.md"
    for values in two_processes.run(run_page, [page] * two_processes.size):
        assert values == run_page(page)


def test_every_recipe_is_tested() -> None:
    assert {title for title, found in blocks().items() if found} == {COMMON, *RECIPES, SINGLE_PROCESS}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_gives_the_bits_of_the_function_on_two_processes(two_processes: ProcessPool, recipe: str) -> None:
    for world, (p, q), values in two_processes.run(run_recipe, [recipe] * two_processes.size):
        assert world == two_processes.size == 2
        assert values
        for value in values:
            assert_same_bits(value, kl_divergence(p, q, log_prob=True))
