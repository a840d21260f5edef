"""The report on two language models is that of numpy, with llama.cpp's formulas, on all rows kept in memory."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.definitions import near
from torchdivergence import DivergenceReport, KLDivergence
from torchdivergence.functional import kl_divergence

TEXTS, TOKENS, CLASSES = 6, 40, 30
Numbers = dict[str, float]


def texts(noise: float = 0.3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of two models, and the tokens that came."""
    p, q = near((TEXTS, TOKENS, CLASSES), 3.0, noise, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    target = torch.multinomial(p.softmax(-1).flatten(0, 1), 1, generator=generator).view(TEXTS, TOKENS)
    return p, q, target


def reported(*args: Tensor, **settings: Any) -> Numbers:
    report = DivergenceReport(**settings)
    report.update(*args)
    return report.to_dict()


def mean_and_errors(x: np.ndarray) -> tuple[float, float, float]:
    """The mean, and its errors over rows and over texts."""
    g = len(x)
    clustered = math.sqrt(g / (g - 1) * ((x - x.mean()).sum(1) ** 2).sum()) / x.size
    return x.mean(), x.std(ddof=1) / math.sqrt(x.size), clustered


def assert_estimate(found: Numbers, name: str, stem: str, expected: tuple[float, float, float]) -> None:
    names = [name, f"{stem}_standard_error", f"{stem}_clustered_standard_error"]
    np.testing.assert_allclose([found[n] for n in names], expected, rtol=1e-9)


def test_divergence_and_agreement_are_those_of_all_rows() -> None:
    p, q, _ = texts()
    found = reported(p, q, top_k=[1, 4])
    kl = kl_divergence(p, q, log_prob=True, reduction="none").numpy()
    assert_estimate(found, "kl_mean", "kl", mean_and_errors(kl))
    assert (found["kl_min"], found["kl_max"]) == (kl.min(), kl.max())
    for name, level in {"kl_p0_1": 0.001, "kl_median": 0.5, "kl_p99": 0.99, "kl_p99_9": 0.999}.items():
        assert math.isclose(found[name], np.quantile(kl, level), rel_tol=2**-8)
    same = (p.argmax(-1) == q.argmax(-1)).double().numpy()
    assert_estimate(found, "top_1_agreement", "top_1_agreement", mean_and_errors(same))
    rate = same.mean()
    binomial = math.sqrt(rate * (1 - rate) / (same.size - 1))
    assert math.isclose(found["top_1_agreement_standard_error"], binomial, rel_tol=1e-12)
    four = [np.argsort(-x.numpy(), -1)[..., :4] for x in (p, q)]
    shared = (four[0][..., None] == four[1][..., None, :]).any(-1).mean(-1)
    assert_estimate(found, "top_4_agreement", "top_4_agreement", mean_and_errors(shared))
    assert (found["rows"], found["sequences"], found["infinite"], found["invalid"]) == (TEXTS * TOKENS, TEXTS, 0, 0)


def test_perplexities_have_the_values_and_errors_of_llama_cpp() -> None:
    p, q, target = texts()
    found = reported(p, q, target)
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


def test_delta_p_is_that_of_the_right_token() -> None:
    p, q, target = texts()
    found = reported(p, q, target)
    right = [x.double().softmax(-1).gather(-1, target[..., None]).squeeze(-1).numpy() for x in (p, q)]
    delta = right[1] - right[0]
    assert_estimate(found, "delta_p_mean", "delta_p_mean", mean_and_errors(delta))
    mean_square, *errors = mean_and_errors(delta**2)
    rms = math.sqrt(mean_square)
    assert_estimate(found, "delta_p_rms", "delta_p_rms", (rms, *(0.5 / rms * error for error in errors)))
    for name, level in {"delta_p_min": 0, "delta_p_p1": 0.01, "delta_p_p90": 0.9, "delta_p_max": 1}.items():
        assert math.isclose(found[name], np.quantile(delta, level), rel_tol=2**-8)


def test_clustered_errors_of_functions_of_means_go_by_their_slopes() -> None:
    p, q, target = texts()
    found = reported(p, q, target)
    loss_p, loss_q = (-x.double().log_softmax(-1).gather(-1, target[..., None]).squeeze(-1).numpy() for x in (p, q))
    slopes = math.exp(loss_q.mean()) * (loss_q - loss_q.mean()) - math.exp(loss_p.mean()) * (loss_p - loss_p.mean())
    expected = math.sqrt(TEXTS / (TEXTS - 1) * (slopes.sum(1) ** 2).sum()) / loss_p.size
    assert math.isclose(found["perplexity_difference_clustered_standard_error"], expected, rel_tol=1e-8)


def test_the_same_model_is_at_no_distance() -> None:
    p, _, target = texts()
    found = reported(p, p, target)
    zero = [
        x for name, x in found.items() if name.startswith(("kl_", "delta_p_m", "perplexity_diff", "log_perplexity_r"))
    ]
    assert set(zero) == {0.0}
    assert found["top_1_agreement"] == found["perplexity_ratio"] == 1


def test_near_models_keep_the_digits_of_their_difference() -> None:
    p, _, target = texts()
    q = p.double() * (1 + 1e-9)
    found = reported(p.double(), q, target)
    losses = [-x.log_softmax(-1).gather(-1, target[..., None]) for x in (p.double(), q)]
    assert math.isclose(found["log_perplexity_ratio"], (losses[1] - losses[0]).mean().item(), rel_tol=1e-5)
    assert 0 < found["perplexity_difference_standard_error"] < 1e-8


@pytest.mark.parametrize("split", [[6], [1] * 6, [2, 0, 4]])
def test_any_split_gives_the_same_bits(split: list[int]) -> None:
    p, q, target = texts()
    weights = torch.rand(TEXTS, TOKENS, generator=torch.Generator().manual_seed(1))
    report, merged = DivergenceReport(top_k=[1, 3]), DivergenceReport(top_k=[1, 3])
    for part in torch.tensor([3, 1, 5, 0, 4, 2]).split(split):
        for one in (report, other := DivergenceReport(top_k=[1, 3])):
            one.update(p[part], q[part], target[part], weights[part])
        merged.merge_state(other)
    whole = reported(p, q, target, weights, top_k=[1, 3])
    for one in (report, merged):
        assert one.to_dict() == whole


def test_classes_that_are_padding_do_not_count() -> None:
    p, q, target = texts()
    wide = torch.cat([q, torch.randn(TEXTS, TOKENS, 5)], -1)
    with pytest.raises(ValueError, match="give a DivergenceReport num_classes"):
        reported(p, wide, target)
    assert reported(p, wide, target, num_classes=CLASSES) == reported(p, q, target)
    with pytest.raises(ValueError, match="at least num_classes=31 classes, but p is"):
        reported(p, wide, num_classes=31)


def test_rows_without_a_target_or_a_weight_are_left_out() -> None:
    p, q, target = texts()
    masked, kept = target.clone(), torch.ones(TEXTS, TOKENS, dtype=torch.bool)
    masked[:, ::3] = -100
    kept[:, ::3] = False
    assert reported(p, q, masked) == reported(p, q, target, kept)
    assert reported(p, q, masked)["rows"] == kept.sum()


def test_targets_may_come_with_some_batches() -> None:
    p, q, target = texts()
    report = DivergenceReport()
    report.update(p[:2], q[:2])
    assert "perplexity_p" not in report.compute()
    assert "perplexity_p" not in report.keys()  # noqa: SIM118 - it is no dict
    report.update(p[2:], q[2:], target[2:])
    found, of_targets = report.to_dict(), reported(p[2:], q[2:], target[2:])
    assert found["perplexity_q"] == of_targets["perplexity_q"]
    assert found["kl_mean"] == KLDivergence(log_prob=True)(p, q)
    report.reset()
    report.update(p, q)
    assert math.isnan(report["perplexity_p"].compute())


@pytest.mark.parametrize(
    ("target", "error", "text"),
    [
        (torch.zeros(TEXTS, TOKENS), TypeError, "integers, the index of a class for each row, but got torch.float32"),
        (torch.zeros(TEXTS, TOKENS - 1, dtype=torch.long), ValueError, r"logits\[:, :-1\] go with ids\[:, 1:\]"),
        (torch.full((TEXTS, TOKENS), CLASSES), ValueError, "from 0 to 29, or ignore_index=-100, but got 30"),
    ],
)
def test_a_target_that_is_none_is_refused_and_changes_nothing(target: Tensor, error: type, text: str) -> None:
    p, q, _ = texts()
    report = DivergenceReport()
    report.update(p, q)
    before = report.to_dict()
    with pytest.raises(error, match=text):
        report.update(p, q, target)
    assert report.to_dict() == before


def test_the_means_along_the_sequence_are_those_of_the_places() -> None:
    p, q, _ = texts()
    report = DivergenceReport()
    report.update(p, q)
    report.compute()
    kl = kl_divergence(p, q, log_prob=True, reduction="none")
    stretches = report._summary.positions
    assert [x for s in stretches for x in range(s.first, s.last + 1)][:TOKENS] == list(range(TOKENS))
    for s in stretches:
        torch.testing.assert_close(s.mean, kl[:, s.first : s.last + 1].mean().item(), rtol=1e-12, atol=0)


def test_the_table_and_the_json_say_what_compute_says() -> None:
    p, q, target = texts()
    report = DivergenceReport(nan_policy="omit")
    q[0, 0, 0] = -math.inf
    q[1, 0, 0] = math.nan
    report.update(p, q, target)
    found, text = report.to_dict(), str(report)
    assert text.startswith(
        "239 rows in 6 sequences, candidate q against reference p; 1 of infinite divergence; 1 invalid"
    )
    lines = {" ".join(line.split()[:-3]): line.split()[-3:] for line in text.splitlines() if len(line.split()) > 3}
    assert float(lines["of p"][0]) == pytest.approx(found["perplexity_p"], rel=1e-3)
    assert float(lines["Same likeliest token, %"][1]) == pytest.approx(
        100 * found["top_1_agreement_standard_error"], rel=0.05
    )
    assert json.loads(report.to_json())["kl_max"] == "inf"
    assert json.loads(report.to_json())["perplexity_p"] == found["perplexity_p"]


def test_the_plot_has_the_shares_of_the_rows_and_the_marks() -> None:
    p, q, _ = texts()
    report = DivergenceReport()
    report.update(p, q)
    figure, (histogram, course) = report.plot()
    (patch,) = histogram.patches
    heights, edges = patch.get_data()[:2]
    assert sum(h * math.log2(b / a) for h, a, b in zip(heights, edges[:-1], edges[1:], strict=True)) == pytest.approx(
        100
    )
    marks = {line.get_xdata()[0] for line in histogram.lines}
    assert marks == {report.to_dict()[name] for name in ("kl_median", "kl_p99", "kl_max")}
    assert len(course.lines[0].get_xdata()) == len(report._summary.positions)
    figure.canvas.draw()


def test_its_name_is_short_and_a_value_that_is_not_there_is_named_with_those_that_are() -> None:
    report = DivergenceReport(top_k=[1, 5])
    assert repr(report) == "DivergenceReport(KLDivergence(log_prob=True), top_k=(1, 5), num_classes=None)"
    with pytest.raises(KeyError, match=r"there is no value 'kl_p98': there are kl_mean, .*kl_p99"):
        report["kl_p98"]
