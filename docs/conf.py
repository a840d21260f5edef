"""Sphinx configuration."""

from pathlib import Path

import torchdivergence
from torchdivergence._divergences.docs import api_pages, divergence_table

project = "torchdivergence"
author = "the torchdivergence contributors"
copyright = author
release = version = torchdivergence.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks show their stored outputs, which the tests compare with fresh ones
exclude_patterns = ["_build", "_generated", "jupyter_execute"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = ["Shapes", "Source"]

html_theme = "furo"
html_title = f"torchdivergence {release}"


generated = Path(__file__).parent / "_generated"
generated.mkdir(exist_ok=True)
for name, text in {"divergences": divergence_table(), **api_pages()}.items():
    (generated / f"{name}.md").write_text(text, encoding="utf-8")
