"""The rows of the corpus, against 50-digit arithmetic."""

import pytest
import torch

from tests.support.backends import BACKENDS, use_backend
from tests.support.cases import each
from tests.support.corpus import Row, assert_accurate, read_corpus
from tests.support.divergences import Divergence, every_divergence
from tests.support.helpers import assert_same_bits

ROWS = read_corpus()


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_of_the_corpus_has_the_value_of_the_definition(backend: str, row: Row) -> None:
    with use_backend(backend):
        assert_accurate(row)


@each("row", ROWS)
def test_a_line_of_the_corpus_parses_to_the_row_it_was_written_from(row: Row) -> None:
    again = Row.parse(str(row))
    for x, y in zip((row.p, row.q), (again.p, again.q), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)
    assert again[2:] == row[2:]


@pytest.mark.filterwarnings("ignore:[pq] was passed as:UserWarning")  # the input check sees a single row
@every_divergence
@each("row", ROWS[::9])
def test_a_metric_has_the_bits_of_its_function_on_a_row_of_the_corpus(row: Row, divergence: Divergence) -> None:
    settings = {"log_prob": row.log_prob, "temperature": row.temperature}
    rows, total = (divergence.make(reduction=reduction, **settings) for reduction in ("none", "sum"))
    value = divergence.function(row.p[None], row.q[None], reduction="none", **divergence.parameter, **settings)
    assert_same_bits(rows(row.p[None], row.q[None]), value)
    assert_same_bits(total(row.p, row.q), value[0] + 0.0)  # a sum of zeros has no sign
    total_of_function = divergence.function(row.p, row.q, reduction="sum", **divergence.parameter, **settings)
    assert_same_bits(total(row.p, row.q), total_of_function)
