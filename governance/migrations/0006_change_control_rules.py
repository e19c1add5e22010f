"""The triggers of change control: every road into production is counted in SQL.

Python gives the sentence, the database keeps the promise: what is served stands on a LiveChange,
and a LiveChange stands on the people and the evidence that its road asks for.
"""

from django.db import migrations

IMMUTABLE = (
    "governance_convergence",
    "governance_freezeexception",
    "governance_guarddecision",
    "governance_knowngood",
    "governance_preflight",
    "governance_promotionoutcome",
    "governance_signature",
)
KEPT = (
    "governance_absence",
    "governance_delegation",
    "governance_drill",
    "governance_freezewindow",
    "governance_pilot",
    "governance_pushdelivery",
    "governance_recallrow",
    "governance_standingapproval",
)
# What was signed or promised stays; only these columns may change afterwards.
MAY_CHANGE = {
    "governance_absence": ("cancelled_at",),
    "governance_delegation": ("revoked_at", "revoked_by_label"),
    "governance_freezewindow": ("cancelled_at", "cancelled_by_label"),
    "governance_standingapproval": ("revoked_at", "revoked_by_label", "revoking_reason"),
}

SIGNED = """
CREATE FUNCTION cs_signed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.digest IS DISTINCT FROM
        'sha256:' || encode(sha256(convert_to(NEW.manifest_text, 'UTF8')), 'hex')
        OR NEW.manifest_text::jsonb#>>'{signer,id}' IS DISTINCT FROM NEW.signer_id::text
        OR NEW.manifest_text::jsonb->>'meaning' IS DISTINCT FROM NEW.meaning
        OR NEW.manifest_text::jsonb->>'reason' IS DISTINCT FROM NEW.reason
    THEN
        RAISE EXCEPTION 'a signature fits its manifest';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cs_signed BEFORE INSERT ON governance_signature
    FOR EACH ROW EXECUTE FUNCTION cs_signed();
"""

# An approval carries the signature of its approver, on the very digests it names.
APPROVED = """
CREATE FUNCTION cs_approval_signed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    signed record;
    subject jsonb;
BEGIN
    SELECT * INTO signed FROM governance_signature WHERE digest = NEW.signature_id;
    subject := signed.manifest_text::jsonb->'subject';
    IF signed.signer_id IS DISTINCT FROM NEW.approver_id
        OR signed.meaning IS DISTINCT FROM NEW.meaning
        OR subject->>'decision' IS DISTINCT FROM NEW.decision
        OR subject->>'id' IS DISTINCT FROM NEW.promotion_id::text
        OR subject->>'round' IS DISTINCT FROM NEW.review_round::text
        OR subject->>'candidate_digest' IS DISTINCT FROM NEW.candidate_digest
        OR subject->>'base_digest' IS DISTINCT FROM NEW.base_digest
        OR subject->>'gate_report_digest' IS DISTINCT FROM NEW.gate_report_digest
        OR subject->>'gate_policy_digest' IS DISTINCT FROM NEW.gate_policy_digest
    THEN
        RAISE EXCEPTION 'an approval is signed by its approver, on the digests it names'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cs_approval_signed BEFORE INSERT ON governance_approval
    FOR EACH ROW EXECUTE FUNCTION cs_approval_signed();
"""

# The columns named as arguments may change; with the others the row stays as it was signed.
ONLY = """
CREATE FUNCTION cs_only_these_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - TG_ARGV::text[] IS DISTINCT FROM to_jsonb(OLD) - TG_ARGV::text[] THEN
        RAISE EXCEPTION '% stays as it was signed', TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
"""

LIVE = """
CREATE OR REPLACE FUNCTION cs_live_explained() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    change record;
BEGIN
    SELECT * INTO change FROM governance_livechange
        WHERE workflow_id = NEW.workflow_id AND seq = NEW.seq;
    IF change.id IS NULL
        OR change.to_release_id IS DISTINCT FROM NEW.release_id
        OR change.pilot_release_id IS DISTINCT FROM NEW.pilot_release_id
        OR change.pilot_share IS DISTINCT FROM NEW.pilot_share
        OR change.pilot_salt IS DISTINCT FROM NEW.pilot_salt
        OR change.pilot_authority IS DISTINCT FROM NEW.pilot_authority
        OR change.switched_off IS DISTINCT FROM NEW.switched_off
    THEN
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
    ELSIF NEW.seq = OLD.seq AND NEW.last_known_good_id IS DISTINCT FROM OLD.last_known_good_id
        AND NEW.last_known_good_id IS DISTINCT FROM (
            SELECT g.release_id FROM governance_knowngood g
            WHERE g.workflow_id = NEW.workflow_id ORDER BY g.id DESC LIMIT 1)
    THEN
        RAISE EXCEPTION 'the last known good changes with the live release, or where it is marked'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
"""

