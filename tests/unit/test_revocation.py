"""Reasons for a revocation, and how a certificate stands."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from certdesk.domain.errors import InvalidInput
from certdesk.domain.issuing.revocation import (
    CertificateId,
    CertificateStatus,
    RevocationReason,
    Standing,
    reason_coded,
    statuses,
)
from certdesk.domain.issuing.states import RequestId

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
V, X, S, E, R = (
    CertificateStatus.VALID,
    CertificateStatus.EXPIRING,
    CertificateStatus.SUPERSEDED,
    CertificateStatus.EXPIRED,
    CertificateStatus.REVOKED,
)


def one(
    number: int,
    *,
    request: int = 1,
    names: str = "a",
    since: timedelta = timedelta(days=1),
    ends: timedelta = timedelta(days=1),
    revoked: bool = False,
) -> Standing:
    return Standing(
        id=CertificateId(number),
        request=RequestId(request),
        names=frozenset(names.split()),
        not_before=NOW - since,
        not_after=NOW + ends,
        revoked_at=NOW if revoked else None,
    )


def found(*certificates: Standing) -> list[CertificateStatus]:
    """The statuses, in the order of the certificates' numbers."""
    return [status for _number, status in sorted(statuses(certificates, now=NOW).items())]


def test_a_newer_one_for_the_same_names_takes_its_place() -> None:
    assert found(one(1)) == [V]
    assert found(one(2), one(1)) == [S, V]
    assert found(one(1, names="a b"), one(2, names="b a")) == [S, V]
    assert found(one(1), one(2), one(3)) == [S, S, V]


def test_other_names_or_another_request_do_not() -> None:
    assert found(one(1), one(2, names="a b"), one(3, request=2)) == [V, V, V]


def test_a_revoked_one_takes_nobody_s_place() -> None:
    assert found(one(1), one(2, revoked=True)) == [V, R]
    assert found(one(1), one(2), one(3, revoked=True)) == [S, V, R]


def test_the_last_second_still_counts_and_revoked_goes_before_expired() -> None:
    over = timedelta(seconds=-1)
    assert found(one(1, ends=timedelta(0))) == [X]
    assert found(one(1, ends=over)) == [E]
    assert found(one(1, ends=over, revoked=True)) == [R]


@pytest.mark.parametrize(
    "lasts, left, status", [(365, 30, V), (365, 29, X), (90, 30, V), (90, 29, X), (6, 2, V), (6, 1, X)]
)
def test_it_expires_soon_in_its_last_third_and_for_30_days_at_most(
    lasts: int, left: int, status: CertificateStatus
) -> None:
    late, soon = timedelta(days=lasts - left), timedelta(days=left)
    assert found(one(1, since=late, ends=soon)) == [status]
    assert found(one(1, since=late, ends=soon), one(2)) == [S, V]


def test_the_reasons_are_those_of_rfc_5280_for_server_certificates() -> None:
    """BR 7.2.2: neither a hold nor what undoes one."""
    assert {r.value for r in RevocationReason} == {flag.value for flag in x509.ReasonFlags} - {
        "certificateHold",
        "removeFromCRL",
        "cACompromise",
        "aACompromise",
    }


def test_the_numbers_are_those_of_rfc_5280() -> None:
    assert {code: reason_coded(code).value for code in (0, 1, 3, 4, 5, 9)} == {
        0: "unspecified",
        1: "keyCompromise",
        3: "affiliationChanged",
        4: "superseded",
        5: "cessationOfOperation",
        9: "privilegeWithdrawn",
    }
    for code in (-1, 2, 6, 7, 8, 10, 11):
        with pytest.raises(InvalidInput):
            reason_coded(code)
