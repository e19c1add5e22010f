"""The session, reviews, workflows, releases, promotions, post-mortems, queues and settings."""

from __future__ import annotations

from tests.conftest import PASSWORD
from tests.dashboards.role_rows import (
    ADMIN,
    ANALYST,
    BUILDER,
    DECIDES,
    EVERYBODY,
    EXECUTIVE,
    GOES_BACK,
    LOGGED_IN,
    NONE,
    OTHER_OWNER,
    OWNER,
    READERS,
    TRIAGES,
    Row,
)

DECISION = {"review_round": 1, "reason": "The evidence convinces me."}
ROWS: dict[str, Row] = {
    # the session
    "login": Row(EVERYBODY, EVERYBODY, data={"username": "head-of-support", "password": PASSWORD}),
    "logout": Row(NONE, EVERYBODY),
    "reauthenticate": Row(LOGGED_IN, LOGGED_IN, data={"password": PASSWORD}),
    "theme": Row(NONE, EVERYBODY, data={"theme": "dark"}),
    # reviews
    "home": Row(LOGGED_IN),
    "review-current": Row(LOGGED_IN, key="kind"),
    "review": Row(LOGGED_IN, key="last week"),
    "review-tick": Row(
        NONE,
        {EXECUTIVE, OWNER, OTHER_OWNER, ANALYST},
        key="this week",
        data={"key": "drift", "note": "Read it."},
    ),
    "review-sign-off": Row(NONE, {EXECUTIVE}, key="ticked week", data={"note": "Done."}),
    "kpi-note": Row(NONE, {OWNER}, key="kpi", data={"period": "2026-W01", "text": "Holiday."}),
    "explorer-data": Row(READERS, key="kpi"),
    # workflows and releases
    "workflows": Row(LOGGED_IN),
    "workflow": Row(READERS, key="workflow"),
    "workflow-roll-back": Row(
        READERS, GOES_BACK, key="workflow", data={"reason": "worse", "seq": 4}
    ),
    "releases": Row(LOGGED_IN),
    "release": Row(READERS, key="release"),
    "release-compare": Row(READERS, key="two releases"),
    "release-adopt": Row(NONE, {OWNER}, key="other release", data={"reason": "It runs."}),
    # promotions
    "promotions": Row(LOGGED_IN),
    # The one of this world needs a second approver, so another KPI owner may be asked.
    "promotion": Row(READERS | {OTHER_OWNER}, key="promotion"),
    "promotion-propose": Row(
        {BUILDER}, {BUILDER}, key="new release", data={"rationale": "Better."}
    ),
    "promotion-approve": Row(NONE, DECIDES | {OTHER_OWNER}, key="promotion", data=DECISION),
    "promotion-reject": Row(NONE, DECIDES | {OTHER_OWNER}, key="promotion", data=DECISION),
    "promotion-withdraw": Row(NONE, {BUILDER}, key="promotion", data={"reason": "Too early."}),
    "promotion-ask-again": Row(NONE, {BUILDER}, key="promotion", data={"reason": "Now."}),
    "gate-report": Row(READERS | {OTHER_OWNER}, key="gate report"),
    "gate-report-json": Row(READERS | {OTHER_OWNER}, key="gate report"),
    # evals, exceptions, receipts
    "evals": Row(LOGGED_IN),
    "eval-run": Row(READERS, key="eval run"),
    "exceptions": Row(LOGGED_IN),
    "exception-take": Row(NONE, TRIAGES, key="exception"),
    "exception-resolve": Row(NONE, TRIAGES, key="exception", data={"comment": "Fixed."}),
    "exception-dismiss": Row(NONE, TRIAGES, key="exception", data={"comment": "A test."}),
    "receipts": Row(LOGGED_IN),
    "receipt": Row(READERS, key="receipt"),
    # the installation
    "audit": Row(LOGGED_IN),
    "audit-verify": Row(NONE, LOGGED_IN),
    "jobs": Row(LOGGED_IN),
    "job-retry": Row(NONE, {ADMIN, BUILDER, ANALYST}, key="job"),
    "tokens": Row({ADMIN}),
    "token-create": Row(NONE, {ADMIN}, data={"name": "ci", "scopes": ["releases:read"]}),
    "token-revoke": Row(NONE, {ADMIN}, key="token"),
}
