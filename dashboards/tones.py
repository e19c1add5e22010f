"""Every status word the pages use, with its tone and its shape, in one place.

Colour never carries a meaning alone: each chip is an icon, a word and a tone.
"""

from __future__ import annotations

from dataclasses import dataclass

from governance.kpis.status import KpiStatus


@dataclass(frozen=True, slots=True)
class Chip:
    """A status as people see it: shape, word and tone (a CSS class)."""

    word: str
    tone: str  # good, watch, bad, none, accent
    icon: str


UNKNOWN = Chip("Unknown", "none", "circle-dashed")

KPI_STATUS: dict[str, Chip] = {
    KpiStatus.ON_TRACK: Chip("On track", "good", "circle-check"),
    KpiStatus.WATCH: Chip("Watch", "watch", "diamond"),
    KpiStatus.OUTSIDE_LIMIT: Chip("Outside limit", "bad", "triangle-alert"),
    KpiStatus.BUILDING_BASELINE: Chip("Building baseline", "none", "dotted-ring"),
    KpiStatus.NO_DATA: Chip("No data", "none", "circle-dashed"),
}

VERDICT: dict[str, Chip] = {
    "better": Chip("Better", "good", "circle-check"),
    "no_worse": Chip("No worse", "good", "circle-check"),
    "not_better": Chip("Not better", "bad", "triangle-alert"),
    "worse": Chip("Worse", "bad", "triangle-alert"),
    "not_enough_evidence": Chip("Not enough evidence", "watch", "diamond"),
    "pass": Chip("Pass", "good", "circle-check"),
    "fail": Chip("Fail", "bad", "triangle-alert"),
    "waived": Chip("Waived", "watch", "diamond"),
    "missing": Chip("No data", "none", "circle-dashed"),
}

SEVERITY: dict[str, Chip] = {
    "high": Chip("High", "bad", "triangle-alert"),
    "medium": Chip("Medium", "watch", "diamond"),
    "low": Chip("Low", "none", "circle-minus"),
}

RISK: dict[str, Chip] = {
    "high": Chip("High risk", "bad", "triangle-alert"),
    "medium": Chip("Medium risk", "watch", "diamond"),
    "low": Chip("Low risk", "none", "circle-minus"),
    "none": Chip("No difference", "none", "circle-dashed"),
}

# States of promotions, runs, jobs, exceptions, post-mortems. A state that is missing here
# still shows as its own word, in the neutral tone.
STATE: dict[str, Chip] = {
    "live": Chip("Live", "good", "circle-check"),
    "approved": Chip("Approved", "good", "circle-check"),
    "made": Chip("Made", "watch", "siren"),
    "passed": Chip("Passed", "good", "circle-check"),
    "done": Chip("Done", "good", "circle-check"),
    "finished": Chip("Finished", "good", "circle-check"),
    "succeeded": Chip("Done", "good", "circle-check"),
    "resolved": Chip("Resolved", "good", "circle-check"),
    "signed_off": Chip("Signed off", "good", "circle-check"),
    "intact": Chip("Intact", "good", "circle-check"),
    "awaiting_owner": Chip("Waits for owner", "accent", "clock"),
    "evaluating": Chip("Waiting for its gate", "none", "clock"),
    "piloting": Chip("In its pilot", "accent", "flask-conical"),
    "paused": Chip("Paused", "watch", "diamond"),
    "stopped": Chip("Pilot stopped", "none", "circle-x"),
    "waiting": Chip("Waiting", "none", "clock"),
    "authorised": Chip("Approved release", "good", "circle-check"),
    "awaiting_gate": Chip("Gate running", "none", "clock"),
    "gating": Chip("Gate running", "none", "clock"),
    "proposed": Chip("Proposed", "accent", "clock"),
    "open": Chip("Open", "accent", "clock"),
    "taken": Chip("Taken", "accent", "user"),
    "queued": Chip("Queued", "none", "clock"),
    "running": Chip("Running", "none", "clock"),
    "pending": Chip("Waiting", "none", "clock"),
    "snoozed": Chip("Snoozed", "none", "alarm-clock"),
    "dismissed": Chip("Dismissed", "none", "circle-minus"),
    "withdrawn": Chip("Withdrawn", "none", "circle-minus"),
    "superseded": Chip("Superseded", "none", "circle-minus"),
    "stale": Chip("Out of date", "watch", "diamond"),
    "expired": Chip("Expired", "watch", "diamond"),
    "overdue": Chip("Overdue", "bad", "triangle-alert"),
    "rejected": Chip("Rejected", "bad", "circle-x"),
    "refused": Chip("Refused by gate", "bad", "circle-x"),
    "failed": Chip("Failed", "bad", "triangle-alert"),
    "cancelled": Chip("Cancelled", "none", "circle-minus"),
    "errored": Chip("Failed", "bad", "triangle-alert"),
    "rolled_back": Chip("Rolled back", "bad", "undo-2"),
    "broken": Chip("Broken", "bad", "triangle-alert"),
    "unattributed": Chip("Unattributed", "bad", "triangle-alert"),
    "unauthorised": Chip("Unauthorised", "bad", "triangle-alert"),
    "not_declared": Chip("Not declared", "watch", "diamond"),
    "not_in_schema": Chip("Not in the schema", "watch", "diamond"),
    "not_gated": Chip("Not gated", "watch", "diamond"),
}

