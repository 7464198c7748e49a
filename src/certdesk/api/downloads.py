"""The files of requests and certificates: every form, zip, CSR. Never a private key."""

from typing import Annotated, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from certdesk.api.auth import actor_of
from certdesk.api.openapi import files
from certdesk.api.problems import Problem, Unacceptable
from certdesk.api.schemas import ProblemOut
from certdesk.domain.actors import Actor
from certdesk.domain.errors import NotFound
from certdesk.domain.issuing.downloads import FORMS, Form, bundle_zip, file_stem
from certdesk.domain.issuing.states import FINAL, status_text
from certdesk.services.system import runtime
from certdesk.services.system.sealing import csr_from_store, is_sealed
from certdesk.store.selectors.certificates import IssuedFiles, certificate_files, newest_certificate
from certdesk.store.selectors.requests import get_request

router = Router(tags=["requests"])

ZIP = "application/zip"
CSR = "application/x-pem-file"
WAIT_SECONDS = 5
FormParam = Annotated[
    Literal["pem", "fullchain", "chain", "der", "p7b", "truststore"], Query("pem", alias="format")
]
FileParam = Annotated[
    Literal["pem", "fullchain", "chain", "der", "p7b", "truststore", "zip"], Query("pem", alias="format")
]
_MEDIA_TYPES = {form.media_type for form in FORMS.values()}


@router.get(
    "/requests/{int:number}/bundle.zip",
    operation_id="downloadBundle",
    summary="Download the certificate with its chain as a zip",
    response={409: ProblemOut},
    openapi_extra=files(ZIP),
)
def download_bundle(request: HttpRequest, number: int) -> HttpResponse:
    """The .crt, every chaining certificate and the root."""
    return _as_zip(_newest(actor_of(request), number))


@router.get(
    "/requests/{int:number}/certificate",
    operation_id="downloadCertificate",
    summary="Download the certificate in the form that the server wants",
    response={409: ProblemOut},
    openapi_extra=files(*_MEDIA_TYPES),
)
def download_certificate(request: HttpRequest, number: int, form: FormParam = "pem") -> HttpResponse:
    """The leaf (`pem`, `der`), leaf and chain (`fullchain`), the chain without the leaf (`chain`).

    Or everything as PKCS#7 (`p7b`), or the root as a Java trust store (`truststore`, password `changeit`).
    """
    return _as_form(_newest(actor_of(request), number), FORMS[form])


@router.get(
    "/certificates/{int:certificate_id}/file",
    tags=["certificates"],
    operation_id="downloadCertificateFile",
    summary="Download one certificate, older ones too",
    openapi_extra=files(ZIP, *_MEDIA_TYPES),
)
def download_file(request: HttpRequest, certificate_id: int, form: FileParam = "pem") -> HttpResponse:
    """The same forms as of a request's newest certificate, and the zip."""
    found = certificate_files(actor=actor_of(request), certificate_id=certificate_id)
    return _as_zip(found) if form == "zip" else _as_form(found, FORMS[form])


@router.get(
    "/requests/{int:number}/csr",
    operation_id="downloadCsr",
    summary="Download the CSR as it was read",
    openapi_extra=files(CSR),
)
def download_csr(request: HttpRequest, number: int) -> HttpResponse:
    """PEM, whatever form it was sent in.

    One with a challenge password or the like is for the person who sent it alone.
    """
    actor = actor_of(request)
    detail = get_request(actor=actor, number=number)
    if not detail.csr_der:
        raise NotFound("This request has no CSR of its own: each of its certificates was made for another.")
    if is_sealed(detail.csr_der) and detail.requester_id != actor.user_id:
        raise NotFound("This CSR may hold a secret, so only the person who sent it can download it.")
    pem = x509.load_der_x509_csr(csr_from_store(detail.csr_der)).public_bytes(Encoding.PEM)
    return _file(pem, media_type=CSR, name=f"request-{detail.number}.csr")


def _newest(actor: Actor, number: int) -> IssuedFiles:
    found = newest_certificate(actor=actor, number=number)
    if found is not None:
        return found
    detail = get_request(actor=actor, number=number)
    status = status_text(detail.status, state=detail.state, ra=runtime.current().rules.ra)
    raise Unacceptable(
        Problem(
            status=409,
            code="certificate.not_available",
            title="There is no certificate to download",
            detail=f"Request {detail.number}: {status}. {detail.detail}".strip(),
            extra={"request_status": detail.status.value},
            headers={} if detail.status in FINAL else {"Retry-After": str(WAIT_SECONDS)},
        )
    )


def _as_zip(files: IssuedFiles) -> HttpResponse:
    stem = file_stem(files.common_names, files.not_after)
    return _file(bundle_zip(files.chain, stem), media_type=ZIP, name=f"{stem}.zip")


def _as_form(files: IssuedFiles, form: Form) -> HttpResponse:
    name = file_stem(files.common_names, files.not_after) + form.ending
    return _file(form.make(files.chain), media_type=form.media_type, name=name)


def _file(content: bytes, *, media_type: str, name: str) -> HttpResponse:
    return HttpResponse(
        content, content_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
