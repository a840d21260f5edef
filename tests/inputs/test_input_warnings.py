"""Inputs passed on the wrong scale: an error if they certainly are, one warning if they probably are."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from torchdivergence import (
    DivergenceCollection,
    DivergenceReport,
    DivergenceStatistics,
    Entropy,
    KLDivergence,
)

LOGITS = 3 * torch.randn(2, 20, 7, generator=torch.Generator().manual_seed(0))
PROBABILITIES, LOG_PROBABILITIES = LOGITS.softmax(-1), LOGITS.log_softmax(-1)

MAKE: dict[str, Callable[..., Any]] = {
    "metric": KLDivergence,
    "rows": lambda log_prob: KLDivergence(log_prob, reduction="none"),
    "statistics": lambda log_prob: DivergenceStatistics(KLDivergence(log_prob)),
    "report": DivergenceReport,
    "collection": lambda log_prob: DivergenceCollection([KLDivergence(log_prob), Entropy(log_prob)]),
}


@pytest.mark.parametrize("call", ["update", "forward"])
@pytest.mark.parametrize("name", MAKE)
def test_log_probabilities_passed_as_probabilities_are_refused_and_change_nothing(name: str, call: str) -> None:
    metric, plain = MAKE[name](log_prob=(False, False)), MAKE[name](log_prob=(False, False))
    with pytest.raises(
        ValueError, match=r"p was passed as probabilities .* these are log-probabilities. Write log_prob"
    ):
        getattr(metric, call)(*LOG_PROBABILITIES)
    for one in (metric, plain):
        one.update(*PROBABILITIES)
    values, expected = ([x] if isinstance(x := one.compute(), Tensor) else list(x.values()) for one in (metric, plain))
    torch.testing.assert_close(values, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("rows", "log_prob", "text"),
    [
        (PROBABILITIES, True, r"p was passed as log-prob.* sum to 1"),
        (PROBABILITIES.bfloat16(), True, r"p was passed as log-prob.* sum to 1"),
        (LOGITS, False, r"p was passed as probabilities .* If these are logits, write log_prob=True"),
        (torch.stack([LOGITS[0], PROBABILITIES[1]]), True, r"q was passed as log-prob.* sum to 1"),
        (torch.stack([PROBABILITIES[0], LOGITS[1]]), (True, False), r"p was passed as log-prob.* sum to 1"),
    ],
    ids=["probabilities", "rounded", "logits", "q alone", "swapped"],
)
@pytest.mark.parametrize("name", MAKE)
def test_inputs_on_a_probably_wrong_scale_are_warned_of_once(name: str, rows: Tensor, log_prob: Any, text: str) -> None:
    metric = MAKE[name](log_prob=log_prob)
    with pytest.warns(UserWarning, match=text) as caught:
        metric.update(*rows)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update(*rows)
        metric.reset()
        metric.update(*rows)


@pytest.mark.parametrize(
    ("rows", "log_prob"),
    [
        (LOGITS, True),
        (LOG_PROBABILITIES, True),
        (PROBABILITIES, False),
        (torch.stack([PROBABILITIES[0], LOG_PROBABILITIES[1]]), (False, True)),
        (torch.zeros(2, 3, 5), True),
        (torch.eye(5).expand(2, 5, 5), False),
    ],
    ids=["logits", "log-probabilities", "probabilities", "a pair", "zeros", "one-hot"],
)
@pytest.mark.parametrize("name", MAKE)
def test_inputs_on_the_right_scale_raise_no_warning(name: str, rows: Tensor, log_prob: Any) -> None:
    MAKE[name](log_prob=log_prob).update(*rows)


MOSTLY_NEGATIVE = torch.where(torch.arange(8)[:, None] < 6, LOGITS[0][:8], PROBABILITIES[0][:8])


@pytest.mark.parametrize(
    ("p", "q", "log_prob", "text"),
    [
        (torch.rand(4, 1), torch.rand(4, 1), False, r"a single class.*torch\.stack\(\[1 - p, p\], -1\)"),
        (torch.full((4, 5), -100.0), torch.full((4, 5), -100.0), True, r"nothing but -100.*weights=labels != -100"),
        (MOSTLY_NEGATIVE, MOSTLY_NEGATIVE, False, "p was passed as probabilities .* If these are logits"),
    ],
    ids=["one class", "padding", "most rows negative"],
)
@pytest.mark.parametrize("name", MAKE)
def test_rows_that_look_like_a_mistake_raise_one_warning(
    name: str, p: Tensor, q: Tensor, log_prob: bool, text: str
) -> None:
    metric = MAKE[name](log_prob=log_prob)
    with pytest.warns(UserWarning, match=text):
        metric.update(p, q)
    metric.update(p, q)


def test_rows_of_weight_zero_are_not_checked() -> None:
    p = torch.cat([torch.full((8, 7), -1.0), PROBABILITIES[0]])
    weights = torch.arange(28) >= 8
    metric, plain = KLDivergence(), KLDivergence()
    metric.update(p, p.flip(-1), weights)
    plain.update(PROBABILITIES[0], PROBABILITIES[0].flip(-1))
    assert metric.compute() == plain.compute()
    metric = KLDivergence()
    metric.update(p[:8], p[:8], weights[:8])
    with pytest.raises(ValueError, match="these are log-probabilities"):
        metric.update(*LOG_PROBABILITIES)


def test_under_nan_policy_omit_wrong_scales_are_only_warned_of() -> None:
    metric = KLDivergence(nan_policy="omit")
    with pytest.warns(UserWarning, match="these are log-probabilities"):
        metric.update(*LOG_PROBABILITIES)
    metric.update(*PROBABILITIES)
    assert metric.n_invalid == 20
