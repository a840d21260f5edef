"""Docstrings of the functions and metrics, and the table of the documents, from the declarations."""

import textwrap
from collections.abc import Iterable, Iterator

from torchdivergence._divergences.spec import SPECS, Accuracy, DivergenceSpec

_SETTINGS = """\
    log_prob: False for probabilities or counts, which need not sum to 1. True for logits or log-probabilities, which
        need not be normalized. A pair of bools sets it for p and for q.
    reduction: How the values of the rows are reduced:

        - ``"mean"``: their mean, weighted if there are weights;
        - ``"batchmean"``: their sum divided by the size of the first batch dimension, as in
          :class:`torch.nn.KLDivLoss`;
        - ``"sum"``: their sum;
        - ``"none"`` or None: no reduction; {none}
    dim: Class dimension; or a tuple of dimensions, whose positions together are the classes, such as ``(-2, -1)`` for
        maps.
    temperature: Temperature T of both: softmax(logits / T), as in distillation, without a factor T**2. It needs
        ``log_prob=True``.
    base: Base of the logarithm{unit}"""
_UNIT = ": None for nats, 2 for bits."
_NO_UNIT = ". This divergence has no logarithmic unit: leave it None."

_FUNCTION = """{summary}

.. math:: {formula}

{notes}Rows are normalized first. A value is never negative{zero}; 0 log 0 is 0.

{accuracy}

Args:
    p: First distribution of each row (data, teacher, reference): any shape, with the classes along ``dim``.
    q: Second distribution of each row (model, student, approximation): same shape as p; the dtype may differ.
{settings}
    weights: Weights of the rows, finite and >= 0, broadcastable to the batch shape (the shape of p without ``dim``); a
        bool mask, for example. A row of weight zero is ignored whatever it holds; with ``"none"`` it gives 0.

Returns:
    The value in float64. It is infinite where the formula is. It is NaN for an invalid row, which holds NaN, +inf or a
    negative probability, or has no mass; and for ``"mean"`` without rows of positive weight. On the CPU a reduced
    value has the same bits as the metric's. On other devices the reduction is torch's floating-point sum: for bitwise
    reproducible values use the metric.

    Gradients with respect to p and q are finite wherever the value is: where p or q is 0, an infinite derivative is
    replaced by the one at p / q = exp(60) or exp(-60). They are 0 in rows of infinite value. Weights
    and a tensor ``temperature`` have gradients, too. Higher derivatives, forward mode and ``torch.func`` work.

Raises:
    TypeError: p or q is not a real tensor, or has an integer dtype although ``log_prob`` is True.
    ValueError: Shapes or devices differ, weights do not broadcast or are negative, or a setting is unknown.
    IndexError: There is no dimension ``dim``.

Example:
    >>> import torch
    >>> from torchdivergence.functional import {function}
    >>> p, q = torch.tensor([0.36, 0.48, 0.16]), torch.tensor([1 / 3, 1 / 3, 1 / 3])
    >>> {function}(p, q{argument})
    tensor({example}, dtype=torch.float64)

{source}
"""

_METRIC = """{summary}

.. math:: {formula}

{notes}{sums}

Args:
{settings}
    nan_policy: What to do about invalid rows, which hold NaN, +inf or a negative probability, or have no mass:

        - ``"propagate"``: the value is NaN;
        - ``"omit"``: they are ignored, and ``n_invalid`` counts them (``"batchmean"`` still divides by all items);
        - ``"raise"``: ``compute`` raises; ``update`` does not, since it would have to wait for the device.
    kwargs: Arguments of :class:`torchmetrics.Metric`.

Shapes:
    ``update(p, q, weights=None)``: p and q have the same shape, with the classes along ``dim`` and any number of batch
    dimensions, in any floating-point dtype (or integer counts). Weights broadcast to the batch shape: bool, integer or
    floating point. A row of weight zero is ignored whatever it holds; with ``"none"`` it gives 0.

Returns:
    A single float64 number from ``compute``, unless the reduction is ``"none"``. It is infinite if the formula is for
    some row. Before the first update a mean is NaN.

Raises:
    TypeError: From ``update``: p or q is not a real tensor, or has an integer dtype although ``log_prob`` is True.
    ValueError: From ``update``: shapes or devices differ, weights do not broadcast or are negative. From
        ``compute``: there are invalid rows and ``nan_policy="raise"``.
    IndexError: From ``update``: there is no dimension ``dim``.

Example:
    >>> import torch
    >>> from torchdivergence import {metric}
    >>> metric = {metric}({argument})
    >>> p, q = torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
    >>> metric.update(p, q)
    >>> metric.compute()
    tensor({example}, dtype=torch.float64)

{source}
"""

_SUMS = (
    "Rows are as accurate as those of :func:`~torchdivergence.functional.{function}`. Their sum is exact: the value "
    "has the same bits for every batch size, order and number of processes."
)


