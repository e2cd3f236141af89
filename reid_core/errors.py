"""The one error that is the user's to mend."""


class UserError(ValueError):
    """Something the user can mend: says in one sentence what was wanted, what came and what to do.

    The command line prints the sentence and ends with exit code 2; a traceback is shown with ``--debug`` only.
    """
