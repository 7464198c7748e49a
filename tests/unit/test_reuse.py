"""How long a public CA may rely on a proof, across the dates on which the rules change."""

from datetime import UTC, datetime

import pytest

from certdesk.domain.evidence import Method
from certdesk.domain.reuse import public_allowance, public_expiry
from certdesk.domain.rules import Allowance


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


@pytest.mark.parametrize(
    "method,validated,ends",
    [
        # BR 4.2.1: 200 days until 2027-03-15, then 100, from 2029-03-15 10.
        (Method.DNS_TXT, _day(2026, 4, 1), _day(2026, 10, 18)),
        (Method.DNS_TXT, _day(2026, 11, 24), _day(2027, 3, 15)),  # 111 days old on the day of the change
        (Method.DNS_TXT, _day(2027, 1, 1), _day(2027, 4, 11)),  # 100 days, which the new rule gives it
        (Method.DNS_TXT, _day(2027, 4, 1), _day(2027, 7, 10)),
        (Method.DNS_TXT, _day(2029, 3, 14), _day(2029, 3, 24)),
        (Method.DNS_TXT, _day(2028, 12, 24), _day(2029, 3, 15)),
        # BR 3.2.2.4.22: 10 days.
        (Method.DNS_PERSIST, _day(2026, 11, 24), _day(2026, 12, 4)),
        (Method.DNS_PERSIST_WILDCARD, _day(2026, 11, 24), _day(2026, 12, 4)),
        # SC-090: e-mail ends on 2028-03-15 and takes its proofs with it.
        (Method.EMAIL_CONSTRUCTED, _day(2028, 1, 1), _day(2028, 3, 15)),
        (Method.EMAIL_CAA_CONTACT, _day(2028, 3, 14), _day(2028, 3, 15)),
        (Method.EMAIL_DNS_CONTACT, _day(2028, 4, 1), _day(2028, 4, 1)),
        # Not a method of the BR.
        (Method.MANUAL_OWNERSHIP, _day(2026, 11, 24), _day(2026, 11, 24)),
    ],
)
def test_the_day_on_which_a_proof_ends(method: Method, validated: datetime, ends: datetime) -> None:
    assert public_expiry(method=method, validated_at=validated) == ends


def test_a_persistent_records_own_end_comes_first() -> None:
    until = _day(2026, 11, 26)
    found = public_expiry(method=Method.DNS_PERSIST, validated_at=_day(2026, 11, 24), persist_until=until)
    assert found == until


@pytest.mark.parametrize(
    "day,allowance",
    [
        (_day(2026, 3, 14), Allowance.ALLOWED),
        (_day(2026, 3, 15), Allowance.DISCOURAGED),
        (_day(2028, 3, 14), Allowance.DISCOURAGED),
        (_day(2028, 3, 15), Allowance.FORBIDDEN),
    ],
)
def test_e_mail_ends_for_public_cas(day: datetime, allowance: Allowance) -> None:
    assert public_allowance(Method.EMAIL_CONSTRUCTED, now=day) is allowance
    assert public_allowance(Method.DNS_TXT, now=day) is Allowance.ALLOWED
