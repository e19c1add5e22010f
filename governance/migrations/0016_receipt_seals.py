"""Seals over run receipts; what is stored already waits for its first seal like what comes.

The digests of ten million stored receipts take some minutes.
"""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.db import migrations, models

# Floats go in by their bits and times as seconds, so that no setting of a session changes a digest.
LEAVES = """
CREATE FUNCTION cs_receipt_leaf(r governance_receipt) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT int4send(r.day - DATE '2000-01-01')
        || sha256(convert_to((r.day - DATE '2000-01-01')::text || ' ' || r.run_id, 'UTF8'))
        || sha256(convert_to(jsonb_build_array(
            'countersign.receipt.v1', r.workflow_id, r.release_digest, r.resolved_by, r.standing,
            r.segment, r.case_id, extract(epoch FROM r.started_at),
            encode(float8send(r.duration_ms), 'hex'), r.cost, r.currency, r.escalated, r.outcome,
            encode(float8send(r.quality), 'hex'), r.acceptance, r.amount, r.refs, r.measures,
            to_jsonb(r.violations), r.observed, r.model_answered, r.tokens_in, r.tokens_out,
            r.error, r.trace_id, r.output_sha256, r.body_sha256, extract(epoch FROM r.received_at),
            r.token_id)::text, 'UTF8'))
$$;

-- In the statement that stores or corrects receipts: nothing is stored that waits for no seal.
CREATE FUNCTION cs_receipts_noted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO governance_receiptpending (workflow_id, noted_at, leaves)
        SELECT workflow_id, clock_timestamp(), string_agg(leaf, ''::bytea)
        FROM (SELECT f.workflow_id, cs_receipt_leaf(ROW(f.*)::governance_receipt) AS leaf,
                     row_number() OVER () / 10000 AS part FROM fresh f) AS noted
        GROUP BY workflow_id, part;
    RETURN NULL;
END $$;
CREATE TRIGGER cs_receipts_stored AFTER INSERT ON governance_receipt
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION cs_receipts_noted();
CREATE TRIGGER cs_receipts_corrected AFTER UPDATE ON governance_receipt
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION cs_receipts_noted();

INSERT INTO governance_receiptpending (workflow_id, noted_at, leaves)
    SELECT workflow_id, clock_timestamp(), string_agg(leaf, ''::bytea)
    FROM (SELECT workflow_id, cs_receipt_leaf(r) AS leaf,
                 row_number() OVER (PARTITION BY workflow_id) / 10000 AS part
          FROM governance_receipt r) AS stored
    GROUP BY workflow_id, part;
"""

# A seal belongs to an audit event of the same transaction; random bytes do not compress.
SEALS = """
ALTER TABLE governance_receiptseal ALTER COLUMN leaves SET STORAGE EXTERNAL;
CREATE FUNCTION cs_seal_fits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number IS DISTINCT FROM
        (SELECT COALESCE(max(number), 0) + 1 FROM governance_receiptseal)
        OR octet_length(NEW.leaves) IS DISTINCT FROM 68 * NEW.count OR NEW.count < 1
    THEN
        RAISE EXCEPTION 'seal % does not follow the one before it, or is not whole', NEW.number;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cs_seal_fits BEFORE INSERT ON governance_receiptseal
    FOR EACH ROW EXECUTE FUNCTION cs_seal_fits();
CREATE TRIGGER cs_immutable BEFORE UPDATE OR DELETE ON governance_receiptseal
    FOR EACH ROW EXECUTE FUNCTION cs_refuse_change();
CREATE TRIGGER cs_no_truncate BEFORE TRUNCATE ON governance_receiptseal
    FOR EACH STATEMENT EXECUTE FUNCTION cs_refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON governance_receiptseal FROM cs_app;
REVOKE UPDATE, TRUNCATE ON governance_receiptpending FROM cs_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("governance", "0008_proposal_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReceiptPending",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("workflow_id", models.BigIntegerField()),
                ("noted_at", models.DateTimeField(help_text="The true time, not that of a story.")),
                ("leaves", models.BinaryField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["workflow_id", "id"], name="receipt_pending_in_order")
                ],
            },
        ),
        migrations.CreateModel(
            name="ReceiptSeal",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("workflow_id", models.BigIntegerField()),
                ("sealed_at", models.DateTimeField()),
                ("first_at", models.DateTimeField(help_text="When the first of them was stored.")),
                ("last_at", models.DateTimeField()),
                ("count", models.BigIntegerField()),
                ("root", models.CharField(help_text="Merkle root as in RFC 6962.", max_length=71)),
                (
                    "days",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.DateField(), size=None
                    ),
                ),
                ("leaves", models.BinaryField()),
            ],
            options={
                "ordering": ("-number",),
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        fields=["days"], name="receipt_seal_by_day"
                    )
                ],
            },
        ),
        migrations.RunSQL(LEAVES, migrations.RunSQL.noop),
        migrations.RunSQL(SEALS, migrations.RunSQL.noop),
    ]
