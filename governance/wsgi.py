"""The WSGI application that granian serves."""

import os

from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from governance.celery import app as celery

RING_SECONDS = 0.3

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "governance.settings")
application = get_wsgi_application()

# A request only rings the bell. A broker that hangs must not keep a web thread from serving a
# release or from rolling back; a worker, which waits at the broker for work, needs more patience.
celery.conf.broker_transport_options = {
    **celery.conf.broker_transport_options,
    "socket_connect_timeout": RING_SECONDS,
    "socket_timeout": RING_SECONDS,
}

# A server started without `manage.py` must refuse wrong settings just the same.
if wrong := [message for message in run_checks() if message.is_serious()]:
    raise ImproperlyConfigured(" ".join(message.msg for message in wrong))
