"""The validation methods that ship, against the suite that every method must pass; and their registry."""

from importlib.metadata import EntryPoint

import pytest

from certdesk.dcv.base import Challenge, Network
from certdesk.dcv.conformance import (
    ACCOUNT,
    ADN,
    ISSUER,
    Scene,
    ScriptedFetcher,
    ScriptedResolver,
    SecretConformance,
    ValidatorConformance,
    network,
    txt,
)
from certdesk.dcv.dns import (
    LABEL,
    AcmeDnsAccountValidator,
    AcmeDnsValidator,
    CnameTokenValidator,
    TxtTokenValidator,
    account_label,
    txt_digest,
)
from certdesk.dcv.fetch import Fetched
from certdesk.dcv.http import AcmeHttpValidator, HttpFileValidator, acme_url, file_url
from certdesk.dcv.persist.validator import PersistValidator
from certdesk.dcv.registry import BUILT_IN, load_validators
from certdesk.dcv.resolver import Answer
from certdesk.dcv.tls_alpn import TlsAlpnValidator
from certdesk.domain.errors import Misconfigured
from certdesk.domain.evidence import Method
from tests.harness.acme_certificates import acme_certificate

VALUE = "k3J9sYw0Vd7nQm2xTz5bLp8cRf1hGa4uEo6iNvKjXsY"
KEY_AUTHORIZATION = f"evaGxfADs6pSRb2LAv9IZ.{VALUE}"
TOKEN = "evaGxfADs6pSRb2LAv9IZ"


def _dns(name: str, kind: str, answer: Answer) -> Network:
    return network(resolver=ScriptedResolver(answers={(name, kind): answer}))


def _page(url: str, body: str) -> Network:
    fetched = Fetched(status=200, body=body.encode(), truncated=False, address="192.0.2.80")
    return network(fetcher=ScriptedFetcher(pages={url: fetched}))


def _certificate(der: bytes) -> Network:
    return network(fetcher=ScriptedFetcher(certificates={ADN: der}))


class TestTxtToken(ValidatorConformance, SecretConformance):
    @pytest.fixture
    def scene(self) -> Scene:
        name = f"{LABEL}.{ADN}"
        return Scene(
            validator=TxtTokenValidator(),
            challenge=Challenge(method=Method.DNS_TXT, adn=ADN, expected=VALUE),
            proven=_dns(name, "TXT", txt("v=spf1 -all", VALUE)),
            other=_dns(name, "TXT", txt("v=spf1 -all", VALUE.lower(), f"{VALUE} ", f'"{VALUE}"')),
            reaches=Method.DNS_TXT,
        )


class TestCnameToken(ValidatorConformance, SecretConformance):
    @pytest.fixture
    def scene(self) -> Scene:
        name, target = f"{LABEL}.{ADN}", "q3rjwz5ydwbpkqv7mhu2xtn6ce.dcv.example.net"
        return Scene(
            validator=CnameTokenValidator(),
            challenge=Challenge(method=Method.DNS_CNAME, adn=ADN, expected=target),
            proven=_dns(name, "CNAME", txt(target)),
            other=_dns(name, "CNAME", txt(f"{target}.example.org")),
            reaches=Method.DNS_CNAME,
        )


class TestAcmeDns(ValidatorConformance, SecretConformance):
    @pytest.fixture
    def scene(self) -> Scene:
        name = f"_acme-challenge.{ADN}"
        return Scene(
            validator=AcmeDnsValidator(),
            challenge=Challenge(method=Method.ACME_DNS, adn=ADN, expected=KEY_AUTHORIZATION),
            proven=_dns(name, "TXT", txt("another client's", txt_digest(KEY_AUTHORIZATION))),
            other=_dns(name, "TXT", txt(txt_digest(f"{KEY_AUTHORIZATION}x"), KEY_AUTHORIZATION)),
            reaches=Method.ACME_DNS,
        )


class TestAcmeDnsAccount(ValidatorConformance, SecretConformance):
    @pytest.fixture
    def scene(self) -> Scene:
        right = txt(txt_digest(KEY_AUTHORIZATION))
        strangers = account_label(f"{ACCOUNT}1")
        return Scene(
            validator=AcmeDnsAccountValidator(),
            challenge=Challenge(
                method=Method.ACME_DNS_ACCOUNT, adn=ADN, expected=KEY_AUTHORIZATION, account_uri=ACCOUNT
            ),
            proven=_dns(f"{account_label(ACCOUNT)}._acme-challenge.{ADN}", "TXT", right),
            other=_dns(f"{strangers}._acme-challenge.{ADN}", "TXT", right),
            reaches=Method.ACME_DNS_ACCOUNT,
        )


