"""Gate policies: proposed by one person, confirmed by another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Max, Q

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.canonical import canonical, digest_text
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals import policy
from governance.evals.actors import label, lock
from governance.evals.models import GatePolicy
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow


def _confirms(user: User, gate_policy: GatePolicy) -> bool:
    """Somebody else than the proposer, and nobody who builds what the policy judges."""
    if gate_policy.proposed_by_id == user.pk or user.role == User.Role.BUILDER:
        return False
    return user.role in (User.Role.EXECUTIVE, User.Role.ANALYST) or user.owned_workflows.exists()


register_rule(
    "gate_policy.propose",
    lambda user, workflow: workflow.owner_id == user.pk,
    "Only the KPI owner proposes a gate policy.",
)
register_rule(
    "gate_policy.confirm",
    _confirms,
    "Another person confirms a gate policy: an executive, an analyst or a KPI owner.",
)


def set_policy(
    workflow: Workflow, content: Mapping[str, Any], *, actor: Actor | HasActor
) -> GatePolicy:
    """Propose a new version of the gate policy. It judges nothing until it is confirmed.

    Raises:
        InvalidInputError: the content is no gate policy; the sentence says why.
        NotAllowedError: a person who is not the KPI owner.
    """
    person = actor if isinstance(actor, User) else None
    if person is not None:
        require(person, "gate_policy.propose", workflow)
    try:
        policy.GatePolicy.from_content(content)
    except policy.PolicyError as error:
        raise InvalidInputError(str(error)) from error
    text = canonical(dict(content))
    with audit.atomic():
        lock(workflow)
        before = current_policy(workflow)
        last = GatePolicy.objects.filter(workflow=workflow).aggregate(last=Max("version"))["last"]
        proposed = GatePolicy.objects.create(
            workflow=workflow,
            version=(last or 0) + 1,
            digest=digest_text(text),
            content_text=text,
            proposed_by=person,
            proposed_by_label=label(actor),
            proposed_at=now(),
        )
        audit.record(
            "gate_policy.proposed", proposed, actor=actor, workflow=workflow.slug,
            digest=proposed.digest, before=before.digest if before else "", after=proposed.digest,
        )  # fmt: skip
    return proposed


@audit.atomic()
def confirm_policy(gate_policy: GatePolicy, *, actor: User) -> GatePolicy:
    """Put a proposed gate policy into force: the second person's yes."""
    found = GatePolicy.objects.select_for_update().get(pk=gate_policy.pk)
    require(actor, "gate_policy.confirm", found)
    if found.confirmed_at is not None:
        raise StateConflictError("This gate policy is confirmed already.")
    newer = Q(version__gt=found.version, confirmed_at__isnull=False)
    if GatePolicy.objects.filter(newer, workflow=found.workflow_id).exists():
        raise StateConflictError("A newer gate policy is in force already.")
    found.confirmed_by = actor
    found.confirmed_at = now()
    found.save(update_fields=["confirmed_by", "confirmed_at"])
    audit.record(
        "gate_policy.confirmed", found, actor=actor, workflow=found.workflow.slug,
        digest=found.digest,
    )  # fmt: skip
    return found


def current_policy(workflow: Workflow) -> GatePolicy | None:
    """Return the gate policy in force: the newest confirmed one."""
    return GatePolicy.objects.filter(workflow=workflow, confirmed_at__isnull=False).first()
