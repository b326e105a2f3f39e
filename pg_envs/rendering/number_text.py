"""Numbers as a picture shows them."""


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign and a true minus: "+1.00", "-0.05", "0.00".

    Args:
        value: The number.
        digits: Decimals to keep.

    Returns:
        The text; a value that rounds to zero has no sign.
    """
    rounded = round(float(value), digits)
    if rounded == 0:
        return f"{0:.{digits}f}"
    return f"{rounded:+.{digits}f}".replace("-", "−")  # noqa: RUF001


def short(value: float) -> str:
    """A number with its sign and no trailing zeros: "+1", "-0.05".

    Args:
        value: The number.

    Returns:
        The text, to four significant digits; zero has no sign.
    """
    if value == 0:
        return "0"
    return f"{value:+.4g}".replace("-", "−")  # noqa: RUF001


def percentage(probability: float) -> str:
    """A probability as a whole percentage that never hides a rare action.

    Args:
        probability: In 0..1.

    Returns:
        For example "62%"; "<1%" for what is rare but possible, and ">99%" for what is
        likely but not certain.
    """
    if 0 < probability < 0.005:
        return "<1%"
    if 0.995 <= probability < 1 - 1e-6:
        return ">99%"
    return f"{100 * probability:.0f}%"
