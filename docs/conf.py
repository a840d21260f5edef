"""Sphinx configuration."""

from pathlib import Path

import torchdivergence
from torchdivergence._divergences import spec as table

project = "torchdivergence"
author = "the torchdivergence contributors"
copyright = author
release = version = torchdivergence.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = ["Shapes", "Source"]

html_theme = "furo"
html_title = f"torchdivergence {release}"


def divergence_table() -> str:
    """The table of divergences, as the code has it."""
    rows = {
        "KLDivergence": table.KL,
        "ReverseKLDivergence": table.REVERSE_KL,
        "JeffreysDivergence": table.JEFFREYS,
        "JensenShannonDivergence(beta=0.5)": table.jensen_shannon(0.5),
        "TotalVariationDistance": table.TOTAL_VARIATION,
        "SquaredHellingerDistance": table.SQUARED_HELLINGER,
        "HellingerDistance": table.HELLINGER,
        "ChiSquaredDivergence": table.CHI_SQUARED,
        "AlphaDivergence(alpha)": table.alpha_divergence(2),
        "RenyiDivergence(alpha)": table.renyi(2),
        "CrossEntropy": table.CROSS_ENTROPY,
        "Entropy": table.ENTROPY,
    }
    lines = ["| Metric | Value of a row | Zero for p = q | Unit | Source |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        formula = row.formula.replace("|", r"\vert ")
        zero, unit = "yes" if row.compares else "no", "nats, or `base`" if row.in_nats else "none"
        lines.append(f"| `{name}` | ${formula}$ | {zero} | {unit} | {row.source} |")
    return "\n".join(lines) + "\n"


generated = Path(__file__).parent / "_generated"
generated.mkdir(exist_ok=True)
(generated / "divergences.md").write_text(divergence_table(), encoding="utf-8")
