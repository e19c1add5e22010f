"""Support triage: a mail router whose behaviour is its release."""

WORKFLOW = "support-triage"
