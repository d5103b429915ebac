"""How the site is built: `make docs`."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "aoi-tl"
author = "the authors of aoi-tl"
version = release = version_of("aoi-tl")
extensions = [
    "myst_parser", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton", "from_code",
]
exclude_patterns = ["extensions"]
myst_heading_anchors = 3
smartquotes = False  # they make one dash of the two of an option
html_theme = "pydata_sphinx_theme"
html_title = "aoi-tl"
html_show_sourcelink = False
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
autodoc_typehints = "none"  # numpydoc's sections have them, in words
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
