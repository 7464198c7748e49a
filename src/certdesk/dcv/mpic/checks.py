"""What a perspective does for each request: the same look-ups as the primary one, from where it stands."""

from collections.abc import Iterable
from datetime import datetime
from typing import assert_never

from certdesk.dcv.base import Network, Problem
from certdesk.dcv.caa import check_caa
from certdesk.dcv.fetch import Fetched, NotFetched
from certdesk.dcv.http import acme_url, file_url
from certdesk.dcv.http.file import fetched
from certdesk.dcv.http.file import problem_of as file_problem
from certdesk.dcv.look import look
from certdesk.dcv.mpic.schema import (
    AcmeDns,
    AcmeHttp,
    AcmeTlsAlpn,
    CaaRequest,
    CheckDetails,
    CheckError,
    CheckResponse,
    DcvParameters,
    DnsChange,
    DnsPersistent,
    WebsiteChange,
)
from certdesk.dcv.persist.record import LABEL as PERSIST_LABEL
from certdesk.dcv.persist.record import Grant, parse_record
from certdesk.dcv.tls_alpn import OCTET_STRING_OF_32
from certdesk.dcv.tls_alpn.certificate import problem_of as certificate_problem
from certdesk.domain.validation.caa import Code, Question

_ACME_LABEL = "_acme-challenge"


def dcv(target: str, parameters: DcvParameters, *, network: Network, now: datetime) -> CheckResponse:
    """The outcome of one domain validation, seen from here."""
    match parameters:
        case WebsiteChange():
            url = file_url(target, parameters.http_token_path, scheme=parameters.url_scheme)
            return _file(target, url, parameters.challenge_value, parameters, network=network)
        case AcmeHttp():
            url = acme_url(target, parameters.token)
            return _file(target, url, parameters.key_authorization, parameters, network=network)
        case AcmeTlsAlpn():
            shown = network.fetcher.connect_tls_alpn(target)
            details = CheckDetails(validation_method=parameters.validation_method)
            if isinstance(shown, NotFetched):
                refused = Problem(code=f"dcv.{shown.code}", detail=shown.detail)
                return _response(details, refused, completed=False)
            value = OCTET_STRING_OF_32 + bytes.fromhex(parameters.key_authorization_hash)
            return _response(details, certificate_problem(shown, adn=target, value=value), completed=True)
        case DnsChange():
            name = f"{parameters.dns_name_prefix}.{target}"
            found = look(network.resolver, name, parameters.dns_record_type)
            is_there = parameters.challenge_value in found.answer.values
        case AcmeDns():
            found = look(network.resolver, f"{_ACME_LABEL}.{target}", "TXT")
            is_there = parameters.key_authorization_hash in found.answer.values
        case DnsPersistent():
            found = look(network.resolver, f"{PERSIST_LABEL}.{target}", "TXT")
            is_there = bool(
                granted(
                    found.answer.values,
                    issuers=parameters.issuer_domain_names,
                    account_uri=parameters.expected_account_uri,
                    now=now,
                )
            )
        case _:
            assert_never(parameters)
    problem = None
    if not is_there:
        persists = isinstance(parameters, DnsPersistent)
        code = "dcv.persist.no_record" if persists else "dcv.dns.other_value"
        told = f"No record at {found.name} counts." if persists else f"The value is not at {found.name}."
        problem = found.fault() or Problem(code=code, detail=told)
    details = CheckDetails(
        validation_method=parameters.validation_method,
        records_seen=list(found.answer.values),
        ad_flag=found.answer.authenticated,
        found_at=found.name,
        cname_chain=list(found.answer.chain),
    )
    return _response(details, problem, completed=found.answer.status.answered)


def caa(request: CaaRequest, *, network: Network, now: datetime) -> CheckResponse:
    """Whether CAA permits, seen from here."""
    parameters = request.caa_check_parameters
    question = Question(
        name=request.domain_or_ip_target,
        issuers=tuple(parameters.caa_domains),
        account_uri=parameters.account_uri,
        method=parameters.validation_method,
    )
    checked = check_caa(question, resolver=network.resolver, now=now)
    decision = checked.decision
    errors = [] if decision.allowed else [CheckError(error_type=decision.code, error_message=decision.detail)]
    return CheckResponse(
        check_type="caa",
        check_completed=decision.code is not Code.LOOKUP_FAILED,
        check_passed=decision.allowed,
        errors=errors,
        details=CheckDetails(
            caa_record_present=bool(decision.records),
            found_at=decision.where or None,
            records_seen=list(decision.records),
            ad_flag=decision.authenticated,
        ),
    )


def granted(
    values: Iterable[str], *, issuers: Iterable[str], account_uri: str, now: datetime
) -> tuple[Grant, ...]:
    """The persistent records among these that count."""
    names = {issuer.lower().rstrip(".") for issuer in issuers}
    read = (parse_record(value, issuers=names, account_uris=(account_uri,), now=now) for value in values)
    return tuple(one for one in read if isinstance(one, Grant))


def _file(
    target: str, url: str, expected: str, parameters: DcvParameters, *, network: Network
) -> CheckResponse:
    response = fetched(url, adn=target, fetcher=network.fetcher)
    details = CheckDetails(
        validation_method=parameters.validation_method,
        response_url=(url, *response.redirects)[-1],
        response_status_code=response.status if isinstance(response, Fetched) else None,
    )
    problem = file_problem(response, url, expected=expected)
    return _response(details, problem, completed=isinstance(response, Fetched))


def _response(details: CheckDetails, problem: Problem | None, *, completed: bool) -> CheckResponse:
    errors = [CheckError(error_type=problem.code, error_message=problem.detail)] if problem else []
    return CheckResponse(
        check_type="dcv",
        check_completed=completed,
        check_passed=problem is None,
        errors=errors,
        details=details,
    )
