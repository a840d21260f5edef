"""DTensors on two processes: the values, gradients and second derivatives of the whole tensors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from tests.support.divergences import DIVERGENCES, ENTROPY, HELLINGER, KL, TOTAL_VARIATION, Divergence, renyi
from tests.support.processes import ProcessPool
from tests.support.textbook import LOGITS, PROBABILITIES, Case, assert_close, assert_equal, gradients, leaves

SHAPE = 4, 2, 6
FIRST = "first batch dimension"
PLACEMENTS: dict[str, tuple[Placement, Placement, Placement | None]] = {  # of p, of q, and of the values
    FIRST: (Shard(0), Shard(0), Shard(0)),
    "second batch dimension": (Shard(1), Shard(1), Shard(1)),
    "replicated": (Replicate(), Replicate(), Replicate()),
    "classes": (Shard(2), Shard(2), None),
    "rows and classes": (Shard(0), Shard(2), None),
    "different dimensions": (Shard(0), Shard(1), None),
    "one side replicated": (Shard(0), Replicate(), None),
}
SCALES = {"logits": LOGITS, "probabilities": PROBABILITIES}
SOME = [KL, TOTAL_VARIATION, HELLINGER, ENTROPY, renyi(2)]
"""Where numbers lie does not depend on the formula: all divergences take one placement, and these take all."""


def distributed(x: Tensor, placement: Placement) -> Any:
    """Every process has the whole tensor and takes its part: without the messages of ``distribute_tensor``."""
    mesh = init_device_mesh("cpu", (2,))
    part = x.chunk(2, placement.dim)[mesh.get_local_rank()] if isinstance(placement, Shard) else x
    return DTensor.from_local(part.contiguous(), mesh, [placement], run_check=False)


def whole(x: Any) -> Tensor:
    return x.full_tensor() if isinstance(x, DTensor) else x


def for_each(divergences: list[Divergence], job: Callable[..., None], *args: Any) -> None:
    for divergence in divergences:
        for scale in SCALES:
            try:
                job(divergence, scale, *args)
            except Exception as error:
                raise AssertionError(f"{divergence} of {scale}: {error}") from error


def check_values(divergence: Divergence, scale: str, name: str) -> None:
    case, (place_p, place_q, place) = SCALES[scale], PLACEMENTS[name]
    p, q = case.rows(*SHAPE)
    values = case.ours(divergence)(distributed(p, place_p), distributed(q, place_q))
    assert isinstance(values, DTensor)
    assert place is None or values.placements == (place,)
    assert_equal(values.full_tensor(), case.ours(divergence)(p, q))


def check_reductions(divergence: Divergence, scale: str, name: str) -> None:
    place_p, place_q, _ = PLACEMENTS[name]
    log_prob = SCALES[scale].log_prob
    p, q = SCALES[scale].rows(*SHAPE)
    for reduction in ("mean", "sum", "batchmean"):
        function = Case(log_prob, {"reduction": reduction}).ours(divergence)
        value = function(distributed(p, place_p), distributed(q, place_q))
        assert_equal(whole(value), function(p, q))


def check_weights(divergence: Divergence, scale: str) -> None:
    case = Case(SCALES[scale].log_prob, {"reduction": "mean"})
    tensors = *case.rows(*SHAPE), torch.arange(8.0, dtype=torch.float64).view(4, 2) / 3
    for placement in (Shard(0), Shard(1), Replicate()):
        p, q, weights = (distributed(x, placement).requires_grad_() for x in tensors)
        value = case.ours(divergence)(p, q, weights=weights)
        variables = leaves(*tensors)
        expected = case.ours(divergence)(*variables[:2], weights=variables[2])
        assert_equal(whole(value).detach(), expected.detach())
        check_gradients_of(value, [p, q, weights], expected, variables)


def check_gradients_of(value: Tensor, inputs: list[Tensor], expected: Tensor, variables: list[Tensor]) -> None:
    found = torch.autograd.grad(value.sum(), inputs, allow_unused=True)
    for grad, of_whole in zip(found, gradients(expected, variables), strict=True):
        assert_close(torch.zeros_like(of_whole) if grad is None else whole(grad), of_whole, 1e-14)


def check_gradients(divergence: Divergence, scale: str, name: str) -> None:
    place_p, place_q, _ = PLACEMENTS[name]
    rows = SCALES[scale].rows(*SHAPE)
    for reduction in ("none", "mean"):
        function = Case(SCALES[scale].log_prob, {"reduction": reduction}).ours(divergence)
        inputs = [distributed(x, place).requires_grad_() for x, place in zip(rows, (place_p, place_q), strict=True)]
        variables = leaves(*rows)
        check_gradients_of(function(*inputs).square(), inputs, function(*variables).square(), variables)


def check_second_derivatives(divergence: Divergence, scale: str, placement: Placement) -> None:
    function, rows = SCALES[scale].ours(divergence), SCALES[scale].rows(*SHAPE)

    def second(inputs: list[Any]) -> Tensor:
        (grad,) = torch.autograd.grad(function(*inputs).sum(), inputs[0], create_graph=True)
        if not grad.requires_grad:
            return torch.zeros_like(rows[0])
        return whole(torch.autograd.grad(grad.square().sum(), inputs[0])[0])

    assert_close(second([distributed(x, placement).requires_grad_() for x in rows]), second(leaves(*rows)), 1e-12)


def check_partial(divergence: Divergence, scale: str) -> None:
    p, q = SCALES[scale].rows(*SHAPE)
    halves = DTensor.from_local(p / 2, init_device_mesh("cpu", (2,)), [Partial()])
    values = SCALES[scale].ours(divergence)(halves, distributed(q, Shard(0)))
    assert_equal(whole(values), SCALES[scale].ours(divergence)(p, q))


def check_inference_mode(divergence: Divergence, scale: str) -> None:
    p, q = SCALES[scale].rows(*SHAPE)
    with torch.inference_mode():
        values = SCALES[scale].ours(divergence)(distributed(p.clone(), Shard(0)), distributed(q.clone(), Shard(0)))
        assert_equal(whole(values), SCALES[scale].ours(divergence)(p, q))


def check_dim(divergence: Divergence, scale: str) -> None:
    p, q = (x.movedim(-1, 1) for x in SCALES[scale].rows(*SHAPE))
    log_prob = SCALES[scale].log_prob
    for placement in (Shard(0), Shard(1), Shard(2)):
        values = divergence.rows(distributed(p, placement), distributed(q, placement), log_prob, dim=1)
        assert_equal(whole(values), divergence.rows(p, q, log_prob, dim=1))


def run(pool: ProcessPool, check: Callable[..., None], *args: Any) -> None:
    divergences = DIVERGENCES if args == (FIRST,) else SOME
    pool.run(for_each, [divergences] * 2, [check] * 2, *([x] * 2 for x in args))


placements = pytest.mark.parametrize("name", PLACEMENTS)


@placements
def test_sharded_rows_have_the_bits_of_whole_ones(two_processes: ProcessPool, name: str) -> None:
    run(two_processes, check_values, name)


@pytest.mark.parametrize("name", [FIRST, "replicated", "rows and classes"])
def test_reductions_of_sharded_rows_have_the_bits_of_whole_ones(two_processes: ProcessPool, name: str) -> None:
    run(two_processes, check_reductions, name)


@pytest.mark.parametrize("name", [FIRST, "second batch dimension", "classes", "one side replicated"])
def test_gradients_of_sharded_rows_are_those_of_whole_ones(two_processes: ProcessPool, name: str) -> None:
    run(two_processes, check_gradients, name)


@pytest.mark.parametrize("placement", [Shard(0), Shard(2)], ids=str)
def test_second_derivatives_of_sharded_rows_are_those_of_whole_ones(
    two_processes: ProcessPool, placement: Placement
) -> None:
    run(two_processes, check_second_derivatives, placement)


def test_weights_may_be_sharded_and_have_gradients(two_processes: ProcessPool) -> None:
    run(two_processes, check_weights)


def test_partial_sums_of_p_are_added_before_its_rows_are_read(two_processes: ProcessPool) -> None:
    run(two_processes, check_partial)


def test_sharded_rows_of_inference_mode_have_the_same_bits(two_processes: ProcessPool) -> None:
    run(two_processes, check_inference_mode)


def test_the_classes_of_sharded_rows_may_be_in_any_dimension(two_processes: ProcessPool) -> None:
    run(two_processes, check_dim)
