"""What every back end must pass: a class of pytest tests to inherit from. Only test suites import this.

The inheriting test module supplies two fixtures: `backend_factory`, which opens the same CA anew at each
call (as a restart would), and `make_intent`, which makes an intent that the CA may issue.
"""
# ruff: noqa: S101 - these are tests; pytest rewrites their asserts when the module is registered

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certdesk.backends.base import (
    Backend,
    ChoosesValidity,
    Finds,
    Listed,
    Lists,
    Prepares,
    PublishesCrl,
    RevokedEntry,
)
from certdesk.domain.errors import BackendRefused, InvariantViolated
from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.certificates import (
    Absent,
    Accepted,
    Intent,
    Issued,
    Outcome,
    Refused,
    certificate_facts,
    compare,
    subject_under,
)
from certdesk.domain.issuing.profiles import profile, validity

BackendFactory = Callable[[], Backend]

_POLLS = 50


class MakeIntent(Protocol):
    """Makes an intent with a key of its own that the CA under test may issue."""

    def __call__(self, *, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
        """The intent, not yet prepared."""


def server_intent(
    *,
    now: datetime,
    names: tuple[str, ...] = ("www.example.ac.uk",),
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | None = None,
    years: int = 1,
    subject: tuple[tuple[str, str], ...] | None = None,
) -> Intent:
    """An intent for a TLS server, with a new EC key unless one is given; a start for `make_intent`."""
    public_key = key or ec.generate_private_key(ec.SECP256R1()).public_key()
    kind = profile("tls-server")
    begins, ends = validity(kind, duration_years=years, now=now)
    if subject is None:
        subject = subject_under(kind, names=names, organisation="Example University", country="GB")
    return Intent(
        idempotency_key=uuid.uuid4().hex,
        backend="under-test",
        profile=kind,
        csr_der=b"",
        spki_der=public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        names=names,
        subject=subject,
        not_before=begins,
        not_after=ends,
    )


def prepared(backend: Backend, intent: Intent) -> Intent:
    """The intent as the services would record it for this back end."""
    return backend.prepare(intent) if isinstance(backend, Prepares) else intent


def settled(backend: Backend, intent: Intent) -> Outcome:
    """What comes of a submit, after the polls that it takes."""
    outcome = backend.submit(intent)
    for _ in range(_POLLS):
        if not isinstance(outcome, Accepted):
            return outcome
        outcome = backend.poll(intent, outcome.handle)
    pytest.fail(f"{backend.name} had nothing to say after {_POLLS} polls")


def issued(backend: Backend, intent: Intent) -> Issued:
    """What comes of a submit that must succeed."""
    outcome = settled(backend, intent)
    assert isinstance(outcome, Issued), outcome
    return outcome


def _compared(backend: Backend, done: Issued) -> bytes:
    """The certificate; its content alone where the CA's key draws random numbers, as tokens do for ECDSA."""
    if getattr(backend, "is_repeatable", True):
        return done.chain[0]
    return x509.load_der_x509_certificate(done.chain[0]).tbs_certificate_bytes


class BackendConformance:
    """Inherit from this under a name that pytest collects, and give the two fixtures."""

    def test_introduces_itself(self, backend_factory: BackendFactory) -> None:
        backend = backend_factory()
        assert isinstance(backend, Backend)
        assert backend.name
        assert backend.title

    def test_check_finds_no_reason_to_refuse(self, backend_factory: BackendFactory) -> None:
        checks = backend_factory().check()
        assert checks
        assert worst(checks) in (Verdict.PASS, Verdict.WARN)

    def test_chain_leads_upwards(self, backend_factory: BackendFactory, make_intent: MakeIntent) -> None:
        backend = backend_factory()
        before = backend.chain()
        leaf = issued(backend, prepared(backend, make_intent())).chain[0]
        assert before in ((), backend.chain())  # some show it with the first certificate only
        chain = [x509.load_der_x509_certificate(der) for der in (leaf, *backend.chain())]
        assert len(chain) > 1
        for lower, upper in pairwise(chain):
            lower.verify_directly_issued_by(upper)

    def test_issues_what_was_intended(self, backend_factory: BackendFactory, make_intent: MakeIntent) -> None:
        backend = backend_factory()
        intent = prepared(backend, make_intent(names=("a.example.ac.uk", "b.example.ac.uk")))
        checks = compare(issued(backend, intent), intent)
        assert [check.verdict for check in checks] == [Verdict.PASS], checks

    def test_a_repeat_yields_the_same_certificate(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        backend = backend_factory()
        intent = prepared(backend, make_intent())
        assert _compared(backend, issued(backend, intent)) == _compared(backend, issued(backend, intent))

    def test_a_repeat_after_a_restart_yields_the_same_certificate(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        before = backend_factory()
        intent = prepared(before, make_intent())
        first = issued(before, intent)
        assert _compared(before, issued(backend_factory(), intent)) == _compared(before, first)

    def test_two_intents_get_two_serial_numbers(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        backend = backend_factory()
        leaves = [issued(backend, prepared(backend, make_intent())).chain[0] for _ in range(2)]
        assert len({certificate_facts(leaf).serial for leaf in leaves}) == 2  # noqa: PLR2004 - two of two

    def test_an_impossible_name_is_refused(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        backend = backend_factory()
        intent = make_intent(names=("not a host",))
        assert _reason_for_refusal(backend, intent)

    def test_nothing_is_signed_that_would_outlive_its_issuer(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        backend = backend_factory()
        if isinstance(backend, ChoosesValidity):  # it is not told; what it sends is looked at
            sent = issued(backend, prepared(backend, make_intent()))
            lives = [x509.load_der_x509_certificate(der).not_valid_after_utc for der in sent.chain]
            assert lives[0] == min(lives)
            intent = replace(make_intent(), not_after=datetime.now(UTC) + timedelta(hours=1))
            assert worst(compare(issued(backend, intent), intent)) is Verdict.REFUSE
            return
        ends = x509.load_der_x509_certificate(backend.chain()[0]).not_valid_after_utc
        assert _reason_for_refusal(backend, replace(make_intent(), not_after=ends + timedelta(seconds=1)))

    def test_revokes_its_own_certificate_and_no_other(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        backend = backend_factory()
        leaf = issued(backend, prepared(backend, make_intent())).chain[0]
        for _again in range(2):  # after a crash it is asked once more
            backend.revoke(certificate_der=leaf, reason="superseded")
        with pytest.raises(BackendRefused):
            backend.revoke(certificate_der=_foreign_certificate(), reason="superseded")
        with pytest.raises(BackendRefused):
            backend.revoke(certificate_der=leaf, reason="no such reason")


class PreparesConformance:
    """For a back end that prepares, beside BackendConformance."""

    def test_prepare_records_serial_and_bytes(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        backend = backend_factory()
        assert isinstance(backend, Prepares)
        intent = backend.prepare(make_intent())
        assert intent.tbs
        assert intent.serial is not None
        # BR 7.1.2.7: at least 64 bits from a CSPRNG, positive; RFC 5280 4.1.2.2: at most 20 octets.
        assert 2**64 < intent.serial < 2**159

    def test_nothing_unprepared_is_signed(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        backend = backend_factory()
        assert isinstance(backend, Prepares)
        intent = backend.prepare(make_intent())
        for broken in (
            make_intent(),
            replace(intent, tbs=None),
            replace(intent, serial=None),
            replace(intent, tbs=b"other bytes"),
            replace(intent, names=("other.example.ac.uk",)),
        ):
            with pytest.raises(InvariantViolated):
                backend.submit(broken)


class FindsConformance:
    """For a back end that finds, beside BackendConformance."""

    def test_find_knows_what_was_submitted(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        backend = backend_factory()
        assert isinstance(backend, Finds)
        intent = prepared(backend, make_intent())
        assert backend.find(intent) == Absent()
        backend.submit(intent)
        assert isinstance(backend.find(intent), (Issued, Accepted))


class ListsConformance:
    """For a back end that lists, beside BackendConformance."""

    def test_lists_what_it_has_issued(self, backend_factory: BackendFactory, make_intent: MakeIntent) -> None:
        backend = backend_factory()
        assert isinstance(backend, Lists)
        intents = [prepared(backend, make_intent(names=(f"{n}.example.ac.uk",))) for n in "ab"]
        leaves = {issued(backend, intent).chain[0] for intent in intents}
        for fresh in (backend, backend_factory()):  # as after a restart
            assert isinstance(fresh, Lists)
            found = _fetched(fresh)
            assert leaves <= set(found)
            assert all(found[leaf].issued_at is not None and not found[leaf].is_revoked for leaf in leaves)
            for leaf in leaves:  # what stands above it is known, as compare() needs it
                above = found[leaf].above or backend.chain()
                x509.load_der_x509_certificate(leaf).verify_directly_issued_by(
                    x509.load_der_x509_certificate(above[0])
                )

    def test_tells_what_is_revoked(self, backend_factory: BackendFactory, make_intent: MakeIntent) -> None:
        backend = backend_factory()
        assert isinstance(backend, Lists)
        leaf = issued(backend, prepared(backend, make_intent())).chain[0]
        backend.revoke(certificate_der=leaf, reason="superseded")
        serial = certificate_facts(leaf).serial
        listed = list(backend.listed(since=datetime.now(UTC) - timedelta(days=2)))
        told = any(one.serial == serial and one.is_revoked for one in listed)
        assert told or not backend.lists_all
        assert told or not any(one.is_revoked for one in listed)

    def test_lists_nothing_from_before(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        backend = backend_factory()
        assert isinstance(backend, Lists)
        issued(backend, prepared(backend, make_intent()))
        later = backend.listed(since=datetime.now(UTC) + timedelta(days=365))
        assert not [one for one in later if one.issued_at is not None]

    def test_has_no_certificate_that_it_has_not_issued(self, backend_factory: BackendFactory) -> None:
        backend = backend_factory()
        assert isinstance(backend, Lists)
        assert backend.fetch(Listed(serial=2**100 + 1)) is None


class PublishesCrlConformance:
    """For a back end that publishes its CRL through us, beside BackendConformance."""

    def test_crl_lists_what_was_revoked(self, backend_factory: BackendFactory) -> None:
        backend = backend_factory()
        assert isinstance(backend, PublishesCrl)
        now = datetime.now(UTC).replace(microsecond=0)
        entries = [
            RevokedEntry(serial=2**100, revoked_at=now, reason="keyCompromise"),
            RevokedEntry(serial=2**101, revoked_at=now),
        ]
        der = backend.crl(revoked=entries, number=7, this_update=now, next_update=now + timedelta(days=7))
        crl = x509.load_der_x509_crl(der)
        issuer = x509.load_der_x509_certificate(backend.chain()[0])
        assert crl.issuer == issuer.subject
        assert crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # CA keys can verify
        assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7  # noqa: PLR2004 - as above
        assert {entry.serial_number for entry in crl} == {2**100, 2**101}


def _fetched(backend: Lists) -> dict[bytes, Listed]:
    """Everything of the last two days with its DER; a CA may list what it has not issued yet."""
    listed = [one for one in backend.listed(since=datetime.now(UTC) - timedelta(days=2)) if one.issued_at]
    whole = [one if one.der else backend.fetch(one) for one in listed]
    return {one.der: one for one in whole if one is not None}


def _reason_for_refusal(backend: Backend, intent: Intent) -> str:
    """Why nothing was issued, empty when something was; a CA may refuse by result or by exception."""
    try:
        outcome = settled(backend, prepared(backend, intent))
    except BackendRefused as error:
        return error.detail
    return outcome.reason if isinstance(outcome, Refused) else ""


def _foreign_certificate() -> bytes:
    """A certificate that no CA under test issued."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "foreign.example")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
