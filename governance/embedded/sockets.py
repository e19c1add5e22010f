"""Where a Unix socket can lie: its whole path has to fit into 107 bytes."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from governance.embedded.processes import StartError

LONGEST = 100  # bytes; the kernel's limit is 107, and PostgreSQL adds ".lock" to some


def socket_folder(data_dir: Path, wanted: Path, file_name: str) -> Path:
    """Return `wanted`, or a private temporary folder where that path would be too long."""
    if len(os.fsencode(wanted / file_name)) <= LONGEST:
        return wanted
    note = data_dir / "socket-folder"
    with contextlib.suppress(FileNotFoundError):
        earlier = Path(note.read_text())
        if _is_ours(earlier):
            return earlier
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp")):  # noqa: S108 - mkdtemp is private
        if len(os.fsencode(parent)) + len("/countersign-12345678/" + file_name) <= LONGEST:
            folder = Path(tempfile.mkdtemp(prefix="countersign-", dir=parent))
            note.write_text(str(folder))
            return folder
    raise StartError(
        f"The path of {data_dir} is too long for a socket, and there is no short temporary folder:"
        " choose a shorter folder with DATA_DIR=…"
    )


def remove_socket_folder(data_dir: Path) -> None:
    """Remove the temporary folder again, once its servers have stopped."""
    note = data_dir / "socket-folder"
    with contextlib.suppress(OSError):
        folder = Path(note.read_text())
        if _is_ours(folder):
            for entry in folder.iterdir():
                entry.unlink()
            folder.rmdir()
        note.unlink()


def _is_ours(folder: Path) -> bool:
    """A folder under /tmp may have been swept away, and its name taken by somebody else."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    private = stat.S_IMODE(status.st_mode) == 0o700
    return stat.S_ISDIR(status.st_mode) and private and status.st_uid == os.geteuid()
