"""Sphinx's settings for the manual; ``make docs`` builds it into docs/_build."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The checkout, for the rules that the manual shows, and this folder, for the extension.
sys.path[:0] = [str(HERE.parent), str(HERE)]

project = "Headrace"
extensions = ["rules"]
exclude_patterns = ["_build", "newsfragments"]
default_role = "code"
nitpicky = True

html_theme = "alabaster"
html_theme_options = {
    "description": "A build farm and a job system in one",
    "show_powered_by": False,
    "page_width": "1100px",
    "font_family": "sans-serif",
}
html_show_sourcelink = False
