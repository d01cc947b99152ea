"""How the documentation is built: `make docs`."""

from importlib.metadata import version as installed

project = "akkordeon"
author = "the akkordeon authors"
copyright = author  # noqa: A001 - as Sphinx calls it
release = version = installed("akkordeon")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "akkordeon"
html_show_sphinx = False
templates_path: list[str] = []

# Blocks of `python` are whole: tests/test_docs.py runs those of a page one after the other. Those of `py` are pieces.
highlight_language = "none"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"  # docstrings quote names as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
autoclass_content = "class"
python_use_unqualified_type_names = True
