"""Wrong arguments raise one clear error, the same from functions and metrics."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.divergences import DIVERGENCES, Divergence, alpha, jensen_shannon, renyi
from tests.support.helpers import state_tensors
from torchdivergence import KLDivergence
from torchdivergence.functional import kl_divergence

P = torch.full((2, 3, 4), 0.25)

BAD_TENSORS: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "shapes": (ValueError, r"p is \(2, 3, 4\) and q is \(2, 3, 5\).*slice", {"q": torch.rand(2, 3, 5)}),
    "broadcast": (ValueError, r"q is \(4,\).*expand_as", {"q": torch.rand(4)}),
    "dim": (IndexError, r"dim=3 .* \(2, 3, 4\)", {"dim": 3}),
    "negative dim": (IndexError, "dim=-4", {"dim": -4}),
    "no classes": (ValueError, "at least one class", {"p": torch.rand(2, 0), "q": torch.rand(2, 0)}),
    "scalar": (ValueError, "class dimension", {"p": torch.tensor(1.0), "q": torch.tensor(1.0)}),
    "weights that do not broadcast": (ValueError, r"\(2, 3\) .*\(3, 2\)", {"weights": torch.ones(3, 2)}),
    "weights with too many dimensions": (ValueError, r"\(2, 3\) .*\(1, 2, 3\)", {"weights": torch.ones(1, 2, 3)}),
    "negative weights": (
        ValueError,
        "1 of them are not, for example -1.0",
        {"weights": torch.tensor([1.0, -1.0, 0.0])},
    ),
    "NaN weights": (ValueError, "finite and not negative", {"weights": torch.tensor([1.0, float("nan"), 0.0])}),
    "infinite weights": (ValueError, "finite and not negative", {"weights": torch.tensor([1.0, float("inf"), 0.0])}),
    "complex weights": (TypeError, "complex64", {"weights": torch.ones(3, dtype=torch.complex64)}),
    "weights of another type": (TypeError, "list", {"weights": [1.0, 1.0, 1.0]}),
    "integer logits": (TypeError, "torch.int64.*log_prob=False", {"p": torch.ones(2, 3, 4).long(), "log_prob": True}),
    "bool": (TypeError, "torch.bool", {"p": torch.ones(2, 3, 4).bool()}),
    "complex": (TypeError, "torch.complex64", {"q": torch.ones(2, 3, 4, dtype=torch.complex64)}),
    "a sparse tensor": (TypeError, "dense.*sparse_coo.*to_dense", {"q": P.to_sparse()}),
    "a list": (TypeError, "p must be a tensor, but got list", {"p": [[0.5, 0.5]]}),
    "devices": (ValueError, "p is on cpu and q on meta", {"q": torch.empty(2, 3, 4, device="meta")}),
    "the device of weights": (ValueError, "on meta", {"weights": torch.empty(3, device="meta")}),
}
BAD_SETTINGS: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "reduction": (ValueError, "'mean', 'batchmean', 'sum', 'none', but got 'avg'", {"reduction": "avg"}),
    "log_prob": (TypeError, r"pair \(p, q\) of bools, but got 'yes'", {"log_prob": "yes"}),
    "log_prob of three": (TypeError, "pair", {"log_prob": (True, True, False)}),
    "base": (ValueError, "but got 1", {"base": 1}),
    "base that turns signs round": (ValueError, "above 1", {"base": 0.5}),
    "no reduction": (ValueError, "but got ''", {"reduction": ""}),
    "temperature of nothing": (ValueError, "temperature must be above 0", {"log_prob": True, "temperature": 0}),
    "huge temperature": (ValueError, "temperature must be above 0", {"log_prob": True, "temperature": 10**400}),
    "temperature of another type": (TypeError, "must be a number, but got 'hot'", {"temperature": "hot"}),
    "temperature of probabilities": (ValueError, "both p and q .*log_prob=True", {"temperature": 2.0}),
    "negative base": (ValueError, "above 1 and below inf, but got -2.0", {"base": -2.0}),
    "dim that is no integer": (TypeError, "but got 1.5", {"dim": 1.5}),
}


@pytest.mark.parametrize("case", BAD_TENSORS | BAD_SETTINGS)
def test_functions_refuse_wrong_arguments(case: str) -> None:
    error, message, arguments = (BAD_TENSORS | BAD_SETTINGS)[case]
    with pytest.raises(error, match=message):
        kl_divergence(**{"p": P, "q": P} | arguments)


@pytest.mark.parametrize("case", BAD_TENSORS)
@pytest.mark.parametrize("call", ["update", "forward"])
def test_metrics_refuse_wrong_tensors_and_stay_unchanged(case: str, call: str) -> None:
    error, message, arguments = BAD_TENSORS[case]
    settings = {name: arguments[name] for name in ("dim", "log_prob") if name in arguments}
    tensors = {"p": P, "q": P} | {name: value for name, value in arguments.items() if name not in settings}
    metric = KLDivergence(**settings)
    if "dim" not in settings:
        metric.update(P + 1, P.flip(0) + torch.arange(4))
    count, [state] = metric.update_count, state_tensors(metric)
    before = state.clone()
    with pytest.raises(error, match=message):
        getattr(metric, call)(**tensors)
    assert metric.update_count == count
    assert torch.equal(state_tensors(metric)[0], before)


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_constructors_refuse_wrong_settings(case: str) -> None:
    error, message, settings = BAD_SETTINGS[case]
    with pytest.raises(error, match=message):
        KLDivergence(**settings)


def test_unknown_policies_and_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="'propagate', 'omit', 'raise', but got 'ignore'"):
        KLDivergence(nan_policy="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reduce_fx"):
        KLDivergence(reduce_fx="sum")


@pytest.mark.parametrize("number", [2, 2.0, torch.tensor(2.0)])
def test_settings_may_be_any_kind_of_number(number: Any) -> None:
    assert kl_divergence(P, P, True, base=number, temperature=number, dim=torch.tensor(-1)) == 0  # type: ignore[arg-type]


def test_settings_are_read_only() -> None:
    metric = KLDivergence(True, "sum", base=2)
    assert (metric.log_prob, metric.reduction, metric.dim, metric.temperature, metric.base) == (True, "sum", -1, 1.0, 2)
    assert repr(metric) == "KLDivergence(log_prob=True, reduction='sum', base=2)"
    with pytest.raises(AttributeError):
        metric.base = None


@pytest.mark.parametrize(("dim", "shape"), [(-1, (4, 6)), (1, (4, 6, 3)), (-1, (6,))])
@pytest.mark.parametrize("log_prob", [False, True])
def test_class_indices_are_refused_with_what_to_write(dim: int, shape: tuple[int, ...], log_prob: bool) -> None:
    p = torch.randn(shape).softmax(dim)
    index = torch.zeros([size for i, size in enumerate(shape) if i != dim % len(shape)], dtype=torch.long)
    for args, name in (((p, index), "q"), ((index, p), "p")):
        with pytest.raises(ValueError, match=rf"write torch.nn.functional.one_hot\({name}, 6\) and log_prob=False"):
            KLDivergence(log_prob, dim=dim).update(*args)


# Parameters and units


ROW_P, ROW_Q = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.2, 0.3, 0.5]])

NOT_NUMBERS = [True, False, "0.5", None, 0.5j, [0.5]]
NOT_FINITE = [math.nan, math.inf, -math.inf, 10**400]
BETA, ALPHA, RENYI = jensen_shannon(0.5), alpha(2), renyi(2)
RANGES = {BETA: "above 0 and below 1", ALPHA: "above -inf and below inf", RENYI: "above 0 and below inf"}
REFUSED = [
    *((divergence, value, TypeError, "a number") for divergence in RANGES for value in NOT_NUMBERS),
    *((divergence, value, ValueError, range_) for divergence, range_ in RANGES.items() for value in NOT_FINITE),
    *((BETA, value, ValueError, RANGES[BETA]) for value in (0, 1, 0.0, 1.0, -0.1, 1.1)),
    *((RENYI, value, ValueError, RANGES[RENYI]) for value in (0, 0.0, -0.0, -1, -1e-300)),
]


@pytest.mark.parametrize(("divergence", "value", "error", "requirement"), REFUSED)
@pytest.mark.parametrize("caller", ["function", "metric"])
def test_a_parameter_out_of_range_is_refused(
    divergence: Divergence, value: Any, error: type[Exception], requirement: str, caller: str
) -> None:
    [name] = divergence.parameter
    call = partial(divergence.function, ROW_P, ROW_Q) if caller == "function" else divergence.metric
    with pytest.raises(error, match=rf"^{name} must be {requirement}, but got {re.escape(repr(value))}"):
        call(**{name: value})


@pytest.mark.parametrize("divergence", [alpha(2), renyi(2)], ids=str)
def test_an_order_must_be_given(divergence: Divergence) -> None:
    with pytest.raises(TypeError, match="alpha"):
        divergence.metric()
    with pytest.raises(TypeError, match="alpha"):
        divergence.function(ROW_P, ROW_Q)


@pytest.mark.parametrize("divergence", [jensen_shannon(0.5), alpha(0.5), renyi(0.5)], ids=str)
@pytest.mark.parametrize("kind", [np.float64, np.float32, torch.tensor, Fraction])
def test_a_parameter_may_be_any_kind_of_number(divergence: Divergence, kind: Callable[[float], Any]) -> None:
    [name] = divergence.parameter
    assert divergence.function(ROW_P, ROW_Q, **{name: kind(0.5)}) == divergence.function(ROW_P, ROW_Q, **{name: 0.5})
    assert getattr(divergence.metric(**{name: kind(0.5)}), name) == 0.5


@pytest.mark.parametrize("divergence", [d for d in DIVERGENCES if not d.has_log_unit], ids=str)
@pytest.mark.parametrize("base", [2, 10, math.e])
def test_a_divergence_without_a_unit_refuses_a_base(divergence: Divergence, base: float) -> None:
    with pytest.raises(ValueError, match=rf"base={base} is the unit of a logarithm"):
        divergence.function(ROW_P, ROW_Q, **divergence.parameter, base=base)
    with pytest.raises(ValueError, match=rf"base={base} is the unit of a logarithm"):
        divergence.metric(**divergence.parameter, base=base)


@pytest.mark.parametrize("divergence", [d for d in DIVERGENCES if d.has_log_unit], ids=str)
def test_a_divergence_with_a_unit_accepts_any_base(divergence: Divergence) -> None:
    assert torch.equal(divergence.rows(ROW_P, ROW_Q, False, base=2), divergence.rows(ROW_P, ROW_Q, False) / math.log(2))
