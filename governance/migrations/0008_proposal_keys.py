"""The keys under which machines proposed: written once, never changed."""

import django.db.models.deletion
from django.db import migrations, models

TABLE = "governance_proposalkey"
RULES = f"""
CREATE TRIGGER cs_immutable BEFORE UPDATE OR DELETE ON {TABLE}
    FOR EACH ROW EXECUTE FUNCTION cs_refuse_change();
CREATE TRIGGER cs_no_truncate BEFORE TRUNCATE ON {TABLE}
    FOR EACH STATEMENT EXECUTE FUNCTION cs_refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON {TABLE} FROM cs_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("governance", "0009_retention"),
    ]

    operations = [
        migrations.CreateModel(
            name="ProposalKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=200)),
                (
                    "body_digest",
                    models.CharField(help_text="Of the request it came with.", max_length=71),
                ),
                ("created_at", models.DateTimeField()),
                (
                    "promotion",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="proposal_keys",
                        to="governance.promotion",
                    ),
                ),
                (
                    "token",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="proposal_keys",
                        to="governance.apitoken",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("token", "key"), name="proposal_key_once_per_token"
                    )
                ],
            },
        ),
        migrations.RunSQL(RULES, migrations.RunSQL.noop),
    ]
