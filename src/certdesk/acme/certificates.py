"""Certificates: fetching their chains and revoking them (RFC 8555 7.4.2, 7.6)."""

import binascii

from django.utils import timezone

from certdesk.acme.edge import Call, SignedBy, signed
from certdesk.acme.render import Reply, address
from certdesk.domain.acme_problems import malformed
from certdesk.domain.jws import decoded
from certdesk.services.acme_certificates import chain_pem, revoke_by_account, revoke_by_key

PEM_CHAIN = "application/pem-certificate-chain"


@signed(own_transactions=True)
def certificate(call: Call, number: int) -> Reply:
    """The certificate and what stands above it, without the root; the alternate has the root as well."""
    call.only_reads()
    call.spend()
    chain = chain_pem(account=call.owner, certificate_id=number, now=call.now)
    alternate = f'<{address(f"cert/{number}/with-root")}>;rel="alternate"'
    return Reply(headers={"Content-Type": PEM_CHAIN, "Link": alternate}, body=chain)


@signed(own_transactions=True)
def certificate_with_root(call: Call, number: int) -> Reply:
    """The same with the root at its end."""
    call.only_reads()
    call.spend()
    chain = chain_pem(account=call.owner, certificate_id=number, with_root=True, now=call.now)
    alternate = f'<{address(f"cert/{number}")}>;rel="alternate"'
    return Reply(headers={"Content-Type": PEM_CHAIN, "Link": alternate}, body=chain)


@signed(by=SignedBy.EITHER, own_transactions=True)
def revoke(call: Call) -> Reply:
    """Revokes for the account that ordered, one that is authorized for all names, or the key's holder."""
    body = call.body()
    der, reason = _der(body.get("certificate")), body.get("reason")
    if reason is not None and (not isinstance(reason, int) or isinstance(reason, bool)):
        raise malformed("“reason” is a number (RFC 5280 5.3.1).")
    call.spend()
    if call.key is not None:
        revoke_by_key(spki_sha256=call.key.spki_sha256, der=der, reason_code=reason, clock=timezone.now)
    else:
        revoke_by_account(account=call.owner, der=der, reason_code=reason, clock=timezone.now)
    return Reply()


def _der(text: object) -> bytes:
    try:
        if not isinstance(text, str) or not text or "=" in text:
            raise ValueError  # noqa: TRY301 - one answer for all that is no certificate
        return decoded(text)
    except (ValueError, binascii.Error):
        raise malformed("“certificate” is base64url, without padding, of a certificate in DER.") from None
