"""How the documentation is built: ``nox -s docs``, or ``python -m sphinx docs site``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "src"))

import state_machines  # noqa: E402

from openjd.sessions._version import __version__  # noqa: E402

project = "openjd-sessions"
author = "the openjd-sessions contributors"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Open Job Description Sessions {release}"
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

(HERE / "lifecycle.md").write_text(state_machines.page(), encoding="utf-8")