# Only what served this workflow once can be known good, and serve a pinned case.
SERVED = """
CREATE FUNCTION cs_served_here() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM governance_livechange
        WHERE workflow_id = NEW.workflow_id AND to_release_id = NEW.release_id)
        AND NOT (TG_TABLE_NAME = 'governance_pin' AND EXISTS (
            SELECT 1 FROM governance_liverelease
            WHERE workflow_id = NEW.workflow_id AND pilot_release_id = NEW.release_id))
    THEN
        RAISE EXCEPTION 'release % never served this workflow', NEW.release_id
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cs_served_here BEFORE INSERT OR UPDATE ON governance_pin
    FOR EACH ROW EXECUTE FUNCTION cs_served_here();
CREATE TRIGGER cs_served_here BEFORE INSERT ON governance_knowngood
    FOR EACH ROW EXECUTE FUNCTION cs_served_here();
"""

QUORUM = """
CREATE FUNCTION cs_kpi_owner(asked bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT COALESCE(k.owner_id, w.owner_id) FROM governance_workflow w
    LEFT JOIN governance_kpi k ON k.workflow_id = w.id AND k.is_lead
    WHERE w.id = asked
$$;

-- Who asked for it, registered it, or wrote a component that the base does not have.
CREATE FUNCTION cs_contributors(asked bigint) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT p.requested_by_id FROM governance_promotion p WHERE p.id = asked
    UNION SELECT r.registered_by_id FROM governance_promotion p
        JOIN governance_release r ON r.digest = p.release_id WHERE p.id = asked
    UNION SELECT c.author_id FROM governance_promotion p
        JOIN governance_releasecomponent rc ON rc.release_id = p.release_id
        JOIN governance_component c ON c.digest = rc.component_id
        WHERE p.id = asked AND NOT EXISTS (SELECT 1 FROM governance_releasecomponent was
            WHERE was.release_id = p.base_id AND was.component_id = rc.component_id)
$$;

-- The approvals that count at `moment`, on exactly these bytes and this evidence.
CREATE FUNCTION cs_counting(asked bigint, moment timestamptz)
RETURNS TABLE (person bigint, meaning text, for_owner boolean, may_second boolean)
LANGUAGE sql STABLE AS $$
    SELECT a.approver_id, a.meaning::text,
        a.approver_id = cs_kpi_owner(p.workflow_id) OR EXISTS (
            SELECT 1 FROM governance_delegation d WHERE d.id = a.delegation_id
            AND d.delegate_id = a.approver_id AND d.owner_id = a.on_behalf_of_id
            AND d.owner_id = cs_kpi_owner(p.workflow_id)
            AND d.starts_at <= a.decided_at AND a.decided_at < d.ends_at
            AND (d.revoked_at IS NULL OR moment < d.revoked_at)
            AND d.owner_id NOT IN (SELECT c FROM cs_contributors(asked) c WHERE c IS NOT NULL)),
        u.role = 'executive'
        OR EXISTS (SELECT 1 FROM governance_kpi k WHERE k.owner_id = u.id AND k.is_lead
            AND k.workflow_id <> p.workflow_id)
        OR EXISTS (SELECT 1 FROM governance_workflow w WHERE w.owner_id = u.id
            AND w.id <> p.workflow_id)
    FROM governance_promotion p
    JOIN governance_gatepolicy gp ON gp.id = p.gate_policy_id
    JOIN governance_approval a ON a.promotion_id = p.id
    JOIN governance_user u ON u.id = a.approver_id
    WHERE p.id = asked AND a.decision = 'approved' AND a.review_round = p.review_round
      AND u.is_active
      AND a.candidate_digest = p.release_id AND a.base_digest = COALESCE(p.base_id, '')
      AND a.gate_report_digest = p.gate_report_id AND a.gate_policy_digest = gp.digest
      AND a.decided_at > moment
          - CASE WHEN p.risk = 'high' THEN interval '24 hours' ELSE interval '72 hours' END
      AND a.approver_id NOT IN (SELECT c FROM cs_contributors(asked) c WHERE c IS NOT NULL)
$$;

-- The whole quorum: the KPI owner, and a second person where risk or a fix asks for one.
CREATE FUNCTION cs_quorum(asked bigint, moment timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    promotion record;
    owners integer;
BEGIN
    SELECT * INTO promotion FROM governance_promotion WHERE id = asked;
    IF EXISTS (SELECT 1 FROM governance_approval a WHERE a.promotion_id = asked
        AND a.decision = 'rejected' AND a.review_round = promotion.review_round)
        OR NOT EXISTS (SELECT 1 FROM governance_gatereport g
            WHERE g.digest = promotion.gate_report_id AND g.verdict = 'pass'
            AND g.candidate_id = promotion.release_id
            AND g.base_id IS NOT DISTINCT FROM promotion.base_id)
    THEN
        RETURN false;
    END IF;
    SELECT count(*) INTO owners FROM cs_counting(asked, moment)
        WHERE for_owner AND meaning = 'kpi_owner';
    IF owners = 0 THEN
        RETURN false;
    END IF;
    IF promotion.risk = 'high' OR promotion.fixes_id IS NOT NULL THEN
        RETURN EXISTS (SELECT 1 FROM cs_counting(asked, moment) first
            JOIN cs_counting(asked, moment) second ON second.person <> first.person
            WHERE first.for_owner AND first.meaning = 'kpi_owner'
              AND second.may_second AND second.meaning = 'second_approver');
    END IF;
    RETURN true;
END $$;

-- One use of a standing approval stays inside its envelope.
CREATE FUNCTION cs_in_envelope(asked bigint, moment timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM governance_promotion p
        JOIN governance_standingapproval s ON s.id = p.standing_id
        JOIN governance_gatereport g ON g.digest = p.gate_report_id
        JOIN governance_user u ON u.id = s.signed_by_id
        WHERE p.id = asked AND s.workflow_id = p.workflow_id AND s.revoked_at IS NULL
          AND s.valid_from <= moment AND moment < s.valid_to
          AND s.valid_to <= s.valid_from + interval '90 days'
          AND s.signed_by_id = cs_kpi_owner(p.workflow_id) AND u.is_active
          AND s.signed_by_id NOT IN (
              SELECT c FROM cs_contributors(asked) c WHERE c IS NOT NULL)
          AND p.risk <> 'high' AND p.base_id IS NOT NULL
          AND g.verdict = 'pass' AND g.candidate_id = p.release_id AND g.base_id = p.base_id
          AND (s.most_documents_changed IS NULL
               OR p.documents_changed <= s.most_documents_changed)
          AND NOT EXISTS (
              (SELECT slot, component_id FROM governance_releasecomponent
               WHERE release_id = p.release_id AND slot <> s.slot
               EXCEPT SELECT slot, component_id FROM governance_releasecomponent
               WHERE release_id = p.base_id)
              UNION ALL
              (SELECT slot, component_id FROM governance_releasecomponent
               WHERE release_id = p.base_id AND slot <> s.slot
               EXCEPT SELECT slot, component_id FROM governance_releasecomponent
               WHERE release_id = p.release_id))
          AND s.uses_per_week > (
              SELECT count(DISTINCT used.id) FROM governance_promotion used
              JOIN governance_livechange c ON c.promotion_id = used.id
              WHERE used.standing_id = s.id AND used.id <> p.id
                AND c.changed_at > moment - interval '7 days'))
$$;
"""

