"""The exceptions that are meant for the person at the keyboard; the command line prints them on one line."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: what is wrong, where, what to do. The command line exits with status 2."""


class NotEqual(Exception):  # noqa: N818  it is a finding, not an error
    """Two forms of one model differ, and nothing was written. The command line exits with status 1."""
