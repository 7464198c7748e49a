"""From what services and selectors return to JSON: REST's shapes, in one place. `schemas` describes them.

Written by hand, not by pydantic: nothing that we made ourselves has to be validated on its way out.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode
from zlib import crc32

from django.http import HttpResponse

from certdesk.domain.actors import Actor
from certdesk.domain.check_catalogue import stored
from certdesk.domain.findings import Check, as_record
from certdesk.domain.keys import describe_key
from certdesk.domain.policy import Outcome
from certdesk.domain.requests import Status, status_text
from certdesk.services import runtime
from certdesk.services.another import open_until
from certdesk.services.decisions import Judgement
from certdesk.services.requests import Preview
from certdesk.store.selectors.caa import CaaRow
from certdesk.store.selectors.certificates import ListedCertificate, RevocationRow
from certdesk.store.selectors.domains import Standing
from certdesk.store.selectors.organisations import DomainRow, OrganisationRow, ValidationRow
from certdesk.store.selectors.people import Member
from certdesk.store.selectors.proofs import OpenChallenge
from certdesk.store.selectors.requests import (
    ApprovalRow,
    CertificateRow,
    EventRow,
    RequestDetail,
    RequestRow,
)
from certdesk.store.selectors.tokens import TokenRow
from certdesk.store.selectors.validation import DomainDetail

ROOT = "/api/v1"
Json = dict[str, object]

_FORESEEN = {
    Outcome.AUTO: "Would be accepted for automatic processing.",
    Outcome.MANUAL: "Would wait for manual approval.",
    Outcome.REFUSE: "Would be refused: put right what the checks say, then preview again.",
}


def answer(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """A JSON answer."""
    return HttpResponse(
        json.dumps(body, ensure_ascii=False).encode(),
        status=status,
        content_type="application/json",
        headers=dict(headers or {}),
    )


def page(items: Iterable[Json], *, path: str, query: Mapping[str, str], next_cursor: str) -> HttpResponse:
    """One page of a list; `Link` leads to the next (RFC 8288) with the same query."""
    body: Json = {"items": list(items), "next_cursor": next_cursor or None}
    if not next_cursor:
        return answer(body)
    kept = {name: value for name, value in query.items() if value} | {"cursor": next_cursor}
    return answer(body, headers={"Link": f'<{ROOT}{path}?{urlencode(kept)}>; rel="next"'})


def moment(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def etag(version: int, body: Json) -> str:
    """The entity tag of a request: its version, and a number for what changes without one."""
    return f'"{version}.{crc32(json.dumps(body).encode())}"'


def check_json(check: Check) -> Json:
    """One check with its verdict."""
    return dict(as_record(check))


def preview_json(preview: Preview, *, actor: Actor, slug: str) -> Json:
    """A preview: a request that is none yet."""
    decision = preview.decision
    return {
        "id": None,
        "decision": decision.outcome.value,
        "status": None,
        "status_text": None,
        "detail": _FORESEEN[decision.outcome],
        "action_needed": False,
        "certificate_status": None,
        "version": None,
        "organisation": preview.organisation,
        "organisation_slug": slug,
        "requester": actor.label,
        "names": list(preview.csr.names),
        "subject": [{"name": a.name, "value": a.value} for a in preview.csr.subject],
        "key": describe_key(preview.csr.key),
        "csr_sha256": preview.csr.sha256,
        "profile": preview.profile_id,
        "duration_years": preview.duration_years,
        "server_software": preview.server_software,
        "note": "",
        "term": _term(preview.duration_years, preview.not_before, preview.not_after),
        "entitled_until": None,
        "checks": [check_json(check) for check in decision.checks],
        "certificates": [],
        "approvals": [],
        "events": [],
        "created_at": None,
        "changed_at": None,
        "links": {},
    }


def decision_json(judged: Judgement) -> Json:
    """What an approval would be about."""
    return {
        "shown": judged.shown.token(),
        "checks": [check_json(check) for check in judged.decision.checks],
        "vetted": judged.vetted,
        "domains": [
            {"domain": domain, "names": list(names), "required": domain in judged.required}
            for domain, names in judged.domains.items()
        ],
    }


def request_json(request: RequestDetail, *, now: datetime) -> Json:
    """A whole request."""
    newest = request.certificates[0] if request.certificates else None
    return {
        "id": request.number,
        "status": request.status.value,
        "status_text": _text(request.status),
        "detail": request.detail,
        "action_needed": request.action_needed,
        "certificate_status": request.certificate_status(now=now),
        "version": request.version,
        "organisation": request.organisation,
        "organisation_slug": request.organisation_slug,
        "requester": request.requester,
        "names": list(request.names),
        "subject": [{"name": name, "value": value} for name, value in request.subject],
        "key": request.key,
        "csr_sha256": request.csr_sha256,
        "profile": request.profile_id,
        "duration_years": request.duration_years,
        "server_software": request.server_software,
        "note": request.note,
        "term": _term(
            request.duration_years,
            newest.not_before if newest else None,
            newest.not_after if newest else None,
        ),
        "entitled_until": None if (until := open_until(request)) is None else moment(until),
        "checks": [check_json(check) for check in stored(request.checks)],
        "certificates": [certificate_json(c) for c in request.certificates],
        "approvals": [_approval(a) for a in request.approvals],
        "events": [_event(e) for e in request.events],
        "created_at": moment(request.created_at),
        "changed_at": moment(request.changed_at),
        "links": request_links(request.number, with_certificate=newest is not None),
    }


def row_json(row: RequestRow, *, now: datetime) -> Json:
    """A line of the list of requests."""
    return {
        "id": row.number,
        "status": row.status.value,
        "status_text": _text(row.status),
        "action_needed": row.action_needed,
        "certificate_status": row.certificate_status(now=now),
        "common_names": row.common_names,
        "name_count": row.name_count,
        "requester": row.requester,
        "organisation": row.organisation,
        "duration_years": row.duration_years,
        "created_at": moment(row.created_at),
        "changed_at": moment(row.changed_at),
        "links": {"self": f"{ROOT}/requests/{row.number}"},
    }


def request_links(number: int, *, with_certificate: bool) -> Json:
    """Where to go from a request."""
    here = f"{ROOT}/requests/{number}"
    links: Json = {"self": here, "csr": f"{here}/csr"}
    if with_certificate:
        links |= {"bundle": f"{here}/bundle.zip", "certificate": f"{here}/certificate"}
    return links


def certificate_json(row: CertificateRow) -> Json:
    """A certificate."""
    return {**_certificate(row), "links": {"self": f"{ROOT}/certificates/{row.id}"}}


def listed_certificate_json(row: ListedCertificate) -> Json:
    """A certificate by itself."""
    here = f"{ROOT}/certificates/{row.id}"
    return {
        **_certificate(row),
        "status": row.status.value,
        "request": row.request,
        "organisation": row.organisation,
        "names": list(row.names),
        "revocation_reason": row.revocation_reason,
        "revocation": _revocation(row.revocation),
        "links": {
            "self": here,
            "file": f"{here}/file",
            "revoke": f"{here}/revoke",
            "request": f"{ROOT}/requests/{row.request}",
        },
    }


def further_json(number: int, row: ListedCertificate | None) -> Json:
    """Another certificate under a request, or None while the CA is at work on it."""
    return {"request": number, "certificate": None if row is None else listed_certificate_json(row)}


def _revocation(row: RevocationRow | None) -> Json | None:
    if row is None:
        return None
    return {
        "outcome": row.outcome,
        "reason": row.reason,
        "note": row.note,
        "actor": row.actor,
        "detail": row.detail,
        "requested_at": moment(row.requested_at),
        "ended_at": moment(row.ended_at),
    }


def organisation_json(row: OrganisationRow) -> Json:
    """An organisation."""
    return {
        "slug": row.slug,
        "legal_name": row.legal_name,
        "country": row.country,
        "locality": row.locality,
        "is_active": row.is_active,
        "vetted_at": moment(row.vetted_at),
        "first_approved_at": moment(row.first_approved_at),
        "links": {
            "self": f"{ROOT}/organisations/{row.slug}",
            "members": f"{ROOT}/organisations/{row.slug}/members",
            "domains": f"{ROOT}/domains?organisation={row.slug}",
        },
    }


def member_json(member: Member) -> Json:
    """A person of an organisation."""
    return {
        "id": member.user_id,
        "username": member.username,
        "name": member.name,
        "email": member.email,
        "role": member.role.value,
        "is_active": member.is_active,
        "last_login_at": moment(member.last_login_at),
    }


def domain_json(row: DomainRow, *, slug: str, now: datetime) -> Json:
    """A domain and whether anything proves it now."""
    return {
        "id": row.id,
        "domain": row.adn,
        "organisation_slug": slug,
        "is_validated": row.is_validated(now=now),
        "expires_at": moment(row.expires_at),
        "links": domain_links(row.id),
    }


def domain_detail_json(detail: DomainDetail, *, mailboxes: list[str]) -> Json:
    """A domain with the mailboxes that could be asked, and those that have been."""
    row = detail.domain
    return {
        "id": row.id,
        "domain": row.adn,
        "organisation": row.organisation,
        "organisation_slug": detail.organisation_slug,
        "is_validated": row.standing is Standing.VALIDATED,
        "expires_at": moment(row.proof.expires_at if row.proof else None),
        "mailboxes": mailboxes,
        "challenges": [challenge_json(one, domain_id=row.id) for one in row.awaited],
        "links": domain_links(row.id),
    }


def caa_json(row: CaaRow) -> Json:
    """What CAA records said of a name."""
    return {
        "name": row.name,
        "allowed": row.allowed,
        "code": row.code,
        "detail": row.detail,
        "found_at": row.found_at,
        "records": list(row.records),
        "to_add": row.to_add,
        "issuers": list(row.issuers),
        "servers": list(row.servers),
        "authenticated": row.authenticated,
        "request": row.request,
        "at": moment(row.at),
    }


def domain_links(domain_id: int) -> Json:
    """Where to go from a domain."""
    here = f"{ROOT}/domains/{domain_id}"
    below = ("validations", "challenges", "publications", "deadlines", "caa")
    return {"self": here, **{name: f"{here}/{name}" for name in below}}


def challenge_json(one: OpenChallenge, *, domain_id: int) -> Json:
    """A confirmation that was asked for; never its code (V1)."""
    here = f"{ROOT}/domains/{domain_id}"
    return {
        "id": one.id,
        "domain_id": domain_id,
        "domain": one.adn,
        "mailbox": one.mailbox,
        "asked_by": one.asked_by,
        "created_at": moment(one.created_at),
        "sent_at": moment(one.sent_at),
        "expires_at": moment(one.expires_at),
        "links": {
            "self": f"{here}/challenges/{one.id}",
            "domain": here,
            "resend": f"{here}/challenges/{one.id}/resend",
        },
    }


def validation_json(row: ValidationRow) -> Json:
    """One proof of control."""
    return {
        "id": row.id,
        "method": row.method,
        "source": row.source,
        "evidence": row.evidence,
        "validated_by": row.validated_by,
        "validated_at": moment(row.validated_at),
        "expires_at": moment(row.expires_at),
        "ended_by": row.ended_by,
        "end_reason": row.end_reason,
    }


def token_json(row: TokenRow) -> Json:
    """A token as it may be shown again: without itself."""
    return {
        "id": row.id,
        "name": row.name,
        "scopes": list(row.scopes),
        "created_at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
        "revoked_at": moment(row.revoked_at),
        "revoked_by": row.revoked_by,
    }


def _certificate(row: CertificateRow | ListedCertificate) -> Json:
    return {
        "id": row.id,
        "serial": row.serial,
        "issuer": row.issuer,
        "sha256": row.sha256,
        "not_before": moment(row.not_before),
        "not_after": moment(row.not_after),
        "revoked_at": moment(row.revoked_at),
    }


def _text(status: Status) -> str:
    return status_text(status, ra=runtime.current().rules.ra)


def _term(years: int, not_before: datetime | None, not_after: datetime | None) -> Json:
    return {
        "duration_years": years,
        "not_before": moment(not_before),
        "not_after": moment(not_after),
    }


def _event(event: EventRow) -> Json:
    return {
        "at": moment(event.at),
        "event": event.event,
        "from_status": event.from_status or None,
        "to_status": event.to_status or None,
        "actor": event.actor,
        "note": event.note,
    }


def _approval(approval: ApprovalRow) -> Json:
    return {
        "verdict": approval.verdict,
        "by": approval.by,
        "waived": list(approval.waived),
        "note": approval.note,
        "message": approval.message,
        "at": moment(approval.at),
    }
