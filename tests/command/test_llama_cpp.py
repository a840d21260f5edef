"""The reader of llama.cpp's logits files: beside real files, what llama.cpp printed for them, and written ones."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.llama_cpp import (
    EXPECTED,
    as_logits,
    printed_beside_ours,
    report_of,
    report_of_pair,
    unpack,
    write_logits,
)
from torchdivergence import DivergenceReport
from torchdivergence.__main__ import main
from torchdivergence._command.errors import CommandError
from torchdivergence._command.floor import merge_floored
from torchdivergence._command.llama_cpp import LogitsFile
from torchdivergence._command.rows import Rows

PAIRS = sorted(EXPECTED["pairs"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("llama_cpp")


@pytest.mark.parametrize("pair", PAIRS)
def test_the_rows_of_a_file_taken_as_logits_have_the_values_of_the_definition(pair: str, folder: Path) -> None:
    found, expected = report_of_pair(pair, folder, as_logits), EXPECTED["pairs"][pair]["of_stored_rows"]
    for name, value in expected.items():
        # quantiles come from a histogram
        quantile = re.search(r"_(p\d+(_\d)?|median)$", name)
        assert found[name] == pytest.approx(value, rel=2**-10 if quantile else 1e-9), name


# Why a line may differ by more than its last digit, and by how much of it. The candidate's rows have 16 bits here, and
# were float32 there.
DIFFERENCES = (
    (r"PPL\(Q\)", 0.015),  # the losses of two targets are at the floor of the candidate's file
    (r"\d%|Median|M\w+imum", 2e-3),  # the rounding of single rows, and the bins of the histogram
    (r"Mean|RMS|Same", 2e-5),  # the rounding, averaged over the rows
)


def test_every_printed_line_has_our_value_up_to_rounding_and_the_floor(folder: Path) -> None:
    lines = printed_beside_ours(folder)
    assert len(lines) == 33 + 10  # values and errors
    for line, printed, ours, half_digit in lines:
        share = next(share for pattern, share in DIFFERENCES if re.search(pattern, line))
        assert abs(ours - printed) <= half_digit + share * abs(printed), (line, printed, ours)


def test_the_command_says_how_many_targets_are_below_the_floor(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    p, q = (unpack(EXPECTED["pairs"]["narrow-Q4_0"][side], folder) for side in ("reference", "candidate"))
    assert main(["compare", "--reference", str(p), "--candidate", str(q)]) == 0
    printed, said = capsys.readouterr()
    assert "248 rows in 8 sequences" in printed and "targets below the floor of a file: 2." in said


VALUES = ("kl_mean", "kl_max", "perplexity_p", "perplexity_q", "delta_p_rms")


def test_with_classes_at_the_floor_in_one_class_a_wide_file_is_nearer_to_its_models(folder: Path) -> None:
    true = EXPECTED["pairs"]["wide-Q4_0"]["of_float32_logits"]
    merged, plain = (report_of_pair("wide-Q4_0", folder, join) for join in (merge_floored, as_logits))
    for name in VALUES:
        assert abs(merged[name] - true[name]) < 0.6 * abs(plain[name] - true[name]), name
    for side in ("p", "q"):
        assert merged[f"perplexity_{side}"] == pytest.approx(true[f"perplexity_{side}"], rel=1e-4)


@pytest.fixture(scope="module")
def wide() -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, and logits of two models, with most classes below the floor."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(20_000, (3, 9), generator=generator)
    p = 4 * torch.randn(3, 9, 20_000, generator=generator)
    p.scatter_(-1, tokens.roll(-1, 1)[..., None], 9.0)  # targets are likely, so no loss is below the floor
    return tokens, p, p + 0.05 * torch.randn(p.shape, generator=generator)


def test_a_code_is_the_log_probability_to_half_a_step_and_code_0_at_the_floor_an_upper_bound(
    wide: tuple[Tensor, Tensor, Tensor], tmp_path: Path
) -> None:
    tokens, p, _ = wide
    file = LogitsFile(write_logits(tmp_path / "p.bin", tokens, p))
    assert torch.equal(file.tokens, tokens) and (file.classes, file.scored_from) == (20_000, 4)
    for chunk in range(3):
        rows, true = file.read(chunk), p[chunk : chunk + 1, 4:8].double().log_softmax(-1)
        assert rows.at_floor is not None and 0.1 < rows.at_floor.double().mean() < 0.9
        error = (rows.logits - true).abs()[~rows.at_floor]
        assert error.max() <= 8 / 65535 + 5e-6  # and the rounding of float32
        assert (rows.logits + 8 / 65535 + 5e-6 >= true)[rows.at_floor].all()


@pytest.mark.parametrize("live", [False, True])
def test_merged_rows_have_the_divergence_of_the_models_where_a_softmax_has_not(
    wide: tuple[Tensor, Tensor, Tensor], tmp_path: Path, live: bool
) -> None:
    tokens, *logits = wide
    p, q = (LogitsFile(write_logits(tmp_path / f"{i}.bin", tokens, x)) for i, x in enumerate(logits))
    true, merged, plain = (DivergenceReport() for _ in range(3))
    for chunk in range(3):
        target, of_q = tokens[chunk : chunk + 1, 5:], Rows(logits[1][chunk : chunk + 1, 4:8])
        read = of_q if live else q.read(chunk)
        true.update(logits[0][chunk : chunk + 1, 4:8], of_q.logits, target=target)
        merged.update(*merge_floored(p.read(chunk), read, target), target=target)
        plain.update(p.read(chunk).logits, read.logits, target=target)
    exact, ours, lifted = (report.to_dict() for report in (true, merged, plain))
    for name in ("kl_mean", "perplexity_p", "perplexity_q"):
        # the mass at the floor is known to about 1e-5, which matters only where the divergence is small
        assert ours[name] == pytest.approx(exact[name], rel=1e-4, abs=1e-5), name
        if name == ("kl_mean" if live else "perplexity_q"):
            assert abs(lifted[name] - exact[name]) > 3 * abs(ours[name] - exact[name]), name


def test_a_file_compared_with_itself_has_exactly_0(wide: tuple[Tensor, Tensor, Tensor], tmp_path: Path) -> None:
    file = LogitsFile(write_logits(tmp_path / "p.bin", *wide[:2]))
    values = report_of(file, file, merge_floored)
    assert values["kl_max"] == values["kl_min"] == values["delta_p_rms"] == 0 and values["top_1_agreement"] == 1


def test_targets_and_top_tokens_are_never_merged() -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 1, 50, 20, generator=generator, dtype=torch.float64).log_softmax(-1)
    target = torch.randint(20, (1, 50), generator=generator)
    everything = torch.ones(p.shape, dtype=torch.bool)
    merged, _ = merge_floored(Rows(p, everything), Rows(q, everything), target)
    for kept in (target, p.argmax(-1), q.argmax(-1)):
        assert torch.equal(merged.gather(-1, kept[..., None]), p.gather(-1, kept[..., None]))
    distinct = [len({*row.tolist()}) for row in torch.stack([target, p.argmax(-1), q.argmax(-1)], -1)[0]]
    assert merged.isfinite().sum(-1)[0].tolist() == [1 + kept for kept in distinct]


def test_a_class_at_the_floor_of_either_side_is_merged_in_both() -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 1, 50, 20, generator=generator, dtype=torch.float64).log_softmax(-1)
    of_p, of_q = torch.zeros(2, 1, 50, 20, dtype=torch.bool)
    of_p[..., 3], of_q[..., 7] = True, True
    target = torch.zeros(1, 50, dtype=torch.long)
    top = [torch.nn.functional.one_hot(side.argmax(-1), 20).bool() for side in (p, q)]
    for merged in merge_floored(Rows(p, of_p), Rows(q, of_q), target):
        assert torch.equal(merged[..., :-1].isneginf(), (of_p | of_q) & ~top[0] & ~top[1])


def test_a_live_model_gives_the_merged_class_its_own_mass() -> None:
    logits = torch.randn(1, 5, 30, generator=torch.Generator().manual_seed(0))
    at_floor = torch.zeros(logits.shape, dtype=torch.bool)
    at_floor[..., 10:20] = True
    target = torch.zeros(1, 5, dtype=torch.long)
    _, q = merge_floored(Rows(logits.double().log_softmax(-1), at_floor), Rows(logits), target)
    top = torch.nn.functional.one_hot(logits.argmax(-1), 30).bool()
    mass = logits.double().softmax(-1).masked_fill(~at_floor | top, 0).sum(-1)
    torch.testing.assert_close(q[..., -1].exp(), mass, rtol=1e-14, atol=0)
    torch.testing.assert_close(q.exp().sum(-1), torch.ones(1, 5, dtype=torch.float64), rtol=1e-14, atol=0)


def test_a_row_that_spans_less_than_16_has_no_floor(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, tokens = torch.rand(2, 6, 11, generator=generator), torch.randint(11, (2, 6), generator=generator)
    rows = LogitsFile(write_logits(tmp_path / "p.bin", tokens, logits)).read(1)
    assert rows.at_floor is not None and not rows.at_floor.any()
    # the step is that of the row, below 1 / 65535
    torch.testing.assert_close(rows.logits[0], logits[1, 3:5].double().log_softmax(-1), rtol=0, atol=1e-5)


def changed(data: bytes, place: int, value: int) -> bytes:
    return data[:place] + struct.pack("<i", value) + data[place + 4 :]


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another kind of file": (lambda data: b"GGUF" + data[4:], "no logits file of llama.cpp"),
    "empty": (lambda _: b"", "no logits file of llama.cpp"),
    "cut in the header": (lambda data: data[:12], "truncated: it ends in its header"),
    "cut in the tokens": (lambda data: data[:30], "truncated: .*0 whole chunks"),
    "cut in the rows": (lambda data: data[:-2], "truncated: .*names 3 chunks.* 2 whole chunks"),
    "longer": (lambda data: data + b"\0\0", "damaged, or of a newer format"),
    "no chunks": (lambda data: changed(data, 16, 0), "holds no rows: .*0 chunks"),
    "a negative number of classes": (lambda data: changed(data, 12, -5), "holds no rows"),
    "a token outside of the classes": (lambda data: changed(data, 20, 11), "tokens outside of its 11 classes"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    change, message = DAMAGED[case]
    path = write_logits(tmp_path / "p.bin", torch.zeros(3, 6, dtype=torch.long), torch.randn(3, 6, 11))
    LogitsFile(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CommandError, match=message):
        LogitsFile(path)


def test_only_the_chunk_that_is_read_is_in_memory(tmp_path: Path) -> None:
    """The file claims 200 GB, which the file system does not store; a chunk of it takes 20 MB."""
    context, classes, chunks = 64, 160_000, 10_000
    path, row = tmp_path / "sparse.bin", 2 * (classes + 4)
    start = 20 + 4 * context * chunks
    with path.open("wb") as file:
        file.write(struct.pack("<8sIii", b"_logits_", context, classes, chunks))
        file.truncate(start + chunks * 31 * row)
        file.seek(start + (chunks - 1) * 31 * row)
        file.write(np.array([16 / 65535, -16], "<f4").tobytes() + np.array([65535], "<u2").tobytes())
    rows = LogitsFile(path).read(chunks - 1)
    assert rows.logits.shape == (1, 31, classes)
    assert rows.logits[0, 0, 0].item() == pytest.approx(0, abs=1e-6) and rows.logits[0, 0, 1].item() == -16
