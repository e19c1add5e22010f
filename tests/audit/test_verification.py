"""Tampering with the audit: what the chain shows, and what it cannot show alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from psycopg.conninfo import make_conninfo

from governance import audit
from governance.audit import Actor
from governance.audit.merkle import BLOCK, root
from governance.audit.models import AuditEvent
from governance.audit.verification import verify, verify_newest
from tests.audit.tampering import EVENTS, insert_after, rehash, swap, tamper, write

SYSTEM = Actor.system("tests")
pytestmark = pytest.mark.django_db(transaction=True)
TABLE = EVENTS


MOVES: dict[str, tuple[Callable[[], None], str]] = {
    "edit a body": (
        lambda: tamper(
            f"UPDATE {TABLE} SET body = replace(body, 'reason 4', 'reason 5') WHERE seq = 4"
        ),
        "hash",
    ),
    "edit a body and its column": (
        lambda: tamper(
            f"UPDATE {TABLE} SET reason = 'reason 5',"
            " body = replace(body, 'reason 4', 'reason 5') WHERE seq = 4"
        ),
        "hash",
    ),
    "make a body unreadable": (
        lambda: tamper(f"UPDATE {TABLE} SET body = '[' WHERE seq = 4"),
        "body",
    ),
    "edit and hash again": (lambda: rehash(4), "link"),
    "edit the first and hash again": (lambda: rehash(1), "link"),
    "delete the middle": (lambda: tamper(f"DELETE FROM {TABLE} WHERE seq IN (4, 5)"), "gap"),
    "delete the beginning": (lambda: tamper(f"DELETE FROM {TABLE} WHERE seq = 1"), "gap"),
    "insert": (lambda: insert_after(4), "link"),
    "move one before the first": (
        lambda: tamper(f"UPDATE {TABLE} SET seq = 0 WHERE seq = 4"),
        "order",
    ),
    "swap": (lambda: swap(4, 6), "link"),
}
COLUMNS = {
    "event_id": "'00000000-0000-4000-8000-000000000000'",
    "recorded_at": "recorded_at + interval '1 microsecond'",
    "occurred_at": "occurred_at - interval '1 day'",
    "demo": "NOT demo",
    "actor_type": "'user'",
    "actor_id": "'7'",
    "actor_label": "'Somebody else'",
    "verb": "'rollback.done'",
    "object_type": "'release'",
    "object_id": "'7'",
    "object_label": "'Another'",
    "object_digest": "'sha256:7'",
    "workflow": "'close'",
    "reason": "'another'",
    "prev": "'sha256:7'",
}


def test_an_untouched_chain_is_intact_from_the_first_to_the_last_event() -> None:
    write(9)
    result = verify()
    assert result.intact, result.faults
    assert (result.first, result.last, result.events) == (1, 9, 9)
    assert result.from_the_start
    assert result.head == AuditEvent.objects.get(seq=9).hash
    assert "9 events verified, from the first to event 9" in result.sentence


def test_the_newest_events_alone_are_never_called_the_whole_chain() -> None:
    write(9)
    result = verify_newest(3)
    assert result.intact
    assert (result.first, result.last, result.events) == (7, 9, 3)
    assert not result.from_the_start
    assert "from event 7" in result.sentence
    tamper(f"UPDATE {TABLE} SET reason = 'x' WHERE seq = 2")
    assert verify_newest(3).intact
    assert not verify_newest(9).intact
    rehash(6)  # just before the stretch: its link shows it
    assert not verify_newest(3).intact


@pytest.mark.parametrize("move", MOVES)
def test_each_move_is_detected(move: str) -> None:
    write(9)
    act, kind = MOVES[move]
    act()
    result = verify()
    assert not result.intact
    assert kind in {fault.kind for fault in result.faults}, result.faults


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_is_compared_with_the_body(column: str) -> None:
    write(3)
    tamper(f"UPDATE {TABLE} SET {column} = {COLUMNS[column]} WHERE seq = 2")
    result = verify()
    assert [fault.seq for fault in result.faults if fault.kind == "column"] == [2]
    assert column in " ".join(fault.sentence for fault in result.faults)


def test_every_column_of_the_table_is_compared() -> None:
    compared = {*COLUMNS, "seq", "hash", "body"}
    assert {field.column for field in AuditEvent._meta.fields} == compared


def test_a_cut_tail_and_a_chain_written_anew_fit_and_the_command_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(9)
    tamper(f"DELETE FROM {TABLE} WHERE seq > 6")
    assert verify().intact
    rehash(6)  # the last one: nothing links to it
    assert verify().intact
    with pytest.raises(SystemExit):
        call_command("audit_verify")
    assert "cannot show that its newest events were cut off" in capsys.readouterr().out


def test_the_exit_code_says_valid_broken_or_incomplete(capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> tuple[int, dict[str, object]]:
        with pytest.raises(SystemExit) as ended:
            call_command("audit_verify", "--json")
        assert isinstance(ended.value.code, int)
        return ended.value.code, json.loads(capsys.readouterr().out)

    code, said = run()
    assert (code, said["intact"], said["events"]) == (2, False, 0)
    write(4)
    code, said = run()
    assert (code, said["intact"], said["events"]) == (0, True, 4)
    tamper(f"UPDATE {TABLE} SET reason = 'x' WHERE seq = 2")
    code, said = run()
    assert (code, said["intact"], said["fault_count"]) == (1, False, 1)


def test_several_processes_find_the_same_as_one() -> None:
    write(2 * BLOCK + 10)
    assert _processes("2") == (0, 2 * BLOCK + 10, 0)
    tamper(f"UPDATE {TABLE} SET reason = 'x' WHERE seq = {BLOCK + 8}")
    rehash(2 * BLOCK)  # the last one of a part: the link of the next part shows it
    code, events, faults = _processes("2")
    assert (code, events, faults) == (1, 2 * BLOCK + 10, verify().fault_count)
    assert faults == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_the_roots_over_any_number_of_events_are_those_of_the_tree(processes: int) -> None:
    write(2 * BLOCK + 3)
    hashes = [
        bytes.fromhex(event[7:])
        for event in AuditEvent.objects.order_by("seq").values_list("hash", flat=True)
    ]
    sizes = {1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 3, 2 * BLOCK + 4}
    name = str(connection.settings_dict["NAME"])
    with pytest.MonkeyPatch.context() as patch:  # the other process reads it at its start
        patch.setenv("DATABASE_URL", make_conninfo(os.environ["DATABASE_URL"], dbname=name))
        roots = verify(processes=processes, sizes=sizes).roots
    assert roots == {
        size: "sha256:" + root(hashes[:size]).hex() for size in sizes if size <= len(hashes)
    }


def test_several_processes_are_started_anew_where_a_thread_runs_beside() -> None:
    write(2 * BLOCK)
    name = str(connection.settings_dict["NAME"])
    done = threading.Event()
    beside = threading.Thread(target=done.wait)
    beside.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", make_conninfo(os.environ["DATABASE_URL"], dbname=name))
            assert verify(processes=2).intact
    finally:
        done.set()
        beside.join()


def test_a_time_that_no_calendar_here_holds_is_broken_and_not_incomplete() -> None:
    write(3)
    tamper(f"UPDATE {TABLE} SET recorded_at = 'infinity' WHERE seq = 2")
    assert [fault.kind for fault in verify().faults] == ["column"]


def _processes(number: str) -> tuple[int, int, int]:
    """Run the command as operators do, on this test's database."""
    name = connection.settings_dict["NAME"]
    url = make_conninfo(os.environ["DATABASE_URL"], dbname=str(name))
    done = subprocess.run(
        [sys.executable, "manage.py", "audit_verify", "--json", "--processes", number],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    return done.returncode, said["events"], said["fault_count"]


def test_who_reads_only_the_first_line_gets_no_traceback() -> None:
    write(4)
    name = connection.settings_dict["NAME"]
    url = make_conninfo(os.environ["DATABASE_URL"], dbname=str(name))
    for unbuffered in ("", "1"):  # fails when flushed at the end, or at the second line
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "manage.py", "audit_verify"],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": url, "PYTHONUNBUFFERED": unbuffered},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        os.close(writing)
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr
        assert done.returncode == 0  # the verdict: intact


def test_a_verification_that_cannot_end_is_incomplete_and_not_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def die(*args: object, **options: object) -> None:
        raise BrokenProcessPool("a process died")

    monkeypatch.setattr("governance.management.commands.audit_verify.verify", die)
    with pytest.raises(SystemExit) as ended:
        call_command("audit_verify", "--json")
    assert ended.value.code == 2
    assert "could not be read to its end" in json.loads(capsys.readouterr().out)["sentence"]


def test_eight_writers_at_once_make_one_chain_without_forks() -> None:
    together = threading.Barrier(8)
    errors: list[BaseException] = []

    def writer(number: int) -> None:
        try:
            together.wait()
            for turn in range(12):
                with audit.atomic():
                    audit.record("demo.seeded", actor=SYSTEM, reason=f"{number} {turn}")
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    result = verify()
    assert result.intact, result.faults
    assert result.events == 8 * 12
    assert len(set(AuditEvent.objects.values_list("reason", flat=True))) == 8 * 12
