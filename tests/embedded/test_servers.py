"""The private PostgreSQL and Valkey, as real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from governance.embedded import postgres_home
from governance.embedded.processes import StartError
from governance.embedded.servers import Servers, read, running

# Keeps the servers of sys.argv[1] up until its standard input closes; prints when they are.
KEEPER = """
import sys
from pathlib import Path
from governance.embedded.servers import running
with running(Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder with a path of 140 bytes, under a parent that only its owner enters."""
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700)
    room = 140 - len(os.fsencode(parent)) - 1
    return parent / ("d" * room)


@pytest.fixture(autouse=True)
def _remove_the_database(data_dir: Path) -> object:
    yield
    postgres_home.forget_home(data_dir)


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def redis_of(servers: Servers) -> redis.Redis:
    return redis.Redis.from_url(servers.redis_url.replace("redis+socket", "unix"))


def keeper(data_dir: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_start_keeps_the_data_and_no_folder_of_others_changes(data_dir: Path) -> None:
    above = {folder: mode(folder) for folder in data_dir.parents}
    with running(data_dir) as servers:
        query(servers.owner_database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        with redis_of(servers) as client:
            client.set("kept", "42")
        pid_file = data_folder(data_dir) / "postmaster.pid"
        stale = "\n".join([str(os.getpid()), *pid_file.read_text().splitlines()[1:], ""])
    # After a power cut the number in these files can be that of anybody: here it is ours.
    pid_file.write_text(stale)
    (data_folder(data_dir).parent / "socket" / ".s.PGSQL.5432.lock").write_text(stale)
    with running(data_dir) as servers:
        assert query(servers.owner_database_url, "SELECT answer FROM kept") == [(42,)]
        with redis_of(servers) as client:
            assert client.get("kept") == b"42"
        assert read(data_dir) == servers
    assert {folder: mode(folder) for folder in data_dir.parents} == above


def test_a_login_is_worth_what_its_password_is(data_dir: Path) -> None:
    with running(data_dir) as servers:
        sockets = [
            Path(str(psycopg.conninfo.conninfo_to_dict(servers.database_url)["host"])),
            Path(servers.redis_url.removeprefix("redis+socket://")).parent,
        ]
        assert [mode(folder) for folder in sockets] == [0o700, 0o700]
        assert mode(data_dir) == 0o700
        assert mode(data_dir / "servers.json") == 0o600
        # A name alone opens nothing, and the superuser has no password at all.
        for login in ("cs_owner", "postgres"):
            stolen = servers.database_url.replace("//cs_app:", f"//{login}:")
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(stolen)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(servers.database_url, "CREATE TABLE mine (id int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            query(servers.owner_database_url, "SET session_replication_role = replica")
        rights = "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles"
        assert set(query(servers.database_url, f"{rights} WHERE rolname LIKE 'cs_%'")) == {
            ("cs_app", False, False, False),
            ("cs_owner", False, False, False),
        }


def test_what_a_killed_start_left_running_is_stopped_and_its_data_kept(data_dir: Path) -> None:
    with keeper(data_dir) as holder:
        with pytest.raises(StartError, match=f"in use by another.*process {holder.pid}"):
            running(data_dir).__enter__()
        servers = read(data_dir)
        assert servers is not None
        query(servers.owner_database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        entries = json.loads((data_dir / "processes.json").read_text())
        for entry in entries:
            # Frozen, they cannot follow the one that started them.
            os.kill(entry["pid"], signal.SIGSTOP)
        holder.kill()
        holder.wait()
    with running(data_dir) as servers:
        assert query(servers.owner_database_url, "SELECT answer FROM kept") == [(42,)]
    assert {entry["name"] for entry in entries} == {"postgres", "valkey"}


def test_test_servers_let_their_owner_clone_databases_and_leave_nothing(data_dir: Path) -> None:
    # Half a first start, which must not be taken for a whole one.
    half = postgres_home.find_home(data_dir_made(data_dir), throwaway=True).folder / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with running(data_dir, durable=False) as servers:
        owner = servers.owner_database_url
        query(owner, "CREATE DATABASE copy TEMPLATE countersign")
        query(owner, "SET session_replication_role = replica")
        assert query(owner, "SHOW fsync") == [("off",)]
        assert half.parent.exists()
    assert not half.parent.exists()
    assert not (data_dir / "socket-folder").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps databases outside DATA_DIR")
def test_a_copied_data_directory_does_not_share_the_database(data_dir: Path) -> None:
    postgres_home.find_home(data_dir_made(data_dir), throwaway=False)
    copy = data_dir.with_name("copy")
    copy.mkdir()
    (copy / "postgres-folder").write_text((data_dir / "postgres-folder").read_text())
    with pytest.raises(StartError, match="is a copy of"):
        running(copy).__enter__()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps databases outside DATA_DIR")
def test_a_removed_data_directory_starts_empty_and_its_database_is_put_aside(
    data_dir: Path,
) -> None:
    first = postgres_home.find_home(data_dir_made(data_dir), throwaway=False)
    first.make(first.data)
    (data_dir / "postgres-folder").unlink()
    second = postgres_home.find_home(data_dir, throwaway=False)
    aside = second.folder.with_suffix(".removed")
    assert not second.data.exists()
    assert (aside / "data").exists()
    shutil.rmtree(aside)


def data_dir_made(data_dir: Path) -> Path:
    data_dir.mkdir(mode=0o700)
    return data_dir


def data_folder(data_dir: Path) -> Path:
    note = data_dir / "postgres-folder"
    return (Path(note.read_text()) if note.exists() else data_dir / "postgres") / "data"
