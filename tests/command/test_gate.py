"""``torchdivergence gate``: its decisions, its exit codes and how often it is wrong."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.command import valid_json
from torchdivergence.__main__ import main
from torchdivergence._command import gate as module
from torchdivergence._command.gate import POWER, Verdict, decide, sequences_needed
from torchdivergence._report.intervals import Intervals
from torchdivergence._states.moments import Estimate

CONFIDENCE = 0.95


def shares(true_mean: float, texts: int, runs: int) -> dict[Verdict, float]:
    """How often lognormal texts with a coefficient of variation of 0.5 lead to each decision, for a threshold of 1."""
    generator, intervals = np.random.default_rng(0), Intervals(CONFIDENCE, texts, rows=0)
    variance = math.log1p(0.25)
    found = dict.fromkeys(Verdict, 0.0)
    for sample in true_mean * generator.lognormal(-variance / 2, math.sqrt(variance), (runs, texts)):
        estimate = Estimate(float(sample.mean()), math.nan, float(sample.std(ddof=1)) / math.sqrt(texts))
        found[decide(intervals.bounds(estimate, "log"), 1.0)] += 1 / runs
    return found


@pytest.mark.parametrize("texts", [8, 16, 64])
def test_at_the_threshold_a_wrong_decision_is_as_rare_as_stated(texts: int) -> None:
    found = shares(1.0, texts, 4_000)
    # 5 %, plus three standard errors of the share
    assert found[Verdict.BELOW] < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4_000) and found[Verdict.ABOVE] < 0.03


@pytest.mark.parametrize(("mean", "verdict"), [(0.7, Verdict.BELOW), (1.4, Verdict.ABOVE)])
def test_the_named_number_of_texts_decides_about_as_often_as_stated(mean: float, verdict: Verdict) -> None:
    number = sequences_needed(Estimate(mean, math.nan, 0.5 * mean / math.sqrt(8)), 8, 1.0, CONFIDENCE)
    assert 8 < number < 100
    # the spread is estimated, so the power differs a little
    assert shares(mean, int(number), 2_000)[verdict] == pytest.approx(POWER, abs=0.06)


def test_a_mean_nearer_to_the_threshold_needs_more_texts_and_one_at_it_cannot_be_decided() -> None:
    numbers = [sequences_needed(Estimate(mean, math.nan, 0.1), 8, 1.0, CONFIDENCE) for mean in (0.8, 0.9, 0.99, 1.0)]
    assert numbers == sorted(set(numbers)) and numbers[-1] == math.inf


@pytest.fixture
def options(folder: Path, text: Path) -> list[str]:
    return ["gate", "--reference", str(folder), "--text", str(text), "--length", "16"]


@pytest.mark.parametrize(
    ("share", "code", "verdict"), [(2.0, 0, "below"), (0.5, 1, "above"), (1.01, 2, "undecided"), (1.0, 2, "undecided")]
)
def test_the_exit_code_is_the_decision(
    options: list[str], share: float, code: int, verdict: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "o.json"
    main([*options, "--round", "int8", "--kl-below", "1", "--json", str(path)])
    mean = valid_json(path)["candidates"][0]["values"]["kl_mean"]["value"]
    capsys.readouterr()
    assert main([*options, "--round", "int8", "--kl-below", repr(share * mean), "--json", str(path)]) == code
    printed, found = capsys.readouterr().out, valid_json(path)
    assert found["gate"]["verdict"] == verdict and f"from 14 sequences: {verdict}" in printed
    if verdict == "undecided":
        needed = found["gate"]["sequences_needed"]
        assert needed == "inf" or needed > 14
        number = (
            f"{needed:,.0f} sequences (--tokens {16 * needed:.0f})" if needed != "inf" else "No number of sequences"
        )
        assert number in printed and "a probability of 80 %" in printed


def test_a_model_is_below_any_threshold_from_itself(options: list[str]) -> None:
    assert main([*options, "--candidate", options[2], "--kl-below", "1e-30"]) == 0


def test_one_text_cannot_be_decided(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options, "--tokens", "16", "--round", "int8", "--kl-below", "1"]) == 3
    assert "at least two sequences" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(RuntimeError("no memory"), 3), (KeyboardInterrupt(), 130)])
def test_no_error_looks_like_a_decision(
    options: list[str], error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(module, "evaluate", fail)
    assert main([*options, "--round", "int8", "--kl-below", "1"]) == code


@pytest.mark.parametrize(("logit", "code"), [(-math.inf, 1), (math.nan, 3)])
def test_an_infinite_divergence_is_above_and_an_invalid_one_cannot_be_decided(
    options: list[str], logit: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_class(logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor([5]), logit)

    monkeypatch.setattr(Tensor, "bfloat16", one_class)
    assert main([*options, "--round", "logits", "--kl-below", "1"]) == code
    _, _, _, *decision = capsys.readouterr().out.splitlines()
    found = "The KL divergence is infinite in 210 of 210 rows, so the mean is above 1."
    assert decision == ([found] if code == 1 else [])
