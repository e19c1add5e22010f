"""Do the servers that the environment names exist, and may we use them?"""

from __future__ import annotations

import psycopg

from governance.embedded.processes import StartError

CONNECT_SECONDS = 5


def check_database(url: str) -> None:
    """Refuse a database that cannot be reached, or that this login may not build tables in."""
    with _connect(url) as connection:
        row = connection.execute(
            "SELECT has_schema_privilege('public', 'CREATE'), current_user,"
            " to_regclass('public.django_migrations') IS NOT NULL"
        ).fetchone()
    may_create, login, has_tables = row or (False, "", False)
    if not may_create and not has_tables:
        raise StartError(
            f"the database is empty and the login {login} may not create tables in it:"
            " let OWNER_DATABASE_URL name one that may (docs/operating.md)"
        )


def check_login(url: str) -> None:
    """Refuse a login that cannot read the tables which another login made."""
    with _connect(url) as connection:
        try:
            connection.execute("SELECT 1 FROM django_migrations LIMIT 1")
        except psycopg.errors.InsufficientPrivilege as error:
            raise StartError(
                f"the login {connection.info.user} of DATABASE_URL may not read the tables:"
                " use cs_app, or GRANT cs_app to it (docs/operating.md)"
            ) from error


def check_redis(url: str) -> None:
    """Refuse a Redis that does not answer."""
    import redis  # here: every settings import passes through this package

    try:
        client = redis.Redis.from_url(
            url.replace("redis+socket://", "unix://", 1), socket_connect_timeout=CONNECT_SECONDS
        )
        client.ping()
    except (redis.RedisError, ValueError) as error:
        raise StartError(f"REDIS_URL does not work: {error}") from error


def _connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    try:
        return psycopg.connect(url, connect_timeout=CONNECT_SECONDS, autocommit=True)
    except psycopg.OperationalError as error:
        # libpq's text names host, port, login and database, and never the password.
        reason = " ".join(str(error).split())
        raise StartError(f"DATABASE_URL does not work: {reason}") from error
    except psycopg.ProgrammingError as error:
        raise StartError(
            "DATABASE_URL must look like postgresql://login:password@host:5432/name"
        ) from error
