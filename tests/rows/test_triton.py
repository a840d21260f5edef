"""The Triton kernels, against the definitions. Without a GPU they are interpreted, with its arithmetic emulated."""

import math
from collections.abc import Sequence
from math import inf, nan

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.backends import specs
from tests.support.bulk_definitions import NormalizedPair, truth
from tests.support.definitions import near
from tests.support.devices import DEVICES, needs_gpu
from tests.support.divergences import CHI_SQUARED, DIVERGENCES, EXPECTED_ACCEPTANCE, Divergence, alpha, renyi
from tests.support.helpers import assert_same_bits
from tests.support.strategies import FINFO_MIN
from tests.support.tolerances import RELATIVE_ERROR, ROUNDING, stated_error
from torchdivergence import KLDivergence

triton = pytest.importorskip("torchdivergence._rows.triton")

# The interpreter of Triton before 3.6
pytestmark = [
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0 to a scalar:DeprecationWarning"),
    pytest.mark.usefixtures("arithmetic_of_the_device"),
]

DEVICE = DEVICES[-1]
SHORT, LONG = 41, 1100
"""Numbers of classes for each of the kernels; the second one makes two tiles."""
LOGITS = (True, True)
TERMS = tuple(dict.fromkeys(term for x in DIVERGENCES for term in x.numerics.terms))
POWERS = [x for x in DIVERGENCES if any(term.name in ("chi_squared", "alpha") for term in x.numerics.terms)]
COVERED = [x for x in DIVERGENCES if x not in POWERS]
TOPS = tuple(term for key in specs.TOP_CLASSES for term in specs.by_key(key).terms)


def by_kernel(
    p: Tensor,
    q: Tensor,
    log_prob: tuple[bool, bool] = LOGITS,
    temperature: float = 1.0,
    divergences: Sequence[Divergence] = COVERED,
) -> dict[Divergence, Tensor]:
    """The values of all rows from one call for all terms."""
    terms = tuple(dict.fromkeys(term for divergence in divergences for term in divergence.numerics.terms))
    found = triton.term_sums(p.to(DEVICE), q.to(DEVICE), log_prob, temperature, terms).cpu()
    sums = dict(zip(terms, found, strict=True))
    values = {}
    for divergence in divergences:
        numerics = divergence.numerics
        values[divergence] = numerics.finalize(*(sums[term] for term in numerics.terms)).clamp(max=numerics.upper_bound)
    return values


def assert_accurate(
    p: Tensor,
    q: Tensor,
    log_prob: tuple[bool, bool] = LOGITS,
    temperature: float = 1.0,
    divergences: Sequence[Divergence] = COVERED,
) -> None:
    """Every value is that of the definition, within the error that is stated; two-dimensional p and q."""
    pair = NormalizedPair(p, q, log_prob, temperature)
    for divergence, values in by_kernel(p, q, log_prob, temperature, divergences).items():
        expected, found = truth(divergence, pair).astype(float), values.numpy()
        relative, floor = stated_error(divergence, (p.dtype, q.dtype), log_prob)
        allowed = np.where(
            expected >= floor, relative * expected, 10 * ROUNDING + relative * floor * (not all(log_prob))
        )
        allowed[np.isinf(expected)] = 0
        with np.errstate(invalid="ignore"):  # inf - inf
            right = (found == expected) | (np.isnan(found) & np.isnan(expected)) | (abs(found - expected) <= allowed)
        assert right.all(), f"{divergence}: {found[~right]} are not {expected[~right]}"
        assert not (found < 0).any(), divergence


