"""What the server says is live, and the answer for one case that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from countersign.assignment import ALGORITHM, WHOLE, is_pilot
from countersign.canonical import is_digest
from countersign.errors import BadAnswerError

AUTHORITIES = ("read_only", "draft", "execute_with_approval", "execute")
ROLLED_BACK = "rolled_back"
SWITCHED_OFF = "switched_off"
CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Answer:
    """Which release runs this case, and how sure that is.

    Attributes:
        digest: `sha256:…`; empty while the workflow is switched off.
        seq: grows with every change of what is live.
        stage: `stable`, `rolled_back`, `canary` or `switched_off`.
        authority: `read_only`, `draft`, `execute_with_approval` or `execute`.
        reason: OFREP's: `STATIC`, `SPLIT`, `TARGETING_MATCH` or `DISABLED`.
        cached: the server did not confirm it just now.
        age: seconds since the server last confirmed it.
        note: why it is cached; empty when it is fresh.
    """

    workflow: str
    digest: str
    seq: int
    stage: str
    authority: str
    reason: str
    cached: bool
    age: float
    config: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def is_off(self) -> bool:
        """Whether the kill switch is on: run no release, do without."""
        return self.stage == SWITCHED_OFF

    def drafting(self) -> Answer:
        """The same answer with no more authority than `draft`."""
        capped = min(self.authority, "draft", key=AUTHORITIES.index)
        return replace(self, authority=capped)


@dataclass(frozen=True, slots=True)
class Choice:
    """A release with the stage and authority it runs at."""

    release: str
    stage: str
    authority: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pilot:
    """A release that serves a share of the cases beside the stable one."""

    release: str
    share: int  # basis points
    salt: str
    authority: str


@dataclass(frozen=True, slots=True)
class Served:
    """What is live in one workflow, whatever the case."""

    workflow: str
    seq: int
    switched_off: bool
    release: str
    stage: str
    authority: str
    pilot: Pilot | None = None
    has_pins: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    def choose(self, case: str) -> Choice:
        """The release for one case, by the same rule as the server; pins are the caller's."""
        if self.switched_off:
            return Choice("", SWITCHED_OFF, "read_only", "DISABLED")
        if self.pilot is None:
            return Choice(self.release, self.stage, self.authority, "STATIC")
        if is_pilot(self.workflow, self.pilot.salt, case, self.pilot.share):
            return Choice(self.pilot.release, CANARY, self.pilot.authority, "SPLIT")
        return Choice(self.release, self.stage, self.authority, "SPLIT")

    @property
    def digests(self) -> tuple[str, ...]:
        """The releases that an application may have to run."""
        if self.switched_off:
            return ()
        return (self.release, self.pilot.release) if self.pilot else (self.release,)

    def contradicts(self, known: Served) -> str:
        """Say why this cannot follow what was known, or return an empty text.

        The server's history only grows, so a lower number is an old backup or another server.
        """
        if self.seq < known.seq and self.stage != ROLLED_BACK:
            return f"The server is at change {self.seq}, but change {known.seq} was seen already."
        if (
            self.seq == known.seq
            and not (self.switched_off or known.switched_off)
            and self.release != known.release
        ):
            return f"The server names another release for change {self.seq} than before."
        return ""

    def as_json(self) -> dict[str, Any]:
        pilot = self.pilot
        return {
            "workflow": self.workflow, "seq": self.seq, "switched_off": self.switched_off,
            "release": self.release, "stage": self.stage, "authority": self.authority,
            "has_pins": self.has_pins, "config": dict(self.config),
            "pilot": None if pilot is None else {
                "release": pilot.release, "share": pilot.share, "salt": pilot.salt,
                "authority": pilot.authority,
            },
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Any) -> Served:
        """Read what `as_json` wrote.

        Raises:
            BadAnswerError: it is something else.
        """
        try:
            pilot = body["pilot"]
            return _checked(
                cls(
                    workflow=body["workflow"], seq=body["seq"], release=body["release"],
                    switched_off=body["switched_off"], stage=body["stage"],
                    authority=body["authority"], has_pins=body["has_pins"],
                    config=body["config"],
                    pilot=None if pilot is None else Pilot(
                        pilot["release"], pilot["share"], pilot["salt"], pilot["authority"]
                    ),
                )
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise BadAnswerError(f"This is no kept answer: {error!r}") from error


def read_flag(flag: Any, workflow: str) -> tuple[Served, Choice]:
    """Return what an OFREP answer says of the workflow, and for the case that was asked.

    Raises:
        BadAnswerError: it is not an answer of Countersign about this workflow.
    """
    try:
        value, metadata = flag["value"], flag["metadata"]
        if flag["key"] != workflow or value["workflow"] != workflow:
            raise BadAnswerError(f"The answer is about another workflow than {workflow}.")
        choice = Choice(value["release"], value["stage"], value["authority"], flag["reason"])
        off = choice.stage == SWITCHED_OFF
        if off:
            choice = Choice("", SWITCHED_OFF, "read_only", "DISABLED")
        pilot = None
        # By an algorithm unknown here no case can be given to the pilot: the stable one serves.
        if not off and metadata.get("pilot_release") and metadata.get("algo") == ALGORITHM:
            pilot = Pilot(
                metadata["pilot_release"], metadata["pilot_share"], metadata["pilot_salt"],
                metadata["pilot_authority"],
            )  # fmt: skip
        served = _checked(
            Served(
                workflow=workflow,
                seq=value["seq"],
                switched_off=off,
                release="" if off else metadata["stable_release"],
                stage=SWITCHED_OFF if off else metadata["stable_stage"],
                authority="read_only" if off else metadata["stable_authority"],
                pilot=pilot,
                has_pins=bool(metadata.get("has_pins")),
                config=value.get("config") or {},
            )
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadAnswerError(f"The server's answer lacks something: {error!r}") from error
    if not off and not is_digest(choice.release):
        raise BadAnswerError("The server's answer names no release.")
    if choice.authority not in AUTHORITIES:
        raise BadAnswerError(f"The authority {choice.authority!r} is unknown.")
    return served, choice


def _checked(served: Served) -> Served:
    pilot = served.pilot
    if not isinstance(served.workflow, str) or type(served.seq) is not int or served.seq < 1:
        raise BadAnswerError("The answer has no usable number.")
    if not isinstance(served.config, Mapping) or type(served.switched_off) is not bool:
        raise BadAnswerError("The answer is not whole.")
    if served.authority not in AUTHORITIES or not isinstance(served.stage, str):
        raise BadAnswerError("The answer names no known authority.")
    if not served.switched_off and not is_digest(served.release):
        raise BadAnswerError("The answer names no release.")
    if pilot is not None and not (
        is_digest(pilot.release)
        and type(pilot.share) is int
        and 0 < pilot.share < WHOLE
        and isinstance(pilot.salt, str)
        and pilot.authority in AUTHORITIES
    ):
        raise BadAnswerError("The answer describes no whole pilot.")
    return served
