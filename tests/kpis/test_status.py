from __future__ import annotations

import pytest

from governance.kpis.status import KpiStatus, kpi_status


def status(
    value: float | None,
    target: float | None = 0.10,
    limit: float | None = 0.20,
    *,
    lower_is_better: bool = True,
    weeks_of_data: int = 13,
    runs: int = 30,
    drifting: bool = False,
) -> KpiStatus:
    return kpi_status(
        value,
        target=target,
        limit=limit,
        lower_is_better=lower_is_better,
        weeks_of_data=weeks_of_data,
        runs=runs,
        drifting=drifting,
    )


def test_a_reading_is_judged_against_target_then_limit() -> None:
    assert status(0.10) is KpiStatus.ON_TRACK
    assert status(0.101) is KpiStatus.WATCH
    assert status(0.20) is KpiStatus.WATCH
    assert status(0.201) is KpiStatus.OUTSIDE_LIMIT


def test_where_higher_is_better_the_same_rule_is_mirrored() -> None:
    assert status(0.95, 0.95, 0.90, lower_is_better=False) is KpiStatus.ON_TRACK
    assert status(0.949, 0.95, 0.90, lower_is_better=False) is KpiStatus.WATCH
    assert status(0.899, 0.95, 0.90, lower_is_better=False) is KpiStatus.OUTSIDE_LIMIT


def test_a_reading_just_inside_a_limit_without_room_is_watched() -> None:
    assert status(0.118, 0.12, 0.12) is KpiStatus.WATCH
    assert status(0.11, 0.12, 0.12) is KpiStatus.ON_TRACK
    assert status(0.118, None, 0.12) is KpiStatus.WATCH


def test_missing_data_is_never_a_good_or_bad_reading() -> None:
    assert status(None) is KpiStatus.NO_DATA
    assert status(0.0) is KpiStatus.ON_TRACK


def test_a_young_kpi_builds_its_baseline_but_its_limit_already_holds() -> None:
    assert status(0.05, weeks_of_data=3) is KpiStatus.BUILDING_BASELINE
    assert status(0.25, weeks_of_data=1) is KpiStatus.OUTSIDE_LIMIT
    assert status(0.05, None, None) is KpiStatus.BUILDING_BASELINE


def test_a_drift_signal_alone_is_enough_to_watch() -> None:
    assert status(0.05, drifting=True) is KpiStatus.WATCH


def test_a_limit_stricter_than_its_target_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="stricter"):
        status(0.05, 0.20, 0.10)


def test_a_handful_of_runs_is_judged_neither_good_nor_bad() -> None:
    for value in (0.01, 0.15, 0.99):
        assert status(value, runs=29) is KpiStatus.BUILDING_BASELINE
    assert status(0.99, runs=30) is KpiStatus.OUTSIDE_LIMIT
