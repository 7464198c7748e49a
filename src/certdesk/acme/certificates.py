"""Certificates: fetching their chains and revoking them (RFC 8555 7.4.2, 7.6)."""

from django.utils import timezone

from certdesk.acme.edge import Call, SignedBy, signed
from certdesk.acme.render import Reply, address
from certdesk.domain.acme.problems import malformed
from certdesk.services.acme.certificates import chain_pem, revoke_by_account, revoke_by_key

PEM_CHAIN = "application/pem-certificate-chain"


@signed(own_transactions=True)
def certificate(call: Call, number: int, *, with_root: bool = False) -> Reply:
    """The certificate and what stands above it, without the root or with it; the other is the alternate."""
    call.only_reads()
    call.spend()
    chain = chain_pem(account=call.owner, certificate_id=number, with_root=with_root, now=call.now)
    other = address(f"cert/{number}" if with_root else f"cert/{number}/with-root")
    return Reply(headers={"Content-Type": PEM_CHAIN, "Link": f'<{other}>;rel="alternate"'}, body=chain)


@signed(by=SignedBy.EITHER, own_transactions=True)
def revoke(call: Call) -> Reply:
    """Revokes for the account that ordered, one that is authorized for all names, or the key's holder."""
    body = call.body()
    der, reason = call.der("certificate", "certificate"), body.get("reason")
    if reason is not None and (not isinstance(reason, int) or isinstance(reason, bool)):
        raise malformed("“reason” is a number (RFC 5280 5.3.1).")
    call.spend()
    if call.key is not None:
        revoke_by_key(spki_sha256=call.key.spki_sha256, der=der, reason_code=reason, clock=timezone.now)
    else:
        revoke_by_account(account=call.owner, der=der, reason_code=reason, clock=timezone.now)
    return Reply()
