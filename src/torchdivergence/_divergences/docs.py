"""The texts that all divergences share; each writes of itself only what sets it apart."""

import inspect
import math
import textwrap

from torchdivergence._divergences.spec import Generator

_SETTINGS = """\
    log_prob: False for probabilities or counts, which need not sum to 1; True for log-probabilities or
        logits, to which any constant may be added. A pair of bools says it for p and for q.
    reduction: What becomes of the rows:

        - ``"mean"``: their mean, with the weights;
        - ``"batchmean"``: their sum over the number of items, those along the first batch dimension, as in
          :class:`torch.nn.KLDivLoss`;
        - ``"sum"``: their sum;
        - ``"none"`` or None: nothing, {none}
    dim: The class dimension.
    temperature: What the logits of both p and q are divided by before they are normalised, as in distillation;
        only where both are logarithms. The value is that of softmax(logits / T): there is no factor T**2.
    base: The unit{unit}"""
_UNIT = ": None for nats, 2 for bits, 10 for bans."
_NO_UNIT = ", which this divergence does not have: None."

BETA = "beta: The weight of p in the mixture m, between 0 and 1.\n"
ALPHA = "alpha: Any number.\n"
ORDER = "alpha: The order, above 0.\n"

_FUNCTION = """{own}

.. math:: {formula}

Each row is normalised first. A row's value is never negative{zero}{bound}.
Its relative error is at most 2e-6, for float16, bfloat16 and float32 inputs, whose numbers are taken as exact,
if the value is at least 1e-9 (for probabilities 1e-7); for float64 it is at most 1e-12 from 1e-6 on, for probabilities
1e-10 (total variation and Hellinger, which are of first order in p - q: from 1e-3 on). A share below 1e-307 may count
as none; where such a share counts, in chi-squared, alpha and Rényi divergences, digits are lost; and logits of float64
may be 1e290 in size.

Args:
    p: The first distribution of each row (data, teacher, reference): any shape, classes along ``dim``.
    q: The second (model, student, approximation): the shape of p; its dtype may differ.
{settings}
    weights: Weights of the rows, finite and >= 0, broadcastable to the batch shape; a bool mask, for one.
        A row of weight zero is left out whatever it holds; under ``"none"`` it gives 0.

Returns:
    The value in float64. It is NaN for a row that holds NaN, a negative probability or +inf, or that has no mass
    at all, and infinite where the formula is. 0 log 0 is 0. With no rows, or none of positive
    weight, ``"mean"`` gives NaN. On the CPU a reduced value has the metric's bits; elsewhere rows are added by torch,
    so that nobody waits.

    Gradients reach p and q. They are finite wherever the value is: slopes that are infinite, where p or q is 0,
    stop at p / q = exp(60) or exp(-60); they are 0 in rows of infinite value.

Raises:
    TypeError: If p or q is no real tensor, or announced as logarithms and not floating point.
    ValueError: If shapes or devices differ, weights do not broadcast or are negative, or a setting is unknown.
    IndexError: If there is no dimension ``dim``.

Example:
{example}

Source: {source}.
"""

_METRIC = """{own}

.. math:: {formula}

Rows are as accurate as those of :func:`torchdivergence.functional.{function}` and their sum is exact: the value has
the same bits for every batch size, order and number of processes.

Args:
{settings}
    nan_policy: What becomes of invalid rows, those that hold NaN, a negative probability or +inf, or that
        have no mass at all:

        - ``"propagate"``: the value is NaN;
        - ``"omit"``: they are left out, and ``n_invalid`` tells how many (``"batchmean"`` still divides by all items);
        - ``"raise"``: ``compute`` raises. (``update`` does not wait for the device to look.)
    kwargs: Those of :class:`torchmetrics.Metric`.

Shapes:
    ``update(p, q, weights=None)``: p and q of one shape with the classes along ``dim``, any number of batch
    dimensions, any floating-point dtype (or integer counts); weights that broadcast to the batch shape, bool,
    integer or floating point. A row of weight zero is left out whatever it holds; under ``"none"`` it is 0.

Returns:
    ``compute`` gives float64, a single number unless the reduction is ``"none"``. It is infinite where the formula
    is for some row, and NaN before the first update.

Raises:
    TypeError: From ``update``: p or q is no real tensor, or announced as logarithms and not floating point.
    ValueError: From ``update``: shapes or devices differ, weights do not broadcast or are negative. From
        ``compute``: invalid rows under ``nan_policy="raise"``.
    IndexError: From ``update``: there is no dimension ``dim``.

Example:
{example}

Source: {source}.
"""


def function_doc(generator: Generator, own: str, parameter: str = "") -> str:
    """The docstring of a function, from what it says of itself: a summary, and after "Example:" an example."""
    return _fill(_FUNCTION, generator, own, parameter, "the result has the batch shape, that of p without ``dim``.")


def metric_doc(generator: Generator, own: str, parameter: str = "") -> str:
    """The docstring of a metric, likewise."""
    return _fill(
        _METRIC, generator, own, parameter, "the rows come back in order, flat. This state grows with the rows."
    )


def _fill(template: str, generator: Generator, own: str, parameter: str, none: str) -> str:
    unit = _UNIT if generator.in_nats else _NO_UNIT
    summary, example = inspect.cleandoc(own).split("Example:\n")
    return template.format(
        own=summary.strip(),
        formula=generator.formula,
        function=generator.name.split(":")[0],
        zero=", and exactly 0 if p and q hold the same numbers" if generator.compares else "",
        bound=f", nor above {generator.largest:.6g}" if generator.largest < math.inf else "",
        settings=textwrap.indent(parameter, "    ") + _SETTINGS.format(none=none, unit=unit),
        example=example.rstrip(),
        source=generator.source,
    )
