"""The audit page lists what people did without reading past one seal a minute."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("governance", "0016_receipt_seals"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="auditevent",
            index=models.Index(
                condition=models.Q(("verb", "receipts.sealed"), _negated=True),
                fields=["-seq"],
                name="audit_without_seals",
            ),
        ),
    ]
