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
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def draw_gallery(page: Path, folder: Path) -> None:
    """Run the Python blocks of a page one after the other, and save each ``figure`` that a block makes.

    The figure of block 1 is gallery-1.svg, and so on; a block that makes none has no file.
    """
    namespace: dict[str, Any] = {}
    for number, block in enumerate(BLOCK.findall(page.read_text("utf-8")), 1):
        exec(block, namespace)
        if figure := namespace.pop("figure", None):
            save(figure, folder / f"gallery-{number}.svg")


def save(figure: Figure, path: Path) -> None:
    """Without a background, so that the page may be light or dark; the same bytes for the same drawing."""
    with mpl.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, transparent=True, metadata={"Date": None})


def draw_landing(path: Path) -> None:
    """The relative error of float32 code over the true KL divergence, beside that of this package."""
    figure = Figure(figsize=(5.6, 4.1), layout="constrained")
    ax = figure.subplots()
    true, computed = small_divergences()
    for (name, values), color in zip(computed.items(), ("tab:orange", "tab:purple", "tab:blue"), strict=True):
        errors = ((values - true).abs() / true).clamp(min=1e-16)
        draw_errors(ax, name, true, errors, values < 0, color)
    ax.axhline(1, color="black", linewidth=0.8, linestyle="dashed")
    ax.annotate("error as large as the value", (true.max(), 1.5), ha="right", fontsize="small")
    ax.set(xscale="log", yscale="log", xlabel="true KL divergence of a row, nats", ylabel="relative error")
    ax.set_title(f"float32 logits, {CLASSES:,} classes")
    ax.spines[["top", "right"]].set_visible(False)
    small = {"fontsize": "small", "title_fontsize": "small"}
    title = "crosses: the computed value is negative"
    figure.legend(loc="outside lower center", ncols=3, frameon=False, title=title, **small)
    save(figure, path)


def draw_errors(ax: Axes, name: str, true: Tensor, errors: Tensor, negative: Tensor, color: str) -> None:
    """Rows whose computed value is negative have a cross."""
    ax.scatter(true[~negative], errors[~negative], s=12, color=color, label=name, linewidth=0)
    ax.scatter(true[negative], errors[negative], s=24, color=color, marker="x", linewidth=1.2)


def small_divergences() -> tuple[Tensor, dict[str, Tensor]]:
    """Rows with a KL divergence from 1e-2 to 1e-10: its value in 80-bit arithmetic, and by three libraries."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(-1, -5, ROWS).unsqueeze(-1)
    p = 3 * torch.randn(ROWS, CLASSES, generator=generator)
    q = p + scale * torch.randn(ROWS, CLASSES, generator=generator)
    true = torch.as_tensor(kl(NormalizedPair(p, q, (True, True))).astype("float64"))
    theirs = torchmetrics.KLDivergence(reduction="none")
    theirs.update(p.softmax(-1), q.softmax(-1))
    rows = F.kl_div(q.log_softmax(-1), p.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    return true, {
        "F.kl_div": rows.double(),
        "torchmetrics": theirs.compute().flatten().double(),
        "torchdivergence": kl_divergence(p, q, log_prob=True, reduction="none"),
    }
