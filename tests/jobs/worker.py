"""The real Celery application, with the kinds of the tests registered."""

import django

from governance.celery import app

django.setup()

import tests.jobs.kinds  # noqa: E402, F401

__all__ = ("app",)
