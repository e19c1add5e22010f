"""Who somebody from the identity provider is here. Nobody is made by logging in."""

from __future__ import annotations

from allauth.socialaccount.models import SocialAccount

from governance import audit
from governance.common.errors import NotAllowedError
from governance.people.models import User


@audit.atomic()
def person_of(provider: str, subject: str, *, email: str, verified: bool) -> User:
    """Return the person behind `subject`; the first time, by the verified e-mail address.

    Raises:
        NotAllowedError: no active account has this subject or this verified address.
    """
    linked = (
        SocialAccount.objects.select_related("user").filter(provider=provider, uid=subject).first()
    )
    if linked is not None:
        if not linked.user.is_active:
            raise NotAllowedError("Your account here is deactivated. Ask an administrator.")
        return linked.user  # type: ignore[no-any-return]
    if not email or not verified:
        raise NotAllowedError(
            "The provider names no verified e-mail address, so nobody knows who you are here."
        )
    found = list(User.objects.select_for_update().filter(email__iexact=email, is_active=True)[:2])
    if len(found) != 1:
        raise NotAllowedError(
            "There is no account with your e-mail address. An administrator makes it first."
        )
    (user,) = found
    if SocialAccount.objects.filter(user=user, provider=provider).exists():
        raise NotAllowedError("Your account here is linked to another person of the provider.")
    SocialAccount.objects.create(user=user, provider=provider, uid=subject, extra_data={})
    audit.record("user.linked", user, actor=user, provider=provider)
    return user
