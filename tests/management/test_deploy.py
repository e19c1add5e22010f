"""Django's own list of what production needs, on the settings as an operator gives them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = {
        "PATH": os.environ["PATH"], "DATA_DIR": "/nonexistent", "SECRET_KEY": "s3" * 30 + "-x9",
        "DATABASE_URL": "postgresql://cs_app@localhost/countersign", "REDIS_URL": "redis://cache",
        "ALLOWED_HOSTS": "countersign.example.com", "HTTPS": "true", **environment,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "manage.py", "check", *words],
        cwd=ROOT, env=whole, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_nothing_is_missing_for_production() -> None:
    done = check("--deploy", "--fail-level", "INFO")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MFA", "maybe", "MFA must be off, optional or required, not 'maybe'."),
        ("OIDC_ISSUER", "https://id.example.com", "OIDC_ISSUER needs OIDC_CLIENT_ID"),
        ("OIDC_ISSUER", "http://id.example.com", "OIDC_ISSUER must start with https://."),
        ("REDACT_PATTERNS", "K-(", "'K-(' is no regular expression"),
        ("RECEIPT_DAYS", "7", "RECEIPT_DAYS must be 0 (keep) or at least 30."),
    ],
)
def test_a_wrong_setting_is_refused_with_its_sentence(name: str, value: str, sentence: str) -> None:
    done = check(**{name: value})
    assert done.returncode == 1
    assert sentence in done.stderr
