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
    "promotion.emergency": "made the emergency change",
    "promotion.ratified": "ratified the emergency change",
    "promotion.lapsed": "reverted the emergency change that nobody ratified",
    "promotion.pilot_opened": "decided to open a pilot for",
    "promotion.standing_held": "held back from the standing approval",
    "promotion.measured": "compared the expected with the real effect of",
    "pilot.opened": "opened the pilot of",
    "pilot.widened": "widened the pilot of",
    "pilot.paused": "paused the pilot of",
    "pilot.resumed": "resumed the pilot of",
    "pilot.stopped": "stopped the pilot of",
    "pilot.explained": "explained the stop of the pilot of",
    "pilot.guarded": "looked at the pilot of",
    "standing.signed": "signed the standing approval",
    "standing.revoked": "revoked the standing approval",
    "freeze.set": "set the freeze",
    "freeze.cancelled": "lifted the freeze",
    "freeze.excepted": "let a promotion through the freeze",
    "rollback.done": "rolled back",
    "post_mortem.opened": "opened the post-mortem",
    "post_mortem.edited": "edited the post-mortem",
    "post_mortem.submitted": "handed in the post-mortem",
    "post_mortem.returned": "gave back the post-mortem",
    "post_mortem.finished": "finished the post-mortem",
    "recall.decided": "decided on the recall list of",
    "known_good.marked": "marked as known good",
    "known_good.pinned": "pinned as last known good",
    "drill.planned": "planned the drill",
    "drill.signed": "signed the drill",
    "drill.started": "started the drill",
    "drill.confirmed": "measured the drill",
    "drill.returned": "ended the drill",
    "drill.cancelled": "called off the drill",
    "workflow.switched_off": "switched off",
    "workflow.switched_on": "switched on",
    "workflow.guard_changed": "changed what the guard may do for",
    "case.pinned": "pinned a case of",
    "case.unpinned": "unpinned a case of",
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
    # audit
    "audit.key_introduced": "took into use, to sign checkpoints, the key",
    # demo
    "demo.seeded": "seeded the demo",
}
