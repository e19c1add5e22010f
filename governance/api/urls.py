"""Machine endpoints. docs/integrating.md documents each; a test fails when one is missing there."""

from django.urls import path

from governance.api import health, ofrep, otlp, receipts
from governance.api.promotions import api

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("ofrep/v1/evaluate/flags", ofrep.evaluate_all),
    path("ofrep/v1/evaluate/flags/<str:key>", ofrep.evaluate),
    path("v1/traces", otlp.traces),
    path("api/v1/receipts", receipts.receipts),
    path("api/v1/", api.urls),
]
