"""Blocked keys: on what proof, for whom, and how officers block and unblock them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.db import IntegrityError

from certdesk.domain.actors import Actor
from certdesk.domain.csr.csr import PrivateKeyPasted, read_csr
from certdesk.domain.errors import BadCsr, InvalidInput, StateConflict
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.services.requests.asking import preview_request
from certdesk.services.requests.confirm import submit_request
from certdesk.services.revocation.blocked_keys import block_by_hand, block_key, unblock_key
from certdesk.services.revocation.revoke import HoldsAccount, HoldsKey, revoke_by_proof, revoke_certificate
from certdesk.store.models import AcmeAccount, AuditEvent, BlockedKey, Certificate, KeyProof
from certdesk.store.selectors.keys import list_blocked
from tests.harness.acme_client import AcmeClient
from tests.integration import support
from tests.integration.acme_support import AcmeWorld
from tests.integration.support import NOW, Clock, World, outcomes, together
from tests.vectors import forge

pytestmark = pytest.mark.django_db(transaction=True)

VECTORS = Path(__file__).parent.parent / "vectors" / "bad"
FORGED = sorted(VECTORS.glob("private-key-forged-*"))
Key = ec.EllipticCurvePrivateKey
COMPROMISE = RevocationReason.KEY_COMPROMISE


@pytest.fixture
def key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def refused(w: World, key: Key, *, by: Actor | None = None) -> bool:
    """Whether the key's owner, or somebody else, would be refused because of it."""
    who = by or w.alice
    (own,) = who.organisation_ids
    asked = support.submission(own, upload=support.csr("www.example.ac.uk", key=key))
    checks = preview_request(actor=who, submission=asked, now=NOW).decision.checks
    return ("key.blocked", Verdict.REFUSE) in {(check.code, check.verdict) for check in checks}


def charlie() -> Actor:
    return support.actor("charlie", organisation=support.organisation("Other College"))


def issued(w: World, key: Key) -> Certificate:
    asked = support.submission(w.university, upload=support.csr("www.example.ac.uk", key=key))
    made = submit_request(actor=w.alice, submission=asked, channel="portal", clock=Clock())
    return Certificate.objects.get(request_id=made.number)


def block(w: World, *, by: Actor | None = None, key: Key | None = None) -> int:
    """A block by an officer."""
    evidence = support.csr(key=key)
    return block_by_hand(
        actor=by or w.olga, evidence=evidence, reason="Found in a public repository.", now=NOW
    )


@pytest.mark.parametrize("path", FORGED, ids=lambda path: path.stem)
def test_a_forged_private_key_blocks_nobody(w: World, path: Path) -> None:
    asked = support.submission(w.university, upload=path.read_bytes())
    with pytest.raises(PrivateKeyPasted):
        preview_request(actor=w.alice, submission=asked, now=NOW)
    assert not BlockedKey.objects.exists()
    assert not AuditEvent.objects.filter(action="key.block").exists()


def test_a_forged_private_key_sent_by_acme_blocks_nobody(one: AcmeClient) -> None:
    order = one.order("www.example.ac.uk").json
    for path in FORGED:
        assert one.finalize(order, path.read_bytes()).problem == "badCSR"
    assert not BlockedKey.objects.exists()


@pytest.mark.usefixtures("one")
@pytest.mark.parametrize("way", ["person", "account", "key", "officer"])
def test_a_report_binds_others_on_proof_or_on_an_officers_word(here: AcmeWorld, key: Key, way: str) -> None:
    """A claim is about the organisation's own key: what another one does with it is not touched."""
    w, other, account = here.world, charlie(), AcmeAccount.objects.get()
    row = issued(w, key)
    report: Callable[..., object] = partial(revoke_by_proof, actor=Actor(label="a machine"))
    match way:
        case "person" | "officer":
            report = partial(revoke_certificate, actor=w.alice if way == "person" else w.olga)
        case "account":
            report = partial(report, proof=HoldsAccount(account=account))
        case "key":
            report = partial(report, proof=HoldsKey(spki_sha256=row.spki_sha256))
    report(certificate_id=row.pk, reason=COMPROMISE, clock=Clock())
    for_all = way in ("key", "officer")
    assert refused(w, key)
    assert refused(w, key, by=other) is for_all
    held = BlockedKey.objects.get()
    assert (held.organisation_id is None) is for_all
    wanted = {"key": KeyProof.POSSESSION, "officer": KeyProof.OFFICER}
    assert held.proof == wanted.get(way, KeyProof.CLAIM)


