"""The validation methods that ship, against the suite that every method must pass; and their registry."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from certdesk.dcv.base import Challenge, Network, Validator
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
from certdesk.domain.validation.evidence import Method
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


def _persist(policy: str = "", *, account: str = ACCOUNT) -> Network:
    return _dns(f"_validation-persist.{ADN}", "TXT", txt(f"{ISSUER}; accounturi={account}{policy}"))


_DIGEST = txt_digest(KEY_AUTHORIZATION)
_FILE = "certdesk-1f2e_txt"
_TARGET = "q3rjwz5ydwbpkqv7mhu2xtn6ce.dcv.example.net"
#: For each method: the validator, what the challenge has beside method and ADN, where it is met, where not.
SECRETS: dict[Method, tuple[Validator, dict[str, Any], Network, Network]] = {
    Method.DNS_TXT: (
        TxtTokenValidator(),
        {"expected": VALUE},
        _dns(f"{LABEL}.{ADN}", "TXT", txt("v=spf1 -all", VALUE)),
        _dns(f"{LABEL}.{ADN}", "TXT", txt("v=spf1 -all", VALUE.lower(), f"{VALUE} ", f'"{VALUE}"')),
    ),
    Method.DNS_CNAME: (
        CnameTokenValidator(),
        {"expected": _TARGET},
        _dns(f"{LABEL}.{ADN}", "CNAME", txt(_TARGET)),
        _dns(f"{LABEL}.{ADN}", "CNAME", txt(f"{_TARGET}.example.org")),
    ),
    Method.ACME_DNS: (
        AcmeDnsValidator(),
        {"expected": KEY_AUTHORIZATION},
        _dns(f"_acme-challenge.{ADN}", "TXT", txt("another client's", _DIGEST)),
        _dns(f"_acme-challenge.{ADN}", "TXT", txt(txt_digest(f"{KEY_AUTHORIZATION}x"), KEY_AUTHORIZATION)),
    ),
    Method.ACME_DNS_ACCOUNT: (
        AcmeDnsAccountValidator(),
        {"expected": KEY_AUTHORIZATION, "account_uri": ACCOUNT},
        _dns(f"{account_label(ACCOUNT)}._acme-challenge.{ADN}", "TXT", txt(_DIGEST)),
        _dns(f"{account_label(f'{ACCOUNT}1')}._acme-challenge.{ADN}", "TXT", txt(_DIGEST)),
    ),
    Method.HTTP_FILE: (
        HttpFileValidator(),
        {"expected": VALUE, "token": _FILE},
        _page(file_url(ADN, _FILE), f"{VALUE}\n"),
        _page(file_url(ADN, _FILE), f"{VALUE}{VALUE}"),
    ),
    Method.ACME_HTTP: (
        AcmeHttpValidator(),
        {"expected": KEY_AUTHORIZATION, "token": TOKEN},
        _page(acme_url(ADN, TOKEN), f"{KEY_AUTHORIZATION}\r\n"),
        _page(acme_url(ADN, TOKEN), TOKEN),
    ),
    Method.ACME_TLS_ALPN: (
        TlsAlpnValidator(),
        {"expected": KEY_AUTHORIZATION},
        _certificate(acme_certificate(names=(ADN,), key_authorization=KEY_AUTHORIZATION)),
        _certificate(acme_certificate(names=(ADN,), key_authorization=f"{KEY_AUTHORIZATION}x")),
    ),
}


class TestSecrets(ValidatorConformance, SecretConformance):
    @pytest.fixture(params=SECRETS)
    def scene(self, request: pytest.FixtureRequest) -> Scene:
        method = request.param
        validator, asked, proven, other = SECRETS[method]
        challenge = Challenge(method=method, adn=ADN, **asked)
        return Scene(validator=validator, challenge=challenge, proven=proven, other=other, reaches=method)


class TestPersist(ValidatorConformance):
    @pytest.fixture(
        params=[("", Method.DNS_PERSIST), ("; policy=wildcard", Method.DNS_PERSIST_WILDCARD)],
        ids=["narrow", "wildcard"],
    )
    def scene(self, request: pytest.FixtureRequest) -> Scene:
        policy, reaches = request.param
        return Scene(
            validator=PersistValidator(),
            challenge=Challenge(
                method=Method.DNS_PERSIST, adn=ADN, expected="", account_uri=ACCOUNT, issuers=(ISSUER,)
            ),
            proven=_persist(policy),
            other=_persist(policy, account=f"{ACCOUNT}2"),
            reaches=reaches,
        )


def test_every_method_but_those_of_people_has_one_validator() -> None:
    found = load_validators(())
    assert set(found) == set(Method) - {Method.MANUAL_OWNERSHIP, Method.EMAIL_CONSTRUCTED}
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