EARNED = """
CREATE OR REPLACE FUNCTION cs_change_earned() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    previous record;
    promotion record;
    stays boolean;
    earned boolean := false;
BEGIN
    SELECT * INTO previous FROM governance_livechange
        WHERE workflow_id = NEW.workflow_id AND seq = NEW.seq - 1;
    IF NEW.from_release_id IS DISTINCT FROM previous.to_release_id THEN
        RAISE EXCEPTION 'each live change starts where the one before it ended';
    END IF;
    stays := NEW.to_release_id IS NOT DISTINCT FROM NEW.from_release_id;
    IF NEW.cause NOT IN ('pilot_opened', 'pilot_widened') AND NEW.pilot_release_id IS NOT NULL THEN
        RAISE EXCEPTION 'a pilot is opened or widened, nothing else carries it';
    END IF;
    IF NEW.cause NOT IN ('switched_off', 'switched_on')
        AND NEW.switched_off IS DISTINCT FROM COALESCE(previous.switched_off, false)
    THEN
        RAISE EXCEPTION 'only the switch switches off and on';
    END IF;

    IF NEW.cause IN ('rollback', 'drill') THEN
        earned := NOT stays AND EXISTS (SELECT 1 FROM governance_livechange
            WHERE workflow_id = NEW.workflow_id AND seq < NEW.seq
              AND to_release_id = NEW.to_release_id)
            AND EXISTS (SELECT 1 FROM governance_liverelease
            WHERE workflow_id = NEW.workflow_id AND last_known_good_id = NEW.to_release_id)
            AND (NEW.cause = 'rollback' OR EXISTS (SELECT 1 FROM governance_drill d
                JOIN governance_signature s ON s.digest = d.signature_id
                WHERE d.id = NEW.drill_id AND d.workflow_id = NEW.workflow_id
                  AND d.state = 'running' AND s.signer_id = cs_kpi_owner(NEW.workflow_id)));
        IF NOT earned THEN
            RAISE EXCEPTION 'a rollback returns only to the last known good release'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.cause = 'drill_returned' THEN
        IF previous.cause IS DISTINCT FROM 'drill' OR previous.drill_id IS DISTINCT FROM NEW.drill_id
            OR previous.from_release_id IS DISTINCT FROM NEW.to_release_id
        THEN
            RAISE EXCEPTION 'a drill returns to where it started, with nothing in between'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.cause IN ('pilot_stopped', 'switched_off', 'switched_on') THEN
        IF NOT stays OR (NEW.cause = 'switched_off') IS DISTINCT FROM NEW.switched_off
            AND NEW.cause <> 'pilot_stopped'
        THEN
            RAISE EXCEPTION 'stopping a pilot and the switch leave the release as it is';
        END IF;
        IF NEW.cause = 'switched_on' AND NOT EXISTS (SELECT 1 FROM governance_signature s
            WHERE s.digest = NEW.signature_id AND s.signer_id = cs_kpi_owner(NEW.workflow_id)
              AND s.meaning = 'switch_on'
              AND s.manifest_text::jsonb#>>'{subject,seq}' = previous.seq::text
              AND s.manifest_text::jsonb#>>'{subject,release}' = NEW.to_release_id)
        THEN
            RAISE EXCEPTION 'the KPI owner signs before it is switched on again'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END IF;

    SELECT * INTO promotion FROM governance_promotion WHERE id = NEW.promotion_id;
    IF promotion.workflow_id IS DISTINCT FROM NEW.workflow_id
        OR promotion.base_id IS DISTINCT FROM NEW.from_release_id
    THEN
        RAISE EXCEPTION 'the promotion is about another workflow, or was asked against another base'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (NEW.cause = 'adopt') IS DISTINCT FROM (promotion.road = 'adopt')
        OR (NEW.cause = 'adopt' AND NEW.seq <> 1)
    THEN
        RAISE EXCEPTION 'only what ran before anything was live is adopted as found'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.cause IN ('adopt', 'promotion') THEN
        earned := promotion.release_id = NEW.to_release_id AND promotion.state = 'live';
    ELSE
        earned := stays AND promotion.release_id = NEW.pilot_release_id
            AND promotion.state = 'piloting'
            AND (NEW.cause = 'pilot_opened' OR (
                previous.pilot_release_id IS NOT DISTINCT FROM NEW.pilot_release_id
                AND previous.pilot_salt = NEW.pilot_salt
                AND previous.pilot_share <= NEW.pilot_share));
    END IF;
    IF NOT earned THEN
        RAISE EXCEPTION 'the promotion is about another release, or is not decided'
            USING ERRCODE = 'insufficient_privilege';
    END IF;

    earned := CASE
        WHEN promotion.road = 'adopt' THEN EXISTS (
            SELECT 1 FROM governance_approval a JOIN governance_user u ON u.id = a.approver_id
            WHERE a.promotion_id = promotion.id AND a.decision = 'approved'
              AND a.meaning = 'acknowledged' AND u.is_active
              AND a.approver_id = cs_kpi_owner(NEW.workflow_id)
              AND a.candidate_digest = NEW.to_release_id)
        WHEN promotion.road = 'emergency' THEN NEW.cause = 'promotion' AND EXISTS (
            SELECT 1 FROM governance_approval a JOIN governance_user u ON u.id = a.approver_id
            WHERE a.promotion_id = promotion.id AND a.decision = 'approved'
              AND a.meaning = 'emergency' AND u.is_active AND u.emergency_changes
              AND a.candidate_digest = NEW.to_release_id
              AND a.base_digest = COALESCE(NEW.from_release_id, ''))
            AND promotion.ratify_by <= NEW.changed_at + interval '4 hours'
        WHEN promotion.road = 'standing' THEN cs_in_envelope(promotion.id, NEW.changed_at)
        WHEN promotion.road = 'pilot' AND NEW.cause <> 'promotion' THEN
            cs_quorum(promotion.id, NEW.changed_at) OR (
                NEW.pilot_share <= 1000 AND NEW.pilot_authority IN ('read_only', 'draft')
                AND EXISTS (SELECT 1 FROM governance_gatereport g
                    WHERE g.digest = promotion.gate_report_id
                      AND g.verdict IN ('not_enough_evidence', 'pass')
                      AND g.candidate_id = promotion.release_id)
                AND EXISTS (SELECT 1 FROM cs_counting(promotion.id, NEW.changed_at) c
                    WHERE c.for_owner AND c.meaning = 'pilot')
                AND EXISTS (SELECT 1 FROM governance_pilot i
                    WHERE i.promotion_id = promotion.id
                      AND i.ends_at <= i.opened_at + interval '14 days'))
        -- Steps of a pilot that was approved go on although the approval has grown old meanwhile:
        -- it was in time when the pilot was opened on it.
        WHEN NEW.cause <> 'pilot_opened' AND previous.pilot_release_id = promotion.release_id
            AND previous.promotion_id = promotion.id AND promotion.road <> 'pilot' THEN
            cs_quorum(promotion.id, (SELECT opened.changed_at FROM governance_livechange opened
                WHERE opened.promotion_id = promotion.id AND opened.cause = 'pilot_opened'
                ORDER BY opened.seq DESC LIMIT 1))
        ELSE cs_quorum(promotion.id, NEW.changed_at)
    END;
    IF NOT COALESCE(earned, false) THEN
        RAISE EXCEPTION 'nothing goes live without the approval of exactly these bytes'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
"""