class TestHttpFile(ValidatorConformance, SecretConformance):
    @pytest.fixture
    def scene(self) -> Scene:
        url = file_url(ADN, "certdesk-1f2e.txt".replace(".", "_"))
        return Scene(
            validator=HttpFileValidator(),
            challenge=Challenge(method=Method.HTTP_FILE, adn=ADN, expected=VALUE, token="certdesk-1f2e_txt"),
            proven=_page(url, f"{VALUE}\n"),
            other=_page(url, f"{VALUE}{VALUE}"),
            reaches=Method.HTTP_FILE,
        )


class TestAcmeHttp(ValidatorConformance, SecretConformance):
    @pytest.fixture
    def scene(self) -> Scene:
        url = acme_url(ADN, TOKEN)
        return Scene(
            validator=AcmeHttpValidator(),
            challenge=Challenge(method=Method.ACME_HTTP, adn=ADN, expected=KEY_AUTHORIZATION, token=TOKEN),
            proven=_page(url, f"{KEY_AUTHORIZATION}\r\n"),
            other=_page(url, TOKEN),
            reaches=Method.ACME_HTTP,
        )


class TestTlsAlpn(ValidatorConformance, SecretConformance):
    @pytest.fixture
    def scene(self) -> Scene:
        return Scene(
            validator=TlsAlpnValidator(),
            challenge=Challenge(method=Method.ACME_TLS_ALPN, adn=ADN, expected=KEY_AUTHORIZATION),
            proven=_certificate(acme_certificate(names=(ADN,), key_authorization=KEY_AUTHORIZATION)),
            other=_certificate(acme_certificate(names=(ADN,), key_authorization=f"{KEY_AUTHORIZATION}x")),
            reaches=Method.ACME_TLS_ALPN,
        )


def _persist(policy: str, *, account: str = ACCOUNT) -> Network:
    return _dns(f"_validation-persist.{ADN}", "TXT", txt(f"{ISSUER}; accounturi={account}{policy}"))


class TestPersist(ValidatorConformance):
    @pytest.fixture
    def scene(self) -> Scene:
        return Scene(
            validator=PersistValidator(),
            challenge=Challenge(
                method=Method.DNS_PERSIST, adn=ADN, expected="", account_uri=ACCOUNT, issuers=(ISSUER,)
            ),
            proven=_persist(""),
            other=_persist("", account=f"{ACCOUNT}2"),
            reaches=Method.DNS_PERSIST,
        )


class TestPersistWildcard(ValidatorConformance):
    @pytest.fixture
    def scene(self) -> Scene:
        return Scene(
            validator=PersistValidator(),
            challenge=Challenge(
                method=Method.DNS_PERSIST, adn=ADN, expected="", account_uri=ACCOUNT, issuers=(ISSUER,)
            ),
            proven=_persist("; policy=wildcard"),
            other=_persist("; policy=wildcard", account=f"{ACCOUNT}2"),
            reaches=Method.DNS_PERSIST_WILDCARD,
        )


_BY_PEOPLE = {
    Method.MANUAL_OWNERSHIP,
    Method.EMAIL_CONSTRUCTED,
}


def test_every_method_but_those_of_people_has_one_validator() -> None:
    found = load_validators(())
    assert set(found) == set(Method) - _BY_PEOPLE
    assert set(found.values()) == set(BUILT_IN)


class Postal:
    """A method from elsewhere."""

    methods = frozenset({Method.MANUAL_OWNERSHIP})

    def validate(self) -> None:
        raise NotImplementedError


def _entry(name: str) -> EntryPoint:
    return EntryPoint(name="other", value=f"{__name__}:{name}", group="certdesk.dcv_methods")


def test_a_method_from_elsewhere_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda _entry: Postal)
    assert isinstance(load_validators([_entry("Postal")])[Method.MANUAL_OWNERSHIP], Postal)


@pytest.mark.parametrize("loaded", [TxtTokenValidator, object, object(), 7])
def test_two_for_one_method_and_what_is_no_validator_stop_start_up(
    monkeypatch: pytest.MonkeyPatch, loaded: object
) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda _entry: loaded)
    with pytest.raises(Misconfigured):
        load_validators([_entry("whatever")])


def test_one_that_can_not_be_imported_stops_start_up() -> None:
    entry = EntryPoint(name="gone", value="certdesk.no_such_module:X", group="certdesk.dcv_methods")
    with pytest.raises(Misconfigured, match="can't be loaded"):
        load_validators([entry])
