"""One settings file, fed by the environment only. docs/operating.md explains every variable."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import django_stubs_ext
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from governance.embedded.servers import read

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent


def env_bool(name: str, default: bool = False) -> bool:
    """Return the flag `name`; anything but "true"/"false" is a start-up error."""
    raw = os.environ.get(name, str(default)).lower()
    if raw not in ("true", "false"):
        raise ImproperlyConfigured(f"{name} must be 'true' or 'false', not {raw!r}")
    return raw == "true"


def env_int(name: str, default: int, lowest: int, highest: int) -> int:
    """Return the whole number `name`, within its bounds."""
    raw = os.environ.get(name, str(default))
    if not raw.isdigit() or not lowest <= int(raw) <= highest:
        raise ImproperlyConfigured(
            f"{name} must be a number from {lowest} to {highest}, not {raw!r}"
        )
    return int(raw)


def env_list(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in os.environ.get(name, default).split(",") if part.strip()]


def database_from(url: str) -> dict[str, object]:
    """Turn postgresql://login:password@host:port/name?option=… into Django's dict."""
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError:
        parts = {}
    if not parts.get("dbname"):
        raise ImproperlyConfigured(
            "DATABASE_URL must look like postgresql://login:password@host:5432/name"
        )
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, **parts},
    }


def oidc_origins(*urls: str) -> list[str]:
    """Scheme and host of each address that is set, for the Content-Security-Policy."""
    parts = [urlsplit(url) for url in urls if url]
    return list(dict.fromkeys(f"{part.scheme}://{part.netloc}" for part in parts))


DATA_DIR = Path(os.environ.get("DATA_DIR") or BASE_DIR / ".data").absolute()
_servers = read(DATA_DIR)

DEBUG = env_bool("DEBUG")
SECRET_KEY = os.environ.get("SECRET_KEY") or (_servers.secret_key if _servers else "")
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")

DATABASE_URL = os.environ.get("DATABASE_URL") or (_servers.database_url if _servers else "")
REDIS_URL = os.environ.get("REDIS_URL") or (_servers.redis_url if _servers else "")
DATABASES = {"default": database_from(DATABASE_URL)} if DATABASE_URL else {}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "axes",
    "csp",
    "django_htmx",
    "lucide",
    "template_partials",
    "governance",
    "dashboards",
]

MIDDLEWARE = [
    "governance.api.middleware.MachineEndpoints",  # answers machines before session and CSP
    "django.middleware.security.SecurityMiddleware",
    # Pages and static files alike. It pads at random, and the CSRF token is masked anew each time.
    "django.middleware.gzip.GZipMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "dashboards.middleware.PageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "governance.urls"
WSGI_APPLICATION = "governance.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "dashboards.context.frame",
            ],
            "builtins": ["template_partials.templatetags.partials"],
        },
    }
]

AUTH_USER_MODEL = "governance.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "login"

# A wrong password counts for this user from this address; the lock opens by itself.
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "dashboards.views.session.locked_out"
AXES_IPWARE_PROXY_COUNT = env_int("PROXIES", 0, 0, 9) or None

# Second factors: off, optional (who wants one), required (everybody sets one up at the next login).
MFA = os.environ.get("MFA") or "off"
MFA_ADAPTER = "governance.people.second_factor.Adapter"
MFA_TOTP_ISSUER = "Countersign"
MFA_RECOVERY_CODE_DIGITS = 10

# Log in by an OpenID Connect provider; off while OIDC_ISSUER is empty. People are made here first.
OIDC_ISSUER = (os.environ.get("OIDC_ISSUER") or "").rstrip("/")
OIDC_CLIENT_ID = os.environ.get("OIDC_CLIENT_ID") or ""
OIDC_CLIENT_SECRET = os.environ.get("OIDC_CLIENT_SECRET") or ""
OIDC_NAME = os.environ.get("OIDC_NAME") or "single sign-on"
# Where its login page stands, if that is another host than the issuer's: joins `form-action`.
OIDC_LOGIN_ORIGIN = (os.environ.get("OIDC_LOGIN_ORIGIN") or "").rstrip("/")
SOCIALACCOUNT_ADAPTER = "dashboards.sso.Adapter"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "oidc",
                "name": OIDC_NAME,
                "client_id": OIDC_CLIENT_ID,
                "secret": OIDC_CLIENT_SECRET,
                "settings": {"server_url": OIDC_ISSUER},
            }
        ]
        if OIDC_ISSUER
        else [],
    }
}

