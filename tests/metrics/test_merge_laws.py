"""Every metric keeps every law of merging."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.merge_laws import LAWS, Case, Law, Rows, Split, rows_and_split
from torchdivergence import (
    AlphaDivergence,
    ChiSquaredDivergence,
    CrossEntropy,
    Entropy,
    HellingerDistance,
    JeffreysDivergence,
    JensenShannonDivergence,
    KLDivergence,
    RenyiDivergence,
    ReverseKLDivergence,
    SquaredHellingerDistance,
    TotalVariationDistance,
)

CASES = [
    Case(metric, kwargs, weighted)
    for metric in [KLDivergence]
    for kwargs, weighted in [
        ({"reduction": "mean"}, False),
        ({"reduction": "mean", "nan_policy": "omit"}, True),
        ({"reduction": "batchmean"}, True),
        ({"reduction": "sum", "base": 2}, False),
        ({"reduction": "none", "base": 10}, True),
    ]
]

# the others share all that KLDivergence does with a row's value
MORE_CASES = [
    Case(ReverseKLDivergence, {}),
    Case(JeffreysDivergence, {}),
    Case(JensenShannonDivergence, {}),
    Case(JensenShannonDivergence, {"beta": 0.1, "base": 2}, True),
    Case(TotalVariationDistance, {}),
    Case(HellingerDistance, {}, True),
    Case(SquaredHellingerDistance, {}),
    Case(ChiSquaredDivergence, {}),
    Case(AlphaDivergence, {"alpha": 0.5}),
    Case(AlphaDivergence, {"alpha": -1, "reduction": "none"}, True),
    Case(RenyiDivergence, {"alpha": 2}),
    Case(RenyiDivergence, {"alpha": 0.5, "base": 2, "nan_policy": "omit"}, True),
    Case(CrossEntropy, {}),
    Case(Entropy, {"reduction": "batchmean"}, True),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(problem=rows_and_split())
def test_the_law_is_kept(case: Case, law: Law, problem: tuple[Rows, Split]) -> None:
    law(case, *problem)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", MORE_CASES, ids=str)
@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(problem=rows_and_split())
def test_the_law_is_kept_by_the_whole_family(case: Case, law: Law, problem: tuple[Rows, Split]) -> None:
    law(case, *problem)
