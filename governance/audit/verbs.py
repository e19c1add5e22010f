"""Every verb that an audit event may carry. An unknown verb is an error.

The sentence is what a page shows after the actor's name.
"""

from __future__ import annotations

VERBS: dict[str, str] = {
    # people
    "user.created": "created the user",
    "user.role_changed": "changed the role of",
    "user.logged_in": "logged in",
    "user.reauthenticated": "confirmed their password",
    "token.created": "created the token",
    "token.revoked": "revoked the token",
    # workflows and KPIs
    "workflow.created": "created the workflow",
    "workflow.owner_changed": "changed the owner of",
    "kpi.created": "defined the KPI",
    "kpi.target_changed": "changed the target of",
    "kpi.note_written": "wrote a note on",
    # releases
    "release.registered": "registered the release",
    # evals
    "suite.frozen": "froze a version of the suite",
    "eval_run.requested": "asked for the eval run",
    "eval_run.finished": "finished the eval run",
    "eval_run.failed": "could not finish the eval run",
    "gate_policy.proposed": "proposed the gate policy",
    "gate_policy.confirmed": "confirmed the gate policy",
    "gate.judged": "judged the gate of",
    # rollouts
    "promotion.adopted": "adopted as found",
    "promotion.proposed": "proposed the promotion",
    "promotion.gate_passed": "passed the gate of",
    "promotion.gate_refused": "refused at the gate",
    "promotion.approved": "approved the promotion",
    "promotion.rejected": "rejected the promotion",
    "promotion.withdrawn": "withdrew the promotion",
    "promotion.reproposed": "asked again for the promotion",
    "promotion.went_live": "made live",
    "promotion.superseded": "superseded",
    "rollback.done": "rolled back",
    "post_mortem.opened": "opened the post-mortem",
    "post_mortem.edited": "edited the post-mortem",
    "post_mortem.finished": "finished the post-mortem",
    # receipts
    "receipts.partition_made": "made the receipt partition",
    "receipts.partition_dropped": "dropped the receipt partition",
    # triage
    "exception.opened": "opened the exception",
    "exception.taken": "took the exception",
    "exception.resolved": "resolved the exception",
    "exception.dismissed": "dismissed the exception",
    # reviews
    "review.item_ticked": "ticked",
    "review.item_reopened": "reopened",
    "review.signed_off": "signed off",
    # jobs
    "job.retried": "asked again for the job",
    "schedule.created": "scheduled",
    # demo
    "demo.seeded": "seeded the demo",
}
