"""The one exception that is meant for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend. The message is one line: what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """
