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
from certdesk.dcv.conformance import (
    ACCOUNT,
    ADN,
    ISSUER,
    NOW,
    ScriptedFetcher,
    ScriptedResolver,
    faulty,
    network,
    txt,
)
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
from certdesk.dcv.resolver import Status
from certdesk.domain.validation.caa import Code, Question
from certdesk.domain.validation.corroboration import Quorum, public_quorum
from certdesk.domain.validation.evidence import Method
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


def _world(*, policy: str = "; policy=wildcard") -> Network:
    """What an honest perspective sees: every proof."""
    answers = {
        (f"{LABEL}.{ADN}", "TXT"): txt(VALUE),
        (f"{LABEL}.{ADN}", "CNAME"): txt(CNAME),
        (f"_acme-challenge.{ADN}", "TXT"): txt(txt_digest(KEY_AUTHORIZATION)),
        (f"{account_label(ACCOUNT)}._acme-challenge.{ADN}", "TXT"): txt(txt_digest(KEY_AUTHORIZATION)),
        (f"_validation-persist.{ADN}", "TXT"): txt(f"{ISSUER}; accounturi={ACCOUNT}{policy}"),
        (ADN, "CAA"): txt(f'0 issue "{ISSUER}; accounturi={ACCOUNT}; validationmethods=dns-01"'),
    }
    pages = {
        file_url(ADN, "certdesk-1"): VALUE,
        acme_url(ADN, "evaGxfADs6pSRb2LAv9IZ"): KEY_AUTHORIZATION,
    }
    fetcher = ScriptedFetcher(
        pages={
            url: Fetched(status=200, body=body.encode(), truncated=False, address="192.0.2.80")
            for url, body in pages.items()
        },
        certificates={ADN: acme_certificate(names=(ADN,), key_authorization=KEY_AUTHORIZATION)},
    )
    return Network(resolver=ScriptedResolver(answers=answers), fetcher=fetcher)


def _honest(network: Network, code: str = "ripe.one") -> PerspectiveApp:
    return PerspectiveApp(code=code, token=TOKEN, network=network, clock=lambda: NOW)


