"""The ways in which a request can be refused. The message is shown to the person as it is."""

from __future__ import annotations


class GovernanceError(Exception):
    """A rule said no. Nothing was changed."""

    status = 400


class NotAllowedError(GovernanceError):
    """This person may never do this here."""

    status = 403


class StateConflictError(GovernanceError):
    """Allowed, but the thing is not in the state for it (any more)."""

    status = 409


class InvalidInputError(GovernanceError):
    """What was sent cannot be understood or accepted."""

    status = 422
