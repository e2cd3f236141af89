"""The one error that is the user's to mend."""


class UserError(ValueError):
    """Something the user can mend: says in one sentence what was wanted, what came and what to do.

    The command line prints the sentence and ends with exit code 2; a traceback is shown with ``--debug`` only.
    """


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, cut to 200 characters, for a sentence that quotes it."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
