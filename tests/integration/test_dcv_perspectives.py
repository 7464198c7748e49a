"""Several perspectives on addresses of their own, one of them lying; and the command that runs one."""

import contextlib
import json
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import httpx2
import pytest

from certdesk.dcv.base import Challenge, Network, NotValidated, Outcome, Validated
from certdesk.dcv.conformance import ACCOUNT, ADN, ISSUER, NOW, ScriptedFetcher, ScriptedResolver, txt
from certdesk.dcv.dns import LABEL, account_label, txt_digest
from certdesk.dcv.fetch import Fetched
from certdesk.dcv.http import acme_url, file_url
from certdesk.dcv.mpic.coordinator import (
    Coordinator,
    CorroboratingValidator,
    PerspectiveAddress,
    corroborated_caa,
)
from certdesk.dcv.mpic.server import PerspectiveApp
from certdesk.dcv.registry import load_validators
from certdesk.dcv.resolver import Answer, Status
from certdesk.domain.caa import Code, Question
from certdesk.domain.corroboration import Quorum, public_quorum
from certdesk.domain.evidence import Method
from tests.harness.acme_certificates import acme_certificate
from tests.harness.nameserver import NameServers
from tests.harness.perspective import Application, running_perspective, serving

_PLACES = ("ripe.one", "arin.two", "ripe.three", "apnic.four")
_ADDRESSES = tuple(f"127.0.0.{number}" for number in range(2, 2 + len(_PLACES)))
pytestmark = pytest.mark.allow_hosts(["127.0.0.1", *_ADDRESSES])

#: Made once: reading the host's CAs takes longer than a test.
_TLS = ssl.create_default_context()
TOKEN = "a-token-of-the-coordinator-0123456789"
VALUE = "k3J9sYw0Vd7nQm2xTz5bLp8cRf1hGa4uEo6iNvKjXsY"
KEY_AUTHORIZATION = f"evaGxfADs6pSRb2LAv9IZ.{VALUE}"
CNAME = "q3rjwz5ydwbpkqv7mhu2xtn6ce.dcv.example.net"


def _world(*, policy: str = "; policy=wildcard", without: str = "") -> Network:
    """What an honest perspective sees: every proof, but for one."""
    answers: dict[tuple[str, str], Answer] = {
        (f"{LABEL}.{ADN}", "TXT"): txt(VALUE),
        (f"{LABEL}.{ADN}", "CNAME"): txt(CNAME),
        (f"_acme-challenge.{ADN}", "TXT"): txt(txt_digest(KEY_AUTHORIZATION)),
        (f"{account_label(ACCOUNT)}._acme-challenge.{ADN}", "TXT"): txt(txt_digest(KEY_AUTHORIZATION)),
        (f"_validation-persist.{ADN}", "TXT"): txt(f"{ISSUER}; accounturi={ACCOUNT}{policy}"),
        (ADN, "CAA"): txt(f'0 issue "{ISSUER}; accounturi={ACCOUNT}; validationmethods=dns-01"'),
    }
    pages = {file_url(ADN, "certdesk-1"): VALUE, acme_url(ADN, "evaGxfADs6pSRb2LAv9IZ"): KEY_AUTHORIZATION}
    fetcher = ScriptedFetcher(
        pages={
            url: Fetched(status=200, body=body.encode(), truncated=False, address="192.0.2.80")
            for url, body in pages.items()
            if without not in ("http", url)
        },
        certificates={ADN: acme_certificate(names=(ADN,), key_authorization=KEY_AUTHORIZATION)},
    )
    kept = {question: answer for question, answer in answers.items() if question[0] != without}
    return Network(resolver=ScriptedResolver(answers=kept), fetcher=fetcher)


NOWHERE = Network(resolver=ScriptedResolver(), fetcher=ScriptedFetcher())


def _honest(network: Network, code: str = "ripe.one") -> PerspectiveApp:
    return PerspectiveApp(code=code, token=TOKEN, network=network, clock=lambda: NOW)


