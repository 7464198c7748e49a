"""DigiCert CertCentral as a CA, by its Services API."""

from certdesk.backends.digicert.backend import DigiCertBackend
from certdesk.backends.digicert.config import DigiCertConfig

__all__ = ["DigiCertBackend", "DigiCertConfig"]
