"""ARI over ACME (RFC 9773), and the one table from Certdesk's errors to ACME's."""

import inspect
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from cryptography import x509

from certdesk.acme import problems
from certdesk.domain import errors
from certdesk.domain.acme.problems import STATUS, ProblemType
from certdesk.domain.actors import RaRole
from certdesk.domain.errors import InvalidInput
from certdesk.services.acme.renewal import Matching, advise_renewal, withdraw_advice
from certdesk.store.models import AcmeOrder, Certificate
from tests.harness.acme_client import AcmeClient, b64, make_csr
from tests.integration.support import actor, audit_problems

NAME = "www.example.ac.uk"


def _identifier(chain: bytes) -> str:
    leaf = x509.load_pem_x509_certificates(chain)[0]
    key = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert key is not None
    serial = leaf.serial_number
    return f"{b64(key)}.{b64(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def _window(one: AcmeClient, identifier: str) -> tuple[datetime, datetime]:
    reply = one.get(f"{one.at['renewalInfo']}/{identifier}")
    assert (reply.status, reply.headers["Retry-After"]) == (200, "21600")
    found = reply.json["suggestedWindow"]
    return datetime.fromisoformat(found["start"]), datetime.fromisoformat(found["end"])


def test_a_window_is_told_to_anybody_and_moved_forward_by_an_operator(one: AcmeClient) -> None:
    identifier = _identifier(one.issue(NAME))
    usual = _window(one, identifier)
    now = datetime.now(UTC)
    assert now + timedelta(days=40) < usual[0] < usual[1] < now + timedelta(days=90)
    op = actor("op", ra=RaRole.OPERATOR)
    advise = partial(advise_renewal, actor=op, now=now, starts_at=now, reason="The CA's key leaked.")
    with pytest.raises(InvalidInput):
        advise(matching=Matching(), ends_at=now)
    advise(matching=Matching(issuer="CN=Another CA"), ends_at=now + timedelta(days=2))
    assert _window(one, identifier) == usual
    ours = Matching(issuer=Certificate.objects.get().issuer)
    number = advise(matching=ours, ends_at=now + timedelta(days=2))
    early = _window(one, identifier)
    assert now - timedelta(seconds=2) <= early[0] < early[1] <= now + timedelta(days=2, seconds=2)
    later = _identifier(one.issue(NAME))
    assert _window(one, later)[0] > now + timedelta(days=40)  # issued after it
    withdraw_advice(actor=op, advice_id=number, now=now)
    assert _window(one, identifier) == usual
    assert audit_problems() == []


@pytest.mark.parametrize("identifier", ["x", "a.b", "AAAA.AAAA", ".", "é.é", "A" * 500])
def test_what_names_no_certificate_is_not_there(one: AcmeClient, identifier: str) -> None:
    one.issue(NAME)
    assert one.get(f"{one.at['renewalInfo']}/{identifier}").refusal == (404, "malformed")


def test_an_order_says_what_it_replaces_once(one: AcmeClient) -> None:
    identifier = _identifier(one.issue(NAME))
    assert one.order("mail.example.ac.uk", replaces=identifier).refusal == (
        400,
        "malformed",
    )  # no name in common
    first = one.order(NAME, replaces=identifier)
    assert first.status == 201
    assert one.order(NAME, replaces=identifier).status == 201  # the first may come to nothing
    assert one.finalize(first.json, make_csr(NAME)).json["status"] == "valid"
    assert one.order(NAME, replaces=identifier).refusal == (409, "alreadyReplaced")
    assert AcmeOrder.objects.filter(replaces__isnull=False).count() == 2


def test_every_error_of_certdesk_has_a_row_of_its_own() -> None:
    found = {
        one
        for _name, one in inspect.getmembers(errors, inspect.isclass)
        if issubclass(one, errors.CertdeskError) and one.__module__ == errors.__name__
    }
    assert found == set(problems.KINDS)


def test_our_own_bugs_say_nothing_of_themselves() -> None:
    for kind in (errors.CertdeskError, errors.InvariantViolated, errors.Misconfigured):
        answer = problems.answer_of(kind("secret detail"))
        assert answer.status == 500
        assert b"secret" not in answer.body


def test_every_status_is_of_a_known_type() -> None:
    assert set(STATUS) <= set(ProblemType)
    assert problems.answer_of(errors.RateLimited("x", retry_after=7)).headers["Retry-After"] == "7"
