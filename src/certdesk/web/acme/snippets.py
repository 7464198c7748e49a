"""Commands and settings to paste into ACME clients. Pure: nothing is read, nothing is decided here.

What goes in comes from our own rows and settings (parsed DNS names, base64url, slugs), so nothing in it needs
quoting; `Setup` holds to that all the same.
"""

import re
from dataclasses import dataclass

#: In place of the HMAC key while it is not shown: no shell and no parser takes it for something else.
HIDDEN_KEY = "YOUR-HMAC-KEY"
_PLAIN = re.compile(r"[A-Za-z0-9._~:/?#@%+=\[\]*-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a client needs to know. `name` is the name to ask for, `contact` an e-mail address."""

    directory: str
    kid: str
    hmac_key: str
    name: str
    contact: str

    def __post_init__(self) -> None:
        for value in (self.directory, self.kid, self.hmac_key, self.name, self.contact):
            if not _PLAIN.fullmatch(value):
                raise ValueError("a value that would have to be quoted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Something to paste; `caption` says where to."""

    caption: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """How one client is set up. `note` is what else there is to know."""

    slug: str
    title: str
    blocks: tuple[Block, ...]
    note: str


def snippets(setup: Setup) -> tuple[Snippet, ...]:
    """Every client that is known here, the most used first."""
    makers = (_certbot, _lego, _acme_sh, _caddy, _traefik, _cert_manager, _mod_md, _haproxy)
    return tuple(make(setup) for make in makers)


def _certbot(s: Setup) -> Snippet:
    return Snippet(
        slug="certbot",
        title="certbot",
        blocks=(
            Block(
                caption="Once, on the server",
                text=f"""\
sudo certbot certonly --non-interactive --agree-tos \\
  --server {s.directory} \\
  --eab-kid {s.kid} \\
  --eab-hmac-key {s.hmac_key} \\
  --email {s.contact} --no-eff-email \\
  --webroot --webroot-path /var/www/html \\
  --domain {s.name} \\
  --deploy-hook "systemctl reload nginx"
""",
            ),
        ),
        note="certbot's own timer renews from then on. Give several --domain for one certificate.",
    )


def _lego(s: Setup) -> Snippet:
    common = f"""\
sudo lego --server {s.directory} \\
  --accept-tos --email {s.contact} \\
  --eab --kid {s.kid} \\
  --hmac {s.hmac_key} \\
  --path /etc/lego --http --http.webroot /var/www/html \\
  --domains {s.name} \\
"""
    hook = '"systemctl reload nginx"'
    return Snippet(
        slug="lego",
        title="lego",
        blocks=(
            Block(caption="Once, on the server", text=f"{common}  run --run-hook {hook}\n"),
            Block(
                caption="Daily, from cron or a timer", text=f"{common}  renew --days 30 --renew-hook {hook}\n"
            ),
        ),
        note="The binding is used when the account is registered; later runs find the account in --path.",
    )


def _acme_sh(s: Setup) -> Snippet:
    return Snippet(
        slug="acme-sh",
        title="acme.sh",
        blocks=(
            Block(
                caption="Once, to register",
                text=f"""\
acme.sh --register-account --server {s.directory} \\
  --eab-kid {s.kid} \\
  --eab-hmac-key {s.hmac_key} \\
  --accountemail {s.contact}
""",
            ),
            Block(
                caption="For each certificate",
                text=f"""\
acme.sh --issue --server {s.directory} \\
  --domain {s.name} --webroot /var/www/html
acme.sh --install-cert --domain {s.name} \\
  --key-file /etc/ssl/private/{s.name}.key \\
  --fullchain-file /etc/ssl/{s.name}.pem \\
  --reloadcmd "systemctl reload nginx"
""",
            ),
        ),
        note="acme.sh's own cron job renews from then on.",
    )


def _caddy(s: Setup) -> Snippet:
    return Snippet(
        slug="caddy",
        title="Caddy",
        blocks=(
            Block(
                caption="In /etc/caddy/Caddyfile",
                text=f"""\
{{
	email {s.contact}
	acme_ca {s.directory}
	acme_eab {{
		key_id {s.kid}
		mac_key {s.hmac_key}
	}}
}}

{s.name} {{
	root * /var/www/html
	file_server
}}
""",
            ),
        ),
        note="The first part holds for every site of this Caddy. Then: systemctl reload caddy.",
    )


def _traefik(s: Setup) -> Snippet:
    return Snippet(
        slug="traefik",
        title="Traefik",
        blocks=(
            Block(
                caption="In the static configuration, traefik.yml",
                text=f"""\
certificatesResolvers:
  certdesk:
    acme:
      caServer: "{s.directory}"
      email: "{s.contact}"
      storage: "/etc/traefik/acme.json"
      eab:
        kid: "{s.kid}"
        hmacEncoded: "{s.hmac_key}"
      httpChallenge:
        entryPoint: web
""",
            ),
            Block(
                caption="In the dynamic configuration, for each router",
                text=f"""\
http:
  routers:
    site:
      rule: "Host(`{s.name}`)"
      service: site
      tls:
        certResolver: certdesk
""",
            ),
        ),
        note="The storage file must be readable by Traefik alone (chmod 600).",
    )


def _cert_manager(s: Setup) -> Snippet:
    return Snippet(
        slug="cert-manager",
        title="cert-manager",
        blocks=(
            Block(
                caption="The key, as a secret",
                text=f"""\
kubectl create secret generic certdesk-eab --namespace cert-manager \\
  --from-literal=secret={s.hmac_key}
""",
            ),
            Block(
                caption="The issuer and a certificate, for kubectl apply --filename",
                text=f"""\
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata:
  name: certdesk
spec:
  acme:
    server: "{s.directory}"
    email: "{s.contact}"
    privateKeySecretRef:
      name: certdesk-account
    externalAccountBinding:
      keyID: "{s.kid}"
      keySecretRef:
        name: certdesk-eab
        key: secret
    solvers:
      - http01:
          ingress:
            ingressClassName: nginx
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: site
spec:
  secretName: site-tls
  dnsNames:
    - "{s.name}"
  issuerRef:
    kind: ClusterIssuer
    name: certdesk
""",
            ),
        ),
        note="For a private CA of this service, add its root as caBundle (base64 of the PEM) to the issuer.",
    )


def _mod_md(s: Setup) -> Snippet:
    return Snippet(
        slug="mod-md",
        title="Apache mod_md",
        blocks=(
            Block(
                caption="In Apache's configuration, after a2enmod md ssl",
                text=f"""\
MDCertificateAuthority {s.directory}
MDCertificateAgreement accepted
MDContactEmail {s.contact}
MDExternalAccountBinding {s.kid} {s.hmac_key}
MDomain {s.name}
Protocols http/1.1 acme-tls/1

<VirtualHost *:443>
    ServerName {s.name}
    DocumentRoot /var/www/html
    SSLEngine on
</VirtualHost>
""",
            ),
        ),
        note="Reload twice: the first time Apache fetches the certificate, the second time it uses it. "
        "mod_md does nothing unless a challenge could work, even where none is needed: keep port 80 open, "
        "or the line with acme-tls/1.",
    )


def _haproxy(s: Setup) -> Snippet:
    return Snippet(
        slug="haproxy",
        title="HAProxy",
        blocks=(
            Block(
                caption="Once, to register; it prints ACCOUNT_THUMBPRINT",
                text=f"""\
acme.sh --register-account --server {s.directory} \\
  --eab-kid {s.kid} \\
  --eab-hmac-key {s.hmac_key} \\
  --accountemail {s.contact}
""",
            ),
            Block(
                caption="In haproxy.cfg, with that thumbprint",
                text="""\
global
    setenv ACCOUNT_THUMBPRINT "THUMBPRINT"
    stats socket /run/haproxy/admin.sock level admin mode 660

frontend web
    bind :80
    bind :443 ssl crt /etc/haproxy/certs/ strict-sni
    http-request return status 200 content-type text/plain \
lf-string "%[path,field(-1,/)].${ACCOUNT_THUMBPRINT}\\n" if { path_beg '/.well-known/acme-challenge/' }
""",
            ),
            Block(
                caption="For each certificate",
                text=f"""\
acme.sh --issue --server {s.directory} \\
  --domain {s.name} --stateless
DEPLOY_HAPROXY_HOT_UPDATE=yes \\
DEPLOY_HAPROXY_STATS_SOCKET=/run/haproxy/admin.sock \\
DEPLOY_HAPROXY_PEM_PATH=/etc/haproxy/certs \\
acme.sh --deploy --domain {s.name} --deploy-hook haproxy
""",
            ),
        ),
        note="acme.sh renews and hands each new certificate to the running HAProxy, without a reload.",
    )
