"""Several vantage points under the whole service: settings in, validations, CAA checks and evidence out."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
import structlog
from django.core.mail import EmailMessage

from certdesk.conf.config import Config, load_config
from certdesk.conf.perspectives import caa_asker, corroborated, make_coordinator, ruled_perspectives
from certdesk.dcv.base import Network
from certdesk.dcv.conformance import ScriptedFetcher, ScriptedResolver, txt
from certdesk.dcv.dns import txt_digest
from certdesk.dcv.mpic.server import PerspectiveApp
from certdesk.dcv.registry import load_validators
from certdesk.dcv.resolver import Answer
from certdesk.domain.actors import RaRole
from certdesk.domain.errors import Misconfigured
from certdesk.domain.issuing.states import Status
from certdesk.domain.policy.file import read_policy
from certdesk.domain.validation.evidence import Method
from certdesk.services.system.runtime import CaaSettings
from certdesk.services.validation.perspectives import mail_perspectives, shortfall, warn_operators
from certdesk.store.models import CaaCheck, Request, ValidationRecord
from tests.harness.acme_client import AcmeClient
from tests.harness.perspective import Application, serving
from tests.harness.ports import free_port
from tests.integration.acme_support import acme_world
from tests.integration.support import NOW, actor, audit_problems, configured, submit, world
from tests.integration.test_dcv_perspectives import LIAR_NO, LIAR_YES

CODES = ("ripe.one", "arin.two", "apnic.three")
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.allow_hosts(["127.0.0.1", *ADDRESSES])]

TOKEN = "a-token-of-the-coordinator-0123456789"
NAME = "www.fresh.ac.uk"  # under a trusted suffix, proven by nobody yet
ISSUER = "certs.example.net"


@dataclass(frozen=True, kw_only=True)
class Dns:
    """One DNS, which here and every honest perspective see; the test writes into it."""

    answers: dict[tuple[str, str], Answer]

    @property
    def network(self) -> Network:
        return Network(resolver=ScriptedResolver(answers=self.answers), fetcher=ScriptedFetcher())

    def honest(self, code: str) -> PerspectiveApp:
        """A perspective that says what it sees."""
        return PerspectiveApp(code=code, token=TOKEN, network=self.network, clock=lambda: datetime.now(UTC))


@pytest.fixture
def dns() -> Dns:
    return Dns(answers={})


@contextlib.contextmanager
def perspectives(dns: Dns, *applications: Application | None, policy: str = "off") -> Iterator[None]:
    """Work with these three, as the settings would set them up; None is one that is down."""
    with contextlib.ExitStack() as running:
        urls = {
            code: f"http://{address}:{free_port()}"
            if application is None
            else running.enter_context(serving(application, address=address))
            for code, address, application in zip(CODES, ADDRESSES, applications, strict=True)
        }
        coordinator = make_coordinator(_config(urls), now=NOW)
        assert coordinator is not None
        running.callback(coordinator.close)
        network = dns.network
        running.enter_context(
            configured(
                network=network,
                validators=corroborated(load_validators(), coordinator),
                caa=CaaSettings(issuers=(ISSUER,), ask=caa_asker(network, coordinator)),
                policy=read_policy(f"version = 1\n[default]\ncaa = '{policy}'"),
            )
        )
        yield


def _config(urls: dict[str, str], **changes: str) -> Config:
    """The configuration of an environment with these perspectives."""
    environment = {
        "CERTDESK_SECRET_KEY": "s" * 40,
        "CERTDESK_CA_PASSPHRASE": "p" * 40,
        "CERTDESK_PERSPECTIVES": json.dumps(urls),
        "CERTDESK_PERSPECTIVE_TOKEN": TOKEN,
        "CERTDESK_PERSPECTIVE_QUORUM": "3",
        **changes,
    }
    with mock.patch.dict(os.environ, environment):
        return load_config()


def _challenged(dns: Dns, *, proof: bool = True) -> tuple[AcmeClient, str, dict[str, object]]:
    """A dns-01 challenge that was answered: the client, its authorization, the challenge as it stands."""
    one = acme_world().registered()
    (authorization,) = one.order(NAME).json["authorizations"]

    def prove(key_authorization: str) -> None:
        if proof:
            dns.answers[f"_acme-challenge.{NAME}", "TXT"] = txt(txt_digest(key_authorization))

    return one, authorization, one.answer(authorization, "dns-01", prove).json


def _votes(record: ValidationRecord) -> dict[str, bool]:
    told = record.evidence["details"]["corroboration"]
    assert told["verdict"] == "corroborated"
    return {vote["perspective"]: vote["agrees"] for vote in told["votes"]}


def _proof() -> ValidationRecord:
    return ValidationRecord.objects.get(method=Method.ACME_DNS)


def test_what_all_see_is_proven_and_each_answer_is_evidence(dns: Dns) -> None:
    with perspectives(dns, *map(dns.honest, CODES)):
        one, authorization, _challenge = _challenged(dns)
        assert one.post(authorization).json["status"] == "valid"
    assert _votes(_proof()) == dict.fromkeys(CODES, True)


def test_one_that_lies_is_outvoted_and_named(dns: Dns) -> None:
    with perspectives(dns, dns.honest(CODES[0]), LIAR_NO, dns.honest(CODES[2])):
        one, authorization, _challenge = _challenged(dns)
        assert one.post(authorization).json["status"] == "valid"
    assert _votes(_proof()) == {CODES[0]: True, CODES[1]: False, CODES[2]: True}


def test_one_that_lies_and_one_that_is_down_are_too_many(dns: Dns) -> None:
    with perspectives(dns, dns.honest(CODES[0]), LIAR_NO, None):
        one, authorization, challenge = _challenged(dns)
        assert one.post(authorization).json["status"] == "pending"  # it is looked at again
    assert CODES[1] in str(challenge["error"])
    assert CODES[2] in str(challenge["error"])
    assert CODES[0] not in str(challenge["error"])
    assert not ValidationRecord.objects.filter(method=Method.ACME_DNS).exists()


def test_no_perspective_makes_a_proof_that_is_not_seen_from_here(dns: Dns) -> None:
    with perspectives(dns, LIAR_YES, LIAR_YES, LIAR_YES):
        one, authorization, _challenge = _challenged(dns, proof=False)
        assert one.post(authorization).json["status"] != "valid"
    assert not ValidationRecord.objects.filter(method=Method.ACME_DNS).exists()


def test_caa_is_asked_everywhere_too(dns: Dns) -> None:
    """Permitted, with one down; and not, where two see something else: then it waits, with the evidence."""
    here = world()
    dns.answers["example.ac.uk", "CAA"] = txt(f'0 issue "{ISSUER}"')
    elsewhere = Dns(answers={("example.ac.uk", "CAA"): txt('0 issue "other.example"')})
    with perspectives(dns, dns.honest(CODES[0]), None, dns.honest(CODES[2]), policy="require"):
        permitted = submit(here.alice, "www.example.ac.uk")
    assert permitted.status is Status.ISSUED
    with perspectives(dns, dns.honest(CODES[0]), *map(elsewhere.honest, CODES[1:]), policy="require"):
        held = submit(here.alice, "mail.example.ac.uk")
    assert held.status is Status.WAITING_FOR_APPROVAL
    assert "not from elsewhere" in Request.objects.get(id=held.number).detail
    kept = CaaCheck.objects.get(request_id=held.number)
    assert (kept.allowed, kept.code) == (False, "caa.not_corroborated")
    votes = kept.evidence["corroboration"]["votes"]
    assert {vote["perspective"]: vote["why"] for vote in votes if not vote["agrees"]} == {
        CODES[1]: "caa.other_issuer",
        CODES[2]: "caa.other_issuer",
    }


class TestSettings:
    """What can't work stops start-up."""

    def test_none_by_default(self) -> None:
        assert make_coordinator(_config({}), now=NOW) is None
        validators = load_validators()
        assert corroborated(validators, None) is validators
        assert caa_asker(None, None) is None

    @pytest.mark.parametrize(
        "changes, told",
        [
            ({"CERTDESK_PERSPECTIVE_TOKEN": "short"}, "CERTDESK_PERSPECTIVE_TOKEN"),
            ({"CERTDESK_PERSPECTIVE_QUORUM": "4"}, "4 in 1"),
            ({"CERTDESK_PERSPECTIVE_QUORUM": "0"}, "BR 3.2.2.9"),
            ({"CERTDESK_PERSPECTIVE_CA": "/nowhere/ca.pem"}, "CERTDESK_PERSPECTIVES"),
            ({"CERTDESK_PERSPECTIVES": '{"ripe.a": "http://p.example", "b": "x", "c": "y"}'}, "https"),
        ],
    )
    def test_what_can_not_work_is_said_at_start(self, changes: dict[str, str], told: str) -> None:
        urls = dict(zip(CODES, (f"https://{code}.example" for code in CODES), strict=True))
        with pytest.raises(Misconfigured, match=told):
            make_coordinator(_config(urls, **changes), now=NOW)

    def test_too_few_for_a_coming_rule_is_told_before_the_start_is_refused(
        self, mailoutbox: list[EmailMessage]
    ) -> None:
        """Four are enough until 15 December 2026. Once for each of the three steps, whoever looks."""
        actor("op", ra=RaRole.OPERATOR)
        urls = {code: f"https://{code}.example" for code in (*CODES, "lacnic.four")}
        ninety, thirty, seven = (datetime(2026, 12, 15, tzinfo=UTC) - timedelta(days=n) for n in (90, 30, 7))
        with structlog.testing.capture_logs() as logs:
            coordinator = make_coordinator(_config(urls, CERTDESK_PERSPECTIVE_QUORUM="0"), now=seven)
        assert coordinator is not None
        coordinator.close()
        (told,) = [one for one in logs if one["event"] == "perspectives.too_few_soon"]
        assert "5 remote perspectives" in told["why"]
        with configured(
            ruled_perspectives=ruled_perspectives(_config(urls, CERTDESK_PERSPECTIVE_QUORUM="0"))
        ):
            assert warn_operators(now=ninety - timedelta(hours=1)) is False
            asked = [ninety, ninety, thirty, seven, seven + timedelta(days=7)]
            assert [warn_operators(now=at) for at in asked] == [True, False, True, True, False]
            assert mail_perspectives(now=seven) is True
        (mail,) = mailoutbox
        assert mail.to == ["op@example.ac.uk"]
        assert "15 December 2026" in mail.subject
        assert "CERTDESK_PERSPECTIVE_QUORUM" in mail.body
        with configured(
            ruled_perspectives=ruled_perspectives(_config(urls, CERTDESK_PERSPECTIVE_QUORUM="3"))
        ):
            assert shortfall(now=seven) is None
            assert mail_perspectives(now=seven) is False
        assert audit_problems() == []
