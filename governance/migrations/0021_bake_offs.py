"""Bake-offs: what makes one the same, and what the database keeps of them."""

from django.db import migrations, models

KEPT_AS_IT_WAS = """
CREATE FUNCTION cs_bake_off_closed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this bake-off is closed: its table stays as it was'
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER cs_bake_off_closed BEFORE UPDATE ON governance_bakeoff
    FOR EACH ROW WHEN (OLD.state <> 'running') EXECUTE FUNCTION cs_bake_off_closed();
CREATE TRIGGER cs_only_these_change BEFORE UPDATE ON governance_bakeoff
    FOR EACH ROW EXECUTE FUNCTION cs_only_these_change(
        'state', 'content_text', 'digest', 'finished_at', 'cancelled_by_label');
"""
# Which releases race, and by which runs, is settled when it is asked for.
ENTRIES = "".join(
    f"CREATE TRIGGER cs_immutable BEFORE UPDATE OR DELETE ON {table}"
    f" FOR EACH ROW EXECUTE FUNCTION cs_refuse_change();"
    f"CREATE TRIGGER cs_no_truncate BEFORE TRUNCATE ON {table}"
    f" FOR EACH STATEMENT EXECUTE FUNCTION cs_refuse_change();"
    f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM cs_app;"
    for table in ("governance_bakeoff_releases", "governance_bakeoff_runs")
)


class Migration(migrations.Migration):
    dependencies = (("governance", "0020_switched_off_approvals"),)

    operations = (
        migrations.AddField(
            model_name="bakeoff",
            name="repeats",
            field=models.PositiveSmallIntegerField(
                default=1, help_text="How often each case is run."
            ),
        ),
        migrations.AddField(
            model_name="bakeoff",
            name="slot",
            field=models.CharField(
                default=None,
                help_text="What makes this bake-off one and the same.",
                max_length=200,
                unique=True,
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="bakeoff",
            name="cancelled_by_label",
            field=models.CharField(blank=True, default="", max_length=200),
            preserve_default=False,
        ),
        migrations.RunSQL(KEPT_AS_IT_WAS + ENTRIES, migrations.RunSQL.noop),
    )