def test_what_was_claimed_can_still_be_proven_for_everybody(w: World, key: Key) -> None:
    other = charlie()
    row = issued(w, key)
    revoke_certificate(actor=w.alice, certificate_id=row.pk, reason=COMPROMISE, clock=Clock())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for _ in range(2):
        with pytest.raises(PrivateKeyPasted):
            preview_request(actor=w.bob, submission=support.submission(w.university, upload=pem), now=NOW)
    assert [held.proof for held in BlockedKey.objects.order_by("id")] == ["claim", "possession"]
    assert refused(w, key, by=other)


def test_a_claim_for_everybody_can_not_be_stored(w: World) -> None:
    with pytest.raises(IntegrityError):
        block_key("0" * 64, proof=KeyProof.CLAIM, reason="I say so.", actor=w.alice, now=NOW)


def test_an_officer_unblocks_with_a_reason_and_the_block_stays_on_record(w: World, key: Key) -> None:
    number = block(w, key=key)
    assert refused(w, key)
    with pytest.raises(InvalidInput):
        unblock_key(actor=w.otto, blocked_id=number, reason=" ", now=NOW)
    unblock_key(actor=w.otto, blocked_id=number, reason="It was a test key.", now=NOW)
    assert not refused(w, key)
    with pytest.raises(StateConflict):
        unblock_key(actor=w.otto, blocked_id=number, reason="Again.", now=NOW)
    (row,) = list_blocked(actor=w.olga, limit=5, now=NOW)
    assert (row.by, row.ended_by, row.ended_reason) == (w.olga.label, w.otto.label, "It was a test key.")
    noted = AuditEvent.objects.filter(action__startswith="key.").order_by("seq")
    assert [(one.action, one.actor, one.data["reason"]) for one in noted] == [
        ("key.block", w.olga.label, "Found in a public repository."),
        ("key.unblock", w.otto.label, "It was a test key."),
    ]
    assert block(w, key=key) != number
    assert refused(w, key)


def test_of_many_at_once_one_blocks_and_one_unblocks(w: World) -> None:
    csr = support.csr()
    calls = [partial(block_by_hand, actor=w.olga, evidence=csr, reason="Leaked.", now=NOW)] * 6
    assert len(outcomes(together(calls))[0]) == 6
    number = BlockedKey.objects.get().pk
    ends = [partial(unblock_key, actor=w.olga, blocked_id=number, reason="No.", now=NOW)] * 6
    won, lost = outcomes(together(ends))
    assert (len(won), {type(error) for error in lost}) == (1, {StateConflict})
    assert AuditEvent.objects.filter(action__startswith="key.").count() == 2


def evidence_of(w: World, key: Key, kind: str) -> bytes:
    public = key.public_key()
    match kind:
        case "csr":
            return support.csr(key=key)
        case "certificate" | "certificate-der":
            loaded = x509.load_der_x509_certificate(bytes(issued(w, key).der))
            return loaded.public_bytes(Encoding.DER if kind.endswith("der") else Encoding.PEM)
        case "public" | "public-der":
            form = Encoding.DER if kind.endswith("der") else Encoding.PEM
            return public.public_bytes(form, PublicFormat.SubjectPublicKeyInfo)
        case _:
            return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("kind", ["csr", "certificate", "certificate-der", "public", "public-der", "private"])
def test_a_key_is_blocked_by_whatever_shows_it(w: World, key: Key, kind: str) -> None:
    block_by_hand(actor=w.olga, evidence=evidence_of(w, key, kind), reason="Leaked.", now=NOW)
    held = BlockedKey.objects.get()
    assert held.spki_sha256 == read_csr(support.csr(key=key)).key.spki_sha256
    assert held.proof == ("possession" if kind == "private" else "officer")


@pytest.mark.parametrize(
    "evidence", [b"", b"nonsense", FORGED[0].read_bytes(), forge.pem(b"\x30\x00", label="CERTIFICATE")]
)
def test_what_shows_no_key_blocks_none(w: World, evidence: bytes) -> None:
    with pytest.raises(BadCsr):
        block_by_hand(actor=w.olga, evidence=evidence, reason="Leaked.", now=NOW)
    assert not BlockedKey.objects.exists()


def test_the_list_is_paged_searched_and_counts_certificates_in_use(w: World, key: Key) -> None:
    row = issued(w, key)
    for each in (None, key, None):
        block(w, key=each)
    found = list_blocked(actor=w.olga, limit=2, now=NOW)
    assert [one.certificates for one in found] == [0, 1]
    assert len(list_blocked(actor=w.olga, before=found[-1].id, limit=2, now=NOW)) == 1
    sought = " ".join(row.spki_sha256[at : at + 2].upper() for at in range(0, 64, 2)).replace(" ", ":")
    assert [one.spki_sha256 for one in list_blocked(actor=w.olga, query=sought, limit=5, now=NOW)] == [
        row.spki_sha256
    ]
