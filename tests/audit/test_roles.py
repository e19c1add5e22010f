"""The logins in an operator's own cluster: made by the printed SQL, and what they cannot do."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from governance.audit import roles
from governance.embedded.postgres_home import find_home
from governance.embedded.servers import running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a superuser in a cluster that never heard of Countersign."""
    folder = tmp_path_factory.mktemp("cluster")
    with running(folder, durable=False) as servers:
        home = find_home(folder, throwaway=True)
        home.hba.write_text("local all all trust\n")
        os.kill(int((home.data / "postmaster.pid").read_text().split()[0]), signal.SIGHUP)
        address = make_conninfo(
            servers.owner_database_url, user="postgres", password="", dbname="postgres"
        )
        with _connected(address) as superuser:
            superuser.execute("DROP DATABASE countersign WITH (FORCE)")
            for name in ("cs_app", "cs_owner"):
                superuser.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
                superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
        yield address


def _connected(address: str) -> psycopg.Connection[tuple[object, ...]]:
    """Connect; the new rules of the server hold a moment after its signal."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return psycopg.connect(address, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise


def printed(name: str) -> tuple[list[str], list[str]]:
    """What the command prints, in the two halves that psql runs."""
    out = io.StringIO()
    call_command("role_sql", "--database", name, stdout=out)
    lines = [line for line in out.getvalue().splitlines() if not line.startswith("--")]
    before, after = "\n".join(lines).split(f"\\connect {name}\n")
    whole = [before[: before.index("$$;") + 3], *before[before.index("$$;") + 3 :].split(";\n")]
    return [part for part in whole if part.strip()], [p for p in after.split(";\n") if p.strip()]


def manage(address: str, *words: str) -> subprocess.CompletedProcess[str]:
    url = "postgresql:///?" + "&".join(
        f"{key}={value}" for key, value in psycopg.conninfo.conninfo_to_dict(address).items()
    )
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_printed_sql_makes_a_cluster_whose_product_cannot_rewrite_the_audit(
    cluster: str,
) -> None:
    first, inside = printed("own_ledger")
    with psycopg.connect(cluster, autocommit=True) as superuser:
        for statement in first:
            superuser.execute(statement.encode())
        superuser.execute(first[0].encode())  # the logins are there already: no harm
    with psycopg.connect(make_conninfo(cluster, dbname="own_ledger")) as superuser:
        for statement in inside:
            superuser.execute(statement.encode())
    owner = make_conninfo(cluster, user="cs_owner", dbname="own_ledger")
    app = make_conninfo(cluster, user="cs_app", dbname="own_ledger")
    migrated = manage(owner, "migrate", "-v0")
    assert migrated.returncode == 0, migrated.stderr
    checked = manage(app, "role_sql", "--check")
    assert (checked.returncode, "The logins hold" in checked.stdout) == (0, True), checked.stdout

    written = manage(
        app, "shell", "-v0", "-c",
        "from governance import audit; from governance.audit import Actor\n"
        "with audit.atomic(): audit.record('demo.seeded', actor=Actor.system('tests'))",
    )  # fmt: skip
    assert written.returncode == 0, written.stderr
    with psycopg.connect(app, autocommit=True) as connected:
        for statement in (
            "UPDATE governance_auditevent SET reason = 'x'",
            "DELETE FROM governance_auditevent",
            "TRUNCATE governance_auditevent",
            "UPDATE governance_checkpoint SET root = 'x'",
            "DELETE FROM governance_receiptseal",
            "ALTER TABLE governance_auditevent DISABLE TRIGGER ALL",
            "SET session_replication_role = replica",
            "SET ROLE cs_owner",
            "CREATE TABLE mine (n integer)",
            "DROP TABLE governance_auditevent",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connected.execute(statement.encode())
        row = connected.execute("SELECT count(*) FROM governance_auditevent").fetchone()
        assert row == (1,)

    with psycopg.connect(owner, autocommit=True) as connected:
        connected.execute("GRANT UPDATE ON governance_auditevent TO cs_app")
        connected.execute("ALTER TABLE governance_release DISABLE TRIGGER cs_immutable")
    checked = manage(app, "role_sql", "--check")
    assert checked.returncode == 1
    assert "cs_app may UPDATE governance_auditevent." in checked.stdout
    assert "The trigger cs_immutable of governance_release is off." in checked.stdout

    with psycopg.connect(cluster, autocommit=True) as superuser:
        superuser.execute("ALTER ROLE cs_app CREATEROLE")
        with pytest.raises(psycopg.errors.RaiseException, match="more than it should"):
            superuser.execute(first[0].encode())


def test_the_database_of_these_tests_holds_too(db: None) -> None:
    assert roles.findings() == []
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("cs_app",)


def test_a_name_that_is_no_name_is_refused() -> None:
    with pytest.raises(CommandError, match="small letters"):
        call_command("role_sql", "--database", 'x"; DROP ROLE postgres')
