"""Where the servers of one data directory are: servers.json, its lock, and a private pair."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from governance.embedded import postgres, valkey
from governance.embedded.processes import Processes, StartError, owner_name


@dataclasses.dataclass(frozen=True)
class Servers:
    """How to reach the servers of one data directory, and the key that signs its sessions.

    The database addresses are libpq URIs; with a private server the socket folder is the
    `host` query parameter, so `psycopg.conninfo.conninfo_to_dict` reads every form. The Redis
    address is what Celery takes: `redis+socket:///path` for a private server.
    """

    database_url: str
    owner_database_url: str
    redis_url: str
    secret_key: str
    port: int | None = None


def read(data_dir: Path) -> Servers | None:
    """Return what the last start of this data directory wrote; None before the first."""
    try:
        stored = json.loads((data_dir / "servers.json").read_text())
    except FileNotFoundError:
        return None
    names = {field.name for field in dataclasses.fields(Servers)}
    return Servers(**{name: value for name, value in stored.items() if name in names})


def write(data_dir: Path, servers: Servers) -> None:
    """Replace servers.json in one step, readable by its owner only."""
    target = data_dir / "servers.json"
    fresh = target.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        json.dump(dataclasses.asdict(servers), stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(target)


@contextlib.contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Make the data directory if needed and keep every other start out of it."""
    if not data_dir.is_dir():
        data_dir.mkdir(mode=0o700, parents=True)
    with _open_lock(data_dir) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise StartError(
                f"{data_dir} is in use by another `make up` (process {holder}):"
                " stop that one, or choose another folder with DATA_DIR=…"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _open_lock(data_dir: Path) -> IO[str]:
    """Open the lock file, refusing a data directory that another login started."""
    path = data_dir / "lock"
    with contextlib.suppress(FileNotFoundError):
        owner = path.stat().st_uid
        if owner != os.geteuid():
            raise StartError(
                f"{data_dir} belongs to the login {owner_name(owner)}:"
                " start as that login, or choose another folder with DATA_DIR=…"
            )
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")


def start_private(
    processes: Processes,
    data_dir: Path,
    *,
    database_url: str = "",
    owner_database_url: str = "",
    redis_url: str = "",
    port: int | None = None,
    durable: bool = True,
) -> Servers:
    """Start what no address was given for, and write down where everything is."""
    before = read(data_dir)
    secret_key = before.secret_key if before else secrets.token_urlsafe(50)
    if not database_url:
        processes.say("Starting PostgreSQL")
        database_url, owner_database_url = postgres.start(processes, data_dir, durable=durable)
    if not redis_url:
        processes.say("Starting Valkey")
        redis_url = valkey.start(processes, data_dir, durable=durable)
    servers = Servers(
        database_url=database_url,
        owner_database_url=owner_database_url or database_url,
        redis_url=redis_url,
        secret_key=secret_key,
        port=port,
    )
    write(data_dir, servers)
    return servers


@contextlib.contextmanager
def running(data_dir: Path, *, durable: bool = True) -> Iterator[Servers]:
    """Run a private PostgreSQL and Valkey for as long as the block lasts.

    Args:
        data_dir: the folder that holds everything; made when it is not there.
        durable: False is for tests. Nothing is synced to disk, `cs_owner` may create
            databases, and the database is removed at the end.
    """
    data_dir = data_dir.resolve()
    with hold(data_dir), Processes(data_dir) as processes:
        try:
            yield start_private(processes, data_dir, durable=durable)
        finally:
            processes.stop()
            if not durable:
                postgres.remove(data_dir)
