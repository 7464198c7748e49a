"""From a call's body and headers to what the services take. Everything unclear is refused."""

import re
from typing import TypeVar

from django.http import HttpRequest
from pydantic import BaseModel, ValidationError

from certdesk.api.problems import STALE, Problem, Unacceptable, invalid_body, malformed
from certdesk.api.schemas import CsrIn, SubmissionIn
from certdesk.domain.actors import Actor
from certdesk.domain.csr import MAX_UPLOAD
from certdesk.domain.errors import BadCsr, InvalidInput, NotAuthorized
from certdesk.domain.requests import OrganisationId
from certdesk.services.requests import Submission
from certdesk.store.selectors.organisations import get_organisation, list_organisations

_Body = TypeVar("_Body", bound=BaseModel)
_WithCsr = TypeVar("_WithCsr", SubmissionIn, CsrIn)
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,128}")
_ENTITY_TAG = re.compile(r'"([0-9]{1,10}(?:[.][0-9]{1,10})?)"')


def read_body(request: HttpRequest, model: type[_Body], *, optional: bool = False) -> _Body:
    """The JSON body as a model. `optional` lets an empty one count as `{}`. Raises Unacceptable."""
    if optional and not request.body:
        return model()
    if not _is(request, "application/json"):
        raise Unacceptable(_unsupported("JSON (Content-Type: application/json)"))
    try:
        return model.model_validate_json(request.body)
    except ValidationError as error:
        raise Unacceptable(invalid_body(error)) from None


def read_submission(request: HttpRequest) -> tuple[SubmissionIn, bytes]:
    """What an applicant asks for, and the CSR as it was sent: JSON, or a form with a file `csr`."""
    return _read_with_csr(request, SubmissionIn)


def read_csr_alone(request: HttpRequest) -> bytes:
    """The CSR as it was sent, and nothing beside it: JSON, or a form with a file `csr`."""
    return _read_with_csr(request, CsrIn)[1]


def _read_with_csr(request: HttpRequest, model: type[_WithCsr]) -> tuple[_WithCsr, bytes]:
    if _is(request, "application/json"):
        asked = read_body(request, model)
        upload = asked.csr.encode()
    elif _is(request, "multipart/form-data"):
        asked, upload = _read_form(request, model)
    else:
        raise Unacceptable(_unsupported("JSON, or multipart/form-data with a file field “csr”"))
    if len(upload) > MAX_UPLOAD:
        raise BadCsr("This is more than 64 KB. A CSR is far smaller: send it alone.", code="csr.too_large")
    return asked, upload


def submission_for(actor: Actor, asked: SubmissionIn, upload: bytes) -> Submission:
    """The submission to hand on, for the organisation named or the only one that the actor belongs to."""
    return Submission(
        organisation_id=_organisation(actor, asked.organisation),
        upload=upload,
        duration_years=asked.duration_years,
        server_software=asked.server_software,
        profile_id=asked.profile,
        note=asked.note,
        names=None if asked.names is None else tuple(asked.names),
    )


def organisation_of(actor: Actor, slug: str) -> OrganisationId:
    """The organisation named, or the only one that the actor belongs to; its rights are not looked at.

    Raises NotFound for a foreign one, InvalidInput when there is no telling which.
    """
    if slug:
        return get_organisation(actor=actor, slug=slug).id
    if len(actor.organisation_ids) == 1:
        (only,) = actor.organisation_ids
        return only
    raise InvalidInput("Say for which organisation.", fields={"organisation": "Give its short name (slug)."})


def slug_of(actor: Actor, organisation_id: OrganisationId) -> str:
    """The short name of one of the actor's own organisations."""
    return next((row.slug for row in list_organisations(actor=actor) if row.id == organisation_id), "")


def idempotency_key(request: HttpRequest) -> str:
    """The Idempotency-Key, or nothing. Raises Unacceptable for one that can't be kept."""
    key = request.headers.get("Idempotency-Key", "")
    if key and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Unacceptable(malformed("Idempotency-Key takes 1 to 128 visible ASCII characters."))
    return key


def seen_version(request: HttpRequest, *, current: int, given: int | None) -> int | None:
    """The version that the caller decided on: from the body, or from If-Match (RFC 9110 13.1.1).

    Raises Unacceptable (412) at once if If-Match names another than the current one.
    """
    tags = request.headers.get("If-Match", "").strip()
    if not tags or tags == "*":
        return given
    strong = _ENTITY_TAG.findall(re.sub(r'W/"[^"]*"', "", tags))
    if str(current) not in [tag.partition(".")[0] for tag in strong]:
        raise Unacceptable(STALE)
    return current if given is None else given


def is_fresh(request: HttpRequest, *, tag: str) -> bool:
    """Whether If-None-Match says that the caller has this already (RFC 9110 13.1.2)."""
    return tag.strip('"') in _ENTITY_TAG.findall(request.headers.get("If-None-Match", ""))


def _read_form(request: HttpRequest, model: type[_WithCsr]) -> tuple[_WithCsr, bytes]:
    files = request.FILES.getlist("csr")
    if set(request.FILES) - {"csr"} or len(files) > 1:
        raise InvalidInput("Send one file, in the field “csr”.", fields={"csr": "Send one CSR at a time."})
    fields: dict[str, object] = dict(request.POST.items())
    if "names" in request.POST:
        fields["names"] = request.POST.getlist("names")
    upload = b""
    if files:
        upload = files[0].read(MAX_UPLOAD + 1)
        fields["csr"] = ""
    try:
        asked = model.model_validate(fields)
    except ValidationError as error:
        raise Unacceptable(invalid_body(error)) from None
    return asked, upload or asked.csr.encode()


def _organisation(actor: Actor, slug: str) -> OrganisationId:
    if slug:
        found = get_organisation(actor=actor, slug=slug)
        if found.id not in actor.organisation_ids:
            raise NotAuthorized(f"You don't belong to {found.legal_name}, so you can't request for it.")
        return found.id
    if not actor.organisation_ids:
        raise NotAuthorized(
            "You don't belong to an organisation, so you can't ask for certificates. "
            "RA staff decide about requests; people of an organisation make them."
        )
    if len(actor.organisation_ids) > 1:
        own = (row.slug for row in list_organisations(actor=actor) if row.id in actor.organisation_ids)
        raise InvalidInput(
            "You belong to several organisations. Say for which one you ask.",
            fields={"organisation": f"Choose one of: {', '.join(own)}."},
        )
    (only,) = actor.organisation_ids
    return only


def organisation_named(actor: Actor, slug: str) -> OrganisationId:
    """The organisation of this name, or the only one of the actor. Raises NotFound, InvalidInput."""
    if slug:
        return get_organisation(actor=actor, slug=slug).id
    if len(actor.organisation_ids) != 1:
        raise InvalidInput(
            "Say for which organisation.",
            fields={"organisation": "Give the organisation's short name."},
        )
    (only,) = actor.organisation_ids
    return only


def organisation_filter(actor: Actor, slug: str) -> OrganisationId | None:
    """The organisation that a list is narrowed to, if any. Raises NotFound for a foreign one."""
    return get_organisation(actor=actor, slug=slug).id if slug else None


def _is(request: HttpRequest, media_type: str) -> bool:
    return request.content_type == media_type


def _unsupported(wanted: str) -> Problem:
    return Problem(
        status=415,
        code="media_type.unsupported",
        title="This kind of body is not read here",
        detail=f"Send {wanted}.",
    )
