"""The OpenAPI document: what ninja knows, plus bodies, problems and downloads that it can't know."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema, get_schema
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from certdesk.api import acme_schemas, domain_schemas, key_schemas, schemas
from certdesk.api.problems import MEDIA_TYPE

Extra = dict[str, Any]

_REF = "#/components/schemas/{model}"
_BODIES: tuple[type[BaseModel], ...] = (
    schemas.SubmissionIn,
    schemas.UploadIn,
    schemas.CsrIn,
    schemas.CsrUploadIn,
    schemas.ApproveIn,
    schemas.RejectIn,
    schemas.WithdrawIn,
    schemas.EndIn,
    schemas.RevokeIn,
    key_schemas.BlockKeyIn,
    key_schemas.UnblockKeyIn,
    schemas.EvidenceIn,
    schemas.TokenIn,
    domain_schemas.AddDomainIn,
    schemas.RetryIn,
    domain_schemas.ValidateIn,
    acme_schemas.CredentialIn,
    acme_schemas.CredentialChangeIn,
    schemas.ProblemOut,
)
_REQUEST_ID: Extra = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "Comes back with the answer and stands in the log; made up if you send none.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=@-]{1,128}$"},
}
IDEMPOTENCY_KEY: Extra = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key makes the same thing, however often it is sent.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
IF_MATCH: Extra = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of what you looked at; answered with 412 if it has changed meanwhile.",
    "schema": {"type": "string", "pattern": '^"[0-9]{1,10}"$'},
}


def describe(
    *problems: int,
    body: type[BaseModel] | None = None,
    body_required: bool = True,
    form: type[BaseModel] | None = None,
    headers: Iterable[Extra] = (),
    files: Iterable[str] = (),
) -> Extra:
    """What ninja is to add to an operation: its problems by status, JSON body, form, headers, files.

    Every operation may answer 401, 413, 429 and 500 as well, and those with a body 400, 408, 415 and 422.
    """
    statuses = {401, 413, 429, 500, *problems} | ({400, 408, 415, 422} if body else set())
    extra: Extra = {
        "responses": {status: _problem(status) for status in sorted(statuses)},
        "parameters": [dict(header) for header in (*headers, _REQUEST_ID)],
    }
    if body:
        content = {"application/json": {"schema": {"$ref": _REF.format(model=body.__name__)}}}
        if form:
            content["multipart/form-data"] = {"schema": {"$ref": _REF.format(model=form.__name__)}}
        extra["requestBody"] = {"required": body_required, "content": content}
    if media_types := list(files):
        binary = {"schema": {"type": "string", "format": "binary"}}
        extra["responses"][200] = {
            "description": "The file.",
            "content": {media_type: dict(binary) for media_type in media_types},
        }
    return extra


class CertdeskApi(NinjaAPI):
    """Ninja's API with our bodies in the document."""

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """The whole document, for the fixed address of this version."""
        del path_prefix, path_params
        document = get_schema(api=self, path_prefix="/api/v1/")
        _refs, made = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REF)
        document["components"]["schemas"].update(made["$defs"])
        document["jsonSchemaDialect"] = "https://spec.openapis.org/oas/3.1/dialect/base"
        return document


def document_view(api: CertdeskApi) -> Callable[[HttpRequest], HttpResponse]:
    """The view that serves the document; it is made once."""

    @cache
    def document() -> bytes:
        return json.dumps(api.get_openapi_schema(), ensure_ascii=False).encode()

    def openapi_document(request: HttpRequest) -> HttpResponse:
        del request
        return HttpResponse(
            document(), content_type="application/json", headers={"Cache-Control": "public, max-age=300"}
        )

    return require_safe(openapi_document)


def _problem(status: int) -> Extra:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="ProblemOut")}}},
    }
