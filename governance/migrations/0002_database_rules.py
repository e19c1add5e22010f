"""What the database itself refuses: rewriting history, and going live without an approval.

Python gives the sentence, these triggers are the net under it. They hold for every login and every
route; `cs_app`, the login that runs the product, cannot switch them off.
"""

from django.db import migrations

IMMUTABLE = (
    "governance_auditevent",
    "governance_component",
    "governance_release",
    "governance_releasecomponent",
    "governance_gatereport",
    "governance_approval",
    "governance_livechange",
    "governance_rollback",
    "governance_case",
)

# These change, but what was once there stays: nothing of it is ever deleted. Receipts go by
# dropping their partitions, which cs_app cannot do by itself. (A rejected span is taken back.)
KEPT = (
    "governance_apitoken",
    "governance_checklistitem",
    "governance_evalrun",
    "governance_exceptioncase",
    "governance_exceptionreceipt",
    "governance_gatepolicy",
    "governance_kpi",
    "governance_kpinote",
    "governance_liverelease",
    "governance_postmortem",
    "governance_postmortemaction",
    "governance_promotion",
    "governance_receipt",
    "governance_releaseapproval",
    "governance_review",
    "governance_score",
    "governance_suiteversion",
    "governance_user",
    "governance_workflow",
)

REFUSE = """
CREATE FUNCTION cs_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is never changed: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
"""

AUDIT_LINK = """
CREATE FUNCTION cs_audit_link() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tail record;
    body jsonb;
BEGIN
    SELECT seq, hash INTO tail FROM governance_auditevent ORDER BY seq DESC LIMIT 1;
    IF NEW.seq IS DISTINCT FROM COALESCE(tail.seq, 0) + 1 THEN
        RAISE EXCEPTION 'audit: seq % does not follow %', NEW.seq, COALESCE(tail.seq, 0);
    END IF;
    IF NEW.prev IS DISTINCT FROM COALESCE(tail.hash, 'sha256:' || repeat('0', 64)) THEN
        RAISE EXCEPTION 'audit: event % does not link to the one before it', NEW.seq;
    END IF;
    IF NEW.hash IS DISTINCT FROM 'sha256:' || encode(sha256(
        'countersign.audit.v1'::bytea || '\\x00'::bytea || convert_to(NEW.body, 'UTF8')), 'hex')
    THEN
        RAISE EXCEPTION 'audit: the hash of event % does not fit its body', NEW.seq;
    END IF;
    body := NEW.body::jsonb;
    IF body->>'seq' IS DISTINCT FROM NEW.seq::text OR body->>'prev' IS DISTINCT FROM NEW.prev
        OR body->>'event_id' IS DISTINCT FROM NEW.event_id::text
        OR body->>'verb' IS DISTINCT FROM NEW.verb
        OR body#>>'{actor,id}' IS DISTINCT FROM NEW.actor_id
        OR body#>>'{actor,label}' IS DISTINCT FROM NEW.actor_label
        OR body#>>'{object,id}' IS DISTINCT FROM NEW.object_id
        OR body->>'workflow' IS DISTINCT FROM NEW.workflow
        OR body->>'reason' IS DISTINCT FROM NEW.reason
    THEN
        RAISE EXCEPTION 'audit: the columns of event % differ from its body', NEW.seq;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cs_audit_link BEFORE INSERT ON governance_auditevent
    FOR EACH ROW EXECUTE FUNCTION cs_audit_link();
"""

