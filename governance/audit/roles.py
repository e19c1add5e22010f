"""The two logins of the database: the SQL that makes them, and whether they hold here.

`cs_owner` owns the schema and migrates; `cs_app` runs the product and can neither rewrite the
audit nor become the owner. The migrations give `cs_app` its rights on each table.
"""

from __future__ import annotations

from django.db import connection

# Of these nothing may ever be changed or deleted; more tables have the same trigger.
APPEND_ONLY = (
    "governance_auditevent",
    "governance_checkpoint",
    "governance_receiptseal",
    "governance_approval",
    "governance_signature",
    "governance_livechange",
    "governance_release",
    "governance_component",
)
CLUSTER = """\
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cs_owner') THEN
        CREATE ROLE cs_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cs_app') THEN
        CREATE ROLE cs_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname IN ('cs_owner', 'cs_app')
               AND (rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls))
        OR pg_has_role('cs_app', 'cs_owner', 'MEMBER')
    THEN
        RAISE EXCEPTION 'cs_owner or cs_app exists already and may do more than it should';
    END IF;
END $$"""
# As the name of a database goes into it: letters, digits and underscores only.
DATABASE = (
    "CREATE DATABASE {name} OWNER cs_owner ENCODING 'UTF8' TEMPLATE template0",
    "REVOKE ALL ON DATABASE {name} FROM PUBLIC",
    "GRANT CONNECT, TEMPORARY ON DATABASE {name} TO cs_app",
)
INSIDE = (
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    "ALTER SCHEMA public OWNER TO cs_owner",
    "GRANT USAGE ON SCHEMA public TO cs_app",
)

CAN_CHANGE = """
SELECT c.relname, p.privilege FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
CROSS JOIN (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE')) AS p(privilege)
WHERE t.tgname = 'cs_immutable' AND has_table_privilege('cs_app', c.oid, p.privilege)
ORDER BY 1, 2
"""
SWITCHED_OFF = """
SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgname LIKE 'cs\\_%' AND t.tgenabled NOT IN ('O', 'A') ORDER BY 1, 2
"""
GUARDED = """
SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE t.tgname IN ('cs_immutable', 'cs_no_truncate') GROUP BY 1 HAVING count(*) = 2
"""
LOGINS = """
SELECT rolname FROM pg_roles WHERE rolname IN ('cs_app', 'cs_owner')
    AND (rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls)
UNION ALL SELECT 'cs_app, a member of cs_owner'
    WHERE pg_has_role('cs_app', 'cs_owner', 'MEMBER')
UNION ALL SELECT 'cs_app, an owner of ' || c.relname FROM pg_class c
    JOIN pg_roles r ON r.oid = c.relowner AND r.rolname = 'cs_app' WHERE c.relkind IN ('r', 'p')
"""


def statements(database: str) -> tuple[list[str], list[str]]:
    """Return what a superuser runs: first anywhere in the cluster, then inside the database."""
    return [CLUSTER, *(line.format(name=database) for line in DATABASE)], list(INSIDE)


def findings() -> list[str]:
    """Return what of the first layer does not hold in this database; empty when all does."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(LOGINS)
        found += [f"A login may do more than it should: {who}." for (who,) in cursor.fetchall()]
        cursor.execute(CAN_CHANGE)
        found += [f"cs_app may {what} {table}." for table, what in cursor.fetchall()]
        cursor.execute(SWITCHED_OFF)
        found += [f"The trigger {name} of {table} is off." for table, name in cursor.fetchall()]
        cursor.execute(GUARDED)
        guarded = {table for (table,) in cursor.fetchall()}
        found += [f"{table} may be changed." for table in APPEND_ONLY if table not in guarded]
    return found
