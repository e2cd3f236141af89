"""The one error that is the user's to mend."""


class UserError(ValueError):
    """Something the user can mend: says in one sentence what was wanted, what came and what to do.

    The command line prints the sentence and ends with exit code 2; a traceback is shown with ``--debug`` only. Names of
    files that no terminal can show, or that hold a line break, are written with escapes.
    """

    def __str__(self) -> str:
        """Return the sentence, as one line."""
        return printable(super().__str__())


def printable(text: str) -> str:
    """Return a text, such as a file's name, as one line that every terminal can show."""
    shown = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, cut to 200 characters, for a sentence that quotes it."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
