"""The row evaluator: one divergence with its settings, input checks and NaN policy."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchdivergence._divergences import DivergenceSpec
from torchdivergence._inputs.placement import own_rows
from torchdivergence._inputs.projected import Side
from torchdivergence._inputs.settings import Dim, LogProb, NanPolicy, Reduction, check_nan_policy, check_settings
from torchdivergence._inputs.tensors import Rows, check_rows
from torchdivergence._inputs.warnings import InputSanityCheck
from torchdivergence._rows import row_divergence, row_divergences
from torchdivergence._states.part import DIVERGENCE, FORMAT, RowBatch


class InvalidRowsError(ValueError):
    """Invalid rows under ``nan_policy="raise"``."""


class RowEvaluator:
    """Turns two tensors into one value per row. Metrics, statistics and reports each have one."""

    def __init__(
        self,
        spec: DivergenceSpec,
        parameter: float | None = None,
        log_prob: LogProb = False,
        reduction: Reduction = "mean",
        dim: Dim = -1,
        temperature: float = 1.0,
        base: float | None = None,
        nan_policy: NanPolicy = "propagate",
    ) -> None:
        self.spec, self.parameter = spec, spec.check_parameter(parameter)
        self.key = spec.key(self.parameter)
        self.settings = check_settings(log_prob, reduction, dim, temperature, base, spec.has_log_unit)
        self.given = {
            "log_prob": log_prob,
            "reduction": reduction,
            "dim": self.settings.dim,
            "temperature": self.settings.temperature,
            "base": base if base is None or isinstance(base, int) else float(base),
        }
        self.nan_policy = check_nan_policy(nan_policy)
        self._sanity = InputSanityCheck()

    @property
    def state_name(self) -> str:
        """Name for a state: it contains all settings on which the value of a row depends, and the format."""
        kind, settings = "rows" if self.settings.reduction == "none" else "sums", self.settings
        p, q = settings.log_prob
        read = f"log_prob_{p:d}{q:d}_dim{settings.dim}_temperature{settings.temperature}"
        name = f"{self.key}_{kind}_format{FORMAT}_{read}"
        return name.replace(".", "_").replace(" ", "")  # a dot would split it in a state_dict

    @property
    def unit(self) -> str:
        """Name of the unit of a value; empty if it has none."""
        if not self.spec.has_log_unit:
            return ""
        base = self.given["base"]
        return "nats" if base is None else "bits" if base == 2 else f"logarithms to base {base:g}"

    def fresh_copy(self) -> "RowEvaluator":
        """A copy that has not inspected any input yet."""
        return RowEvaluator(self.spec, self.parameter, **self.given, nan_policy=self.nan_policy)  # type: ignore[arg-type]

    def check(self, p: Side, q: Side | None, weights: Tensor | None = None) -> Rows:
        """The checked rows. Raises on bad input."""
        return check_rows(p, self.spec.second(p, q), weights, self.settings)

    def inspect(self, rows: Rows) -> None:
        """Inspect the first rows for signs that they are something else than they were passed as."""
        self._sanity.inspect(rows, self.settings.log_prob, self.nan_policy)

    def __call__(self, device: torch.device, p: Side, q: Side | None, weights: Tensor | None = None) -> RowBatch:
        """The divergence of each row in nats, for a metric on a device."""
        rows, _ = own_rows(self.check(p, q, weights), device)
        self.inspect(rows)
        values = row_divergence(rows.p, rows.q, self.settings.log_prob, self.settings.temperature, self.key)
        return RowBatch({DIVERGENCE: values}, rows.weights, rows.items)

    def evaluate(self, p: Side, q: Side, keys: Sequence[str]) -> Sequence[Tensor]:
        """Several divergences of checked rows, from one pass over the classes."""
        return row_divergences(p, q, self.settings.log_prob, self.settings.temperature, keys)

    def emit_warnings(self) -> None:
        """Emit pending warnings about the inputs. This waits for the device."""
        self._sanity.emit()

    def enforce_nan_policy(self, invalid: int) -> None:
        """Raise if there are invalid rows and the policy is "raise"."""
        if invalid and self.nan_policy == "raise":
            raise InvalidRowsError(
                f"nan_policy='raise', but the number of invalid rows is {invalid}: they hold NaN, +inf or a negative "
                "probability, or have no mass. Fix them, mask them with weights of 0, or use nan_policy='omit'."
            )

    def describe(self) -> str:
        """The parameter and the settings that differ from the defaults."""
        defaults = inspect.signature(RowEvaluator).parameters
        given: dict[str, Any] = {**self.given, "nan_policy": self.nan_policy}
        changed = [f"{name}={value!r}" for name, value in given.items() if value != defaults[name].default]
        own = [f"{self.spec.parameter.name}={self.parameter}"] if self.spec.parameter else []
        return ", ".join(own + changed)

    def __repr__(self) -> str:
        return f"{self.spec.metric}({self.describe()})"
