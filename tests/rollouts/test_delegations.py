"""Deciding for an owner: inside a window, never passed on, never for one's own change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from governance.common.errors import NotAllowedError
from governance.common.time import now, story_time
from governance.people.models import Delegation, User
from governance.people.signatures import sign
from governance.releases.models import LiveRelease, Release
from governance.rollouts import services
from governance.rollouts.models import Approval, Promotion
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db(transaction=True)
Approve = Callable[[Promotion, User], Promotion]
Propose = Callable[..., Promotion]


@pytest.fixture
def delegate(owner: User, controller: User) -> Callable[..., Delegation]:
    """The owner lets the controller decide for a week."""

    def give(to: User = controller, giver: User = owner, days: int = 7) -> Delegation:
        moment = now()
        return Delegation.objects.create(
            owner=giver, delegate=to, starts_at=moment, ends_at=moment + timedelta(days=days),
            reason="On leave.", created_at=moment,
            signature=sign(
                giver, "delegation", reason="On leave.", subject={"delegate": str(to.pk)},
                role="KPI owner", authenticated_at=moment, authenticated_by="password",
            ),
        )  # fmt: skip

    return give


def test_a_delegate_decides_for_the_owner_inside_the_window_only(
    propose: Propose, approve: Approve, controller: User, owner: User, live: Release,
    delegate: Callable[..., Delegation], workflow: Workflow,
) -> None:  # fmt: skip
    promotion = propose()
    with pytest.raises(NotAllowedError):
        approve(promotion, controller)
    held = delegate()
    with story_time(held.ends_at), pytest.raises(NotAllowedError):
        approve(promotion, controller)

    approve(promotion, controller)

    assert LiveRelease.objects.get().release_id == promotion.release_id
    approval = Approval.objects.get(promotion=promotion)
    assert (approval.on_behalf_of, approval.delegation) == (owner, held)
    assert "by delegation" in approval.signature.manifest["role"]  # type: ignore[union-attr]


def test_a_delegation_is_not_passed_on_and_a_revoked_one_counts_no_more(
    propose: Propose, approve: Approve, controller: User, auditor: User, cfo: User, live: Release,
    delegate: Callable[..., Delegation], workflow: Workflow,
) -> None:  # fmt: skip
    promotion = propose(threshold=0.2)  # high risk: two people
    held = delegate()
    delegate(to=auditor, giver=controller)
    with pytest.raises(NotAllowedError):
        approve(promotion, auditor)

    approve(promotion, controller)
    Delegation.objects.filter(pk=held.pk).update(revoked_at=now(), revoked_by_label="owner")
    approve(promotion, cfo)

    assert LiveRelease.objects.get().release_id == live.pk  # the second yes found no first one


def test_nobody_decides_in_the_name_of_an_owner_who_made_the_change(
    propose: Propose, approve: Approve, controller: User, owner: User, live: Release,
    delegate: Callable[..., Delegation],
) -> None:  # fmt: skip
    promotion = propose()
    delegate()
    # The candidate stays as it is; the owner becomes its requester.
    Promotion.objects.filter(pk=promotion.pk).update(review_round=2, requested_by=owner)
    with pytest.raises(NotAllowedError, match="nobody approves it in their name"):
        services.approve_promotion(
            promotion.pk, actor=controller, review_round=2, reason="for her",
            authenticated_at=now(),
        )  # fmt: skip
