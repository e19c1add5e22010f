"""The one rule that turns a reading into a status word. Nobody types a colour."""

from __future__ import annotations

from enum import StrEnum

BASELINE_WEEKS = 4
LEAST_RUNS = 30  # below this a reading is mostly chance
CLOSE_TO_LIMIT = 0.05

RULE = (
    "On track: at or better than target. "
    "Watch: within the limit but off target, or in the last 5 % before the limit, "
    "or a drift signal. "
    "Outside limit: worse than the limit. "
    f"Building baseline: fewer than {BASELINE_WEEKS} weeks of readings, fewer than {LEAST_RUNS}"
    " runs measured in the period, or no target yet. "
    "No data: nothing was measured in this period; that is never shown as zero."
)


class KpiStatus(StrEnum):
    """What a KPI's reading says about its target and limit."""

    ON_TRACK = "on_track"
    WATCH = "watch"
    OUTSIDE_LIMIT = "outside_limit"
    BUILDING_BASELINE = "building_baseline"
    NO_DATA = "no_data"


def kpi_status(
    value: float | None,
    *,
    target: float | None,
    limit: float | None,
    lower_is_better: bool,
    weeks_of_data: int,
    runs: int = LEAST_RUNS,
    drifting: bool = False,
) -> KpiStatus:
    """Return the status of one reading.

    Args:
        value: the reading in the KPI's own unit; None when nothing was measured.
        target: what the owner wants to reach; None when none is set.
        limit: what must not be passed; None when none is set.
        lower_is_better: True for cost, delay, escalations; False for quality.
        weeks_of_data: weeks with a reading up to and with this one.
        runs: runs that the reading was measured on.
        drifting: a drift detector raised a signal for this KPI.

    Raises:
        ValueError: the limit is stricter than the target.
    """
    if value is None:
        return KpiStatus.NO_DATA
    if runs < LEAST_RUNS:
        return KpiStatus.BUILDING_BASELINE
    # Measured so that more is always worse; the rule below is then written once.
    sign = 1.0 if lower_is_better else -1.0
    badness = sign * value
    worst = None if limit is None else sign * limit
    wanted = None if target is None else sign * target
    if worst is not None and wanted is not None and worst < wanted:
        raise ValueError("the limit must not be stricter than the target")
    if worst is not None and badness > worst:
        return KpiStatus.OUTSIDE_LIMIT  # a limit is absolute: it holds in the first week too
    if weeks_of_data < BASELINE_WEEKS or (worst is None and wanted is None):
        return KpiStatus.BUILDING_BASELINE
    if drifting or (wanted is not None and badness > wanted):
        return KpiStatus.WATCH
    if worst is not None and _close(badness, worst, wanted):
        return KpiStatus.WATCH
    return KpiStatus.ON_TRACK


def _close(badness: float, worst: float, wanted: float | None) -> bool:
    """Say whether a reading is in the last 5 % before the limit.

    With room between target and limit that is the last 5 % of the room. Where target and
    limit coincide (or only a limit is set) there is no room, so it is 5 % of the limit.
    """
    room = abs(worst) if wanted is None or worst == wanted else worst - wanted
    return badness > worst - CLOSE_TO_LIMIT * room
