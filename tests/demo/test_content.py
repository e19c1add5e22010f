"""The messages, suites and traffic of the support demo."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from governance.demo.support import library as libraries
from governance.demo.support import target
from governance.demo.support.helpdesk import (
    GATEWAY_SECONDS,
    OPENING,
    first_response_seconds,
    next_opening,
)
from governance.demo.support.library import (
    INJECTION,
    ORDINARY,
    OUT_OF_SCOPE,
    LibraryError,
    is_sensitive,
    open_library,
    read_messages,
)
from governance.demo.support.must_pass import MUST_PASS
from governance.demo.support.releases import BY_KEY
from governance.demo.support.replies import HANDOVER
from governance.demo.support.suites import adversarial_cases, golden_cases
from governance.demo.support.traffic import dated_messages
from governance.releases.diff import MEDIUM, compare

LIBRARY = open_library()
BANKING = Path(__file__).resolve().parents[3] / "shared" / "data" / "banking77" / "train.csv"
MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


def test_the_messages_are_many_different_and_labelled() -> None:
    kinds = Counter(message.kind for message in LIBRARY.messages)
    assert kinds[ORDINARY] >= 600
    assert kinds[OUT_OF_SCOPE] == kinds[INJECTION] == 60
    assert len(LIBRARY.labels) >= 12
    assert len({message.text for message in LIBRARY.messages}) == len(LIBRARY.messages)
    assert len({message.id for message in LIBRARY.messages}) == len(LIBRARY.messages)
    assert len({message.language for message in LIBRARY.messages}) >= 5


def test_golden_cases_are_enough_varied_and_in_no_corpus() -> None:
    cases = golden_cases()
    assert len(cases) >= 120
    assert {case["category"] for case in cases} == set(LIBRARY.labels)
    assert all(case["reason"] for case in cases)
    corpus = {message.id for message in LIBRARY.corpus()}
    assert not corpus & {case["key"] for case in cases + adversarial_cases()}
    english = golden_cases(languages=["en"])
    assert {case["input"]["language"] for case in english} == {"en"}


def test_every_must_pass_message_is_in_a_suite() -> None:
    judged = {case["key"] for case in golden_cases() + adversarial_cases() if case["must_pass"]}
    assert judged == MUST_PASS


def test_sensitive_mail_and_attacks_must_escalate_and_look_alikes_must_not() -> None:
    for case in golden_cases() + adversarial_cases():
        message = LIBRARY.by_id[case["key"]]
        odd = message.kind != ORDINARY or is_sensitive(message.label)
        assert bool(case["expected"].get("must_escalate")) == odd
        assert bool(case["expected"].get("must_not_escalate")) == message.is_look_alike


def test_the_waiting_release_is_a_medium_change_and_the_lower_threshold_a_high_one() -> None:
    live = BY_KEY["careful"].slots(LIBRARY)
    assert compare(live, BY_KEY["characters"].slots(LIBRARY)).risk == MEDIUM
    lower = compare(live, BY_KEY["fewer-escalations"].slots(LIBRARY))
    assert lower.risk == "high"
    assert lower.sentences == ["The confidence threshold goes from 0.40 to 0.20."]


def test_twelve_weeks_of_mail_have_days_nights_and_a_changing_mix() -> None:
    arrivals = list(dated_messages(MONDAY, MONDAY + timedelta(weeks=12), seed=7, library=LIBRARY))
    assert 12_000 < len(arrivals) < 15_000
    assert [a.at for a in arrivals] == sorted(a.at for a in arrivals)
    assert len({a.case_id for a in arrivals}) == len(arrivals)
    by_hour = Counter(a.at.hour for a in arrivals)
    assert by_hour[10] > 5 * by_hour[3]
    by_day = Counter(a.at.weekday() for a in arrivals)
    assert by_day[0] > 1.2 * by_day[6]
    thirds = arrivals[: len(arrivals) // 3], arrivals[-len(arrivals) // 3 :]
    foreign = [sum(a.message.language != "en" for a in part) / len(part) for part in thirds]
    assert foreign[0] + 0.04 < foreign[1]
    again = dated_messages(MONDAY, MONDAY + timedelta(days=1), seed=7, library=LIBRARY)
    assert list(again) == [a for a in arrivals if a.at < MONDAY + timedelta(days=1)]


def test_a_person_answers_in_opening_hours_only() -> None:
    saturday_night = MONDAY + timedelta(days=5, hours=22)
    assert next_opening(saturday_night) == MONDAY + timedelta(days=7, hours=8)
    waited = first_response_seconds(saturday_night, "a", escalated=True, latency_ms=3)
    assert timedelta(seconds=waited) > timedelta(hours=34)
    assert first_response_seconds(saturday_night, "a", escalated=False, latency_ms=500) == (
        GATEWAY_SECONDS + 0.5
    )
    noon = MONDAY + timedelta(days=1, hours=12)
    assert 10 * 60 < first_response_seconds(noon, "b", escalated=True, latency_ms=3) < 60 * 60


def test_the_eval_target_speaks_the_contract_and_builds_a_release_once() -> None:
    components = BY_KEY["characters"].slots(LIBRARY)
    answer = target.build(components)({"text": "Where is my order?", "language": "en"})
    assert answer["answer"] == "delivery_status"
    assert answer["escalated"] is False
    assert answer["violations"] == []
    assert float(answer["cost"]) > 0
    assert target.router_for(components) is target.router_for(dict(components))


def test_case_ids_lead_back_to_the_mail() -> None:
    arrival = next(dated_messages(MONDAY, MONDAY + timedelta(days=1), seed=1, library=LIBRARY))
    found = target.labelled_cases([arrival.case_id, "somebody-else"])
    assert set(found) == {arrival.case_id}
    assert found[arrival.case_id]["input"]["text"] == arrival.message.text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,b\n1,2\n", "needs the columns text and label"),
        ("text,label\nhello,greeting\nhi,greeting\n", "fewer than two labels"),
        ("", "needs the columns"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_reason(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "mail.csv"
    path.write_text(content)
    with pytest.raises(LibraryError, match=sentence):
        read_messages(path)


def test_other_peoples_messages_take_the_place_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not BANKING.is_file():
        pytest.skip("The banking77 messages are not beside the project.")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert libraries.chosen_library() is LIBRARY
    library = libraries.import_messages(BANKING)
    libraries.choose(library)
    assert libraries.chosen_library() is library
    assert len(library.labels) == 77
    assert "compromised_card" in library.sensitive_labels
    components = BY_KEY["careful"].slots(library)
    assert {d["id"] for d in components["retrieval"]["documents"]} < set(library.by_id)
    router = target.router_for(components)
    mails = library.hold_out()[:600]
    decisions = router.decide_all([mail.text for mail in mails])
    right = sum(d.answer == m.label for d, m in zip(decisions, mails, strict=True))
    assert right / len(mails) > 0.6
    assert 100 < len(golden_cases(library)) <= 900
    assert len(adversarial_cases(library)) == 120


def test_customers_and_readers_are_told_the_hours_that_the_help_desk_keeps() -> None:
    hours = [day and (day[0].hour, day[1].hour) for day in OPENING]
    assert hours[0] == hours[1] == hours[2] == hours[3]
    (first, last), friday, saturday, sunday = hours[3] or (0, 0), hours[4], hours[5], hours[6]
    assert friday is not None
    assert saturday is not None
    assert (friday[0], sunday) == (first, None)
    assert (
        f"Monday to Thursday from {first} to {last}, Friday to {friday[1]}"
        f" and Saturday from {saturday[0]} to {saturday[1]}." in HANDOVER
    )
    docs = (Path(__file__).resolve().parents[2] / "docs" / "demo.md").read_text()
    assert (
        f"Monday to Thursday {first}–{last}, Friday {first}–{friday[1]},"
        f" Saturday {saturday[0]}–{saturday[1]}" in docs
    )
