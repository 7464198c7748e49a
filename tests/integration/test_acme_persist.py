"""dns-persist-01 over ACME: what the directory and the challenge say, and records by draft -01 and -02."""

from collections.abc import Iterator

import pytest

from certdesk.dcv.base import Network
from certdesk.dcv.conformance import ScriptedFetcher, ScriptedResolver, txt
from certdesk.dcv.persist.record import hashed_account_uri
from certdesk.dcv.registry import load_validators
from certdesk.dcv.resolver import Answer
from tests.harness.acme_client import AcmeClient, new_key
from tests.integration.acme_support import AcmeWorld
from tests.integration.support import configured

NAME = "www.fresh.ac.uk"  # under a trusted suffix, proven by nobody yet
AT = (f"_validation-persist.{NAME}", "TXT")


@pytest.fixture
def dns() -> Iterator[dict[tuple[str, str], Answer]]:
    """The DNS, into which a test writes."""
    answers: dict[tuple[str, str], Answer] = {}
    network = Network(resolver=ScriptedResolver(answers=answers), fetcher=ScriptedFetcher())
    with configured(network=network, validators=load_validators()):
        yield answers


def _status(one: AcmeClient) -> str:
    """What becomes of the challenge with the record that is there."""
    (url,) = one.order(NAME).json["authorizations"]
    return str(one.answer(url, "dns-persist-01", lambda _proof: None).json["status"])


def _record(one: AcmeClient, *, thumbprint: str, domain: str = NAME) -> Answer:
    meta = one.at["meta"]
    uri = hashed_account_uri(
        prefix=meta["accountHashPrefix"], domain=domain, thumbprint=thumbprint, account_uri=one.kid
    )
    return txt(f"{meta['issuerDomainNames'][0]}; accounturi={uri}")


def test_what_can_be_published_before_anything_is_ordered_is_in_the_directory(
    here: AcmeWorld, dns: dict[tuple[str, str], Answer]
) -> None:
    del dns
    one = here.registered()
    meta = one.at["meta"]
    assert meta["accountHashPrefix"] == one.kid.partition("/acct/")[0] + "/account-hash/"
    (url,) = one.order(NAME).json["authorizations"]
    (offered,) = [c for c in one.post(url).json["challenges"] if c["type"] == "dns-persist-01"]
    assert meta["issuerDomainNames"] == offered["issuerDomainNames"] == offered["issuer-domain-names"]
    assert set(offered["issuerDomainNames"]) <= set(meta["caaIdentities"])


def test_a_record_made_from_the_directory_alone_proves_the_name(
    one: AcmeClient, dns: dict[tuple[str, str], Answer]
) -> None:
    dns[AT] = _record(one, thumbprint=one.key.thumbprint())
    assert _status(one) == "valid"


def test_a_record_with_an_earlier_key_goes_on_counting_and_one_of_a_stranger_never_does(
    here: AcmeWorld, dns: dict[tuple[str, str], Answer]
) -> None:
    """Draft -02 4.2: a key that the account had. The stranger's account is of the same organisation."""
    one, stranger = here.registered(), here.registered()
    dns[AT] = _record(one, thumbprint=one.key.thumbprint(), domain="*")
    assert _status(stranger) != "valid"
    dns[AT] = _record(one, thumbprint=stranger.key.thumbprint())
    assert _status(one) != "valid"
    dns[AT] = _record(one, thumbprint=one.key.thumbprint())
    fresh = new_key()
    assert one.change_key(fresh).status == 200
    one.key = fresh
    assert _status(one) == "valid"
