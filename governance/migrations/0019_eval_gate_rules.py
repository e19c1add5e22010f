"""What the database keeps of evals: nothing of record goes, and what was decided stays as it was."""

from django.db import migrations

IMMUTABLE = ("governance_humanlabel", "governance_judgecalibration")
KEPT = (
    "governance_bakeoff",
    "governance_evaltarget",
    "governance_evaluator",
    "governance_gatewaiver",
    "governance_suiteedit",
)
# The others of these tables may change in nothing but these columns.
MAY_CHANGE = {
    "governance_evaltarget": ("confirmed_by_id", "confirmed_by_label", "confirmed_at"),
    "governance_evaluator": ("confirmed_by_id", "confirmed_by_label", "confirmed_at"),
    "governance_gatepolicy": (
        "confirmed_by_id", "confirmed_at", "withdrawn_at", "withdrawn_by_label",
    ),
    "governance_gatewaiver": ("revoked_at", "revoked_by_label"),
    "governance_suiteedit": ("state", "version_id"),
    "governance_suiteversion": ("confirmed_by_id", "confirmed_by_label", "confirmed_at"),
}  # fmt: skip


def triggers() -> str:
    made = []
    for tables, when, name, rights in (
        (IMMUTABLE, "UPDATE OR DELETE", "cs_immutable", "UPDATE, DELETE, TRUNCATE"),
        (KEPT, "DELETE", "cs_no_delete", "DELETE, TRUNCATE"),
    ):
        for table in tables:
            made.append(
                f"CREATE TRIGGER {name} BEFORE {when} ON {table}"
                f" FOR EACH ROW EXECUTE FUNCTION cs_refuse_change();"
                f"CREATE TRIGGER cs_no_truncate BEFORE TRUNCATE ON {table}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION cs_refuse_change();"
                f"REVOKE {rights} ON {table} FROM cs_app;"
            )
    for table, columns in MAY_CHANGE.items():
        named = ", ".join(f"'{column}'" for column in columns)
        made.append(
            f"CREATE TRIGGER cs_only_these_change BEFORE UPDATE ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION cs_only_these_change({named});"
        )
    return "\n".join(made)


class Migration(migrations.Migration):
    dependencies = (("governance", "0018_eval_gates"),)

    operations = (migrations.RunSQL(triggers(), migrations.RunSQL.noop),)
