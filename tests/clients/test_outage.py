"""The client beside a server that is away, foreign, restored from a backup, or talks nonsense."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import time_machine
from countersign import Answer, Client, NoAnswerError, StaleAnswerError
from countersign.assignment import is_pilot

from tests.clients.server import Scripted, flag

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
CACHE = Path("cache") / "support-triage" / "answer.json"
DEAD = "http://127.0.0.1:9"
Make = Callable[..., Client]


def test_the_last_good_answer_is_kept_while_nobody_answers(
    server: Scripted, make_client: Make
) -> None:
    client = make_client(server.url)
    server.says(flag(A, 3))
    fresh = client.release_for("case-1")
    assert (fresh.digest, fresh.seq, fresh.cached, fresh.note) == (A, 3, False, "")
    for status, body in ((500, b"oops"), (503, b"{}"), (401, b"{}"), (302, b""), (200, b"[")):
        server.says(body, status, Location=f"{server.url}/elsewhere")
        client.refresh()
        kept = client.release_for("case-1")
        assert (kept.digest, kept.cached) == (A, True)
        assert kept.note
    assert all(path.startswith("/ofrep/") for _, path, _, _ in server.asked)  # not redirected


def test_a_restart_without_a_server_goes_on_from_the_disk(
    server: Scripted, make_client: Make
) -> None:
    server.says(flag(A, 3))
    make_client(server.url).release_for("x")
    server.says(b"", 503)
    again = make_client(server.url).release_for("x")
    assert (again.digest, again.seq, again.cached) == (A, 3, True)
    assert 0 <= again.age < 30


def test_without_any_answer_the_caller_hears_why(make_client: Make) -> None:
    with pytest.raises(NoAnswerError, match="did not answer"):
        make_client(DEAD).release_for("x")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("aaaa", "bbbb", 1),
        lambda text: text.replace('"seq": 3', '"seq": 9'),
        lambda text: "[]",
        lambda text: "",
        lambda text: "\x00" * 50,
        lambda text: text.replace("support-triage", "close"),
        lambda text: "[" * 100_000,
    ],
)
def test_a_damaged_cache_is_ignored_and_said(
    damage: Callable[[str], str], server: Scripted, make_client: Make, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    server.says(flag(A, 3))
    make_client(server.url).release_for("x")
    path = tmp_path / CACHE
    path.write_text(damage(path.read_text()))
    server.says(b"", 503)
    with caplog.at_level(logging.WARNING, "countersign"), pytest.raises(NoAnswerError):
        make_client(server.url).release_for("x")
    assert "Ignored the kept answer" in caplog.text


def test_the_cache_of_another_server_is_not_used(
    server: Scripted, make_client: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server.says(flag(A, 3))
    make_client(server.url).release_for("x")
    with pytest.raises(NoAnswerError):
        make_client(DEAD).release_for("x")
    assert "another server" in caplog.text


def test_a_lower_number_is_refused_unless_it_is_a_rollback(
    server: Scripted, make_client: Make
) -> None:
    client = make_client(server.url)
    server.says(flag(A, 7))
    client.release_for("x")
    server.says(flag(B, 6))
    kept = client.release_for("x")
    assert (kept.digest, kept.seq, kept.cached) == (A, 7, True)
    assert "change 6" in kept.note
    server.says(flag(C, 7))  # the same change, another release: another history
    assert client.release_for("x").digest == A
    server.says(flag(B, 6, "rolled_back"))
    assert client.release_for("x").digest == B
    server.says(flag(A, 8))
    assert client.release_for("x").digest == A


def test_an_operator_may_start_anew_after_a_restored_backup(
    server: Scripted, make_client: Make
) -> None:
    client = make_client(server.url)
    server.says(flag(A, 7))
    client.release_for("x")
    server.says(flag(B, 2))
    assert client.release_for("x").digest == A
    client.forget()
    assert client.release_for("x").digest == B


def test_at_execute_an_old_answer_is_no_ground_to_act(server: Scripted, make_client: Make) -> None:
    client = make_client(server.url, max_age_seconds=60)
    server.says(flag(A, 3, authority="execute"))
    with time_machine.travel(time.time(), tick=True) as clock:
        assert client.release_for("x").authority == "execute"
        server.says(b"", 503)
        client.refresh()
        assert client.release_for("x").cached  # young enough
        clock.shift(61)
        with pytest.raises(StaleAnswerError) as refused:
            client.release_for("x")
        assert refused.value.answer.digest == A
        assert refused.value.answer.authority == "draft"
        server.says(flag(A, 3, authority="execute"))
        client.refresh()
        assert client.release_for("x").authority == "execute"


def test_a_clock_set_back_makes_no_kept_answer_young(server: Scripted, make_client: Make) -> None:
    server.says(flag(A, 3, authority="execute"))
    make_client(server.url).release_for("x")
    server.says(b"", 503)
    with (
        time_machine.travel(time.time() - 3600, tick=True),
        pytest.raises(StaleAnswerError, match="unknown age"),
    ):
        make_client(server.url).release_for("x")


def test_other_authorities_go_on_with_an_old_answer(server: Scripted, make_client: Make) -> None:
    client = make_client(server.url)
    server.says(flag(A, 3, authority="execute_with_approval"))
    with time_machine.travel(time.time(), tick=True) as clock:
        client.release_for("x")
        server.says(b"", 503)
        clock.shift(86_400)
        client.refresh()
        assert client.release_for("x").digest == A


def test_each_case_stays_on_its_side_of_a_pilot_while_the_server_is_away(
    server: Scripted, make_client: Make
) -> None:
    pilot: dict[str, Any] = {
        "algo": "flagd-v2", "pilot_release": B, "pilot_share": 2500, "pilot_salt": "s",
        "pilot_authority": "read_only",
    }  # fmt: skip
    client = make_client(server.url)
    server.says(flag(A, 4, **pilot))
    client.release_for(None)
    server.says(b"", 503)
    sides: dict[str, Answer] = {f"c{n}": client.release_for(f"c{n}") for n in range(400)}
    for case, answer in sides.items():
        expected = B if is_pilot("support-triage", "s", case, 2500) else A
        assert (answer.digest, answer.reason, answer.cached) == (expected, "SPLIT", True)
        assert answer.stage == ("canary" if expected == B else "stable")
        assert answer.authority == ("read_only" if expected == B else "draft")
    assert {answer.digest for answer in sides.values()} == {A, B}
    restarted = make_client(server.url)
    assert all(restarted.release_for(case).digest == sides[case].digest for case in sides)


def test_a_pinned_case_keeps_its_release_while_the_server_is_away(
    server: Scripted, make_client: Make
) -> None:
    pinned = flag(A, 4, has_pins=True)
    pinned["value"]["release"] = pinned["variant"] = C
    pinned["reason"] = "TARGETING_MATCH"
    client = make_client(server.url, ask="background")
    server.says(pinned)
    assert client.release_for("vip").digest == C
    server.says(flag(A, 4, has_pins=True))
    assert client.release_for("other").digest == A
    server.says(b"", 503)
    for current in (client, make_client(server.url)):
        assert current.release_for("vip").digest == C
        assert current.release_for("vip").reason == "TARGETING_MATCH"
        assert current.release_for("other").digest == A


def test_the_kill_switch_is_an_answer_and_stays_one_while_the_server_is_away(
    server: Scripted, make_client: Make
) -> None:
    client = make_client(server.url)
    server.says(flag(A, 3))
    client.release_for("x")
    off = flag("", 4, "switched_off")
    off["reason"], off["metadata"] = "DISABLED", {"seq": 4}
    server.says(off)
    for _ in range(2):
        answer = client.release_for("x")
        assert (answer.digest, answer.is_off, answer.authority) == ("", True, "read_only")
        server.says(b"", 503)
        client.refresh()


def test_a_slow_or_absent_server_costs_one_wait_and_not_one_per_case(
    server: Scripted, make_client: Make
) -> None:
    client = make_client(server.url)
    server.says(flag(A, 3))
    client.release_for("x")
    server.says(b"", 503)
    before = len(server.asked)
    for n in range(500):
        assert client.release_for(f"c{n}").digest == A
    assert len(server.asked) - before <= 3


def test_the_server_says_how_long_it_wants_to_be_left_alone(
    server: Scripted, make_client: Make
) -> None:
    client = make_client(server.url)
    server.says(flag(A, 3))
    client.release_for("x")
    server.says(b"{}", 429, Retry_After="30")
    client.release_for("x")
    asked = len(server.asked)
    client.release_for("x")
    assert client._quiet_until - time.monotonic() > 20
    assert len(server.asked) == asked


def test_a_cache_folder_that_cannot_be_written_is_said_and_harms_nothing(
    server: Scripted, make_client: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    server.says(flag(A, 3))
    assert make_client(server.url).release_for("x").digest == A
    assert "not kept on disk" in caplog.text


def _ask_in_child(client: Client, answers: multiprocessing.Queue[str]) -> None:
    answers.put(f"{os.getpid()} {client.release_for('x').digest}")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_asks_for_itself(server: Scripted, make_client: Make) -> None:
    client = make_client(server.url, ask="background")
    server.says(flag(A, 3))
    client.release_for("x")
    server.says(flag(B, 4))
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_ask_in_child, args=(client, answers))
    child.start()
    pid, seen = answers.get(timeout=10).split()
    child.join(10)
    assert (int(pid), seen) == (child.pid, B)
    assert client.release_for("x").digest == A  # the parent asks again when its time has come


def test_what_is_sent_is_what_ofrep_asks_for(server: Scripted, make_client: Make) -> None:
    server.says(flag(A, 3))
    make_client(server.url).release_for("ticket-1")
    method, path, headers, body = next(each for each in server.asked if b"ticket-1" in each[3])
    assert (method, path) == ("POST", "/ofrep/v1/evaluate/flags/support-triage")
    assert headers["authorization"] == "Bearer cs_test"
    assert json.loads(body) == {"context": {"targetingKey": "ticket-1"}}
