"""Asks every perspective at once for what the primary one has found, and counts (BR 3.2.2.9).

Whatever goes wrong with one of them is its disagreement. What they say is compared where the schema is too
coarse: a persistent record has to reach as far as the primary one's.
"""

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from urllib.parse import urlsplit

import httpx2
from pydantic import ValidationError

from certdesk.dcv.base import Challenge, Network, NotValidated, Outcome, Problem, Record, Validated, Validator
from certdesk.dcv.caa import CaaChecked, check_caa
from certdesk.dcv.connect import Deadline
from certdesk.dcv.dns import LABEL, account_label, txt_digest
from certdesk.dcv.mpic.checks import granted
from certdesk.dcv.mpic.schema import (
    AcmeDns,
    AcmeHttp,
    AcmeTlsAlpn,
    CaaParameters,
    CaaRequest,
    CheckResponse,
    DcvParameters,
    DcvRequest,
    DnsChange,
    DnsPersistent,
    WebsiteChange,
)
from certdesk.dcv.resolver import Resolver
from certdesk.dcv.tls_alpn import OCTET_STRING_OF_32, identifier_value
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.validation.caa import Code, Question
from certdesk.domain.validation.corroboration import Corroboration, Quorum, Vote, count
from certdesk.domain.validation.evidence import Method

_MAX_ANSWER = 65_536
_TOTAL_SECONDS = 25.0
_STEP_SECONDS = 22.0  # a perspective gives its own fetch 20
_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PerspectiveAddress:
    """Where a perspective is asked. `code` is `<registry>.<place>`; https, or this very host."""

    code: str
    url: str
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError for an address over which the answer could be forged."""
        parts = urlsplit(self.url)
        try:
            is_here = ipaddress.ip_address(parts.hostname or "").is_loopback
        except ValueError:
            is_here = False
        if parts.scheme != "https" and not (parts.scheme == "http" and is_here):
            raise ValueError(f"perspective {self.code} has to be asked over https")


Judge = Callable[[CheckResponse], bool]


class Coordinator:
    """Asks all perspectives and counts their votes. Safe to share among threads.

    `tls` says whose certificates are trusted; without it the host's own choice of CAs.
    """

    def __init__(
        self,
        perspectives: tuple[PerspectiveAddress, ...],
        quorum: Callable[[datetime], Quorum],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        if len({one.code for one in perspectives}) < len(perspectives):
            raise ValueError("two perspectives have the same code")
        self._perspectives = perspectives
        self._quorum = quorum
        # Operators' own addresses, so not the applicants' fetcher; nothing of the environment either.
        self._client = httpx2.Client(
            verify=tls or True, trust_env=False, follow_redirects=False, timeout=_STEP_SECONDS
        )

    def close(self) -> None:
        self._client.close()

    def corroborate(self, path: str, body: str, *, agrees: Judge, now: datetime) -> Corroboration:
        """The count of what all say to this request; each has the same time."""
        quorum = self._quorum(now)
        if not self._perspectives:
            return count((), quorum=quorum)
        with ThreadPoolExecutor(max_workers=len(self._perspectives)) as pool:
            votes = list(pool.map(lambda one: self._ask(one, path, body, agrees), self._perspectives))
        return count(votes, quorum=quorum)

    def _ask(self, perspective: PerspectiveAddress, path: str, body: str, agrees: Judge) -> Vote:
        why = ""
        try:
            response = CheckResponse.model_validate_json(self._post(perspective, path, body))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            why = f"not reached: {type(error).__name__}"
        except ValidationError:
            why = "its answer can't be read"
        else:
            if response.check_type != path.removeprefix("/"):
                why = "it answered another question"
            elif not response.check_passed or not agrees(response):
                told = "; ".join(error.error_type for error in response.errors or ())[:200]
                why = told or "it found something else"
        return Vote(perspective=perspective.code, agrees=not why, why=why)

    def _post(self, perspective: PerspectiveAddress, path: str, body: str) -> bytes:
        """The body of a 200, within size and time. Raises OSError or HTTPError for anything else."""
        deadline = Deadline.after(_TOTAL_SECONDS)
        headers = {
            "Authorization": f"Bearer {perspective.token}",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        }
        url = perspective.url.rstrip("/") + path
        with self._client.stream("POST", url, content=body, headers=headers) as response:
            if response.status_code != _OK:
                raise OSError(f"status {response.status_code}")
            answer = b""
            for chunk in response.iter_raw():
                deadline.wait(None)
                answer += chunk
                if len(answer) > _MAX_ANSWER:
                    raise OSError("the answer is too long")
        return answer


class CorroboratingValidator:
    """A validator whose proof counts only if enough perspectives have seen it too."""

    def __init__(self, inner: Validator, coordinator: Coordinator) -> None:
        self._inner = inner
        self._coordinator = coordinator

    @property
    def methods(self) -> frozenset[Method]:
        return self._inner.methods

    def validate(self, challenge: Challenge, *, network: Network, now: datetime) -> Outcome:
        """The inner validator's outcome, corroborated; nobody is asked when it has found nothing."""
        outcome = self._inner.validate(challenge, network=network, now=now)
        if isinstance(outcome, NotValidated):
            return outcome
        record = outcome.record
        request = DcvRequest(
            domain_or_ip_target=record.adn, dcv_check_parameters=dcv_parameters(challenge, record)
        )

        def reaches_as_far(response: CheckResponse) -> bool:
            """Only a persistent record can be less than it passed for."""
            values, account = response.details.records_seen or (), _account_seen(challenge, record)
            grants = granted(values, issuers=challenge.issuers, account_uri=account, now=now)
            return record.method is not Method.DNS_PERSIST_WILDCARD or any(one.wildcard for one in grants)

        body = request.model_dump_json(exclude_none=True)
        counted = self._coordinator.corroborate("/dcv", body, agrees=reaches_as_far, now=now)
        record = replace(record, details={**record.details, "corroboration": as_evidence(counted)})
        if counted.reached:
            return Validated(record=record)
        against = [vote.perspective for vote in counted.votes if not vote.agrees]
        seen = f" Not seen from: {', '.join(against)}." if against else ""
        told = (
            f"The proof is there as seen from here, and not from enough other places.{seen} Wait "
            "until every name server and web server shows it, and try again."
        )
        problem = Problem(code=f"dcv.perspectives.{counted.verdict.value}", detail=told, retry=True)
        return NotValidated(problem=problem, record=record)


