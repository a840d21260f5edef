"""Bad input gets one clear error, the same from the function and from the metric, which stays as it was."""

from typing import Any

import pytest
import torch

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
    "negative weights": (ValueError, "1 of them are not, -1.0 for one", {"weights": torch.tensor([1.0, -1.0, 0.0])}),
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
def test_the_function_says_what_is_wrong(case: str) -> None:
    error, message, arguments = (BAD_TENSORS | BAD_SETTINGS)[case]
    with pytest.raises(error, match=message):
        kl_divergence(**{"p": P, "q": P} | arguments)


@pytest.mark.parametrize("case", BAD_TENSORS)
@pytest.mark.parametrize("call", ["update", "forward"])
def test_the_metric_says_what_is_wrong_and_stays_as_it_was(case: str, call: str) -> None:
    error, message, arguments = BAD_TENSORS[case]
    settings = {name: arguments[name] for name in ("dim", "log_prob") if name in arguments}
    tensors = {"p": P, "q": P} | {name: value for name, value in arguments.items() if name not in settings}
    metric = KLDivergence(**settings)
    if "dim" not in settings:
        metric.update(P + 1, P.flip(0) + torch.arange(4))
    before = metric.update_count, metric._current
    with pytest.raises(error, match=message):
        getattr(metric, call)(**tensors)
    assert before[0] == metric.update_count
    assert torch.equal(before[1], metric._current)


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_the_constructor_says_what_is_wrong(case: str) -> None:
    error, message, settings = BAD_SETTINGS[case]
    with pytest.raises(error, match=message):
        KLDivergence(**settings)


def test_unknown_policies_and_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="'propagate', 'omit', 'raise', but got 'ignore'"):
        KLDivergence(nan_policy="ignore")
    with pytest.raises(ValueError, match="reduce_fx"):
        KLDivergence(reduce_fx="sum")


@pytest.mark.parametrize("number", [2, 2.0, torch.tensor(2.0)])
def test_settings_may_be_any_kind_of_number(number: Any) -> None:
    assert kl_divergence(P, P, True, base=number, temperature=number, dim=torch.tensor(-1)) == 0


def test_settings_are_read_and_not_written() -> None:
    metric = KLDivergence(True, "sum", base=2)
    assert (metric.log_prob, metric.reduction, metric.dim, metric.temperature, metric.base) == (True, "sum", -1, 1.0, 2)
    assert repr(metric) == "KLDivergence(log_prob=True, reduction='sum', base=2)"
    with pytest.raises(AttributeError):
        metric.base = None