def _says(status: str, body: bytes) -> Application:
    def application(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return application


LIAR_NO = _says("200 OK", b'{"check_type": "dcv", "check_passed": false}')
LIAR_YES = _says("200 OK", b'{"check_type": "dcv", "check_passed": true}')
BROKEN = {
    "an error": _says("500 Internal Server Error", b'{"check_type": "dcv", "check_passed": true}'),
    "a redirect": _says("302 Found", b""),
    "no JSON": _says("200 OK", b"<html>"),
    "no object": _says("200 OK", b"true"),
    "a text for a truth": _says("200 OK", b'{"check_type": "dcv", "check_passed": {}}'),
    "another question's answer": _says("200 OK", b'{"check_type": "caa", "check_passed": true}'),
    "too much": _says("200 OK", b'{"check_type": "dcv", "check_passed": true}' + b" " * 100_000),
}


Serve = Callable[..., Coordinator]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Runs one application at each address and gives the coordinator that asks them."""
    servers = contextlib.ExitStack()
    coordinators: list[Coordinator] = []

    def start(*applications: Application, quorum: Quorum | None = None, token: str = TOKEN) -> Coordinator:
        perspectives = []
        for code, address, application in zip(_PLACES, _ADDRESSES, applications, strict=False):
            url = servers.enter_context(serving(application, address=address))
            perspectives.append(PerspectiveAddress(code=code, url=url, token=token))
        asked = (lambda _now: quorum) if quorum else public_quorum
        one = Coordinator(tuple(perspectives), asked, tls=_TLS)
        coordinators.append(one)
        return one

    yield start
    for coordinator in coordinators:
        coordinator.close()
    servers.close()


_EXPECTED = {Method.DNS_TXT: VALUE, Method.DNS_CNAME: CNAME, Method.HTTP_FILE: VALUE}
_TOKENS = {Method.HTTP_FILE: "certdesk-1", Method.ACME_HTTP: "evaGxfADs6pSRb2LAv9IZ"}


def _challenge(method: Method) -> Challenge:
    return Challenge(
        method=method,
        adn=ADN,
        expected=_EXPECTED.get(method, KEY_AUTHORIZATION),
        token=_TOKENS.get(method, ""),
        account_uri=ACCOUNT,
        issuers=(ISSUER,),
    )


def _validate(coordinator: Coordinator, challenge: Challenge, *, seen: Network | None = None) -> Outcome:
    inner = load_validators(())[challenge.method]
    validator = CorroboratingValidator(inner, coordinator)
    assert validator.methods == inner.methods
    return validator.validate(challenge, network=seen or _world(), now=NOW)


def _code(outcome: Outcome) -> str:
    assert isinstance(outcome, NotValidated), outcome
    return outcome.problem.code


@pytest.mark.parametrize("method", sorted(load_validators(())))
def test_every_method_is_corroborated_or_not(serve: Serve, method: Method) -> None:
    challenge = _challenge(method)
    everywhere = serve(*[_honest(_world())] * 4)
    outcome = _validate(everywhere, challenge)
    assert isinstance(outcome, Validated), outcome
    counted = outcome.record.details["corroboration"]
    assert json.loads(json.dumps(counted))["verdict"] == "corroborated"
    here_alone = serve(*[_honest(NOWHERE)] * 4)
    assert _code(_validate(here_alone, challenge)) == "dcv.perspectives.dissent"


def test_one_that_lies_is_outvoted_either_way(serve: Serve) -> None:
    challenge = _challenge(Method.DNS_TXT)
    honest = [_honest(_world())] * 3
    assert isinstance(_validate(serve(*honest, LIAR_NO), challenge), Validated)
    # It can't make a proof of what the others do not see …
    assert _code(_validate(serve(*[_honest(NOWHERE)] * 3, LIAR_YES), challenge)) == "dcv.perspectives.dissent"
    # … and two are too many.
    assert _code(_validate(serve(*honest[:2], LIAR_NO, LIAR_NO), challenge)) == "dcv.perspectives.dissent"


def test_no_perspective_makes_a_proof_that_is_not_here(serve: Serve) -> None:
    coordinator = serve(*[LIAR_YES] * 4)
    assert _code(_validate(coordinator, _challenge(Method.DNS_TXT), seen=NOWHERE)) == "dcv.dns.no_record"


@pytest.mark.parametrize("what", BROKEN)
def test_whatever_is_no_answer_is_disagreement(serve: Serve, what: str) -> None:
    challenge = _challenge(Method.DNS_TXT)
    broken = [BROKEN[what]] * 2
    outcome = _validate(serve(_honest(_world()), _honest(_world()), *broken), challenge)
    assert _code(outcome) == "dcv.perspectives.dissent"


def test_one_that_is_not_there_is_disagreement(serve: Serve) -> None:
    there = serve(*[_honest(_world())] * 2)._perspectives
    gone = PerspectiveAddress(code="arin.gone", url="http://127.0.0.1:9", token=TOKEN)
    for missing, code in ((2, "dissent"), (1, "too_few")):
        codes = ("arin.gone", "apnic.gone")[:missing]
        coordinator = Coordinator(
            (*there, *(replace(gone, code=code) for code in codes)), public_quorum, tls=_TLS
        )
        assert _code(_validate(coordinator, _challenge(Method.DNS_TXT))) == f"dcv.perspectives.{code}"
        coordinator.close()


def test_too_few_and_too_close_are_no_quorum(serve: Serve) -> None:
    challenge = _challenge(Method.DNS_TXT)
    assert _code(_validate(serve(*[_honest(_world())] * 3), challenge)) == "dcv.perspectives.too_few"
    one_region = Quorum(perspectives=2, regions=2)
    outcome = _validate(serve(_honest(_world()), LIAR_NO, quorum=one_region), challenge)
    assert _code(outcome) == "dcv.perspectives.regions"
    private = Quorum(perspectives=1)
    assert isinstance(_validate(serve(_honest(_world()), quorum=private), challenge), Validated)


def test_a_narrower_persistent_record_elsewhere_does_not_widen(serve: Serve) -> None:
    narrow = [_honest(_world(policy=""))] * 4
    outcome = _validate(serve(*narrow), replace(_challenge(Method.DNS_PERSIST), wildcard=True))
    assert _code(outcome) == "dcv.perspectives.dissent"
    assert isinstance(
        _validate(serve(*narrow), _challenge(Method.DNS_PERSIST), seen=_world(policy="")), Validated
    )


def test_a_parents_persistent_record_is_asked_for_where_it_stood(serve: Serve) -> None:
    below = replace(_challenge(Method.DNS_PERSIST), adn=f"deep.below.{ADN}")
    outcome = _validate(serve(*[_honest(_world())] * 4), below)
    assert isinstance(outcome, Validated), outcome
    assert outcome.record.adn == ADN


def test_caa_is_corroborated_with_account_and_method(serve: Serve) -> None:
    question = Question(name=ADN, issuers=(ISSUER,), account_uri=ACCOUNT, method=Method.ACME_DNS)
    resolver = _world().resolver
    everywhere = serve(*[_honest(_world())] * 4)
    checked = corroborated_caa(question, resolver=resolver, coordinator=everywhere, now=NOW)
    assert checked.decision.code is Code.AUTHORISED
    assert checked.corroboration["verdict"] == "corroborated"

    hijacked = Network(
        resolver=ScriptedResolver(answers={(ADN, "CAA"): txt('0 issue ";"')}), fetcher=ScriptedFetcher()
    )
    elsewhere = serve(*[_honest(_world())] * 2, *[_honest(hijacked)] * 2)
    checked = corroborated_caa(question, resolver=resolver, coordinator=elsewhere, now=NOW)
    assert (checked.decision.allowed, checked.decision.code) == (False, Code.NOT_CORROBORATED)

    broken = Network(
        resolver=ScriptedResolver(otherwise=Answer(status=Status.SERVFAIL)), fetcher=ScriptedFetcher()
    )
    checked = corroborated_caa(question, resolver=broken.resolver, coordinator=everywhere, now=NOW)
    assert checked.decision.code is Code.LOOKUP_FAILED
    assert not checked.corroboration


def test_an_address_that_could_be_forged_is_none() -> None:
    for url in ("http://perspective.example.net", "ftp://127.0.0.1", "http://10.0.0.1", "perspective"):
        with pytest.raises(ValueError, match="https"):
            PerspectiveAddress(code="ripe.one", url=url, token=TOKEN)
    assert TOKEN not in repr(PerspectiveAddress(code="ripe.one", url="https://p.example.net", token=TOKEN))
    twice = PerspectiveAddress(code="ripe.one", url="https://p.example.net", token=TOKEN)
    with pytest.raises(ValueError, match="same code"):
        Coordinator((twice, twice), public_quorum)


# --- the server's own edge

_DCV = {
    "domain_or_ip_target": ADN,
    "dcv_check_parameters": {
        "validation_method": "dns-change",
        "challenge_value": VALUE,
        "dns_name_prefix": LABEL,
        "dns_record_type": "TXT",
        "require_exact_match": False,
        "something_of_tomorrow": 1,
    },
}
_CAA = {"domain_or_ip_target": f"*.{ADN}", "caa_check_parameters": {"caa_domains": [ISSUER]}}


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    transport = httpx2.WSGITransport(app=_honest(_world()))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx2.Client(transport=transport, base_url="http://perspective", headers=headers) as client:
        yield client


def test_the_answer_is_in_open_mpics_schema(client: httpx2.Client) -> None:
    for path in ("/dcv", "/perspective/dcv"):
        answer = client.post(path, json=_DCV)
        assert answer.status_code == 200
        told = answer.json()
        assert told["timestamp_ns"] > 0
        assert {
            key: told[key] for key in ("check_type", "check_passed", "check_completed", "perspective")
        } == {"check_type": "dcv", "check_passed": True, "check_completed": True, "perspective": "ripe.one"}
        assert told["details"]["found_at"] == f"{LABEL}.{ADN}"
    told = client.post("/caa", json=_CAA).json()
    assert (told["check_passed"], told["errors"][0]["error_type"]) == (False, "caa.other_account")
    assert told["details"]["caa_record_present"] is True
    assert client.get("/healthz").json() == {"status": "healthy"}


def _changed(**parameters: object) -> dict[str, object]:
    inner = _DCV["dcv_check_parameters"]
    assert isinstance(inner, dict)
    return {**_DCV, "dcv_check_parameters": {**inner, **parameters}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {**_DCV, "domain_or_ip_target": "10.0.0.1"},
        {**_DCV, "domain_or_ip_target": "localhost"},
        {**_DCV, "domain_or_ip_target": f"*.{ADN}"},
        {**_DCV, "domain_or_ip_target": f"{ADN}/../x"},
        _changed(validation_method="reverse-address-lookup"),
        _changed(challenge_value="short"),
        _changed(dns_name_prefix="www"),
        _changed(dns_name_prefix=""),
        _changed(dns_record_type="A"),
        _changed(validation_method="website-change", http_token_path="../admin"),
        _changed(validation_method="website-change", http_token_path="a", match_regex=".*"),
        _changed(validation_method="website-change", http_token_path="a", http_headers={"Host": "x"}),
        _changed(validation_method="website-change", http_token_path="a", url_scheme="gopher"),
        _changed(validation_method="acme-tls-alpn-01", key_authorization_hash="xyz"),
        _changed(validation_method="dns-persistent", issuer_domain_names=[], expected_account_uri="x"),
    ],
)
def test_requests_that_are_refused(client: httpx2.Client, body: object) -> None:
    answer = client.post("/dcv", json=body)
    assert answer.status_code == 400
    assert VALUE not in answer.text


def test_caa_may_not_be_asked_to_overlook_failures(client: httpx2.Client) -> None:
    body = {**_CAA, "caa_check_parameters": {"caa_domains": [ISSUER], "allow_lookup_failure": True}}
    assert client.post("/caa", json=body).status_code == 400


def test_only_who_has_the_token_is_answered(client: httpx2.Client) -> None:
    for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN):
        assert client.post("/dcv", json=_DCV, headers={"Authorization": wrong}).status_code == 403
    assert client.get("/dcv").status_code == 405
    assert client.post("/else", json=_DCV).status_code == 404
    assert client.post("/dcv", content=b"x" * 70_000).status_code == 413
    assert client.post("/dcv", content=b"\xff\xfe").status_code == 400
    with pytest.raises(ValueError, match="at least 32"):
        PerspectiveApp(code="ripe.one", token="short", network=NOWHERE, clock=lambda: NOW)


def test_the_wrong_token_is_disagreement(serve: Serve) -> None:
    outcome = _validate(serve(*[_honest(_world())] * 4, token=f"{TOKEN}x"), _challenge(Method.DNS_TXT))
    assert _code(outcome) == "dcv.perspectives.dissent"


# --- the command


def test_the_command_runs_one_over_a_real_resolver(tmp_path: Path, name_servers: NameServers) -> None:
    with running_perspective(tmp_path, resolver=f"127.0.0.1#{name_servers.recursive_port}") as address:
        coordinator = Coordinator((address,), lambda _now: Quorum(perspectives=1))
        validator = CorroboratingValidator(load_validators(())[Method.DNS_TXT], coordinator)
        challenge = Challenge(method=Method.DNS_TXT, adn="example.ac.uk", expected=VALUE)
        here = Network(
            resolver=ScriptedResolver(answers={(f"{LABEL}.example.ac.uk", "TXT"): txt(VALUE)}),
            fetcher=ScriptedFetcher(),
        )
        assert isinstance(validator.validate(challenge, network=here, now=NOW), Validated)
        forged = replace(challenge, adn="forged.ac.uk")
        here = Network(
            resolver=ScriptedResolver(answers={(f"{LABEL}.forged.ac.uk", "TXT"): txt(VALUE)}),
            fetcher=ScriptedFetcher(),
        )
        outcome = validator.validate(forged, network=here, now=NOW)
        coordinator.close()
    assert _code(outcome) == "dcv.perspectives.dissent"
    assert "dcv.dns.bogus" in repr(outcome.record.details)
