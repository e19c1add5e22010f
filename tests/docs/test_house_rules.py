"""Rules of the house that no linter knows: what may stand where, and what may stand nowhere.

Each names the places where it may, with the reason; another place fails here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for folder in ("governance", "dashboards")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
CODE = {path: text for path, text in SOURCES.items() if "/migrations/" not in path}
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in sorted((ROOT / "templates").rglob("*"))
    if path.is_file() and path.suffix in (".html", ".txt")
}

# SQL by hand, where the ORM cannot say it or is too slow; only constants are formatted into it.
RAW_SQL = {
    "governance/api/health.py", "governance/api/ofrep.py", "governance/api/prepared.py",
    "governance/audit/chain.py", "governance/audit/checkpoints.py", "governance/audit/roles.py",
    "governance/audit/verification.py", "governance/common/time.py",
}  # fmt: skip
# Rows that only the doors of `rollouts` write (and `audit`, and `people` its own).
GOVERNED = {
    "LiveRelease", "ReleaseApproval", "LiveChange", "Approval", "Promotion", "KnownGood", "Pin",
    "Rollback", "PostMortem", "Pilot", "StandingApproval", "FreezeWindow", "FreezeException",
    "Drill", "AuditEvent", "Checkpoint", "Signature", "Delegation", "GateReport", "GatePolicy",
}  # fmt: skip
WRITERS = {
    "governance/rollouts/": GOVERNED - {
        "AuditEvent", "Checkpoint", "Signature", "Delegation", "GateReport", "GatePolicy",
    },
    "governance/audit/": {"AuditEvent", "Checkpoint"},
    "governance/people/": {"Signature", "Delegation"},
    "governance/evals/": {"GateReport", "GatePolicy"},
}  # fmt: skip
WRITES = {"create", "update", "delete", "bulk_create", "bulk_update", "update_or_create"}
HTTP = {"urllib.request", "requests", "http.client", "httpx", "urllib3", "aiohttp"}
HTTP_CLIENTS = (
    "governance/common/outbound.py",  # the one that refuses private addresses
    "governance/embedded/",  # asks the web process that it started itself
    "governance/demo/support/",  # an application outside, which asks Countersign
)


def found(pattern: str, texts: dict[str, str]) -> list[str]:
    return [
        f"{path}:{text[: match.start()].count(chr(10)) + 1}: {match.group().strip()}"
        for path, text in texts.items()
        for match in re.finditer(pattern, text)
    ]


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("trusted markup", r"\bmark_safe\b|\bSafeString\(|\bSafeText\(|__html__"),
        ("a door without its CSRF token", r"\bcsrf_exempt\b"),
        ("raw querysets", r"\.raw\(|\.extra\(|\bRawSQL\b"),
        ("code from text", r"(?<![\w.])(eval|exec)\(|\bpickle\b|\bmarshal\b"),
        ("a shell", r"shell=True|os\.system\("),
    ],
)
def test_nothing_in_the_code_uses(what: str, pattern: str) -> None:
    allowed = ALLOWED.get(what, {})
    hits = [hit for hit in found(pattern, CODE) if hit.split(":")[0] not in allowed]
    assert hits == [], what


# Where the code may, and why.
ALLOWED: dict[str, dict[str, str]] = {
    "trusted markup": {
        "dashboards/templatetags/countersign.py": "icons: the drawings of the installed package",
    },
}


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("trusted markup", r"\|\s*safe\b|\|\s*safeseq\b|\{%\s*autoescape\s+off"),
        ("styles in attributes", r"<[^>]*\sstyle\s*="),
        ("scripts in the page", r"<script(?![^>]*\bsrc=)[^>]*>(?!\s*</script>)|\son\w+\s*="),
        ("htmx that evaluates text", r"\bhx-on\b|\bhx-vals\s*=\s*[\"']js:|hx-trigger=\"[^\"]*\["),
        ("inherited htmx", r"\bhx-boost\b|\bhx-ext\b"),
        ("addresses of other hosts", r"(?:src|href)=\"(?:https?:)?//"),
    ],
)
def test_no_template_has(what: str, pattern: str) -> None:
    allowed = ALLOWED_IN_PAGES.get(what, {})
    hits = [hit for hit in found(pattern, PAGES) if hit.split(":")[0] not in allowed]
    assert hits == [], what


ALLOWED_IN_PAGES: dict[str, dict[str, str]] = {}


def test_sql_by_hand_stands_where_it_is_known() -> None:
    hits = {path for path, text in CODE.items() if re.search(r"cursor\(|\.execute\(", text)}
    unknown = {path for path in hits if path not in RAW_SQL and not path.startswith(SQL_FOLDERS)}
    assert unknown == set()
    assert {path for path in RAW_SQL if path not in hits} == set()


SQL_FOLDERS = (
    "governance/embedded/", "governance/receipts/", "governance/management/", "governance/demo/",
    "governance/kpis/", "governance/evals/", "governance/rollouts/", "governance/triage/",
)  # fmt: skip


def governed_writes(path: str, text: str) -> Iterator[str]:
    """Calls such as `LiveRelease.objects.filter(…).update(…)`, with the model's name."""
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr not in WRITES:
            continue
        for name in ast.walk(node.func.value):
            if isinstance(name, ast.Attribute) and name.attr == "objects":
                model = ast.unparse(name.value).rsplit(".", 1)[-1]
                if model in GOVERNED:
                    yield f"{path}:{node.lineno}: {model}.{node.func.attr}"


def test_governed_rows_are_written_by_their_own_package_only() -> None:
    hits = []
    for path, text in CODE.items():
        mine = next((names for folder, names in WRITERS.items() if path.startswith(folder)), set())
        for hit in governed_writes(path, text):
            model = hit.rsplit(" ", 1)[-1].split(".")[0]
            if model not in mine and path not in OTHER_WRITERS.get(model, ()):
                hits.append(hit)
    assert hits == []


# Beside its own package: who else, and there is no third one.
OTHER_WRITERS: dict[str, tuple[str, ...]] = {}


def test_only_the_guarded_client_asks_other_machines() -> None:
    hits = []
    for path, text in CODE.items():
        if path.startswith(HTTP_CLIENTS):
            continue
        for node in ast.walk(ast.parse(text)):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            hits += [f"{path}: {name}" for name in names if name in HTTP]
    assert sorted(set(hits)) == []