def rows(count: int, classes: int, spread: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Rows of logits of which p and q differ by little up to much, and by a shift."""
    noises = (1e-4, 1e-2, 1.0, 10.0) if classes < LONG else (1e-3, 1.0)  # long rows take long to interpret
    pairs = [near((count, classes), spread, noise, dtype, seed) for seed, noise in enumerate(noises)]
    p, q = (torch.cat(x) for x in zip(*pairs, strict=True))
    return p, q + 9


@pytest.mark.parametrize("classes", [1, 2, 3, 10, SHORT, 1000])
@pytest.mark.parametrize("spread", [1.0, 5.0, 30.0])
def test_rows_of_few_classes_are_accurate(classes: int, spread: float) -> None:
    assert_accurate(*rows(1 if classes > SHORT else 20, classes, spread))


@pytest.mark.parametrize(("classes", "spread"), [(LONG, 30.0), (3000, 5.0)])
def test_rows_of_many_classes_are_accurate(classes: int, spread: float) -> None:
    assert_accurate(*rows(1, classes, spread))


@pytest.mark.parametrize(
    ("classes", "divergences"),
    [(3, [*POWERS, alpha(-2.0), alpha(0.02)]), (SHORT, POWERS), (LONG, [renyi(0.3), renyi(3.0)])],
)
def test_powers_are_accurate(classes: int, divergences: list[Divergence]) -> None:
    p, q = rows(20 if classes == 3 else 1, classes, 5.0)
    assert_accurate(p, q, divergences=divergences)
    if classes < LONG:
        assert_accurate(p, q, LOGITS, 0.7, divergences)


@pytest.mark.parametrize("log_prob", [(False, False), (False, True), (True, False)])
def test_powers_of_probabilities_are_accurate(log_prob: tuple[bool, bool]) -> None:
    p, q = (x if is_log else x.softmax(-1) for x, is_log in zip(rows(5, SHORT, 2.0), log_prob, strict=True))
    assert_accurate(p, q, log_prob, divergences=[CHI_SQUARED, renyi(0.3)])


@pytest.mark.parametrize("order", [-2.1, 3.1, 1e-7, 1 - 1e-7])
def test_other_orders_are_left_to_the_reference(order: float) -> None:
    p = torch.rand(2, 3, device=DEVICE)
    [inside], [outside] = (x.numerics.terms for x in (alpha(2.9), alpha(order)))
    assert triton.supports(p, p, LOGITS, 1.0, inside) == p.is_cuda
    assert not triton.supports(p, p, LOGITS, 1.0, outside)


@pytest.mark.parametrize(("classes", "dtype"), [(SHORT, torch.float32), (SHORT, torch.float16), (LONG, torch.bfloat16)])
def test_the_top_class_is_the_first_one_of_equal_ones(classes: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(classes)
    p, q = torch.randint(1, 4, (2, 3, classes), generator=generator).to(dtype).unbind()  # many ties
    p[1, -1], q[1, :-1], q[2, 1] = 9, -inf, nan
    sides = (p, q, LOGITS), (p / 4, q.clamp(min=0) / 4, (False, False))
    for x, y, log_prob in sides[: 1 if classes == LONG else 2]:
        found = triton.term_sums(x.to(DEVICE), y.to(DEVICE), log_prob, 1.0, TOPS).cpu()
        expected = torch.stack([x.argmax(-1), y.argmax(-1)]).double()
        expected[:, 2] = nan
        assert_same_bits(found, expected)


def test_probabilities_of_equal_logarithms_in_float32_have_a_top_class() -> None:
    x = torch.tensor([[1e-30, 1e-30]]).nextafter(torch.tensor([[0.0, 1.0]]))
    assert triton.term_sums(x.to(DEVICE), x.to(DEVICE), (False, False), 1.0, TOPS).tolist() == [[1.0], [1.0]]


def test_a_row_whose_first_classes_are_not_like_the_others_is_accurate() -> None:
    p, q = near((1, LONG), 1.0, 0.5)
    q += 0.3
    p[:, -9], q[:, -9] = 25.0, 25.0  # nearly all the mass, and the smallest difference
    assert_accurate(p, q)


def test_the_sum_of_many_weights_is_exact_where_they_are_powers_of_two() -> None:
    logits = torch.where(torch.arange(100_000) % 2 == 0, 0.0, -20.0).unsqueeze(0)
    found = triton.term_sums(
        logits.to(DEVICE), logits.to(DEVICE), LOGITS, math.log2(math.e), specs.by_key("log_mass_p").terms
    )
    assert float(found) == pytest.approx(math.log(50_000 * (1 + 2.0**-20)), rel=1e-13)


@pytest.mark.parametrize(
    ("dtype", "classes"), [(torch.bfloat16, SHORT), (torch.float16, SHORT), (torch.bfloat16, LONG)]
)
def test_narrow_logits_are_taken_as_exact(dtype: torch.dtype, classes: int) -> None:
    p, q = (x[-1:] for x in rows(1, classes, 5.0, dtype))
    assert_accurate(p, q)
    wide = by_kernel(p.float(), q.float())
    for divergence, values in by_kernel(p, q).items():
        assert_same_bits(values, wide[divergence])


@pytest.mark.parametrize("log_prob", [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("classes", [3, SHORT, LONG])
def test_probabilities_are_accurate(log_prob: tuple[bool, bool], classes: int) -> None:
    pairs = rows(1 if classes == LONG else 20, classes, 2.0)
    p, q = (x if is_log else x.softmax(-1) for x, is_log in zip(pairs, log_prob, strict=True))
    assert_accurate(p, q, log_prob)
    assert_accurate(p[-1:].to(torch.float16), q[-1:].to(torch.bfloat16), log_prob)


@pytest.mark.parametrize("temperature", [1e-4, 0.7, 1e4])
@pytest.mark.parametrize("classes", [SHORT, LONG])
def test_temperatures_are_accurate(temperature: float, classes: int) -> None:
    p, q = rows(1, classes, 5.0)
    assert_accurate(p * temperature, q * temperature, temperature=temperature)


@pytest.mark.parametrize("temperature", [1e-300, 1e300])
def test_temperatures_whose_inverse_is_no_float32_are_left_to_the_reference(temperature: float) -> None:
    p = torch.rand(2, 3, device=DEVICE)
    assert not triton.supports(p, p, LOGITS, temperature, TERMS[0])


EDGES = {
    "masked in both": ([0.0, -inf, 1.0], [0.0, -inf, 3.0]),
    "masked in p": ([0.0, -inf], [0.0, 0.0]),
    "masked in q": ([0.0, 0.0], [0.0, -inf]),
    "disjoint": ([0.0, -inf], [-inf, 0.0]),
    "masked where q underflows": ([0.0, -1000.0], [0.0, -inf]),
    "a gap": ([0.0, -1000.0], [-1000.0, 0.0]),
    "a gap whose powers are beyond float64": ([0.0, -1e4], [-1e4, 0.0]),
    "a finite mask in p": ([0.0, FINFO_MIN], [0.0, 0.0]),
    "a finite mask in q": ([0.0, 0.0], [0.0, FINFO_MIN]),
    "a finite mask in both": ([0.0, FINFO_MIN], [1.0, FINFO_MIN]),
    "opposite finite masks": ([0.0, -1e38], [-1e38, 0.0]),
    "a far gap": ([0.0, 0.0], [0.0, -1.1e37]),
    "a finite mask at the top": ([FINFO_MIN, -inf], [0.0, 0.0]),
    "huge": ([3e38, 3e38], [0.0, 1.0]),
    "a mass in the second class": ([0.0, 60.0], [0.0, 61.0]),
    "q far above p": ([0.0, -50.0], [0.0, 50.0]),
    "NaN in p": ([nan, 0.0], [0.0, 0.0]),
    "inf in q": ([0.0, 0.0], [inf, 0.0]),
    "no mass in p": ([-inf, -inf], [0.0, 0.0]),
    "no mass in q": ([0.0, 0.0], [-inf, -inf]),
}


def special_rows(apart: int, *names: str) -> tuple[Tensor, Tensor]:
    """The cases of these names, or all, with as many classes without mass before the last class."""
    sides = zip(*(EDGES[name] for name in names or EDGES), strict=True)
    p, q = (torch.tensor([[*row[:-1], *[-inf] * (apart + 3 - len(row)), row[-1]] for row in side]) for side in sides)
    return p, q


@pytest.mark.parametrize("apart", [0, LONG])
def test_special_rows_within_a_tile_and_across_tiles_have_the_value_of_the_definition(apart: int) -> None:
    names = list(EDGES)[::4] if apart else []  # long rows take long to interpret
    assert_accurate(*special_rows(apart, *names))


@pytest.mark.parametrize("apart", [0, LONG])
def test_powers_of_special_rows_have_the_value_of_the_definition(apart: int) -> None:
    if apart:
        p, q = special_rows(apart, "disjoint", "a gap whose powers are beyond float64")
        assert_accurate(p, q, divergences=[renyi(0.3), renyi(3.0)])
    else:
        assert_accurate(*special_rows(apart), divergences=POWERS)


@pytest.mark.parametrize("classes", [SHORT, LONG])
def test_invalid_probabilities_are_nan_and_zeros_are_masks(classes: int) -> None:
    p, q = torch.rand(2, 5, classes, generator=torch.Generator().manual_seed(0)).unbind()
    p[0, 0], q[1, 0], q[2, 5], p[3, 0], q[4, 4] = 0, 0, inf, -0.1, nan
    count = 5 if classes == SHORT else 3
    assert_accurate(p[:count], q[:count], (False, False))


@pytest.mark.parametrize("classes", [SHORT, LONG])
def test_equal_rows_have_exactly_zero(classes: int) -> None:
    p = torch.randn(1, classes, generator=torch.Generator().manual_seed(0)) * 30
    for divergence, values in by_kernel(p, p, divergences=[*COVERED, alpha(0.3), renyi(3.0)]).items():
        assert not divergence.zero_iff_equal or not values.any(), divergence
        assert divergence != EXPECTED_ACCEPTANCE or values == 1


@pytest.mark.parametrize("classes", [SHORT, LONG])
def test_a_row_has_the_same_bits_in_any_batch_and_layout(classes: int) -> None:
    p, q = (x[-1:] for x in rows(1, classes, 5.0))
    divergences = [*COVERED, renyi(3.0)]
    expected = by_kernel(p, q, divergences=divergences)
    layouts = {
        "unaligned": [torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x) for x in (p, q)],
        "classes first": [x.T.contiguous().T for x in (p, q)],
        "in a batch": [torch.cat([x.flip(-1), x]) for x in (p, q)],
    }
    if classes == SHORT:
        layouts["five dimensions"] = [x.expand(2, 3, 2, 4, classes).transpose(0, 3) for x in (p, q)]
    for a, b in layouts.values():
        for divergence, values in by_kernel(a, b, divergences=divergences).items():
            assert_same_bits(values.flatten()[-1], expected[divergence][0])


@pytest.mark.parametrize("classes", [SHORT, LONG])
def test_a_value_has_the_same_bits_whatever_else_is_computed(classes: int) -> None:
    p, q = rows(1, classes, 5.0)
    together = by_kernel(p, q, divergences=[*COVERED, CHI_SQUARED, renyi(3.0)])
    for divergence in together if classes == SHORT else [COVERED[0], renyi(3.0)]:
        assert_same_bits(by_kernel(p, q, divergences=[divergence])[divergence], together[divergence])


@pytest.mark.parametrize("classes", [SHORT, LONG])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_logarithms_of_the_normalizers_are_accurate(classes: int, temperature: float) -> None:
    p, q = rows(1, classes, 5.0)
    terms = tuple(term for key in specs.LOG_MASSES for term in specs.by_key(key).terms)
    found = triton.term_sums(p.to(DEVICE), q.to(DEVICE), LOGITS, temperature, terms).cpu()
    expected = torch.stack([(x.double() / temperature).logsumexp(-1) for x in (p, q)])
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=5e-7)


def test_no_rows_have_no_values() -> None:
    assert triton.term_sums(torch.rand(0, 3), torch.rand(0, 3), LOGITS, 1.0, TERMS[:2]).shape == (2, 0)


@needs_gpu
def test_an_update_does_not_synchronise_with_the_device() -> None:
    p, q = torch.randn(2, 64, 5000, device=DEVICE).unbind()
    for weights in (None, torch.rand(64, device=DEVICE)):
        metric = KLDivergence(log_prob=True).to(DEVICE)
        metric.update(p, q, weights)  # compiling and loading may synchronise
        torch.cuda.set_sync_debug_mode("error")
        try:
            metric.update(p, q, weights)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        on_the_cpu = KLDivergence(True)(p.cpu(), q.cpu(), None if weights is None else weights.cpu())
        torch.testing.assert_close(metric.compute().cpu(), on_the_cpu, rtol=RELATIVE_ERROR, atol=0)
