"""Machine endpoints. docs/integrating.md documents each; a test fails when one is missing there."""

from django.urls import path

from governance.api import health

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
]
