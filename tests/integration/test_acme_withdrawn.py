"""What is ended, blocked or narrowed after an ACME order was made stops every further step of it."""

from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from certdesk.dcv.base import Outcome, Validated
from certdesk.domain.acme.credentials import Limits
from certdesk.domain.acme.jws import encoded, key_authorization
from certdesk.domain.acme.problems import AcmeRefused
from certdesk.domain.names.identifiers import parse_dns_name
from certdesk.domain.validation.evidence import Method
from certdesk.services.acme import challenges as acme_validation
from certdesk.services.acme import orders as acme_orders
from certdesk.services.acme.accounts import account_by_id
from certdesk.services.acme.credentials import change_credential, end_account, revoke_credential
from certdesk.services.acme.orders import challenge_token
from certdesk.services.people.organisations import disable_organisation
from certdesk.store.models import (
    AcmeAccount,
    AcmeAuthorization,
    AuditEvent,
    BlockedKey,
    Certificate,
    EabCredential,
    ValidationRecord,
)
from certdesk.store.selectors.acme import get_account
from tests.harness.acme_client import AcmeClient, make_csr
from tests.integration.acme_support import AcmeWorld, ScriptedValidator, Scripts
from tests.integration.support import NOW

NAME, OUTSIDE = "www.example.ac.uk", "www.another.ac.uk"


def narrowed(limits: Limits) -> Callable[[AcmeWorld], None]:
    def narrow(here: AcmeWorld) -> None:
        number = here.credential.credential_id
        change_credential(actor=here.meg, credential_id=number, name="web", limits=limits, now=NOW)

    return narrow


def expired(here: AcmeWorld) -> None:
    EabCredential.objects.filter(id=here.credential.credential_id).update(expires_at=NOW - timedelta(hours=1))


def revoked(here: AcmeWorld) -> None:
    revoke_credential(actor=here.meg, credential_id=here.credential.credential_id, now=NOW)


def ended(here: AcmeWorld) -> None:
    end_account(actor=here.meg, account_id=AcmeAccount.objects.get().pk, now=NOW)


def _disabled(here: AcmeWorld) -> None:
    disable_organisation(
        actor=here.world.olga, organisation_id=here.world.university, reason="Fees.", now=NOW
    )


def _blocked(_here: AcmeWorld) -> None:
    BlockedKey.objects.create(spki_sha256=AcmeAccount.objects.get().spki_sha256, reason="Known.", at=NOW)


def _found(
    account: AcmeAccount, number: int, network: Mapping[Method, ScriptedValidator]
) -> tuple[acme_validation.Look, Outcome]:
    """A challenge that was answered, and the proof that the network gave."""
    look = acme_validation.answer_challenge(
        account=account, authorization_id=number, type_name="http-01", now=NOW
    ).look
    assert look is not None
    token = challenge_token(look.authorization, look.type)
    network[Method.ACME_HTTP].proofs.add(key_authorization(token, account.thumbprint))
    outcome = acme_validation.take_look(look, now=NOW)
    assert isinstance(outcome, Validated)
    return look, outcome


withdrawals = pytest.mark.parametrize(
    "withdraw, problem",
    [
        (narrowed(Limits(suffixes=("lab.example.ac.uk",))), "rejectedIdentifier"),
        (narrowed(Limits(profile_id="tls-server-ip")), "invalidProfile"),
        (expired, "unauthorized"),
        (revoked, "unauthorized"),
        (ended, "unauthorized"),
        (_disabled, "unauthorized"),
        (_blocked, "unauthorized"),
    ],
)


@withdrawals
def test_no_step_of_an_order_survives(
    here: AcmeWorld, one: AcmeClient, withdraw: Callable[[AcmeWorld], None], problem: str
) -> None:
    """RFC 8555 7.4, 7.5: reading, ordering, proving and fetching are each judged anew."""
    pending = one.order(OUTSIDE)
    done = one.finalize(one.order(NAME).json, make_csr(NAME)).json
    authorization = pending.json["authorizations"][0]
    challenge = one.post(authorization).json["challenges"][0]["url"]
    ready = one.order(NAME).json
    withdraw(here)
    for url, payload in (
        (one.at["newOrder"], {"identifiers": [{"type": "dns", "value": NAME}], "profile": "tls-server"}),
        (pending.headers["Location"], None),
        (authorization, None),
        (challenge, None),
        (challenge, {}),
        (done["certificate"], None),
        (f"{done['certificate']}/with-root", None),
        (ready["finalize"], {"csr": encoded(make_csr(NAME))}),
    ):
        assert one.post(url, payload).problem == problem, url
    assert Certificate.objects.count() == 1


@withdrawals
def test_what_was_found_for_it_meanwhile_proves_nothing(
    here: AcmeWorld, one: AcmeClient, network: Scripts, withdraw: Callable[[AcmeWorld], None], problem: str
) -> None:
    """The network was asked while it was withdrawn: the rows under the lock are what counts."""
    number = int(one.order(OUTSIDE).json["authorizations"][0].rsplit("/", 1)[1])
    account = account_by_id(AcmeAccount.objects.get().pk)
    look, outcome = _found(account, number, network)
    withdraw(here)
    before = ValidationRecord.objects.count()
    acme_validation.record_look(look, outcome, now=NOW)
    assert ValidationRecord.objects.count() == before
    row = AcmeAuthorization.objects.get(id=number)
    assert (row.valid_until, row.failed_at) == (None, NOW)
    with pytest.raises(AcmeRefused) as refused:
        acme_orders.new_order(account=account, names=(parse_dns_name(NAME),), now=NOW)
    assert refused.value.kind.value == problem
    assert AuditEvent.objects.filter(action="acme_challenge.fail").count() == 1


def test_a_proof_for_an_authorization_that_was_given_up_proves_nothing(
    one: AcmeClient, network: Scripts
) -> None:
    url = one.order(OUTSIDE).json["authorizations"][0]
    number, before = int(url.rsplit("/", 1)[1]), ValidationRecord.objects.count()
    account = account_by_id(AcmeAccount.objects.get().pk)
    look, outcome = _found(account, number, network)
    assert one.post(url, {"status": "deactivated"}).status == 200
    acme_validation.record_look(look, outcome, now=NOW)
    assert one.post(url).json["status"] == "deactivated"
    assert ValidationRecord.objects.count() == before


def test_an_expired_credential_lets_its_accounts_look_after_themselves(
    here: AcmeWorld, one: AcmeClient
) -> None:
    """RFC 8555 7.3.6: an account that may order nothing may still end itself."""
    expired(here)
    assert one.post(one.kid, {"contact": ["mailto:new@example.ac.uk"]}).status == 200
    assert one.post(one.kid, {"status": "deactivated"}).json["status"] == "deactivated"


def test_a_blocked_key_is_nobodys_account_key(here: AcmeWorld, one: AcmeClient) -> None:
    """A key that is refused in certificates signs for no account either: registered, found or changed to."""
    _blocked(here)
    number, other = AcmeAccount.objects.get().pk, here.registered()
    assert one.post(one.kid).problem == "unauthorized"
    assert get_account(actor=here.meg, account_id=number).status.value == "blocked"
    assert AcmeAccount.objects.get(id=number).deactivated_at is None
    assert other.change_key(one.key).problem == "badPublicKey"
    one.kid = ""
    assert one.post(one.at["newAccount"], {"onlyReturnExisting": True}).problem == "badPublicKey"
    assert one.register(here.credential.kid, here.credential.hmac_key).problem == "badPublicKey"
