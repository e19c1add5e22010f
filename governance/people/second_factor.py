"""Second factors: one-time codes of an authenticator app, and recovery codes (django-allauth's).

The secrets are encrypted with a key made from SECRET_KEY, so that a copy of the database alone
does not give them away. A code counts once: the row is locked and remembers the newest counter.
"""

from __future__ import annotations

import base64
import hmac
from io import BytesIO

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import (
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.mfa.utils import decrypt, encrypt
from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db import transaction

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.people.models import User
from governance.people.permissions import require

TOTP, RECOVERY = Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES
WRONG_CODE = "That code is not right. Codes change every 30 seconds, and each counts once."


class Adapter(DefaultMFAAdapter):  # type: ignore[misc] # allauth has no types
    """Named in settings: how allauth stores the secrets."""

    def encrypt(self, text: str) -> str:
        return _fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _fernet().decrypt(encrypted_text.encode()).decode()


def _fernet() -> Fernet:
    key = hmac.digest(settings.SECRET_KEY.encode(), b"countersign.second-factor.v1", "sha256")
    return Fernet(base64.urlsafe_b64encode(key))


def is_asked(user: User) -> bool:
    """Whether this person proves a second factor when they log in."""
    return settings.MFA != "off" and has_one(user)


def has_one(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, type=TOTP).exists())


def must_set_up(user: User) -> bool:
    """Whether the installation asks for a second factor that this person lacks."""
    return settings.MFA == "required" and not has_one(user)


def new_secret() -> str:
    return str(generate_totp_secret())


def picture(user: User, secret: str) -> str:
    """The QR code for the authenticator app, as the address of an image."""
    import qrcode  # drawn on one page only
    from qrcode.image.svg import SvgPathImage

    drawn = BytesIO()
    url = Adapter().build_totp_url(user, secret)
    qrcode.make(url, image_factory=SvgPathImage, border=2).save(drawn)
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.getvalue()).decode()


@audit.atomic()
def set_up(user: User, secret: str, code: str) -> list[str]:
    """Keep the secret once a code proves that the app has it.

    Returns:
        The recovery codes, which are shown this one time.
    """
    if settings.MFA == "off":
        raise StateConflictError("Second factors are switched off in this installation.")
    User.objects.select_for_update().get(pk=user.pk)
    if has_one(user):
        raise StateConflictError("You have a second factor already. Remove it first.")
    counter = _counter(secret, code)
    if counter is None:
        raise InvalidInputError(WRONG_CODE)
    Authenticator.objects.create(
        user=user, type=TOTP, data={"secret": encrypt(secret), "last_counter": counter}
    )
    codes = _fresh_codes(user)
    audit.record("second_factor.added", user, actor=user)
    return codes


def _fresh_codes(user: User) -> list[str]:
    Authenticator.objects.filter(user=user, type=RECOVERY).delete()
    return list(RecoveryCodes.activate(user).generate_codes())


def _counter(secret: str, code: str) -> int | None:
    typed = "".join(code.split())
    for counter in yield_hotp_counters_from_time():
        if hmac.compare_digest(format_hotp_value(hotp_value(secret, counter)), typed):
            return int(counter)
    return None


@transaction.atomic
def check(user: User, code: str) -> str:
    """Use one code up.

    Returns:
        What proved it: `totp` or `recovery_code`; an empty text when nothing did.
    """
    rows = Authenticator.objects.select_for_update().filter(user=user, type__in=(TOTP, RECOVERY))
    found = {row.type: row for row in rows}
    if not code.isascii() or TOTP not in found:
        return ""
    try:
        row = found[TOTP]
        counter = _counter(decrypt(row.data["secret"]), code)
        if counter is not None and counter > row.data.get("last_counter", 0):
            row.data["last_counter"] = counter
            row.save(update_fields=["data"])
            row.record_usage()
            return "totp"
        typed = code.replace("-", "").replace(" ", "")
        if RECOVERY in found and found[RECOVERY].wrap().validate_code(typed):
            return "recovery_code"
    except InvalidToken:
        return ""  # SECRET_KEY is another one than when it was set up
    return ""


def codes_left(user: User) -> int:
    row = Authenticator.objects.filter(user=user, type=RECOVERY).first()
    return len(row.wrap().get_unused_codes()) if row else 0


@audit.atomic()
def renew_codes(user: User) -> list[str]:
    """Make new recovery codes; the old ones stop working."""
    if not has_one(user):
        raise StateConflictError("You have no second factor.")
    codes = _fresh_codes(user)
    audit.record("second_factor.codes_renewed", user, actor=user)
    return codes


@audit.atomic()
def remove(user: User, *, actor: Actor | User) -> None:
    """Take the second factor away: one's own, or for somebody who lost it."""
    if isinstance(actor, User) and actor.pk != user.pk:
        require(actor, "people.manage")
    User.objects.select_for_update().get(pk=user.pk)
    removed, _ = Authenticator.objects.filter(user=user, type__in=(TOTP, RECOVERY)).delete()
    if not removed:
        raise StateConflictError("There is no second factor to remove.")
    audit.record("second_factor.removed", user, actor=actor)
