"""Which form of a certificate suits which server software, and a short hint for installing it (R14).

Data, in the order of the configuration's default list; software without an entry gets the general hint.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """`form` is a download format; `lines` may hold {stem}, the file name without its extension."""

    form: str
    text: str
    lines: str = ""


GENERAL = Hint(
    form="zip",
    text="Install your certificate and every chaining one; the server sends both. The root is for clients.",
)

HINTS: Mapping[str, Hint] = {
    "Apache httpd": Hint(
        form="fullchain",
        text="Apache 2.4.8 and later read the full chain from one file.",
        lines="SSLEngine on\nSSLCertificateFile    /etc/ssl/certs/{stem}-fullchain.pem\n"
        "SSLCertificateKeyFile /etc/ssl/private/{stem}.key",
    ),
    "nginx": Hint(
        form="fullchain",
        text="Put the full chain where nginx can read it, beside the key.",
        lines="ssl_certificate     /etc/nginx/tls/{stem}-fullchain.pem;\n"
        "ssl_certificate_key /etc/nginx/tls/{stem}.key;",
    ),
    "HAProxy": Hint(
        form="fullchain",
        text="HAProxy reads the full chain and the key from one file, in this order.",
        lines="cat {stem}-fullchain.pem {stem}.key > /etc/haproxy/tls/{stem}.pem\n"
        "# haproxy.cfg\nbind :443 ssl crt /etc/haproxy/tls/{stem}.pem",
    ),
    "Caddy": Hint(
        form="fullchain",
        text="Name the full chain and the key in the site’s block.",
        lines="tls /etc/caddy/{stem}-fullchain.pem /etc/caddy/{stem}.key",
    ),
    "Postfix or Dovecot": Hint(
        form="fullchain",
        text="Both read the full chain from one file.",
        lines="# Postfix\n"
        "postconf -e smtpd_tls_chain_files=/etc/postfix/{stem}.key,/etc/postfix/{stem}-fullchain.pem\n"
        "# Dovecot\nssl_cert = </etc/dovecot/{stem}-fullchain.pem\nssl_key  = </etc/dovecot/{stem}.key",
    ),
    "Microsoft IIS": Hint(
        form="p7b",
        text="On the server that made the CSR, as administrator; then bind it to the site in IIS Manager.",
        lines="certreq -accept {stem}.p7b",
    ),
    "Microsoft Exchange": Hint(
        form="p7b",
        text="On the server that made the CSR, as administrator; then enable it for the services.",
        lines="certreq -accept {stem}.p7b\n"
        "Enable-ExchangeCertificate -Thumbprint <thumbprint> -Services IIS,SMTP",
    ),
    "Apache Tomcat": Hint(
        form="p7b",
        text="Import into the keystore that made the CSR, under the same alias.",
        lines="keytool -importcert -alias www -trustcacerts -keystore www.p12 -file {stem}.p7b",
    ),
    "Kubernetes": Hint(
        form="fullchain",
        text="Make a TLS secret of the full chain and the key.",
        lines="kubectl create secret tls {stem} --cert={stem}-fullchain.pem --key={stem}.key",
    ),
}


def hint_for(software: str) -> Hint:
    """The hint for a server software."""
    return HINTS.get(software, GENERAL)
