"""The Ed25519 key that signs checkpoints. It lives in a file, never in the database."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from django.conf import settings

from governance.common.errors import GovernanceError
from governance.embedded import servers

RETIRED = "retired-"  # public keys of former keys, beside the key itself


class KeyProblemError(GovernanceError):
    """There is no usable key, so nothing can be signed or compared."""


def key_file() -> Path:
    """Where the private key is: AUDIT_KEY_FILE, or in the data directory."""
    return Path(settings.AUDIT_KEY_FILE or settings.DATA_DIR / "audit-key.pem")


def signing_key() -> Ed25519PrivateKey:
    """Return the private key. `make up` makes it at its first use, elsewhere an operator does.

    Raises:
        KeyProblemError: there is none, or it cannot be read.
    """
    path = key_file()
    if not settings.AUDIT_KEY_FILE and not path.exists() and servers.read(settings.DATA_DIR):
        # One machine with its own data directory. Of many machines each would make another key.
        create_key(path)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        raise KeyProblemError(
            f"There is no key at {path}: make one with `manage.py audit_key --create`."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise KeyProblemError(f"The key at {path} cannot be read: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyProblemError(f"The key at {path} is not an Ed25519 key.")
    return key


def create_key(path: Path) -> bool:
    """Make a key, readable by its owner only. Never overwrites; returns whether it was made."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return write_once(path, pem, mode=0o600)


def rotate_key(path: Path) -> Path:
    """Replace the key by a new one; returns where the public half of the old one is kept."""
    old = signing_key().public_key()
    kept = path.with_name(f"{path.stem}.{RETIRED}{key_id(old)[7:15]}.pem")
    write_once(kept, public_pem(old).encode(), mode=0o644)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    create_key(fresh)
    fresh.replace(path)
    _sync_folder(path.parent)
    return kept


def public_pem(key: Ed25519PublicKey) -> str:
    """Return the public key as text that openssl reads too."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def key_id(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of the public key (DER), which names it."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "sha256:" + hashlib.sha256(der).hexdigest()


def load_public(pem: str | bytes) -> Ed25519PublicKey:
    """Read a public key, or the public half of a private one.

    Raises:
        KeyProblemError: it is neither.
    """
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        if b"PRIVATE KEY" in data:
            private = serialization.load_pem_private_key(data, None)
            key: object = private.public_key()
        else:
            key = serialization.load_pem_public_key(data)
    except (ValueError, TypeError) as error:
        raise KeyProblemError(f"This is not a key in PEM form: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyProblemError("This is not an Ed25519 key.")
    return key


def trusted_keys(files: Iterable[Path] = ()) -> dict[str, Ed25519PublicKey]:
    """Return the keys whose signatures count, by their ids.

    Args:
        files: key files kept elsewhere. Without any: this installation's own key and its retired
            ones, which proves less, since who can read the key can sign anew.
    """
    chosen = list(files)
    if not chosen:
        own = key_file()
        chosen = [own, *sorted(own.parent.glob(f"{own.stem}.{RETIRED}*.pem"))]
    found = {}
    for path in chosen:
        try:
            key = load_public(path.read_bytes())
        except OSError as error:
            raise KeyProblemError(f"The key {path} cannot be read: {error.strerror}") from error
        found[key_id(key)] = key
    return found


def sign(key: Ed25519PrivateKey, text: str) -> str:
    return base64.b64encode(key.sign(text.encode())).decode()


def is_signed(key: Ed25519PublicKey, text: str, signature: str) -> bool:
    """Say whether `signature` (base64) is that key's over the text."""
    try:
        key.verify(base64.b64decode(signature, validate=True), text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def write_once(path: Path, content: bytes, *, mode: int) -> bool:
    """Write a file whole and synced, or not at all; False when one stands there already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    half.unlink(missing_ok=True)
    try:
        _write_new(half, content, mode)
        try:
            os.link(half, path)  # unlike a rename, it refuses to replace
        except FileExistsError:
            return False
        except OSError:
            # Some mounted folders know no links: written in place it is not whole after a crash,
            # but it still replaces nothing.
            try:
                _write_new(path, content, mode)
            except FileExistsError:
                return False
    finally:
        half.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _write_new(path: Path, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
