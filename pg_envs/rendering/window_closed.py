"""The exception that ends a drawn run when its user closes the window."""


class WindowClosed(Exception):  # noqa: N818 - closing a window is no error
    """The user closed the window or pressed Escape; a demo ends here, cleanly."""
