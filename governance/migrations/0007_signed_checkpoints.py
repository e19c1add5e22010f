"""Signed checkpoints of the audit chain, append-only like the chain itself."""

import django.db.models.deletion
from django.db import migrations, models

# A checkpoint goes on where the one before it ended, says in its columns what was signed, and
# ends at the event that the chain has there. Nothing but the delivery's own state changes later.
RULES = """
CREATE FUNCTION cs_checkpoint_link() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before record;
    head text;
    said jsonb;
BEGIN
    SELECT number, last_seq, digest INTO before FROM governance_checkpoint
        ORDER BY number DESC LIMIT 1;
    SELECT hash INTO head FROM governance_auditevent WHERE seq = NEW.last_seq;
    IF NEW.number IS DISTINCT FROM COALESCE(before.number, 0) + 1
        OR NEW.first_seq IS DISTINCT FROM COALESCE(before.last_seq, 0) + 1
        OR NEW.last_seq < NEW.first_seq OR NEW.tree_size <> NEW.last_seq
        OR NEW.previous IS DISTINCT FROM COALESCE(before.digest, 'sha256:' || repeat('0', 64))
    THEN
        RAISE EXCEPTION 'checkpoint % does not follow the one before it', NEW.number;
    END IF;
    IF NEW.head IS DISTINCT FROM head THEN
        RAISE EXCEPTION 'checkpoint % does not end at event %', NEW.number, NEW.last_seq;
    END IF;
    said := NEW.text::jsonb;
    IF NEW.digest IS DISTINCT FROM 'sha256:' || encode(sha256(convert_to(NEW.text, 'UTF8')), 'hex')
        OR said->>'number' IS DISTINCT FROM NEW.number::text
        OR said->>'tree_size' IS DISTINCT FROM NEW.tree_size::text
        OR said->>'root' IS DISTINCT FROM NEW.root OR said->>'head' IS DISTINCT FROM NEW.head
        OR said->>'previous' IS DISTINCT FROM NEW.previous
        OR said->>'key_id' IS DISTINCT FROM NEW.key_id
    THEN
        RAISE EXCEPTION 'the columns of checkpoint % differ from what was signed', NEW.number;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cs_checkpoint_link BEFORE INSERT ON governance_checkpoint
    FOR EACH ROW EXECUTE FUNCTION cs_checkpoint_link();
CREATE TRIGGER cs_immutable BEFORE UPDATE OR DELETE ON governance_checkpoint
    FOR EACH ROW EXECUTE FUNCTION cs_refuse_change();
CREATE TRIGGER cs_no_truncate BEFORE TRUNCATE ON governance_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION cs_refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON governance_checkpoint FROM cs_app;
CREATE TRIGGER cs_no_delete BEFORE DELETE ON governance_checkpointdelivery
    FOR EACH ROW EXECUTE FUNCTION cs_refuse_change();
CREATE TRIGGER cs_no_truncate BEFORE TRUNCATE ON governance_checkpointdelivery
    FOR EACH STATEMENT EXECUTE FUNCTION cs_refuse_change();
REVOKE DELETE, TRUNCATE ON governance_checkpointdelivery FROM cs_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("governance", "0006_change_control_rules"),
    ]

    operations = [
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                (
                    "first_seq",
                    models.BigIntegerField(help_text="The first event that is new in it."),
                ),
                ("last_seq", models.BigIntegerField()),
                (
                    "tree_size",
                    models.BigIntegerField(help_text="Events under the root, from the very first."),
                ),
                ("root", models.CharField(help_text="Merkle root as in RFC 6962.", max_length=71)),
                ("head", models.CharField(help_text="Hash of the last event.", max_length=71)),
                ("made_at", models.DateTimeField()),
                (
                    "previous",
                    models.CharField(
                        help_text="Digest of the checkpoint before it.", max_length=71
                    ),
                ),
                ("digest", models.CharField(max_length=71, unique=True)),
                ("text", models.TextField(help_text="Canonical JSON, signed exactly as stored.")),
                (
                    "signature",
                    models.CharField(help_text="Ed25519 over the text, base64.", max_length=88),
                ),
                ("key_id", models.CharField(max_length=71)),
                (
                    "public_key",
                    models.TextField(help_text="PEM. Trust it only after comparing it."),
                ),
                (
                    "edge",
                    models.BinaryField(
                        help_text="The right edge of the tree: where the next one goes on."
                    ),
                ),
                (
                    "blocks",
                    models.BinaryField(
                        help_text="Roots of the blocks of 1,024 events it completed."
                    ),
                ),
            ],
            options={
                "ordering": ("-number",),
                "indexes": [models.Index(fields=["last_seq"], name="checkpoint_by_last")],
            },
        ),
        migrations.CreateModel(
            name="CheckpointDelivery",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sink", models.CharField(max_length=20)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("delivered", "Delivered"),
                            ("contradicted", "Another one stands there"),
                        ],
                        default="waiting",
                        max_length=15,
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("try_at", models.DateTimeField()),
                ("where", models.CharField(blank=True, max_length=500)),
                ("error", models.CharField(blank=True, max_length=500)),
                ("delivered_at", models.DateTimeField(blank=True, null=True)),
                (
                    "checkpoint",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="governance.checkpoint",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "waiting")),
                        fields=["try_at"],
                        name="delivery_waiting",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("checkpoint", "sink"), name="delivery_once_per_sink"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state", "delivered"), ("delivered_at", None), _connector="XOR"
                        ),
                        name="delivery_delivered_has_time",
                    ),
                ],
            },
        ),
        migrations.RunSQL(RULES, migrations.RunSQL.noop),
    ]
