"""Sphinx configuration."""

import torchdivergence

project = "torchdivergence"
author = "the torchdivergence contributors"
copyright = author
release = version = torchdivergence.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = ["Shapes", "Source"]

html_theme = "furo"
html_title = f"torchdivergence {release}"
