"""The recipes of docs/recipes.md on two processes: each gives the bits of the function over all rows.

The recipes themselves assert that, and that other ways give another number; here they run as they are written.
"""

import os
import re

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tests.support import ROOT
from tests.support.merge_laws import assert_same_bits
from tests.support.processes import Ranks
from torchdivergence.functional import kl_divergence

COMMON = "# Beside other tools"
RECIPES = ["A loop in plain torch", "Hugging Face Trainer", "Accelerate", "Ignite"]
ALONE = "The wrappers of torchmetrics"  # see metrics/test_wrappers.py


def blocks() -> dict[str, list[str]]:
    """The Python blocks of each section; those before the first are for all."""
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    sections = (section.partition("\n") for section in re.split("^## ", text, flags=re.MULTILINE))
    return {title: re.findall("^```python\n(.*?)^```$", body, re.DOTALL | re.MULTILINE) for title, _, body in sections}


def cooked(recipe: str) -> tuple[int, list[Tensor], list[Tensor]]:
    """What a rank has after the recipe: the number of processes, both distributions, and the value of each block."""
    rank, size = dist.get_rank(), dist.get_world_size()
    # what a launcher tells its processes, and, for Accelerate, how many threads each may have
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "OMP_NUM_THREADS": 1}
    os.environ.update({name: str(value) for name, value in told.items()})
    namespace: dict = {}
    values = []
    for block in blocks()[COMMON] + blocks()[recipe]:
        exec(block, namespace)
        values += [torch.as_tensor(namespace.pop("value"), dtype=torch.float64)] if "value" in namespace else []
    return namespace["world"], list(namespace["everything"]), values


def test_every_recipe_is_tried() -> None:
    assert {title for title, found in blocks().items() if found} == {COMMON, *RECIPES, ALONE}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_gives_two_processes_the_bits_of_the_function_on_all_rows(two_ranks: Ranks, recipe: str) -> None:
    for world, (p, q), values in two_ranks.run(cooked, [recipe] * two_ranks.size):
        assert world == two_ranks.size == 2
        assert values
        for value in values:
            assert_same_bits(value, kl_divergence(p, q, log_prob=True))
