"""Sphinx configuration of the site; `docs/make_site.py` writes what Sphinx reads."""

from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

DOCS = Path(__file__).parent

project = "pgtoy"
author = "The pgtoy maintainers"
copyright = "2026, the pgtoy maintainers"
version = release = version_of("pgtoy")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]

# Files to download, not pages.
exclude_patterns = ["downloads"]

# Markdown, and notebooks in Markdown.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_code_prompt_show = "Show the {type}"
nb_code_prompt_hide = "Hide the {type}"

# The API reference. In the docstrings single backticks stand around code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 70
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [
    "Action Space",
    "Observation Space",
    "Rewards",
    "Starting State",
    "Episode End",
    "Version History",
]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "pgtoy"
html_favicon = str(DOCS / "site_static/logo.svg")
html_logo = html_favicon
html_show_sphinx = False
html_copy_source = False
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#4453d6",
        "color-brand-content": "#4453d6",
    },
    "dark_css_variables": {
        "color-brand-primary": "#9eaaff",
        "color-brand-content": "#9eaaff",
    },
}
# MathJax as one local file: a page needs nothing from elsewhere.
_spec = find_spec("sphinx-mathjax-offline")
assert _spec is not None and _spec.origin is not None
_MATHJAX = Path(_spec.origin).parent / "static/mathjax/tex-svg.js"
mathjax_path = _MATHJAX.name
html_static_path = [str(DOCS / "site_static"), str(_MATHJAX)]


def put_diagrams_into_the_page(app: Sphinx, doctree: nodes.document, _: str) -> None:
    """Replaces images of diagrams by their SVG, which then has the page's colours."""
    for node in list(doctree.findall(nodes.image)):
        if Path(node["uri"]).name.startswith("diagram-"):
            svg = (Path(app.srcdir) / node["uri"]).read_text(encoding="utf-8")
            node.replace_self(nodes.raw("", svg, format="html"))


def setup(app: Sphinx) -> None:
    """Is called by Sphinx."""
    app.connect("doctree-resolved", put_diagrams_into_the_page)
