"""Dropping whole days of receipts and spans, which cs_app cannot do by itself."""

from django.db import migrations

# The name of a partition says its day. What is younger than 30 days stays, whoever asks.
DROP = """
CREATE FUNCTION cs_drop_partitions(parent text, first_kept date) RETURNS SETOF date
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    child record;
BEGIN
    IF parent NOT IN ('governance_receipt', 'governance_span') THEN
        RAISE EXCEPTION '% is not dropped by the day', parent
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF first_kept > (now() AT TIME ZONE 'UTC')::date - 30 THEN
        RAISE EXCEPTION 'the last 30 days are never dropped'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    FOR child IN
        SELECT c.relname AS name, to_date(right(c.relname, 8), 'YYYYMMDD') AS day
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = ('public.' || parent)::regclass AND c.relname ~ '_[0-9]{8}$'
        ORDER BY c.relname
    LOOP
        IF child.day < first_kept THEN
            EXECUTE format('DROP TABLE %I', child.name);
            RETURN NEXT child.day;
        END IF;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION cs_drop_partitions(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cs_drop_partitions(text, date) TO cs_app;
"""


class Migration(migrations.Migration):
    dependencies = (("governance", "0007_signed_checkpoints"),)

    operations = (migrations.RunSQL(DROP, "DROP FUNCTION cs_drop_partitions(text, date)"),)
