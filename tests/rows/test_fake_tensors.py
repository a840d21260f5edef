"""Meta tensors and fake tensors: values and derivatives of the right shape, dtype and device."""

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from tests.support.cases import each
from tests.support.divergences import (
    Divergence,
    every_divergence,
)
from tests.support.graphs import quiet
from tests.support.textbook import (
    Case,
    every_scale,
    gradients,
)

pytestmark = quiet


SHAPES = {"none": (2, 3), "mean": (), "sum": (), "batchmean": ()}


@every_divergence
@every_scale
@each("reduction", ["none", "mean"])
def test_meta_tensors_have_values_and_derivatives_of_the_right_shape(
    divergence: Divergence, case: Case, reduction: str
) -> None:
    function = Case(case.log_prob, {"reduction": reduction}).ours(divergence)
    for is_weighted in (False, True):
        inputs = [x.to("meta").requires_grad_() for x in case.rows(2, 3, 4, dtype=torch.bfloat16)]
        inputs += [torch.empty(2, 3, device="meta").requires_grad_()] if is_weighted else []
        value = function(*inputs[:2], weights=inputs[2] if is_weighted else None)
        assert (value.shape, value.dtype, value.device.type) == (SHAPES[reduction], torch.float64, "meta")
        grads = gradients(value, inputs, create_graph=True)
        for x, g in zip(inputs, grads, strict=True):
            assert (g.shape, g.dtype, g.device) == (x.shape, x.dtype, x.device)
        assert [x.shape for x in gradients(grads[0], inputs)] == [x.shape for x in inputs]


@every_divergence
@every_scale
def test_fake_tensors_have_values_of_the_right_shape(divergence: Divergence, case: Case) -> None:
    for reduction, shape in SHAPES.items():
        function = Case(case.log_prob, {"reduction": reduction}).ours(divergence)
        with FakeTensorMode():
            p, q = (torch.empty(2, 3, 4, dtype=torch.float16, requires_grad=True) for _ in range(2))
            weights = torch.empty(3)
            values = [function(p, q), function(p, q, weights=weights)]
            grads = gradients(values[1], [p, q])
        values.append(function(p, q, weights=weights))  # the mode is not needed
        for value in values:
            assert isinstance(value, FakeTensor)
            assert (value.shape, value.dtype, value.device.type) == (shape, torch.float64, "cpu")
        assert all(isinstance(g, FakeTensor) and g.shape == p.shape and g.dtype == p.dtype for g in grads)
