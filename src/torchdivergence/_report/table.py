"""The values of a report as a printed table."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

Line = tuple[str, str, str, str, str, str]

_EMPTY = ("",) * 5
_FOOT = """\
A row is a token. ± error: standard error for independent rows.
± clustered: standard error clustered by sequence; the interval comes from it."""
_CORRECTNESS = {
    "of p": "accuracy_p",
    "of q": "accuracy_q",
    "q - p": "accuracy_difference",
    "of both": "both_correct",
    "of p only (worsened)": "worsened",
    "of q only (improved)": "improved",
    "of neither, and they differ": "both_wrong_differently",
}
_MCNEMAR = "McNemar's test assumes independent rows; the interval of q - p assumes only independent sequences."
_ROUGH = "rough: fewer than 100 rows lie beyond this quantile."
_ONE = "nan: a clustered error and an interval need at least two sequences."


def table(
    values: Mapping[str, float], quantiles: Mapping[str, float], confidence: float, rough: Collection[str]
) -> str:
    """Lines with a value, its standard errors and its confidence interval.

    Args:
        values: Those of a report.
        quantiles: The quantiles among them, by name.
        confidence: Level of the intervals.
        rough: Names of the quantiles that rest on few rows.
    """
    bounds = (f"{bound} {100 * confidence:.10g} %" for bound in ("lower", "upper"))
    lines = [("KL divergence D(p‖q), nats", "", "± error", "± clustered", *bounds)]
    lines += [*_divergence(values, quantiles, rough), *_agreements(values)]
    if "perplexity_p" in values:
        lines += [*_accuracies(values), *_perplexities(values), *_delta_p(values, quantiles, rough)]
    given = {_FOOT: True, _MCNEMAR: "mcnemar_p_value" in values, _ROUGH: rough, _ONE: values["sequences"] == 1}
    notes = [note for note, holds in given.items() if holds]
    return "\n".join([_heading(values), "", *aligned(lines), "", *notes])


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells as text: the first column on the left, the others on the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = (
        f"{label:{widths[0]}}" + "".join(f"  {x:>{w}}" for x, w in zip(numbers, widths[1:], strict=True))
        for label, *numbers in lines
    )
    return [line.rstrip() for line in text]


def _heading(values: Mapping[str, float]) -> str:
    rows, sequences = int(values["rows"]), int(values["sequences"])
    counted = f"{rows:,} row{'s' * (rows != 1)} in {sequences:,} sequence{'s' * (sequences != 1)}"
    counted += ", candidate q against reference p"
    for name, meaning in (("infinite", "of infinite divergence"), ("invalid", "invalid")):
        counted += f"; {int(values[name]):,} {meaning}" if values[name] else ""
    return counted


def _divergence(values: Mapping[str, float], quantiles: Mapping[str, float], rough: Collection[str]) -> Iterable[Line]:
    yield _estimate("  mean", values, "kl_mean", "kl")
    yield from _quantiles(values, quantiles, rough, "kl_")


def _agreements(values: Mapping[str, float]) -> Iterable[Line]:
    for name in values:
        if name.endswith("_agreement"):
            k = name.split("_")[1]
            label = "Same top token, %" if k == "1" else f"Top {k} tokens in common, %"
            yield _estimate(label, values, name, percent=True)


def _accuracies(values: Mapping[str, float]) -> Iterable[Line]:
    yield "Top token is the target, %", *_EMPTY
    for label, name in _CORRECTNESS.items():
        yield _estimate(f"  {label}", values, name, percent=True)
    yield "  p value of McNemar's test", format_number(values["mcnemar_p_value"]), "", "", "", ""


def _perplexities(values: Mapping[str, float]) -> Iterable[Line]:
    yield "Perplexity", *_EMPTY
    yield _estimate("  of p", values, "perplexity_p")
    yield _estimate("  of q", values, "perplexity_q")
    yield _estimate("  q / p", values, "perplexity_ratio")
    yield _estimate("  q - p", values, "perplexity_difference")
    yield _estimate("  ln(q / p)", values, "log_perplexity_ratio")
    yield "  correlation of ln", format_number(values["log_perplexity_correlation"], 6), "", "", "", ""


def _delta_p(values: Mapping[str, float], quantiles: Mapping[str, float], rough: Collection[str]) -> Iterable[Line]:
    yield "Δp of the target token, q - p, %", *_EMPTY
    yield _estimate("  mean", values, "delta_p_mean", percent=True)
    yield _estimate("  root mean square", values, "delta_p_rms", percent=True)
    yield from _quantiles(values, quantiles, rough, "delta_p_", percent=True)


def _estimate(
    label: str, values: Mapping[str, float], name: str, prefix: str | None = None, percent: bool = False
) -> Line:
    scale, prefix = 100 if percent else 1, prefix or name
    value = scale * values[name]
    errors = [scale * values[f"{prefix}_{kind}standard_error"] for kind in ("", "clustered_")]
    lower, upper = (scale * values[f"{prefix}_{bound}"] for bound in ("lower", "upper"))
    digits = digits_shown(value, errors[0])
    error, clustered = (format_number(x, 2) for x in errors)
    return (
        label,
        format_number(value, digits),
        error,
        clustered,
        format_number(lower, digits),
        format_number(upper, digits),
    )


def digits_shown(value: float, error: float) -> int:
    """Number of digits such that the error shows in the last two."""
    if not (math.isfinite(value) and value and math.isfinite(error) and error):
        return 4
    return max(2, min(16, math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) + 2))


def _quantiles(
    values: Mapping[str, float],
    quantiles: Mapping[str, float],
    rough: Collection[str],
    prefix: str,
    percent: bool = False,
) -> Iterable[Line]:
    named = {
        "max": "maximum",
        **{n: f"{100 * q:.10g} %" for n, q in reversed(list(quantiles.items()))},
        "min": "minimum",
    }
    for name, label in named.items():
        value = format_number((100 if percent else 1) * values[prefix + name])
        mark = "rough" if prefix + name in rough else ""
        yield f"  {'median' if name == 'median' else label}", value, mark, "", "", ""


def format_number(x: float, digits: int = 4) -> str:
    """A number with some significant digits."""
    return f"{x:#.{digits}g}".rstrip(".") if math.isfinite(x) else f"{x}"
