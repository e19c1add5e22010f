"""What can go wrong. Everything this package raises on purpose is a `CountersignError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from countersign.answers import Answer


class CountersignError(Exception):
    """The parent of every error of this package."""


class NoAnswerError(CountersignError):
    """Nobody ever said which release is live: no server, no cache, no bundle."""


class StaleAnswerError(CountersignError):
    """The answer is too old to act on without a person.

    `answer` is the same answer at authority `draft`: good for work that a person looks at.
    """

    def __init__(self, answer: Answer, max_age: float) -> None:
        age = f"{answer.age:.0f} s" if answer.age < 1e9 else "of unknown age"
        super().__init__(
            f"The answer for {answer.workflow} is {age} old; at authority execute it may be"
            f" {max_age:.0f} s old. {answer.note}".rstrip()
        )
        self.answer = answer
        self.max_age = max_age


class SwitchedOffError(CountersignError):
    """The kill switch is on: no release may run."""


class ContentError(CountersignError):
    """The content of a release cannot be had, or is not what its digest names."""


class BadAnswerError(CountersignError):
    """Somebody answered, but not as Countersign does."""


class UnreachableError(CountersignError):
    """Nobody answered in time, or with an error. `retry_after`: whole seconds the server asked."""

    def __init__(self, sentence: str, retry_after: float = 0.0) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
