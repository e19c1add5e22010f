"""The pages. No models here."""

from django.apps import AppConfig


class DashboardsConfig(AppConfig):
    name = "dashboards"
