"""tqdm's bars: a widget in notebooks that can show one, text everywhere else."""

import warnings

with warnings.catch_warnings():
    # Without ipywidgets a notebook has the text bar; that needs no warning.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

IS_WIDGET = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
"""Whether bars are widgets, which have a width of their own."""

__all__ = ["IS_WIDGET", "tqdm"]
