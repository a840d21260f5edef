"""Wrapped metrics that are pickled to other processes."""

import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.helpers import Batch
from tests.support.processes import ProcessPool
from tests.support.wrapped import BATCHES, WRAPPED, update


def unpickle_and_compute(pickled: bytes, own: Sequence[Batch]) -> Any:
    return update(pickle.loads(pickled), own).compute()


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_pickled_to_two_processes_takes_the_rows_of_both(two_processes: ProcessPool, name: str) -> None:
    wrapped = WRAPPED[name]
    pickled = [pickle.dumps(update(wrapped.make(), [batch])) for batch in BATCHES[:2]]
    for value in two_processes.run(unpickle_and_compute, pickled, [BATCHES[2:3], BATCHES[3:]]):
        wrapped.check(value, BATCHES)
