"""``torchdivergence gate``: a decision about the mean KL divergence."""

import argparse
import math
from collections.abc import Mapping
from enum import Enum
from statistics import NormalDist

from torchdivergence._command import document, outputs
from torchdivergence._command.errors import CommandError
from torchdivergence._command.evaluation import Pair, evaluate
from torchdivergence._command.exit_codes import ABOVE, BELOW, INTERRUPTED, UNDECIDED
from torchdivergence._command.setup import prepare
from torchdivergence._report.student_t import two_sided_quantile
from torchdivergence._states.moments import Estimate
from torchdivergence.report import DivergenceReport

POWER = 0.8
"""With the number of texts that is named, the probability of a decision."""
_MOST = 10**9


class Verdict(Enum):
    """Where the mean is, beside the threshold, and its exit code."""

    BELOW = BELOW
    ABOVE = ABOVE
    UNDECIDED = UNDECIDED


def decide(bounds: tuple[float, float], threshold: float) -> Verdict:
    """Where a mean is, from its confidence interval."""
    lower, upper = bounds
    if upper < threshold:
        return Verdict.BELOW
    return Verdict.ABOVE if lower > threshold else Verdict.UNDECIDED


def texts_needed(estimate: Estimate, texts: int, threshold: float, confidence: float) -> float:
    """How many texts decide with a probability of 80 %, if mean and spread stay as they are; infinite if too many.

    On the scale of the interval, log(x), the distance of mean and threshold must be the error times the sum of two
    quantiles: that of the interval, and that of the power.
    """
    mean, _, error = estimate
    distance = abs(math.log(threshold / mean))
    spread = error / mean * math.sqrt(texts)

    def decides(number: int) -> bool:
        reach = two_sided_quantile(confidence, number - 1) + NormalDist().inv_cdf(POWER)
        return reach * spread / math.sqrt(number) <= distance

    low, high = 1, 2
    while not decides(high):
        low, high = high, 2 * high
        if high > _MOST:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def gate(options: argparse.Namespace) -> int:
    """Evaluate the candidate, and print the decision. Its exit code is the result."""
    outputs.check_outputs(options)
    setup = prepare(options)
    if len(setup.text.tokens) < 2:
        raise CommandError("the text is too short: a confidence interval needs at least two sequences.")
    ((name, make),) = setup.candidates.items()
    report = DivergenceReport(confidence=options.confidence)
    evaluation = evaluate(Pair(name, setup.reference, make(), setup.text), report, options.batch)
    if not evaluation.complete:
        return INTERRUPTED
    values = report.to_dict()
    if math.isnan(values["kl_mean"]):
        raise CommandError(f"the logits are invalid in {int(values['invalid']):,} rows: they hold NaN or +inf.")
    infinite = math.isinf(values["kl_mean"])  # then there is no interval
    verdict = Verdict.ABOVE if infinite else decide((values["kl_lower"], values["kl_upper"]), options.kl_below)
    needed = _texts_needed(values, options) if verdict is Verdict.UNDECIDED else values["sequences"]
    print(_sentence(verdict, needed, values, options))
    if options.json is not None:
        entry = {"kl_below": options.kl_below, "verdict": verdict.name.lower(), "texts_needed": document.finite(needed)}
        written = document.document(setup, [evaluation], options.confidence) | {"gate": entry}
        outputs.write_each({options.json: lambda path: outputs.write_json(path, written)})
    return verdict.value


def _texts_needed(values: Mapping[str, float], options: argparse.Namespace) -> float:
    estimate = Estimate(values["kl_mean"], values["kl_standard_error"], values["kl_clustered_standard_error"])
    return texts_needed(estimate, int(values["sequences"]), options.kl_below, options.confidence)


def _sentence(verdict: Verdict, needed: float, values: Mapping[str, float], options: argparse.Namespace) -> str:
    found = (
        f"Mean KL {values['kl_mean']:.4g} nats, {100 * options.confidence:.10g} % interval {values['kl_lower']:.4g} to "
        f"{values['kl_upper']:.4g}, from {int(values['sequences'])} texts: {verdict.name.lower()}"
    )
    if verdict is not Verdict.UNDECIDED:
        return f"{found} {options.kl_below:g}."
    more = f"About {needed:,.0f} texts" if math.isfinite(needed) else "No number of texts"
    return f"{found} about {options.kl_below:g}. {more} would decide."
