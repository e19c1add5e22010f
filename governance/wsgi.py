"""The WSGI application that granian serves."""

import os

from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "governance.settings")
application = get_wsgi_application()

# A server started without `manage.py` must refuse wrong settings just the same.
if wrong := [message for message in run_checks() if message.is_serious()]:
    raise ImproperlyConfigured(" ".join(message.msg for message in wrong))
