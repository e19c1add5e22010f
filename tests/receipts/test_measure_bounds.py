"""Each measure stays within the bounds of its unit, or its receipt is refused with a sentence."""

from __future__ import annotations

import pytest

from governance.kpis.services import create_kpi
from governance.people.models import User
from governance.receipts.services import store
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.receipts.drafts import draft


def test_measures_at_their_bounds_are_accepted(workflow: Workflow) -> None:
    ten_years = 3652 * 86_400
    for number, measures in enumerate(
        (
            {"correct": 0, "policy_ok": 1, "letters": 1e12, "balance": -1e12},
            {"first_response_s": 0.0, "first_token_ms": 1_000 * ten_years},
            {"correct": True, "first_response_s": ten_years, "ms": -1},
        )
    ):
        assert store([draft(f"run-{number}", measures=measures)]).refused == []


def test_a_refused_measure_is_named_with_its_unit_and_bounds(workflow: Workflow) -> None:
    drafts = [
        draft("a", measures={"correct": 1e9}), draft("b", measures={"first_response_s": -1.0}),
        draft("c", measures={"silent_error": 2.0}),
    ]  # fmt: skip
    share, time, silent = (refusal.error for refusal in store(drafts).refused)
    assert silent == "measures.silent_error is a share: it must be from 0 to 1."
    assert share == "measures.correct is a share: it must be from 0 to 1."
    assert time == (
        "measures.first_response_s is a time: it must be from 0 to 315,532,800 seconds (ten years)."
    )


@pytest.mark.parametrize(
    ("unit", "measured", "fits"),
    [("share", 1.5, False), ("share", 0.5, True), ("seconds", -1.0, False), ("ms", -1.0, False),
     ("money", -1.0, True)],
)  # fmt: skip
def test_the_unit_of_a_kpi_bounds_its_measure(
    unit: str, measured: float, fits: bool, workflow: Workflow, owner: User
) -> None:
    assert store([draft("before", measures={"disputed": measured})]).accepted == 1
    create_kpi(
        workflow, "disputes", "Disputes", owner=owner, actor=TESTER, measure="disputed", unit=unit
    )
    result = store([draft("after", measures={"disputed": measured})])
    assert (result.accepted == 1) is fits
