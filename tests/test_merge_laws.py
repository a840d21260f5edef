"""Every metric keeps every law of merging."""

import pytest
from hypothesis import HealthCheck, given, settings

from merge_laws import LAWS, Case, Law, Rows, Split, rows_and_split
from torchdivergence import KLDivergence

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


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(problem=rows_and_split())
def test_the_law_is_kept(case: Case, law: Law, problem: tuple[Rows, Split]) -> None:
    law(case, *problem)
