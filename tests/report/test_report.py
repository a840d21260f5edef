"""The values of a report, against numpy and the formulas of llama.cpp on all rows in memory."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.support.reports import CLASSES, ROUNDING, TEXTS, TOKENS, Numbers, report_values, texts
from torchdivergence import DivergenceReport, KLDivergence
from torchdivergence.functional import kl_divergence

Floats = npt.NDArray[np.float64]


def mean_and_errors(x: Floats) -> tuple[float, float, float]:
    """The mean and its standard errors, over rows and clustered by text."""
    g = len(x)
    clustered = math.sqrt(g / (g - 1) * ((x - x.mean()).sum(1) ** 2).sum()) / x.size
    return x.mean(), x.std(ddof=1) / math.sqrt(x.size), clustered


def assert_estimate(found: Numbers, name: str, prefix: str, expected: tuple[float, float, float]) -> None:
    names = [name, f"{prefix}_standard_error", f"{prefix}_clustered_standard_error"]
    np.testing.assert_allclose([found[n] for n in names], expected, rtol=1e-9)


def test_divergence_agreement_and_acceptance_equal_numpy_on_all_rows() -> None:
    p, q, _ = texts()
    found = report_values(p, q, top_k=[1, 4])
    kl = kl_divergence(p, q, log_prob=True, reduction="none").numpy()
    assert_estimate(found, "kl_mean", "kl", mean_and_errors(kl))
    assert (found["kl_min"], found["kl_max"]) == (kl.min(), kl.max())
    for name, level in {"kl_p0_1": 0.001, "kl_median": 0.5, "kl_p99": 0.99, "kl_p99_9": 0.999}.items():
        assert math.isclose(found[name], np.quantile(kl, level), rel_tol=2**-10)
    same = (p.argmax(-1) == q.argmax(-1)).double().numpy()
    assert_estimate(found, "top_1_agreement", "top_1_agreement", mean_and_errors(same))
    rate = same.mean()
    binomial = math.sqrt(rate * (1 - rate) / (same.size - 1))
    assert math.isclose(found["top_1_agreement_standard_error"], binomial, rel_tol=1e-12)
    four = [np.argsort(-x.numpy(), -1)[..., :4] for x in (p, q)]
    shared = (four[0][..., None] == four[1][..., None, :]).any(-1).mean(-1)
    assert_estimate(found, "top_4_agreement", "top_4_agreement", mean_and_errors(shared))
    overlap = torch.minimum(*(x.double().softmax(-1) for x in (p, q))).sum(-1).numpy()
    assert_estimate(found, "expected_acceptance", "expected_acceptance", mean_and_errors(overlap))
    assert (found["rows"], found["sequences"], found["infinite"], found["invalid"]) == (TEXTS * TOKENS, TEXTS, 0, 0)


def test_perplexities_have_the_values_and_errors_of_llama_cpp() -> None:
    p, q, target = texts()
    found = report_values(p, q, target)
    losses = [-x.double().log_softmax(-1).gather(-1, target[..., None]).squeeze(-1).numpy() for x in (p, q)]
    (mean_p, error_p, _), (mean_q, error_q, _) = (mean_and_errors(x) for x in losses)
    ppl_p, ppl_q = math.exp(mean_p), math.exp(mean_q)
    covariance = np.cov(losses[0].ravel(), losses[1].ravel())[0, 1] / losses[0].size
    error_ratio = math.sqrt(error_p**2 + error_q**2 - 2 * covariance)
    error_difference = math.sqrt((ppl_q * error_q) ** 2 + (ppl_p * error_p) ** 2 - 2 * covariance * ppl_p * ppl_q)
    expected = {
        "perplexity_p": (ppl_p, ppl_p * error_p),
        "perplexity_q": (ppl_q, ppl_q * error_q),
        "log_perplexity_ratio": (mean_q - mean_p, error_ratio),
        "perplexity_ratio": (ppl_q / ppl_p, ppl_q / ppl_p * error_ratio),
        "perplexity_difference": (ppl_q - ppl_p, error_difference),
    }
    for name, (value, error) in expected.items():
        np.testing.assert_allclose([found[name], found[f"{name}_standard_error"]], [value, error], rtol=1e-8)
    assert math.isclose(found["log_perplexity_correlation"], covariance / error_p / error_q, rel_tol=1e-9)


def test_delta_p_is_the_change_of_the_probability_of_the_target() -> None:
    p, q, target = texts()
    found = report_values(p, q, target)
    of_target = [x.double().softmax(-1).gather(-1, target[..., None]).squeeze(-1).numpy() for x in (p, q)]
    delta = of_target[1] - of_target[0]
    assert_estimate(found, "delta_p_mean", "delta_p_mean", mean_and_errors(delta))
    mean_square, *errors = mean_and_errors(delta**2)
    rms = math.sqrt(mean_square)
    expected = rms, 0.5 / rms * errors[0], 0.5 / rms * errors[1]
    assert_estimate(found, "delta_p_rms", "delta_p_rms", expected)
    for name, level in {"delta_p_min": 0, "delta_p_p1": 0.01, "delta_p_p90": 0.9, "delta_p_max": 1}.items():
        assert math.isclose(found[name], np.quantile(delta, level), rel_tol=2**-10)


def test_clustered_errors_of_functions_of_means_follow_the_delta_method() -> None:
    p, q, target = texts()
    found = report_values(p, q, target)
    loss_p, loss_q = (-x.double().log_softmax(-1).gather(-1, target[..., None]).squeeze(-1).numpy() for x in (p, q))
    gradient = math.exp(loss_q.mean()) * (loss_q - loss_q.mean()) - math.exp(loss_p.mean()) * (loss_p - loss_p.mean())
    expected = math.sqrt(TEXTS / (TEXTS - 1) * (gradient.sum(1) ** 2).sum()) / loss_p.size
    assert math.isclose(found["perplexity_difference_clustered_standard_error"], expected, rel_tol=1e-8)


def test_a_model_has_zero_divergence_from_itself() -> None:
    p, _, target = texts()
    found = report_values(p, p, target)
    zero = [
        x for name, x in found.items() if name.startswith(("kl_", "delta_p_m", "perplexity_diff", "log_perplexity_r"))
    ]
    assert set(zero) == {0.0}
    assert found["top_1_agreement"] == found["perplexity_ratio"] == 1


def test_small_differences_between_models_are_accurate() -> None:
    p, _, target = texts()
    q = p.double() * (1 + 1e-9)
    found = report_values(p.double(), q, target)
    losses = [-x.log_softmax(-1).gather(-1, target[..., None]) for x in (p.double(), q)]
    assert math.isclose(found["log_perplexity_ratio"], (losses[1] - losses[0]).mean().item(), rel_tol=1e-5)
    assert 0 < found["perplexity_difference_standard_error"] < 1e-8


@pytest.mark.parametrize("split", [[6], [1] * 6, [2, 0, 4]])
def test_any_split_of_the_texts_gives_a_report_of_the_same_bits(split: list[int]) -> None:
    p, q, target = texts()
    weights = torch.rand(TEXTS, TOKENS, generator=torch.Generator().manual_seed(1))
    report, merged = DivergenceReport(top_k=[1, 3]), DivergenceReport(top_k=[1, 3])
    for part in torch.tensor([3, 1, 5, 0, 4, 2]).split(split):
        for one in (report, other := DivergenceReport(top_k=[1, 3])):
            one.update(p[part], q[part], target[part], weights[part])
        merged.merge_state(other)
    whole = report_values(p, q, target, weights, top_k=[1, 3])
    for one in (report, merged):
        assert one.to_dict() == whole


def test_rows_without_a_target_or_a_weight_are_left_out() -> None:
    p, q, target = texts()
    masked, included = target.clone(), torch.ones(TEXTS, TOKENS, dtype=torch.bool)
    masked[:, ::3] = -100
    included[:, ::3] = False
    assert report_values(p, q, masked) == report_values(p, q, target, included)
    assert report_values(p, q, masked)["rows"] == included.sum()


def test_targets_may_be_given_with_some_batches_only() -> None:
    p, q, target = texts()
    report = DivergenceReport()
    report.update(p[:2], q[:2])
    assert "perplexity_p" not in report.compute()
    assert "perplexity_p" not in report.keys()  # noqa: SIM118 - the report is no dict
    report.update(p[2:], q[2:], target[2:])
    found, with_targets = report.to_dict(), report_values(p[2:], q[2:], target[2:])
    assert found["perplexity_q"] == with_targets["perplexity_q"]
    assert found["kl_mean"] == pytest.approx(KLDivergence(log_prob=True)(p, q).item(), rel=ROUNDING)
    report.reset()
    report.update(p, q)
    assert math.isnan(report["perplexity_p"].compute())


def test_padded_classes_are_ignored() -> None:
    p, q, target = texts()
    wide = torch.cat([q, torch.randn(TEXTS, TOKENS, 5)], -1)
    with pytest.raises(ValueError, match="give a DivergenceReport num_classes"):
        report_values(p, wide, target)
    assert report_values(p, wide, target, num_classes=CLASSES) == report_values(p, q, target)
    with pytest.raises(ValueError, match="at least num_classes=31 classes, but p is"):
        report_values(p, wide, num_classes=31)
