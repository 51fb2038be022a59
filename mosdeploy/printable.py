"""Text that is safe to print, whoever wrote it."""

import unicodedata


def printable(text: str) -> str:
    r"""Replace characters that steer a terminal or are no text; lines and tabs stay.

    Examples
    --------
    >>> printable("\x1b[2Jred")
    '?[2Jred'
    """
    return "".join(
        "?" if unicodedata.category(x) in ("Cc", "Cs") and x not in "\n\t" else x for x in text
    )