# What happened to a document of a corpus, by the glyph first.
DOCUMENT: dict[str, Chip] = {
    "added": Chip("Added", "good", "plus"),
    "removed": Chip("Removed", "bad", "minus"),
    "edited": Chip("Edited", "watch", "pencil"),
}

# What the runs of a live release show of a slot, against what it declares.
OBSERVED: dict[str, Chip] = {
    "matches": Chip("Matches", "good", "circle-check"),
    "differs": Chip("Differs", "bad", "triangle-alert"),
    "not_observed": Chip("Not observed", "none", "circle-dashed"),
    "not_comparable": Chip("Not comparable", "none", "circle-dashed"),
}

# What a change did to the KPI it named.
OUTCOME: dict[str, Chip] = {
    "as_expected": Chip("As expected", "good", "circle-check"),
    "more": Chip("More than expected", "accent", "chevrons-up"),
    "less": Chip("Less than expected", "watch", "diamond"),
    "opposite": Chip("The other way", "bad", "triangle-alert"),
    "unclear": Chip("Within normal variation", "none", "circle-minus"),
    "no_data": Chip("No data", "none", "circle-dashed"),
}

# How far a live change has come at a pipeline that is told (push mode).
PUSH = {
    "asked": Chip("Asked", "watch", "hourglass"),
    "delivered": Chip("Delivered, not confirmed", "watch", "mail-check"),
    "confirmed": Chip("Confirmed by receipts", "good", "circle-check"),
    "differs": Chip("Runs something else", "bad", "triangle-alert"),
    "silent": Chip("Silent", "bad", "volume-x"),
    "overtaken": Chip("Overtaken", "none", "circle-dashed"),
    "superseded": Chip("Superseded", "none", "circle-dashed"),
    "failed": Chip("Not delivered", "bad", "circle-x"),
}

_KINDS = {
    "document": DOCUMENT,
    "observed": OBSERVED,
    "kpi": KPI_STATUS,
    "verdict": VERDICT,
    "severity": SEVERITY,
    "risk": RISK,
    "state": STATE,
    "outcome": OUTCOME,
    "push": PUSH,
}


def chip_for(kind: str, key: str) -> Chip:
    """Return the chip of one key; an unknown key keeps its own word in a neutral tone."""
    known = _KINDS[kind].get(str(key).lower())
    if known is not None:
        return known
    word = str(key).replace("_", " ").strip()
    return Chip(word[:1].upper() + word[1:], "none", "circle-dashed") if word else UNKNOWN
