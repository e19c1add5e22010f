"""What runs showed of each slot of the release they claim, and the exception it opens."""

import django.db.models.deletion
from django.db import migrations, models

KEPT = """
CREATE TRIGGER cs_no_delete BEFORE DELETE ON governance_slotobservation
    FOR EACH ROW EXECUTE FUNCTION cs_refuse_change();
CREATE TRIGGER cs_no_truncate BEFORE TRUNCATE ON governance_slotobservation
    FOR EACH STATEMENT EXECUTE FUNCTION cs_refuse_change();
REVOKE DELETE, TRUNCATE ON governance_slotobservation FROM cs_app;
"""


class Migration(migrations.Migration):
    dependencies = (("governance", "0003_checkpoints"),)

    operations = (
        migrations.CreateModel(
            name="SlotObservation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("release_digest", models.CharField(max_length=71)),
                ("slot", models.CharField(max_length=20)),
                ("value", models.CharField(max_length=200)),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("matches", "Matches"),
                            ("differs", "Differs"),
                            ("unknown", "Nothing declared to compare with"),
                        ],
                        max_length=10,
                    ),
                ),
                ("n", models.BigIntegerField(help_text="Receipts that report it.")),
                ("first_at", models.DateTimeField()),
                ("first_run_id", models.CharField(max_length=200)),
                (
                    "first_day",
                    models.DateField(help_text="With first_run_id, the first receipt."),
                ),
                ("last_at", models.DateTimeField()),
                (
                    "workflow",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="governance.workflow",
                    ),
                ),
            ],
        ),
        migrations.AddConstraint(
            model_name="slotobservation",
            constraint=models.UniqueConstraint(
                fields=("workflow", "release_digest", "slot", "value", "verdict"),
                name="observation_once",
            ),
        ),
        migrations.RunSQL(KEPT, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="exceptioncase",
            name="kind",
            field=models.CharField(
                choices=[
                    ("unauthorised", "Release nobody approved"),
                    ("unattributed", "No release named"),
                    ("policy_violation", "Policy violation"),
                    ("eval_failed", "Eval failed"),
                    ("undeclared", "Undeclared change"),
                    ("guard", "Guard alarm"),
                ],
                max_length=20,
            ),
        ),
    )
