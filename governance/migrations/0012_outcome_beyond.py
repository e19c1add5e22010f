"""A change may do more than was expected of it: one more word, nothing in the database moves."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("governance", "0017_audit_without_seals")]

    operations = [
        migrations.AlterField(
            model_name="promotionoutcome",
            name="verdict",
            field=models.CharField(
                choices=[
                    ("as_expected", "As expected"),
                    ("more", "More than expected"),
                    ("less", "Less than expected"),
                    ("opposite", "The other way"),
                    ("unclear", "Within normal variation"),
                    ("no_data", "No data"),
                ],
                max_length=12,
            ),
        ),
    ]
