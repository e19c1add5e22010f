"""The documentation keeps up: a setting, verb or endpoint without a word about it fails here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver

from governance.api.releases import PREFIX, api
from governance.api.urls import urlpatterns
from governance.audit.verbs import VERBS
from governance.people.models import ApiToken

ROOT = Path(__file__).resolve().parents[2]
DOCS = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
EVERYTHING = "\n".join((*DOCS.values(), (ROOT / "README.md").read_text()))
READERS = {"get", "env_bool", "env_int", "env_list", "getenv"}
OUR_OWN = {"DJANGO_SETTINGS_MODULE", "PATH"}  # set by the product itself, or by the system


def settings_read(source: str) -> Iterator[str]:
    """The names that a module reads from the environment."""
    for node in ast.walk(ast.parse(source)):
        name: ast.expr | None = None
        if isinstance(node, ast.Call) and node.args:
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr in ("get", "getenv"):
                owner = ast.unparse(called.value)
                name = node.args[0] if owner in ("os.environ", "environ", "env", "os") else None
            elif isinstance(called, ast.Name) and called.id in READERS:
                name = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("os.environ", "env"):
            name = node.slice
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value


def environment() -> set[str]:
    found: set[str] = set()
    for folder in ("governance", "dashboards"):
        for path in (ROOT / folder).rglob("*.py"):
            found.update(settings_read(path.read_text()))
    return {name for name in found if name.isupper()} - OUR_OWN


def machine_endpoints() -> set[str]:
    """Every path that machines can call, with the names of its parts in braces."""
    found: set[str] = set()
    for entry in urlpatterns:
        if isinstance(entry, URLPattern):
            found.add("/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(entry.pattern)))
        else:
            assert isinstance(entry, URLResolver)
            assert f"/{entry.pattern}" == PREFIX
    found.update(api.get_openapi_schema(path_prefix=PREFIX)["paths"])
    return found


def test_the_scan_finds_what_is_known_to_be_read() -> None:
    assert {"DATABASE_URL", "SECRET_KEY", "PROXIES", "HTTPS"} <= environment()
    assert {"/healthz", "/api/v1/promotions", "/ofrep/v1/evaluate/flags/{key}"} <= (
        machine_endpoints()
    )


@pytest.mark.parametrize("name", sorted(environment()))
def test_each_setting_is_explained_for_operators(name: str) -> None:
    assert f"`{name}`" in DOCS["operating.md"]


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_each_audit_verb_is_listed(verb: str) -> None:
    assert f"`{verb}`" in DOCS["security.md"]


def test_no_verb_is_listed_that_does_not_exist() -> None:
    listed = set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", DOCS["security.md"], re.MULTILINE))
    assert listed == set(VERBS)


@pytest.mark.parametrize("path", sorted(machine_endpoints()))
def test_each_machine_endpoint_is_documented(path: str) -> None:
    assert re.search(rf"`(?:GET|POST) {re.escape(path)}`", DOCS["integrating.md"]), path


@pytest.mark.parametrize("scope", ApiToken.Scope.values)
def test_each_scope_is_explained(scope: str) -> None:
    assert f"`{scope}`" in DOCS["security.md"]


def test_each_command_of_ours_is_mentioned() -> None:
    ours = {name for name, app in get_commands().items() if app == "governance"}
    missing = sorted(name for name in ours if name not in EVERYTHING)
    assert not missing


def test_links_between_the_pages_lead_somewhere() -> None:
    for page, text in DOCS.items():
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (ROOT / "docs" / target).exists(), f"{page}: {target}"
