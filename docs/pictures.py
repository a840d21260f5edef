"""The pictures of the documents, drawn when they are built."""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import torchmetrics
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from tests.support.bulk_definitions import NormalizedPair, kl
from torchdivergence.functional import kl_divergence

CLASSES = 32_000
ROWS = 60
COLORS = ("tab:orange", "tab:purple", "tab:blue")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def draw_gallery(page: Path, folder: Path) -> None:
    """Run the Python blocks of a page in order, and save each ``figure`` they make.

    The figure of block 1 is gallery-1.svg. A block that makes none has no file.
    """
    namespace: dict[str, Any] = {}
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8")), 1):
        exec(block, namespace)
        if figure := namespace.pop("figure", None):
            save(figure, folder / f"gallery-{number}.svg")


def save(figure: Figure, path: Path) -> None:
    """Without a background, for light and dark pages. The bytes do not vary."""
    with mpl.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, transparent=True, metadata={"Date": None})


def draw_landing(path: Path) -> None:
    """The relative error of float32 code, beside that of this package."""
    figure = Figure(figsize=(5.6, 4.1), layout="constrained")
    ax = figure.subplots()
    true, computed = small_divergences()
    for (name, values), color in zip(computed.items(), COLORS, strict=True):
        errors = ((values - true).abs() / true).clamp(min=1e-16)
        draw_errors(ax, true, errors, values < 0, color=color, label=name)
    ax.axhline(1, color="black", linewidth=0.8, linestyle="dashed")
    at = (true.max().item(), 1.5)
    ax.annotate("error as large as the value", at, ha="right", fontsize="small")
    ax.set(xscale="log", xlabel="true KL divergence of a row, nats")
    ax.set(yscale="log", ylabel="relative error")
    ax.set_title(f"float32 logits, {CLASSES:,} classes")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize="small",
        title="crosses: the computed value is negative",
        title_fontsize="small",
    )
    save(figure, path)


def draw_errors(
    ax: Axes, true: Tensor, errors: Tensor, negative: Tensor, label: str, color: str
) -> None:
    """Rows whose computed value is negative have a cross."""
    dots, crosses = ~negative, negative
    ax.scatter(true[dots], errors[dots], 12, color, label=label, linewidth=0)
    ax.scatter(true[crosses], errors[crosses], 24, color, marker="x", linewidth=1.2)


def small_divergences() -> tuple[Tensor, dict[str, Tensor]]:
    """Divergences from 1e-2 to 1e-10: in 80-bit arithmetic, and by three libraries."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(-1, -5, ROWS).unsqueeze(-1)
    p = 3 * torch.randn(ROWS, CLASSES, generator=generator)
    q = p + scale * torch.randn(ROWS, CLASSES, generator=generator)
    true = torch.as_tensor(kl(NormalizedPair(p, q, (True, True))).astype("float64"))
    theirs = torchmetrics.KLDivergence(reduction="none")
    theirs.update(p.softmax(-1), q.softmax(-1))
    log_p, log_q = p.log_softmax(-1), q.log_softmax(-1)
    summands = F.kl_div(log_q, log_p, reduction="none", log_target=True)
    return true, {
        "F.kl_div": summands.sum(-1).double(),
        "torchmetrics": theirs.compute().flatten().double(),
        "torchdivergence": kl_divergence(p, q, log_prob=True, reduction="none"),
    }
