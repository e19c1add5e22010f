"""Pages only: machine endpoints are answered before, by `api.middleware`."""

from django.urls import include, path

urlpatterns = [path("", include("dashboards.urls"))]

handler400 = "dashboards.views.errors.not_understood"
handler403 = "dashboards.views.errors.forbidden"
handler404 = "dashboards.views.errors.not_found"
handler500 = "dashboards.views.errors.server_error"
