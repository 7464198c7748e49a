"""What tests with a real OpenBao share: settings, the policy of the documentation, intents with a CSR."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from certdesk.backends.conformance import server_intent
from certdesk.domain.issuing.certificates import Intent
from tests.harness.acme_client import make_csr
from tests.harness.openbao import OpenBao

POLICY = """
path "pki/sign/web" { capabilities = ["update"] }
path "pki/certs/detailed" { capabilities = ["list"] }
path "pki/certs/revoked" { capabilities = ["list"] }
path "pki/certs" { capabilities = ["list"] }
path "pki/cert/*" { capabilities = ["read"] }
path "pki/revoke" { capabilities = ["update"] }
path "pki/roles/web" { capabilities = ["read"] }
"""


def settings_for(bao: OpenBao, folder: Path, **changes: object) -> dict[str, object]:
    """Settings of a back end at this server, by a token in a file of the folder."""
    token = folder / "token"
    token.write_text(f"{bao.token}\n", encoding="utf-8")
    token.chmod(0o600)
    own = {"kind": "openbao", "address": bao.address, "role": "web", "token_file": token}
    return {**own, **changes}


def intent_for(
    names: tuple[str, ...], *, now: datetime, key: ec.EllipticCurvePrivateKey | None = None
) -> Intent:
    """An intent claimed at `now`, whose CSR names another host, which counts for nothing."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    intent = server_intent(now=now, names=names, key=key.public_key())
    return replace(intent, csr_der=make_csr("ignored.example.org", key=key))