def corroborated_caa(
    question: Question, *, resolver: Resolver, coordinator: Coordinator, now: datetime
) -> CaaChecked:
    """CAA from here and, where that permits, from everywhere; a permission that is not shared is none."""
    checked = check_caa(question, resolver=resolver, now=now)
    if not checked.decision.allowed:
        return checked
    request = CaaRequest(
        domain_or_ip_target=question.name,
        caa_check_parameters=CaaParameters(
            caa_domains=list(question.issuers),
            account_uri=question.account_uri,
            validation_method=question.method,
        ),
    )
    counted = coordinator.corroborate(
        "/caa", request.model_dump_json(exclude_none=True), agrees=lambda _response: True, now=now
    )
    checked = replace(checked, corroboration=as_evidence(counted))
    if counted.reached:
        return checked
    told = f"CAA permits {question.name} as seen from here, and not from elsewhere. Try again later."
    refused = replace(checked.decision, allowed=False, code=Code.NOT_CORROBORATED, detail=told)
    return replace(checked, decision=refused)


def as_evidence(counted: Corroboration) -> Mapping[str, object]:
    return {
        "verdict": counted.verdict.value,
        "quorum": asdict(counted.quorum),
        "votes": [asdict(vote) for vote in counted.votes],
    }


def _account_seen(challenge: Challenge, record: Record) -> str:
    """As which URI the record that was found means the account; the others have to see the same one."""
    return str(record.details.get("account_uri") or challenge.account_uri)


def dcv_parameters(challenge: Challenge, record: Record) -> DcvParameters:
    """What the others are asked, so that they see the same value at the same place or nothing.

    Raises: InvariantViolated for a method of people.
    """
    match challenge.method:
        case Method.DNS_TXT | Method.DNS_CNAME:
            cname = challenge.method is Method.DNS_CNAME
            return DnsChange(
                challenge_value=challenge.expected.lower().removesuffix(".") if cname else challenge.expected,
                dns_name_prefix=LABEL,
                dns_record_type="CNAME" if cname else "TXT",
            )
        case Method.ACME_DNS:
            return AcmeDns(key_authorization_hash=txt_digest(challenge.expected))
        case Method.ACME_DNS_ACCOUNT:
            return DnsChange(
                challenge_value=txt_digest(challenge.expected),
                dns_name_prefix=f"{account_label(challenge.account_uri)}._acme-challenge",
                dns_record_type="TXT",
            )
        case Method.HTTP_FILE:
            https = str(record.details.get("url", "")).startswith("https://")
            return WebsiteChange(
                challenge_value=challenge.expected,
                http_token_path=challenge.token,
                url_scheme="https" if https else "http",
            )
        case Method.ACME_HTTP:
            return AcmeHttp(token=challenge.token, key_authorization=challenge.expected)
        case Method.ACME_TLS_ALPN:
            digest = identifier_value(challenge.expected).removeprefix(OCTET_STRING_OF_32)
            return AcmeTlsAlpn(key_authorization_hash=digest.hex())
        case Method.DNS_PERSIST | Method.DNS_PERSIST_WILDCARD:
            return DnsPersistent(
                issuer_domain_names=list(challenge.issuers),
                expected_account_uri=_account_seen(challenge, record),
            )
        case _:
            raise InvariantViolated(f"{challenge.method} is not checked by machine")