# A promotion keeps its release, moves along its states, and its evidence belongs to its round.
PATH = """
CREATE FUNCTION cs_promotion_path() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.workflow_id <> OLD.workflow_id OR NEW.release_id <> OLD.release_id
        OR NEW.review_round NOT IN (OLD.review_round, OLD.review_round + 1)
    THEN
        RAISE EXCEPTION 'a promotion keeps its workflow and release, and rounds count up'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.review_round = OLD.review_round AND (
        NEW.base_id IS DISTINCT FROM OLD.base_id OR NEW.risk <> OLD.risk
        OR NEW.fixes_id IS DISTINCT FROM OLD.fixes_id
        OR NEW.requested_by_id IS DISTINCT FROM OLD.requested_by_id
        OR (OLD.gate_report_id IS NOT NULL AND OLD.gate_round = NEW.gate_round
            AND NEW.gate_report_id IS DISTINCT FROM OLD.gate_report_id))
        OR NEW.gate_round NOT IN (OLD.gate_round, NEW.review_round)
    THEN
        RAISE EXCEPTION 'what was asked and judged stays as it was within a round'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.state <> OLD.state AND NOT (OLD.state || ' ' || NEW.state) = ANY (ARRAY[
        'evaluating awaiting_owner', 'evaluating refused', 'evaluating withdrawn',
        'evaluating live', 'evaluating piloting',
        'awaiting_owner evaluating', 'awaiting_owner live', 'awaiting_owner piloting',
        'awaiting_owner rejected', 'awaiting_owner withdrawn',
        'refused evaluating', 'refused piloting', 'rejected evaluating', 'withdrawn evaluating',
        'stopped evaluating', 'piloting live', 'piloting stopped', 'piloting rejected',
        'live superseded', 'live rolled_back', 'superseded live'])
    THEN
        RAISE EXCEPTION 'a promotion does not go from % to %', OLD.state, NEW.state
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cs_promotion_path BEFORE UPDATE ON governance_promotion
    FOR EACH ROW EXECUTE FUNCTION cs_promotion_path();
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
    for table, columns in MAY_CHANGE.items():
        named = ", ".join(f"'{column}'" for column in columns)
        made.append(
            f"CREATE TRIGGER cs_only_these_change BEFORE UPDATE ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION cs_only_these_change({named});"
        )
    return "\n".join(made)


class Migration(migrations.Migration):
    dependencies = (("governance", "0005_change_control"),)

    operations = (
        migrations.RunSQL(SIGNED, migrations.RunSQL.noop),
        migrations.RunSQL(APPROVED, migrations.RunSQL.noop),
        migrations.RunSQL(ONLY, migrations.RunSQL.noop),
        migrations.RunSQL(LIVE, migrations.RunSQL.noop),
        migrations.RunSQL(SERVED, migrations.RunSQL.noop),
        migrations.RunSQL(QUORUM, migrations.RunSQL.noop),
        migrations.RunSQL(EARNED, migrations.RunSQL.noop),
        migrations.RunSQL(PATH, migrations.RunSQL.noop),
        migrations.RunSQL(triggers(), migrations.RunSQL.noop),
    )