REAUTHENTICATION_SECONDS = 5 * 60
SESSION_COOKIE_AGE = 30 * 60  # seconds without a request
SESSION_SAVE_EVERY_REQUEST = False  # PageMiddleware renews it once a minute
SESSION_ABSOLUTE_SECONDS = 12 * 60 * 60
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
HTTPS = env_bool("HTTPS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:", "blob:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        # Logging in there begins with a form here, and a browser checks where it is sent on to.
        "form-action": [SELF, *oidc_origins(OIDC_ISSUER, OIDC_LOGIN_ORIGIN)],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "dashboards.assets.PlotlyFinder",  # plotly.js is served from the installed plotly package
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True  # no collectstatic step: the packages' own files are served

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1) if REDIS_URL else "memory://"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A broker that is away must not hold up a request: the sweeper rings again.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 2,
    "socket_timeout": 5,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}
CELERY_TASK_PUBLISH_RETRY = False  # the Job row is written; the sweeper rings again
CELERY_TASK_IGNORE_RESULT = True  # results live in our tables, not in Redis
CELERY_TASK_TIME_LIMIT = 15 * 60  # seconds
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TIMEZONE = "UTC"

# Which code runs a release for its evals: workflow slug -> dotted name of `build(components)`.
EVAL_TARGETS = dict(
    pair.split("=", 1)
    for pair in env_list("EVAL_TARGETS", "support-triage=governance.demo.support.target.build")
    if "=" in pair
)

# Scorers of our own that an evaluator may name: name -> dotted name of
# `score(case_input, expected, answer)`.
EVAL_SCORERS = dict(pair.split("=", 1) for pair in env_list("EVAL_SCORERS") if "=" in pair)

# Who keeps the texts and labels that recent suites are sampled from: workflow slug -> dotted name
# of `cases(case_ids)`. Receipts carry no texts.
EVAL_CASE_SOURCES = dict(
    pair.split("=", 1)
    for pair in env_list(
        "EVAL_CASE_SOURCES", "support-triage=governance.demo.support.target.labelled_cases"
    )
    if "=" in pair
)

# Requests per second of one token and web process; twice as many at once. 0: no limit.
RATE_LIMIT_OFREP = env_int("RATE_LIMIT_OFREP", 1_000, 0, 1_000_000)
RATE_LIMIT_RECEIPTS = env_int("RATE_LIMIT_RECEIPTS", 200, 0, 1_000_000)

# Origins such as http://pipeline.internal:8080 that may be called although they are not https or
# not public.
OUTBOUND_ALLOWED = env_list("OUTBOUND_ALLOWED")
# Where files lie that `file:/path` references may name.
SECRET_FOLDERS = env_list("SECRET_FOLDERS", "/run/secrets")

# A live release is known good after so many run receipts and days, without a severe exception.
LKG_RECEIPTS = env_int("LKG_RECEIPTS", 200, 1, 100_000_000)
LKG_DAYS = env_int("LKG_DAYS", 3, 0, 365)
# Model ids that their providers have switched off: the pre-flight check says so.
RETIRED_MODELS = env_list("RETIRED_MODELS")

# Mail goes out only where a part of the product was told an address.
EMAIL_HOST = os.environ.get("EMAIL_HOST", "localhost")
EMAIL_PORT = env_int("EMAIL_PORT", 25, 1, 65_535)
EMAIL_HOST_USER = os.environ.get("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = env_bool("EMAIL_USE_TLS")
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = os.environ.get("EMAIL_FROM", "countersign@localhost")

# The key that signs checkpoints of the audit, where they go, and how often one is made.
AUDIT_KEY_FILE = os.environ.get("AUDIT_KEY_FILE", "")
AUDIT_SINK_DIR = os.environ.get("AUDIT_SINK_DIR", "")
AUDIT_SINK_EMAIL = env_list("AUDIT_SINK_EMAIL")
AUDIT_CHECKPOINT_EVENTS = env_int("AUDIT_CHECKPOINT_EVENTS", 1_000, 1, 1_000_000)
AUDIT_CHECKPOINT_MINUTES = env_int("AUDIT_CHECKPOINT_MINUTES", 15, 1, 1_440)

# Personal data of your own kind, taken out before the first write: one regular expression a line.
REDACT_PATTERNS = [
    line for line in (os.environ.get("REDACT_PATTERNS") or "").splitlines() if line.strip()
]
# Days after which receipts and spans are dropped; their seals and sums stay. 0 keeps them.
RECEIPT_DAYS = env_int("RECEIPT_DAYS", 0, 0, 3650)
SPAN_DAYS = env_int("SPAN_DAYS", 0, 0, 3650)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": os.environ.get("LOG_LEVEL", "WARNING")},
    "filters": {"one_line": {"()": "governance.common.logs.OneLine"}},
    "loggers": {"axes": {"level": "ERROR"}, "django.request": {"filters": ["one_line"]}},
}
