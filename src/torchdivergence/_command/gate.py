"""``torchdivergence gate``: a decision about the mean KL divergence."""

import argparse
import math
from collections.abc import Mapping
from enum import Enum
from statistics import NormalDist

from torchdivergence._command import document, outputs
from torchdivergence._command.errors import CommandError
from torchdivergence._command.evaluation import Evaluation, Pair, evaluate
from torchdivergence._command.exit_codes import ABOVE, BELOW, INTERRUPTED, UNDECIDED
from torchdivergence._command.setup import Setup, header, prepare
from torchdivergence._report.named_values import finite
from torchdivergence._report.student_t import two_sided_quantile
from torchdivergence._states.moments import Estimate
from torchdivergence.report import DivergenceReport

POWER = 0.8
"""Probability that the stated number of sequences leads to a decision."""
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


def sequences_needed(estimate: Estimate, sequences: int, threshold: float, confidence: float) -> float:
    """How many sequences decide with a probability of 80 %, if mean and spread stay the same; infinite if too many.

    On the scale of the interval, log(x), the distance of mean and threshold must be the error times the sum of two
    quantiles: that of the interval, and that of the power.
    """
    mean, _, error = estimate
    distance = abs(math.log(threshold / mean))
    spread = error / mean * math.sqrt(sequences)

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
    print(header(setup))
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
    needed = _sequences_needed(values, options) if verdict is Verdict.UNDECIDED else values["sequences"]
    print(_infinite(values, options) if infinite else _interval(verdict, values, options))
    if verdict is Verdict.UNDECIDED:
        print(_advice(needed, setup.text.tokens.shape[1]))
    if options.json is not None:
        _write(setup, evaluation, verdict, needed, options)
    return verdict.value


def _write(setup: Setup, evaluation: Evaluation, verdict: Verdict, needed: float, options: argparse.Namespace) -> None:
    written = document.document(setup, [evaluation], options.confidence)
    written["gate"] = {
        "kl_below": options.kl_below,
        "verdict": verdict.name.lower(),
        "sequences_needed": finite(needed),
    }
    outputs.write_each({options.json: lambda path: outputs.write_json(path, written)})


def _sequences_needed(values: Mapping[str, float], options: argparse.Namespace) -> float:
    estimate = Estimate(values["kl_mean"], values["kl_standard_error"], values["kl_clustered_standard_error"])
    return sequences_needed(estimate, int(values["sequences"]), options.kl_below, options.confidence)


def _infinite(values: Mapping[str, float], options: argparse.Namespace) -> str:
    return (
        f"The KL divergence is infinite in {int(values['infinite']):,} of {int(values['rows']):,} rows, so the mean is "
        f"above {options.kl_below:g}."
    )


def _interval(verdict: Verdict, values: Mapping[str, float], options: argparse.Namespace) -> str:
    result = "undecided, the interval contains" if verdict is Verdict.UNDECIDED else verdict.name.lower()
    return (
        f"Mean KL {values['kl_mean']:.4g} nats, {100 * options.confidence:.10g} % interval {values['kl_lower']:.4g} to "
        f"{values['kl_upper']:.4g}, from {int(values['sequences']):,} sequences: {result} {options.kl_below:g}."
    )


def _advice(needed: float, length: int) -> str:
    if math.isinf(needed):
        return f"No number of sequences leads to a decision with a probability of {100 * POWER:.0f} %."
    number = f"{needed:,.0f} sequences (--tokens {needed * length:.0f})"
    return (
        f"A decision with a probability of {100 * POWER:.0f} % needs about {number}, if mean and spread stay the same."
    )
