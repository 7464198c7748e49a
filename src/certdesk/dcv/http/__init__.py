"""A file below a fixed well-known path: BR 3.2.2.4.18 for people, ACME's http-01 (RFC 8555 8.3, BR .19).

They prove exactly one FQDN: neither its children nor a wildcard.
"""

from certdesk.dcv.http.file import AcmeHttpValidator, HttpFileValidator, acme_url, file_url

__all__ = ["AcmeHttpValidator", "HttpFileValidator", "acme_url", "file_url"]
