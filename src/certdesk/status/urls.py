"""Addresses of the status room; those under /ca/ stand in issued certificates and must not change."""

from django.urls import path

from certdesk.status import views

app_name = "status_of_service"
urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("ca/<slug:issuer>.cer", views.issuer_certificate, name="issuer_certificate"),
    path("ca/<slug:issuer>.crl", views.issuer_crl, name="issuer_crl"),
]
