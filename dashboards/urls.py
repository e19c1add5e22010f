"""Every page. Each views module lists its own URLs; POST URLs end in a verb."""

from __future__ import annotations

from importlib import import_module

from django.urls import URLPattern, register_converter

DIGEST = "sha256:[0-9a-f]{64}"

# In the order of the navigation.
VIEWS = (
    "session",
    "reviews",
    "workflows",
    "modes",
    "controls",
    "emergency",
    "standing",
    "freezes",
    "delegations",
    "releases",
    "registering",
    "proposing",
    "promotions",
    "gates",
    "pilots",
    "recovery",
    "rollbacks",
    "drills",
    "post_mortems",
    "recall",
    "evals",
    "flips",
    "targets",
    "scoring",
    "policies",
    "planner",
    "bake_offs",
    "suites",
    "cases",
    "suite_files",
    "labelling",
    "exceptions",
    "receipts",
    "audit",
    "checkpoints",
    "population",
    "evidence",
    "signatures",
    "jobs",
    "tokens",
    "people",
    "account",
    "sso",
)


class DigestConverter:
    """A whole digest in a URL: `sha256:` and 64 hexadecimal digits."""

    regex = DIGEST

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(DigestConverter, "digest")

urlpatterns: list[URLPattern] = [
    pattern for name in VIEWS for pattern in import_module(f"dashboards.views.{name}").urlpatterns
]