def _says(status: str, body: bytes) -> Application:
    def application(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return application


NOWHERE = network()
HONEST, BLIND = _honest(_world()), _honest(NOWHERE)
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
DISSENT = "dcv.perspectives.dissent"


Serve = Callable[..., Coordinator]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Runs one application at each address and gives the coordinator that asks them."""
    ends = contextlib.ExitStack()

    def start(*applications: Application, quorum: Quorum | None = None, token: str = TOKEN) -> Coordinator:
        perspectives = []
        for code, address, application in zip(_PLACES, _ADDRESSES, applications, strict=False):
            url = ends.enter_context(serving(application, address=address))
            perspectives.append(PerspectiveAddress(code=code, url=url, token=token))
        asked = (lambda _now: quorum) if quorum else public_quorum
        return ends.enter_context(contextlib.closing(Coordinator(tuple(perspectives), asked, tls=_TLS)))

    with ends:
        yield start


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


def _problem(one: Coordinator, challenge: Challenge | None = None, *, seen: Network | None = None) -> str:
    """The code of what is wrong with a proof, by TXT record unless told; empty where it is one."""
    outcome = _validate(one, challenge or _challenge(Method.DNS_TXT), seen=seen)
    return outcome.problem.code if isinstance(outcome, NotValidated) else ""


@pytest.mark.parametrize("method", sorted(load_validators(())))
def test_every_method_is_corroborated_or_not(serve: Serve, method: Method) -> None:
    challenge = _challenge(method)
    outcome = _validate(serve(*[HONEST] * 4), challenge)
    assert isinstance(outcome, Validated), outcome
    counted = outcome.record.details["corroboration"]
    assert json.loads(json.dumps(counted))["verdict"] == "corroborated"
    assert _problem(serve(*[BLIND] * 4), challenge) == DISSENT


@pytest.mark.parametrize(
    "applications, problem",
    [
        pytest.param([HONEST] * 3 + [LIAR_NO], "", id="one that lies is outvoted"),
        pytest.param([BLIND] * 3 + [LIAR_YES], DISSENT, id="and proves nothing that the others do not see"),
        pytest.param([HONEST] * 2 + [LIAR_NO] * 2, DISSENT, id="two are too many"),
        pytest.param([HONEST] * 3, "dcv.perspectives.too_few", id="too few"),
        *(pytest.param([HONEST] * 2 + [one] * 2, DISSENT, id=what) for what, one in BROKEN.items()),
    ],
)
def test_what_perspectives_say_is_counted(
    serve: Serve, applications: list[Application], problem: str
) -> None:
    assert _problem(serve(*applications)) == problem


def test_no_perspective_makes_a_proof_that_is_not_here(serve: Serve) -> None:
    assert _problem(serve(*[LIAR_YES] * 4), seen=NOWHERE) == "dcv.dns.no_record"


def test_one_that_is_not_there_is_disagreement(serve: Serve) -> None:
    there = serve(HONEST, HONEST)._perspectives
    for codes, problem in ((("arin.gone", "apnic.gone"), "dissent"), (("arin.gone",), "too_few")):
        gone = [PerspectiveAddress(code=code, url="http://127.0.0.1:9", token=TOKEN) for code in codes]
        with contextlib.closing(Coordinator((*there, *gone), public_quorum, tls=_TLS)) as coordinator:
            assert _problem(coordinator) == f"dcv.perspectives.{problem}"


def test_a_quorum_may_be_smaller_and_wants_its_regions(serve: Serve) -> None:
    one_region = serve(HONEST, LIAR_NO, quorum=Quorum(perspectives=2, regions=2))
    assert _problem(one_region) == "dcv.perspectives.regions"
    assert _problem(serve(HONEST, quorum=Quorum(perspectives=1))) == ""


def test_a_narrower_persistent_record_elsewhere_does_not_widen(serve: Serve) -> None:
    narrow, challenge = serve(*[_honest(_world(policy=""))] * 4), _challenge(Method.DNS_PERSIST)
    assert _problem(narrow, replace(challenge, wildcard=True)) == DISSENT
    assert _problem(narrow, challenge, seen=_world(policy="")) == ""


def test_a_parents_persistent_record_is_asked_for_where_it_stood(serve: Serve) -> None:
    below = replace(_challenge(Method.DNS_PERSIST), adn=f"deep.below.{ADN}")
    outcome = _validate(serve(*[HONEST] * 4), below)
    assert isinstance(outcome, Validated), outcome
    assert outcome.record.adn == ADN


def test_caa_is_corroborated_with_account_and_method(serve: Serve) -> None:
    question = Question(name=ADN, issuers=(ISSUER,), account_uri=ACCOUNT, method=Method.ACME_DNS)
    resolver = _world().resolver
    everywhere = serve(*[HONEST] * 4)
    checked = corroborated_caa(question, resolver=resolver, coordinator=everywhere, now=NOW)
    assert checked.decision.code is Code.AUTHORISED
    assert checked.corroboration["verdict"] == "corroborated"

    hijacked = network(resolver=ScriptedResolver(answers={(ADN, "CAA"): txt('0 issue ";"')}))
    elsewhere = serve(*[HONEST] * 2, *[_honest(hijacked)] * 2)
    checked = corroborated_caa(question, resolver=resolver, coordinator=elsewhere, now=NOW)
    assert (checked.decision.allowed, checked.decision.code) == (False, Code.NOT_CORROBORATED)

    broken = faulty(Status.SERVFAIL).resolver
    checked = corroborated_caa(question, resolver=broken, coordinator=everywhere, now=NOW)
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
        said = {"check_type": "dcv", "check_passed": True, "check_completed": True, "perspective": "ripe.one"}
        assert said.items() <= told.items()
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
    assert _problem(serve(*[HONEST] * 4, token=f"{TOKEN}x")) == DISSENT


# --- the command


def test_the_command_runs_one_over_a_real_resolver(tmp_path: Path, name_servers: NameServers) -> None:
    def outcome_of(adn: str) -> Outcome:
        here = network(resolver=ScriptedResolver(answers={(f"{LABEL}.{adn}", "TXT"): txt(VALUE)}))
        challenge = Challenge(method=Method.DNS_TXT, adn=adn, expected=VALUE)
        return _validate(coordinator, challenge, seen=here)

    with running_perspective(tmp_path, resolver=f"127.0.0.1#{name_servers.recursive_port}") as address:
        quorum = Quorum(perspectives=1)
        with contextlib.closing(Coordinator((address,), lambda _now: quorum)) as coordinator:
            assert isinstance(outcome_of("example.ac.uk"), Validated)
            forged = outcome_of("forged.ac.uk")
    assert isinstance(forged, NotValidated)
    assert forged.problem.code == DISSENT
    assert "dcv.dns.bogus" in repr(forged.record.details)
