"""Twelve ways to tamper with the audit: refused by the database, or shown by a named layer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from governance.audit import checkpoints, keys, sinks
from governance.audit.checkpoint_models import Checkpoint
from governance.audit.models import AuditEvent
from tests.audit import tampering
from tests.audit.tampering import ROWS, Row, examine, installation, rechain, run, tamper, write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with installation(tmp_path):
        yield tmp_path
    tampering.mend()


def verify_command(
    capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, dict[str, object]]:
    with pytest.raises(SystemExit) as ended:
        call_command("audit_verify", "--json", *words)
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_what_nobody_touched_is_whole_for_every_layer(folder: Path) -> None:
    chain, compared = examine()
    assert chain.intact, chain.faults
    assert compared.intact, compared.faults
    assert (compared.compared, compared.outside) == (2, 2)
    assert compared.covered == chain.last - 2
    assert compared.keys_compared
    assert compared.notes == ()


def test_the_table_has_its_twelve_rows() -> None:
    assert [row.name for row in ROWS] == [
        "edit body", "edit a column", "delete middle", "delete tail", "insert", "swap",
        "duplicate seq", "re-chain the tail", "re-chain all with a new key", "truncate",
        "restore an old backup", "foreign event",
    ]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_way_is_refused_and_done_past_the_triggers_it_is_detected(
    folder: Path, row: Row
) -> None:
    outcome = run(row)
    assert outcome.refused_to == ("cs_app", "cs_owner")
    assert outcome.layer == "trigger"
    assert outcome.detected_by == row.expected, outcome.sentence


def test_who_rewrites_everything_and_the_folder_is_found_by_a_file_kept_elsewhere(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = folder / "kept.json"
    public = folder / "public.pem"
    shutil.copy(sinks.folder() / "checkpoint-00000002.json", kept)
    public.write_text(keys.public_pem(keys.signing_key().public_key()))
    code, said = verify_command(capsys, "--checkpoint", str(kept), "--public-key", str(public))
    assert (code, said["intact"]) == (0, True)

    shutil.rmtree(sinks.folder())
    tampering.rechain_with_a_new_key()
    code, said = verify_command(capsys)
    assert code == 0  # nothing is left here that says otherwise
    code, said = verify_command(capsys, "--checkpoint", str(kept))
    assert code == 1
    assert "are not those that Checkpoint 2" in str(said["checkpoints"])
    code, said = verify_command(capsys, "--public-key", str(public))
    assert code == 1
    assert "signed by a key that is not known here" in str(said["checkpoints"])


def test_the_newest_events_are_not_covered_yet_and_the_verification_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = AuditEvent.objects.latest("seq").seq
    rechain(last)
    code, said = verify_command(capsys)
    assert code == 0
    assert "The newest 2 events are under no signed root yet" in str(said["limits"])
    checkpoints.make()
    sinks.deliver_due()
    code, said = verify_command(capsys)
    assert (code, "Every event is under a signed root" in str(said["limits"])) == (0, True)
    rechain(last, "nor did this")
    code, said = verify_command(capsys)
    assert code == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("signature = repeat('A', 86) || '=='", "is not signed by the key it names"),
        ("text = replace(text, '\"number\":1', '\"number\":3')", "not what its digest says"),
        ("root = head", "differ from what was signed"),
        ("previous = digest", "does not follow the one before it"),
        ("text = '{}'", "is unreadable"),
        ("public_key = ''", "has no key that can be read"),
    ],
)
def test_a_checkpoint_that_is_edited_in_the_database_is_found(
    folder: Path, change: str, sentence: str
) -> None:
    tamper(f"UPDATE {tampering.SIGNED} SET {change} WHERE number = 1")
    _, compared = examine()
    assert sentence in " ".join(fault.sentence for fault in compared.faults)
    assert "checkpoint" in {fault.kind for fault in compared.faults}


def test_a_checkpoint_that_is_deleted_or_a_file_that_is_edited_is_found(folder: Path) -> None:
    path = sinks.folder() / "checkpoint-00000001.json"
    stored = json.loads(path.read_text())
    path.chmod(0o644)
    path.write_text(json.dumps({**stored, "checkpoint": stored["checkpoint"].replace("1", "2")}))
    _, compared = examine()
    assert {fault.kind for fault in compared.faults} == {"sink"}
    path.unlink()
    _, compared = examine()
    assert compared.intact
    assert "1 file was delivered and cannot be seen from here" in compared.notes[0]

    tamper(f"DELETE FROM {tampering.DELIVERED}", f"DELETE FROM {tampering.SIGNED} WHERE number = 1")
    _, compared = examine()
    assert "Checkpoint 1 is missing." in [fault.sentence for fault in compared.faults]


def test_a_key_that_no_event_introduced_is_found(folder: Path) -> None:
    keys.rotate_key(keys.key_file())
    write(1)
    checkpoints.make()
    sinks.deliver_due()
    assert examine()[1].intact  # rotated as it should be: an event says so, the old key is kept
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "_introduce", lambda key_id: None)
        keys.rotate_key(keys.key_file())
        write(1)
        checkpoints.make()
    _, compared = examine()
    assert ["came into use" in fault.sentence for fault in compared.faults] == [True]


def test_a_file_that_is_no_checkpoint_is_incomplete_and_not_broken(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = folder / "stray.json"
    stray.write_text("[]")
    for path in (stray, folder / "absent.json"):
        code, said = verify_command(capsys, "--checkpoint", str(path))
        assert (code, said["intact"]) == (2, None)


def test_many_writers_checkpoints_and_verifications_at_once_raise_no_false_alarm(
    folder: Path,
) -> None:
    written, verifications, faults = tampering.concurrent_events(400, threads=6)
    assert written == 400
    assert verifications > 1
    assert faults == 0
    assert tampering.undelivered() == 0
    assert Checkpoint.objects.count() > 2