def function_doc(spec: DivergenceSpec) -> str:
    """Docstring of the function."""
    return _fill(_FUNCTION, spec, "the result has the batch shape.", ", {name}={example:g}")


def metric_doc(spec: DivergenceSpec) -> str:
    """Docstring of the metric."""
    none = "the values come back in order, flat; this state grows with the rows."
    return _fill(_METRIC, spec, none, "{name}={example:g}")


def _fill(template: str, spec: DivergenceSpec, none: str, argument: str) -> str:
    parameter = spec.parameter
    own = f"    {parameter.name}: {parameter.doc}\n" if parameter else ""
    return template.format(
        summary=spec.summary,
        formula=spec.formula,
        notes=_paragraph(spec.notes) + "\n\n" if spec.notes else "",
        function=spec.function,
        metric=spec.metric,
        zero=", exactly 0 if p and q hold the same numbers" if spec.zero_iff_equal else "",
        accuracy=_paragraph(_accuracy(spec.accuracy)),
        sums=_paragraph(_SUMS.format(function=spec.function)),
        settings=own + _SETTINGS.format(none=none, unit=_UNIT if spec.has_log_unit else _NO_UNIT),
        argument=argument.format(name=parameter.name, example=parameter.example) if parameter else "",
        example=spec.example,
        source=_paragraph(f"Source: {spec.source}."),
    )


def _accuracy(accuracy: Accuracy) -> str:
    logits, probabilities = accuracy.narrow_floor
    of_logits, of_probabilities = accuracy.float64
    return (
        f"Accuracy: inputs are taken as exact numbers. For float16, bfloat16 and float32 inputs the relative error of "
        f"a row is at most {accuracy.narrow:g} if its value is at least {logits:g} ({probabilities:g} for "
        f"probabilities). For float64 inputs it is at most {of_logits:g} ({of_probabilities:g} for probabilities) if "
        f"the value is at least {accuracy.float64_floor:g}. A probability below 1e-307 may count as 0"
        + ("; where it matters, digits are lost" if accuracy.powers else "")
        + ". Logits of float64 may be up to 1e290 in size."
    )


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 120, break_on_hyphens=False)


def divergence_table() -> str:
    """All divergences as a table in Markdown; below it what is zero, which have a unit, and the sources."""
    lines = ["| Metric | Formula |", "|---|---|"]
    for spec in SPECS.values():
        formula = spec.formula.replace(r"\|", r"\Vert ").replace("|", r"\vert ")  # a bar would end the cell
        lines.append(f"| {{py:class}}`{signature(spec)} <torchdivergence.{spec.metric}>` | ${formula}$ |")
    nonzero = _names(spec for spec in SPECS.values() if not spec.zero_iff_equal)
    unitless = _names(spec for spec in SPECS.values() if not spec.has_log_unit)
    facts = [
        f"All are zero if and only if p = q, except {nonzero}.",
        f"The unit is nats, or set by `base`; {unitless} have no unit.",
    ]
    return "\n".join([*lines, "", *facts, "", "Sources of the definitions:", "", *_sources(), ""])


def _sources() -> Iterator[str]:
    for source in dict.fromkeys(spec.source for spec in SPECS.values()):
        yield f"- {_names(spec for spec in SPECS.values() if spec.source == source)}: {source}."


def _names(specs: Iterable[DivergenceSpec]) -> str:
    """The names of metrics as the end of a sentence."""
    *first, last = (f"`{spec.metric}`" for spec in specs)
    return f"{', '.join(first)} and {last}" if first else last


def api_pages() -> dict[str, str]:
    """Parts of the API pages, in Markdown: directives for all metrics and for all functions, and a table of both."""
    metrics = [f".. autoclass:: torchdivergence.{spec.metric}" for spec in SPECS.values()]
    metrics[0] += "\n   :members: update, compute, forward, reset, merge_state, n_invalid, plot"
    functions = [f".. autofunction:: torchdivergence.functional.{spec.function}" for spec in SPECS.values()]
    pages = {"metrics": metrics, "functions": functions}
    directives = {name: "\n\n".join(["```{eval-rst}", *lines, "```"]) + "\n" for name, lines in pages.items()}
    links = (
        f"| {{py:class}}`~torchdivergence.{spec.metric}` | {{py:func}}`~torchdivergence.functional.{spec.function}` |"
        for spec in SPECS.values()
    )
    return {**directives, "names": "\n".join(["| Metric | Function |", "|---|---|", *links, ""])}


def signature(spec: DivergenceSpec) -> str:
    """Name of the metric with its parameter."""
    parameter = spec.parameter
    if parameter is None:
        return spec.metric
    default = "" if parameter.default is None else f"={parameter.default:g}"
    return f"{spec.metric}({parameter.name}{default})"
