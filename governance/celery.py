"""The Celery application: workers, and the two heartbeats that beat sends."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "governance.settings")

app = Celery("countersign")
app.set_default()  # for every thread of the web server, not only the one that imported this
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["governance.jobs"])
app.conf.beat_schedule = {
    # A beat that missed runs must not pile up: a heartbeat is worthless after its interval.
    "sweep": {"task": "jobs.sweep", "schedule": 5.0, "options": {"expires": 5}},
    "tick": {"task": "jobs.tick", "schedule": 15.0, "options": {"expires": 15}},
}
