"""Prints the worst errors of the Triton kernels with a GPU's arithmetic: ``python -m benchmarks.gpu_accuracy``.

No GPU is needed: the kernels are interpreted, and the operations that hardware rounds differently are emulated.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported

import warnings
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.report import table
from tests.support.bulk_definitions import NormalizedPair, truth
from tests.support.definitions import near
from tests.support.divergences import DIVERGENCES, Divergence
from tests.support.gpu_arithmetic import arithmetic_of_a_gpu
from torchdivergence._divergences import LOG_MASSES, by_key
from torchdivergence._rows import reference, triton

CLASSES = 2, 3, 10, 41, 1000, 1271, 5000
SPREADS = 1.0, 5.0, 30.0
NOISES = 1e-4, 1e-2, 1.0, 10.0
FLOOR = 1e-9
CEILING = 1e36
"""Larger derivatives may overflow on the way."""
GRADIENT_CLASSES = 2, 10, 41, 1000, 1271
GRADIENTS = [x for x in DIVERGENCES if x.parameter.get("alpha") not in (0.0, 1.0)]
"""Each divergence once."""
NUMBERS = 2000
"""Classes of a batch, or two rows."""
LOGITS = (True, True)


def worst_error(divergence: Divergence, classes: int, spread: float) -> float:
    """The largest relative error of values of at least FLOOR."""
    worst = 0.0
    for seed, noise in enumerate(NOISES):
        p, q = near((max(2, NUMBERS // classes), classes), spread, noise, torch.float32, seed)
        numerics = divergence.numerics
        with arithmetic_of_a_gpu():
            sums = triton.term_sums(p, q, LOGITS, 1.0, numerics.terms)
        found = numerics.finalize(*sums).clamp(max=numerics.upper_bound).numpy()
        exact = truth(divergence, NormalizedPair(p, q, LOGITS))
        errors = np.where(exact >= FLOOR, abs(found - exact) / np.maximum(exact, FLOOR), 0)
        worst = max(worst, float(errors.max()))
    return worst


def worst_gradient_errors(classes: int, noises: tuple[float, ...]) -> dict[Divergence, float]:
    """The largest error relative to the largest derivative of a row and side, of those where that is at least FLOOR."""
    worst = dict.fromkeys(GRADIENTS, 0.0)
    for spread, (seed, noise) in product(SPREADS, enumerate(noises)):
        p, q = near((max(2, NUMBERS // classes), classes), spread, noise, torch.float32, seed)
        for divergence, (found, exact) in _both_gradients(p, q).items():
            floor = FLOOR * divergence.numerics.finalize_grad(divergence.rows(p, q, LOGITS)).clamp(min=1)
            for grad, right in zip(found, exact, strict=True):
                errors, largest = (grad - right).abs().amax(-1), right.abs().amax(-1)
                is_counted = (largest >= floor) & (largest <= CEILING)
                errors = (errors / largest).where(is_counted, 0.0)  # below, the reference has too few digits
                worst[divergence] = max(worst[divergence], float(errors.max()))
    return worst


def _both_gradients(p: Tensor, q: Tensor) -> dict[Divergence, tuple[Any, Any]]:
    """For each divergence, the gradients by the kernels and by the reference in float64."""
    both, ones = (True, True), torch.ones(len(p), dtype=torch.float64)
    terms = tuple(dict.fromkeys(term for x in GRADIENTS for term in x.numerics.terms if term.name in triton.TERMS))
    terms += tuple(by_key(key).terms[0] for key in LOG_MASSES)
    results = {}
    with arithmetic_of_a_gpu():
        sums = dict(zip(terms, triton.term_sums(p, q, LOGITS, 1.0, terms), strict=True))
    masses = torch.stack(list(sums.values())[-2:])
    for divergence in GRADIENTS:
        numerics = divergence.numerics
        right = reference.term_sums(p, q, LOGITS, 1.0, numerics.terms)
        values = numerics.finalize(*(sums.get(term, x) for term, x in zip(numerics.terms, right, strict=True)))
        values = values.clamp(max=numerics.upper_bound)
        with arithmetic_of_a_gpu():
            found = triton.gradients(p, q, LOGITS, 1.0, numerics, values, masses, ones, both)
        call = p.double(), q.double(), LOGITS, 1.0, numerics, numerics.finalize(*right), masses, ones, both
        results[divergence] = found, reference.gradients(*call)
    return results


def gradients() -> str:
    """The table of errors of gradients."""
    columns = [worst_gradient_errors(classes, NOISES[:3]) for classes in GRADIENT_CLASSES]
    columns.append(worst_gradient_errors(41, NOISES[3:]))
    lines = [[str(x), *(f"{column[x]:.1e}" for column in columns)] for x in GRADIENTS]
    return table(["classes", *map(str, GRADIENT_CLASSES), "41, noise 10"], lines)


def main() -> None:
    warnings.simplefilter("ignore")
    lines = []
    for divergence in (x for x in DIVERGENCES if x.parameter.get("alpha") not in (0, 1)):  # those are KL
        cells = [max(worst_error(divergence, *x) for x in product([classes], SPREADS)) for classes in CLASSES]
        lines.append([str(divergence), *(f"{cell:.1e}" for cell in cells)])
    print(table(["classes", *map(str, CLASSES)], lines))
    print(gradients())


if __name__ == "__main__":
    main()
