"""Errors that a user can act on: one message naming what, expected, found and what to do.

The command line prints the message without a traceback; everything else is a bug.
"""

import unicodedata

_UNPRINTABLE = ("Cc", "Cf", "Cs")  # Unicode's control, format and surrogate characters
_LONGEST = 20_000  # characters of a message


def shorten(text: str, length: int) -> str:
    """Cut the middle out of a text that is longer, and say how much.

    Example:
        >>> shorten("abcdefghijkl", 8)
        'abcd…(4 more)…ijkl'
    """
    if len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]}…({len(text) - 2 * half} more)…{text[-half:]}"


def printable(text: str) -> str:
    r"""Write a text that a file or server has a part in so that a terminal only shows it.

    Control characters, among them the start of escape codes, marks that turn the direction of
    writing, and halves of characters become escapes; line ends and tabs stay.

    Example:
        >>> printable("red \x1b[31m")
        'red \\x1b[31m'
    """
    shown = []
    for character in text:
        is_plain = character in "\n\t" or unicodedata.category(character) not in _UNPRINTABLE
        shown.append(character if is_plain else character.encode("unicode_escape").decode())
    return "".join(shown)


class NpidError(Exception):
    """Base of every error that bad input or a fault outside the program causes.

    A file may have a part in a message, but not megabytes.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(shorten(message, _LONGEST))


class DataError(NpidError):
    """A data set, an image or a label that cannot be used."""


class ModelError(NpidError):
    """A model directory or weight file that cannot be used."""


class SettingsError(NpidError):
    """A setting or option with a value that cannot be used."""


class RunError(NpidError):
    """A training run that cannot start, go on or be resumed."""


class PeerError(RunError):
    """Raised in every process of a run but the first, which tells the user what happened."""


class HubError(NpidError):
    """A Hub repository that cannot be read or written; :mod:`zoo.hub` has a subclass per cause."""


class SplitError(DataError):
    """A data set that lacks the split that is asked for."""
