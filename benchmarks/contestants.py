"""What is compared: functions of two tensors of logits ``[rows, classes]`` that give the KL of each row.

The two limits compute no divergence. They do a part that every implementation has to do, by torch's own operators.
"""

import importlib
import os
import shutil
import warnings
from collections.abc import Callable

import torch
import torchmetrics
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from torchdivergence.functional import kl_divergence

Contestant = Callable[[Tensor, Tensor], Tensor]

OURS, TORCH, TORCHMETRICS = "torchdivergence", "F.kl_div", "torchmetrics"
COMPILED, LIGER = "F.kl_div, compiled", "Liger"
EXP, READ = "limit: exp of both", "limit: one read of both"

_PIECE = 1 << 16


def ours(p: Tensor, q: Tensor) -> Tensor:
    return kl_divergence(p, q, log_prob=True, reduction="none")


def torch_kl(p: Tensor, q: Tensor) -> Tensor:
    return F.kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="none").sum(-1)


def torchmetrics_kl(p: Tensor, q: Tensor) -> Tensor:
    return torchmetrics.functional.kl_divergence(p.softmax(-1), q.softmax(-1), reduction="none")


def exp_of_both(p: Tensor, q: Tensor) -> Tensor:
    """Every exponential once, into a buffer that stays in the cache."""
    buffer = p.new_empty(_PIECE)
    for x in (p, q):
        for piece in torch.split(x.view(-1), _PIECE):
            torch.exp(piece, out=buffer[: len(piece)])
    return buffer


def read_both(p: Tensor, q: Tensor) -> Tensor:
    return p.sum() + q.sum()


LIBRARIES: dict[str, Contestant] = {OURS: ours, TORCH: torch_kl, TORCHMETRICS: torchmetrics_kl}
LIMITS: dict[str, Contestant] = {EXP: exp_of_both, READ: read_both}


def compiled() -> dict[str, Contestant]:
    """``F.kl_div`` through ``torch.compile``, which compiles at the first call; empty without a compiler."""
    if not shutil.which(os.environ.get("CXX", "g++")):
        return {}
    torch.compiler.reset()  # otherwise torch gives up compiling after a few shapes
    torch.compiler.config.force_disable_caches = True  # so that a second run reports the same time of compilation
    warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")
    return {COMPILED: torch.compile(torch_kl, dynamic=False)}


def liger() -> dict[str, Contestant]:
    """Liger's kernel after two log-softmaxes, which returns the sum over rows; empty if Liger is not installed."""
    try:
        functional = importlib.import_module("liger_kernel.transformers.functional")
    except ImportError:
        return {}

    def run(p: Tensor, q: Tensor) -> Tensor:
        value: Tensor = functional.liger_kl_div(q.log_softmax(-1), p.log_softmax(-1), reduction="sum", log_target=True)
        return value

    return {LIGER: run}


def gradient_in_q(contestant: Contestant) -> Contestant:
    """Forward and backward: the gradient that a student gets."""

    def run(p: Tensor, q: Tensor) -> Tensor:
        q = q.detach().requires_grad_()
        return torch.autograd.grad(contestant(p, q).sum(), q)[0]

    return run
