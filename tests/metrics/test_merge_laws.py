"""Every metric obeys every law of merging."""

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

THOROUGHLY = [
    Case(KLDivergence, {"reduction": "mean"}),
    Case(KLDivergence, {"reduction": "mean", "nan_policy": "omit"}, True),
    Case(KLDivergence, {"reduction": "batchmean"}, True),
    Case(KLDivergence, {"reduction": "sum", "base": 2}),
    Case(KLDivergence, {"reduction": "none", "base": 10}, True),
]
# with fewer examples, since the other divergences share all code that follows the computation of rows
QUICKLY = [
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


every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)


@every_law
@pytest.mark.parametrize("case", THOROUGHLY, ids=str)
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(problem=rows_and_split())
def test_kl_divergence_obeys_the_laws_of_merging(case: Case, law: Law, problem: tuple[Rows, Split]) -> None:
    law(case, *problem)


@every_law
@pytest.mark.parametrize("case", QUICKLY, ids=str)
@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(problem=rows_and_split())
def test_all_divergences_obey_the_laws_of_merging(case: Case, law: Law, problem: tuple[Rows, Split]) -> None:
    law(case, *problem)
