"""The cast and the database of every test: migrated as `cs_owner`, tested as `cs_app`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Model
from django.test import Client
from pytest_django.plugin import DjangoDbBlocker

from governance.audit import Actor
from governance.people.models import User
from governance.people.services import create_user
from governance.releases.models import Release
from governance.releases.services import register_release
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow

PASSWORD = "correct horse battery staple"
TESTER = Actor.system("tests")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Everything after the migrations runs under the login that runs the product."""
    with django_db_blocker.unblock():
        connection.close()
        connection.settings_dict["OPTIONS"]["assume_role"] = "cs_app"
        connection.ops.execute_sql_flush = _flush  # type: ignore[method-assign, assignment]
    yield
    with django_db_blocker.unblock():
        connection.close()
        connection.settings_dict["OPTIONS"].pop("assume_role")
        # A thread of the live server may still hold a connection for a client that keeps its own.
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = current_user"
                " AND pid <> pg_backend_pid()"
            )


def _flush(statements: Iterable[str]) -> None:
    """Empty the tables between tests, past the triggers that refuse it to everybody else."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute("SET LOCAL ROLE cs_app")


def empty(*tables: type[Model]) -> None:
    """Delete every row, which the product itself may not do."""
    _flush([f'DELETE FROM "{table._meta.db_table}"' for table in tables])


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def person(db: None) -> Callable[..., User]:
    """Make a user with a role."""

    def make(username: str, role: str = "", job_title: str = "") -> User:
        return create_user(
            username, actor=TESTER, role=role, job_title=job_title, password=PASSWORD
        )

    return make


@pytest.fixture
def owner(person: Callable[..., User]) -> User:
    return person("head-of-support", User.Role.MEMBER, "Head of Support")


@pytest.fixture
def controller(person: Callable[..., User]) -> User:
    """A KPI owner of nothing here: a colleague."""
    return person("controller", User.Role.MEMBER, "Controller")


@pytest.fixture
def cfo(person: Callable[..., User]) -> User:
    return person("cfo", User.Role.EXECUTIVE, "CFO")


@pytest.fixture
def analyst(person: Callable[..., User]) -> User:
    return person("analyst", User.Role.ANALYST, "Analyst")


@pytest.fixture
def builder(person: Callable[..., User]) -> User:
    return person("builder", User.Role.BUILDER, "Builder")


@pytest.fixture
def auditor(person: Callable[..., User]) -> User:
    return person("auditor", User.Role.AUDITOR, "Auditor")


@pytest.fixture
def admin(person: Callable[..., User]) -> User:
    return person("admin", User.Role.ADMIN, "Administrator")


@pytest.fixture
def outsider(person: Callable[..., User]) -> User:
    """Somebody with an account and no role."""
    return person("outsider")


@pytest.fixture
def workflow(owner: User) -> Workflow:
    return create_workflow("support-triage", "Support triage", owner=owner, actor=TESTER)


def slots(threshold: float = 0.35, **changes: Any) -> dict[str, Any]:
    """The seven slots of a small release; `changes` replaces whole slots."""
    return {
        "prompt_policy": {"greeting": "Thank you for writing to us."},
        "model": {"provider": "own", "id": "word-tfidf", "parameters": {"neighbours": 5}},
        "tools": {"tools": [{"name": "lookup_order", "permission": "read"}]},
        "retrieval": {
            "corpus": "kb",
            "documents": [{"id": "d1", "sha256": "a" * 64}],
            "access": ["public"],
        },
        "guardrails": {"escalation_threshold": threshold, "always_escalate": ["fraud"]},
        "routing": {"default": "router", "fallback": "human"},
        "feedback": {"labels": "none"},
        **changes,
    }


@pytest.fixture
def make_release(workflow: Workflow, builder: User) -> Callable[..., Release]:
    """Register a release; a different threshold makes a different release."""

    def make(threshold: float = 0.35, **changes: Any) -> Release:
        release, _ = register_release(
            workflow, slots(threshold, **changes), title=f"Threshold {threshold}", actor=builder
        )
        return release

    return make


@pytest.fixture
def login() -> Callable[[User], Client]:
    """A browser session of this person, without JavaScript."""

    def enter(user: User) -> Client:
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return enter
