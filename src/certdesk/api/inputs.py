"""From a call's body and headers to what the services take. Everything unclear is refused."""

import re
from typing import Annotated

from django.http import HttpRequest
from ninja import Header
from ninja.parser import Parser
from ninja.types import DictStrAny
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import from_json

from certdesk.api.problems import NOT_JSON, STALE, UNSUPPORTED, Unacceptable, malformed
from certdesk.domain.actors import Actor
from certdesk.domain.csr.csr import MAX_UPLOAD
from certdesk.domain.errors import BadCsr, InvalidInput
from certdesk.domain.issuing.states import OrganisationId
from certdesk.store.selectors.organisations import get_organisation

_ENTITY_TAG = re.compile(r'"([0-9]{1,10}(?:[.][0-9]{1,10})?)"')


class FormFields(dict[str, object]):
    """What a form holds, as against a JSON object."""


class BodyParser(Parser):
    """JSON, and a form with a CSR as a file where a body has a CSR."""

    def parse_body(self, request: HttpRequest) -> DictStrAny:
        """The body, not yet validated. Raises Unacceptable, InvalidInput."""
        if request.content_type == "multipart/form-data":
            files = request.FILES.getlist("csr")
            if set(request.FILES) - {"csr"} or len(files) > 1:
                raise InvalidInput("Send one file, in the field “csr”.", {"csr": "Send one CSR at a time."})
            fields = FormFields(request.POST.items())
            if "names" in request.POST:
                fields["names"] = request.POST.getlist("names")
            if files:
                fields["csr"] = files[0].read(MAX_UPLOAD + 1)
            return fields
        if request.content_type != "application/json":
            raise Unacceptable(UNSUPPORTED)
        try:
            told: DictStrAny = from_json(request.body)
        except ValueError:
            raise Unacceptable(NOT_JSON) from None
        return told


class Body(BaseModel):
    """A JSON body. Unknown members are refused, so that a typing mistake is not taken for a wish."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _forms_are_for_csrs(cls, sent: object) -> object:
        if isinstance(sent, FormFields) and "csr" not in cls.model_fields:
            raise Unacceptable(UNSUPPORTED)
        return sent


def _not_too_large(csr: bytes) -> bytes:
    if len(csr) > MAX_UPLOAD:
        raise BadCsr("This is more than 64 KB. A CSR is far smaller: send it alone.", code="csr.too_large")
    return csr


def _visible(key: str) -> str:
    if key and not re.fullmatch(r"[!-~]{1,128}", key):
        raise Unacceptable(malformed("Idempotency-Key takes 1 to 128 visible ASCII characters."))
    return key


#: PostgreSQL stores no NUL, and nobody means one.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=4000)]
ShortText = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=300)]
SearchText = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=200)]
Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{0,63}$")]
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:]{0,95}$")]
NumberCursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{0,18}$")]
Limit = Annotated[int, Field(ge=1, le=200)]
Number = Annotated[int, Field(ge=1, le=2**63 - 1)]
Version = Annotated[
    int | None, Field(ge=0, le=2**31 - 1, description="The version you looked at; or send If-Match.")
]
CsrBytes = Annotated[
    bytes,
    AfterValidator(_not_too_large),
    WithJsonSchema({"type": "string"}),
    Field(description="The CSR: PEM text (RFC 7468), or as a file in a form PEM or DER. At most 64 KB."),
]
IdempotencyKey = Annotated[
    str,
    AfterValidator(_visible),
    WithJsonSchema({"type": "string", "pattern": "^[!-~]{1,128}$"}),
    Header(
        "",
        alias="Idempotency-Key",
        description="The same key makes the same thing, however often it is sent.",
    ),
]
IfMatch = Annotated[
    str,
    Header(
        "",
        alias="If-Match",
        description="The ETag of what you looked at; answered with 412 if it has changed meanwhile.",
    ),
]


def organisation_of(actor: Actor, slug: str) -> OrganisationId:
    """The organisation named, or the only one that the actor belongs to; its rights are not looked at.

    Raises NotFound for a foreign one, InvalidInput when there is no telling which.
    """
    if slug:
        return get_organisation(actor=actor, slug=slug).id
    if len(actor.organisation_ids) == 1:
        (only,) = actor.organisation_ids
        return only
    raise InvalidInput("Say for which organisation.", {"organisation": "Give its short name (slug)."})


def organisation_filter(actor: Actor, slug: str) -> OrganisationId | None:
    """The organisation that a list is narrowed to, if any. Raises NotFound for a foreign one."""
    return get_organisation(actor=actor, slug=slug).id if slug else None


def seen_version(if_match: str, *, current: int, given: int | None) -> int | None:
    """The version that the caller decided on: from the body, or from If-Match (RFC 9110 13.1.1).

    Raises Unacceptable (412) at once if If-Match names another than the current one.
    """
    if not if_match.strip() or if_match.strip() == "*":
        return given
    strong = _ENTITY_TAG.findall(re.sub(r'W/"[^"]*"', "", if_match))
    if str(current) not in [tag.partition(".")[0] for tag in strong]:
        raise Unacceptable(STALE)
    return current if given is None else given


def is_fresh(request: HttpRequest, *, tag: str) -> bool:
    """Whether If-None-Match says that the caller has this already (RFC 9110 13.1.2)."""
    return tag.strip('"') in _ENTITY_TAG.findall(request.headers.get("If-None-Match", ""))