# The live pointer moves by one, together with the LiveChange that explains it; and that change
# stands on an approved promotion, or goes back to a release that was live before.
LIVE = """
CREATE FUNCTION cs_live_explained() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change record;
BEGIN
    SELECT * INTO change FROM governance_livechange
        WHERE workflow_id = NEW.workflow_id AND seq = NEW.seq;
    IF change.id IS NULL OR change.to_release_id IS DISTINCT FROM NEW.release_id THEN
        RAISE EXCEPTION 'no live change explains release % at seq %', NEW.release_id, NEW.seq
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.seq <> 1 OR change.from_release_id IS NOT NULL THEN
            RAISE EXCEPTION 'the first live release has seq 1 and nothing before it';
        END IF;
    ELSIF NEW.seq <> OLD.seq AND (NEW.seq <> OLD.seq + 1
        OR change.from_release_id IS DISTINCT FROM OLD.release_id)
    THEN
        RAISE EXCEPTION 'the live history of a workflow has no gaps';
    ELSIF NEW.seq = OLD.seq AND (NEW.release_id IS DISTINCT FROM OLD.release_id
        OR NEW.last_known_good_id IS DISTINCT FROM OLD.last_known_good_id)
    THEN
        RAISE EXCEPTION 'a live release changes only with its seq';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cs_live_explained BEFORE INSERT OR UPDATE ON governance_liverelease
    FOR EACH ROW EXECUTE FUNCTION cs_live_explained();

CREATE FUNCTION cs_change_earned() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    promotion record;
    previous record;
    quorum record;
BEGIN
    SELECT to_release_id INTO previous FROM governance_livechange
        WHERE workflow_id = NEW.workflow_id AND seq = NEW.seq - 1;
    IF NEW.from_release_id IS DISTINCT FROM previous.to_release_id THEN
        RAISE EXCEPTION 'each live change starts where the one before it ended';
    END IF;
    IF NEW.cause = 'rollback' THEN
        IF NOT EXISTS (SELECT 1 FROM governance_livechange
            WHERE workflow_id = NEW.workflow_id AND seq < NEW.seq
              AND to_release_id = NEW.to_release_id)
            OR NOT EXISTS (SELECT 1 FROM governance_liverelease
            WHERE workflow_id = NEW.workflow_id AND last_known_good_id = NEW.to_release_id)
        THEN
            RAISE EXCEPTION 'a rollback returns only to the last known good release'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END IF;
    SELECT p.*, r.registered_by_id, gp.digest AS policy_digest,
           COALESCE(k.owner_id, w.owner_id) AS kpi_owner_id INTO promotion
        FROM governance_promotion p
        JOIN governance_release r ON r.digest = p.release_id
        JOIN governance_workflow w ON w.id = p.workflow_id
        LEFT JOIN governance_kpi k ON k.workflow_id = w.id AND k.is_lead
        LEFT JOIN governance_gatepolicy gp ON gp.id = p.gate_policy_id
        WHERE p.id = NEW.promotion_id;
    IF promotion.workflow_id IS DISTINCT FROM NEW.workflow_id
        OR promotion.release_id IS DISTINCT FROM NEW.to_release_id
        OR promotion.state IS DISTINCT FROM 'live'
    THEN
        RAISE EXCEPTION 'the promotion is about another release, or is not decided'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (NEW.cause = 'adopt') IS DISTINCT FROM (promotion.road = 'adopt')
        OR (NEW.cause = 'adopt' AND NEW.seq <> 1)
    THEN
        RAISE EXCEPTION 'only what ran before anything was live is adopted as found'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- The quorum: the KPI owner, and a second person where the risk is high or it is a fix. Whoever
    -- asked for it or registered it does not count, except for what is adopted as found.
    SELECT count(DISTINCT a.approver_id) AS people,
           COALESCE(bool_or(a.approver_id = promotion.kpi_owner_id), false) AS owner INTO quorum
        FROM governance_approval a
        WHERE a.promotion_id = NEW.promotion_id AND a.decision = 'approved'
          AND a.review_round = promotion.review_round
          AND a.candidate_digest = NEW.to_release_id
          AND a.base_digest = COALESCE(NEW.from_release_id, '')
          AND (NEW.cause = 'adopt' OR (
              a.gate_report_digest = promotion.gate_report_id
              AND a.gate_policy_digest = promotion.policy_digest
              AND a.approver_id IS DISTINCT FROM promotion.requested_by_id
              AND a.approver_id IS DISTINCT FROM promotion.registered_by_id));
    IF NOT quorum.owner
        OR (NEW.cause = 'promotion' AND quorum.people < 2
            AND (promotion.risk = 'high' OR promotion.fixes_id IS NOT NULL))
        OR EXISTS (SELECT 1 FROM governance_approval a
            WHERE a.promotion_id = NEW.promotion_id AND a.decision = 'rejected'
              AND a.review_round = promotion.review_round)
    THEN
        RAISE EXCEPTION 'nothing goes live without the approval of exactly these bytes'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.cause = 'promotion' AND NOT EXISTS (SELECT 1 FROM governance_gatereport g
        WHERE g.digest = promotion.gate_report_id AND g.verdict = 'pass'
          AND g.candidate_id = NEW.to_release_id)
    THEN
        RAISE EXCEPTION 'nothing goes live without a passed gate'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cs_change_earned BEFORE INSERT ON governance_livechange
    FOR EACH ROW EXECUTE FUNCTION cs_change_earned();
"""

# cs_app may not create tables; this function may, and only these two kinds of partition.
PARTITIONS = """
CREATE FUNCTION cs_make_partitions(wanted date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    parent text;
    child text;
    made integer := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['governance_receipt', 'governance_span'] LOOP
        child := parent || '_' || to_char(wanted, 'YYYYMMDD');
        IF to_regclass('public.' || child) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('cs_partition ' || child));
            IF to_regclass('public.' || child) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                    child, parent);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                    parent, child, wanted, wanted + 1);
                made := made + 1;
            END IF;
        END IF;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION cs_make_partitions(date) FROM PUBLIC;
"""

# The same SQL stands in docs/operating.md for operators with their own cluster.
GRANTS = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'cs_app') THEN
        RAISE EXCEPTION 'The login cs_app does not exist. docs/operating.md has the SQL.';
    END IF;
END $$;
GRANT USAGE ON SCHEMA public TO cs_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO cs_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO cs_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO cs_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO cs_app;
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM cs_app;
GRANT EXECUTE ON FUNCTION cs_make_partitions(date) TO cs_app;
"""


def triggers() -> str:
    made = []
    for table in IMMUTABLE:
        made.append(
            f"CREATE TRIGGER cs_immutable BEFORE UPDATE OR DELETE ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION cs_refuse_change();"
            f"CREATE TRIGGER cs_no_truncate BEFORE TRUNCATE ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION cs_refuse_change();"
            f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM cs_app;"
        )
    for table in KEPT:
        made.append(
            f"CREATE TRIGGER cs_no_delete BEFORE DELETE ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION cs_refuse_change();"
            f"CREATE TRIGGER cs_no_truncate BEFORE TRUNCATE ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION cs_refuse_change();"
            f"REVOKE DELETE, TRUNCATE ON {table} FROM cs_app;"
        )
    return "\n".join(made)


class Migration(migrations.Migration):
    dependencies = (("governance", "0001_initial"), ("sessions", "0001_initial"))

    operations = (
        migrations.RunSQL(REFUSE, migrations.RunSQL.noop),
        migrations.RunSQL(AUDIT_LINK, migrations.RunSQL.noop),
        migrations.RunSQL(LIVE, migrations.RunSQL.noop),
        migrations.RunSQL(PARTITIONS, migrations.RunSQL.noop),
        migrations.RunSQL(GRANTS, migrations.RunSQL.noop),
        migrations.RunSQL(triggers(), migrations.RunSQL.noop),
    )
