"""Pairs of rows as lines of text, and the corpus of such lines."""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from tests.support.definitions import distribution
from tests.support.divergences import DIVERGENCES
from tests.support.tolerances import ROUNDING, stated_error

CORPUS = Path(__file__).parents[1] / "rows" / "corpus.txt"


class Row(NamedTuple):
    """A pair of rows and how they are interpreted."""

    p: Tensor
    q: Tensor
    log_prob: tuple[bool, bool]
    temperature: float = 1.0

    @classmethod
    def parse(cls, line: str) -> "Row":
        dtypes, logs, temperature, *sides = (part.split() for part in line.split("|"))
        assert all("0x" in x or not x.strip("-").isdigit() for x in sides[0] + sides[1]), (
            "numbers are hexadecimal: 0x1p-3"
        )
        p, q = (
            torch.tensor([float.fromhex(x) for x in side], dtype=torch.float64).to(getattr(torch, dtype))
            for side, dtype in zip(sides, dtypes, strict=True)
        )
        return cls(p, q, (logs[0] == "True", logs[1] == "True"), float.fromhex(temperature[0]))

    def __str__(self) -> str:
        """A line of the corpus."""
        dtypes = " ".join(str(x.dtype).removeprefix("torch.") for x in (self.p, self.q))
        sides = (" ".join(float(x).hex() for x in side) for side in (self.p, self.q))
        return " | ".join([dtypes, " ".join(map(str, self.log_prob)), self.temperature.hex(), *sides])

    @property
    def is_valid(self) -> bool:
        return all(
            not (x.isnan().any() or x.max() in (math.inf, -math.inf))
            if is_log
            else bool(x.isfinite().all() and (x >= 0).all() and x.any())
            for x, is_log in zip((self.p, self.q), self.log_prob, strict=True)
        )


def read_corpus() -> list[Row]:
    return [Row.parse(line) for line in CORPUS.read_text("utf-8").splitlines() if line and line[0] != "#"]


def assert_accurate(row: Row) -> None:
    """Compare the value of every divergence with its definition in 50-digit arithmetic."""
    distributions = None
    if row.is_valid:
        p_is_log, q_is_log = row.log_prob
        distributions = distribution(row.p, p_is_log, row.temperature), distribution(row.q, q_is_log, row.temperature)
    equal = row.log_prob[0] == row.log_prob[1] and row.p.tolist() == row.q.tolist()
    for divergence in DIVERGENCES:
        value = float(divergence.rows(row.p, row.q, row.log_prob, temperature=row.temperature))
        if distributions is None:
            assert math.isnan(value), f"{divergence}: {value} of the invalid row {row}"
            continue
        truth = max(divergence.truth_of(*distributions), 0)  # with 50 digits it may be -1e-51
        relative, floor = stated_error(divergence, (row.p.dtype, row.q.dtype), row.log_prob)
        exact = (value == truth or not math.isinf(truth)) and (value == 0 or not (equal and divergence.zero_iff_equal))
        near = value == truth or abs(value - truth) <= (relative * truth if truth >= floor else ROUNDING)
        assert exact and near and 0 <= value <= divergence.bound, f"{divergence}: {value} is not {truth} of {row}"
