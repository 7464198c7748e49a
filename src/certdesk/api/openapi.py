"""Ninja's API and its OpenAPI document, with what holds of every operation and ninja can't know."""

import json
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema, get_schema
from ninja.renderers import JSONRenderer

from certdesk.api.problems import MEDIA_TYPE
from certdesk.api.schemas import ProblemOut

Extra = dict[str, Any]

_REQUEST_ID: Extra = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "Comes back with the answer and stands in the log; made up if you send none.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=@-]{1,128}$"},
}
_FILE: Extra = {"type": "string", "format": "binary", "description": "The CSR as a file: PEM or DER."}
#: What any call may be answered with; one that sends something; and one with a body.
_ANY, _SENDING, _WITH_BODY = (401, 403, 413, 429, 500), (400, 415, 422), (408,)


def files(*media_types: str) -> Extra:
    """What an operation answers with: a file, in one of these forms."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = dict.fromkeys(sorted(media_types), binary)
    return {"responses": {200: {"description": "The file.", "content": content}}}


class Utf8Renderer(JSONRenderer):
    """JSON as people read it."""

    json_dumps_params = MappingProxyType({"ensure_ascii": False})


class CertdeskApi(NinjaAPI):
    """Ninja's API, whose document has the problems, forms and headers that all operations share."""

    def get_content_type(self) -> str:
        """JSON without a charset: it is UTF-8 (RFC 8259 8.1)."""
        return str(self.renderer.media_type)

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: Extra | None = None
    ) -> OpenAPISchema:
        """The whole document, for the fixed address of this version."""
        del path_prefix, path_params
        document = get_schema(api=self, path_prefix="/api/v1/")
        schemas = document["components"]["schemas"]
        shape = ProblemOut.model_json_schema(
            ref_template="#/components/schemas/{model}", mode="serialization"
        )
        schemas.update({**shape.pop("$defs"), "ProblemOut": shape})
        document["jsonSchemaDialect"] = "https://spec.openapis.org/oas/3.1/dialect/base"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                _complete(operation, path=path, method=method, schemas=schemas)
        return document


def _complete(operation: Extra, *, path: str, method: str, schemas: Extra) -> None:
    """Adds what holds of every operation of its kind."""
    responses, body = operation["responses"], operation.get("requestBody")
    parameters = operation.setdefault("parameters", [])
    queried = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    statuses = {*_ANY, *(status for status in responses if status >= HTTPStatus.BAD_REQUEST)}
    statuses.update(_SENDING if method in ("post", "patch") else (), _WITH_BODY if body else ())
    statuses.update((HTTPStatus.NOT_FOUND,) if "{" in path or "organisation" in queried else ())
    statuses.update((HTTPStatus.UNPROCESSABLE_ENTITY,) if queried else ())
    for status in sorted(statuses):
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
        responses[status] = {"description": HTTPStatus(status).phrase, "content": content}
    parameters.append(_REQUEST_ID)
    if body:
        asked = body["content"]["application/json"]["schema"]
        shape = schemas[asked["$ref"].rpartition("/")[2]] if "$ref" in asked else {}
        if "csr" in shape.get("properties", {}):
            as_file = {**shape, "properties": {**shape["properties"], "csr": _FILE}}
            body["content"]["multipart/form-data"] = {"schema": as_file}


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
