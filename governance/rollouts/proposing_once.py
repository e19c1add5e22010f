"""Proposing by machine: the same key is the same promotion, however often it is sent."""

from __future__ import annotations

from collections.abc import Callable

from governance import audit
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import true_now
from governance.people.models import ApiToken
from governance.rollouts.models import Promotion
from governance.rollouts.proposal_models import ProposalKey

LONGEST_KEY = 200  # characters


@audit.atomic()
def propose_once(
    token: ApiToken, key: str, body_digest: str, propose: Callable[[], Promotion]
) -> tuple[Promotion, bool]:
    """Return the promotion of this key, with whether `propose` was called for it just now.

    Raises:
        InvalidInputError: the key is no key.
        StateConflictError: the key came with another request before.
    """
    if not key or len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise InvalidInputError(
            f"An Idempotency-Key has 1 to {LONGEST_KEY} printable ASCII characters."
        )
    # Two requests with one key at once: the second waits here, and then finds the first one's.
    ApiToken.objects.select_for_update(no_key=True).get(pk=token.pk)
    known = ProposalKey.objects.select_related("promotion").filter(token=token, key=key).first()
    if known is not None:
        if known.body_digest != body_digest:
            raise StateConflictError("This Idempotency-Key came with another request before.")
        return known.promotion, False
    promotion = propose()
    ProposalKey.objects.create(
        token=token, key=key, body_digest=body_digest, promotion=promotion, created_at=true_now()
    )
    return promotion, True
