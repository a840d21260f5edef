"""Graphs that torch traces, and the package's operators in them."""

import pytest
import torch
from torch import Tensor
from torch.func import grad

from tests.support.divergences import ENTROPY, HELLINGER, KL, TOTAL_VARIATION, alpha, jensen_shannon, renyi
from tests.support.textbook import (
    Case,
    Function,
)
from torchdivergence import _rows as rows_of_the_package

OPERATORS = rows_of_the_package.operators
SOME = [KL, TOTAL_VARIATION, HELLINGER, ENTROPY, jensen_shannon(0.1), alpha(0.5), renyi(2)]
"""One of each kind of formula and parameter, where a compiler takes long for all of them."""


compiles = pytest.mark.usefixtures("fresh_compiler")
# raised by torch when it looks whether its fake tensors are views
quiet = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning")


def targets(graph: torch.fx.Graph) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


def operators_of(graph: torch.fx.Graph) -> list[str]:
    """The names of the package's operators in a graph."""
    return [name.split(".")[1] for name in targets(graph) if name.startswith("torchdivergence.")]


def gradient_in_p(function: Function, q: Tensor) -> Function:
    return grad(lambda x: function(x, q).sum())


def other_rows(case: Case, *shape: int) -> tuple[Tensor, Tensor]:
    return case.rows(*shape, seed=7)
