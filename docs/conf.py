"""Sphinx configuration."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
# pictures.py is here, and the tests' definitions, which it uses, above
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pictures

import torchdivergence
from torchdivergence._divergences.docs import api_pages, divergence_table

project = "torchdivergence"
author = "the torchdivergence contributors"
copyright = author
release = version = torchdivergence.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # carries MathJax, so that no other host has to
    "sphinx_design",
]
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
# notebooks show their stored outputs, which the tests compare with fresh ones
nb_execution_mode = "off"
exclude_patterns = ["_build", "_generated", "jupyter_execute"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = ["Shapes", "Source"]
maximum_signature_line_length = 80
python_display_short_literal_types = True

html_theme = "furo"
html_title = f"torchdivergence {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_use_index = False  # the search and the page of the API find names
html_show_sourcelink = False
pygments_dark_style = "github-dark"
html_copy_source = False


generated = HERE / "_generated"
generated.mkdir(exist_ok=True)
for name, text in {"divergences": divergence_table(), **api_pages()}.items():
    (generated / f"{name}.md").write_text(text, encoding="utf-8")
pictures.draw_landing(generated / "small_kl.svg")
pictures.draw_gallery(HERE / "gallery.md", generated)
