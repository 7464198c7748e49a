"""A request's certificate on its page, and the files that it downloads as (R37). Never a private key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpResponse
from django.urls import reverse

from certdesk.domain.downloads import bundle_zip, file_stem, fullchain_pem, pkcs7_der, to_pem
from certdesk.domain.errors import NotFound
from certdesk.store.selectors.requests import CertificateRow, RequestDetail
from certdesk.web import times
from certdesk.web.requests.install import Guide, form_for, guide_for
from certdesk.web.requests.rows import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of a certificate: file name ending, media type, words, and how it is made."""

    label: str
    text: str
    ending: str
    media_type: str
    make: Callable[[tuple[bytes, ...]], bytes]


#: The last second still counts (RFC 5280 4.1.2.5).
LAST_SECOND = timedelta(seconds=1)

FORMS: Mapping[str, Form] = {
    "fullchain": Form(
        label="Full chain (PEM)",
        text="Certificate and chain: nginx, Apache and most others",
        ending="-fullchain.pem",
        media_type="application/pem-certificate-chain",
        make=fullchain_pem,
    ),
    "pem": Form(
        label="Certificate alone (PEM)",
        text="For servers that take the chain separately",
        ending=".pem",
        media_type="application/x-pem-file",
        make=lambda chain: to_pem(chain[0]),
    ),
    "der": Form(
        label="Certificate alone (DER)",
        text="Binary, for some appliances",
        ending=".der",
        media_type="application/pkix-cert",
        make=lambda chain: chain[0],
    ),
    "p7b": Form(
        label="PKCS#7",
        text="Everything in one file: IIS, Exchange, Tomcat",
        ending=".p7b",
        media_type="application/x-pkcs7-certificates",
        make=pkcs7_der,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRow:
    """A form on the page."""

    label: str
    text: str
    href: str
    button: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateView:
    """The certificate on the page."""

    hint: str
    zip_href: str
    open_files: bool
    files: tuple[FileRow, ...]
    validity: str
    serial: str
    issuer: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallView:
    """How to install the certificate, on the page."""

    software: str
    guide: Guide


def newest(detail: RequestDetail) -> CertificateRow:
    """The certificate that is offered. Raises NotFound while there is none."""
    if not detail.certificates:
        raise NotFound("There is no certificate for this request yet.")
    return detail.certificates[0]


def stem_of(detail: RequestDetail, certificate: CertificateRow) -> str:
    """The name of its files, without an ending."""
    return file_stem(detail.common_names, certificate.not_after)


def certificate_view(detail: RequestDetail) -> CertificateView | None:
    """What the page shows of the certificate, or None while there is none."""
    if not detail.certificates:
        return None
    certificate, wanted = newest(detail), form_for(detail.server_software)
    first = FORMS.get(wanted)
    days = (certificate.not_after - certificate.not_before + LAST_SECOND).days
    order = sorted(FORMS, key=lambda key: key != wanted)
    return CertificateView(
        hint="The .zip holds your certificate, each chaining certificate and the root."
        + (f" For {detail.server_software}, take “{first.label}” below." if first else ""),
        zip_href=reverse("requests-bundle", args=[detail.number]),
        open_files=first is not None,
        files=tuple(_file(detail, key) for key in order),
        validity=f"{times.at(certificate.not_before)} to {times.at(certificate.not_after)} ({days} days)",
        serial=fingerprint(certificate.serial),
        issuer=certificate.issuer,
        sha256=fingerprint(certificate.sha256),
    )


def install_view(detail: RequestDetail) -> InstallView | None:
    """How to install it, or None while there is nothing to install."""
    if not detail.certificates:
        return None
    guide = guide_for(
        detail.server_software,
        stem=stem_of(detail, newest(detail)),
        host=detail.common_names.replace("*.", "www.", 1),
    )
    software = detail.server_software if detail.server_software != "Other" else "your server"
    return InstallView(software=software, guide=guide)


def bundle_response(detail: RequestDetail) -> HttpResponse:
    """The .zip. Raises NotFound while there is no certificate."""
    certificate = newest(detail)
    stem = stem_of(detail, certificate)
    return _download(bundle_zip(certificate.chain, stem), f"{stem}.zip", "application/zip")


def form_response(detail: RequestDetail, key: str) -> HttpResponse:
    """One form of the certificate. Raises NotFound for an unknown form or while there is none."""
    certificate = newest(detail)
    if key not in FORMS:
        raise NotFound("A certificate has no such form.")
    form = FORMS[key]
    name = stem_of(detail, certificate) + form.ending
    return _download(form.make(certificate.chain), name, form.media_type)


def _file(detail: RequestDetail, key: str) -> FileRow:
    form = FORMS[key]
    return FileRow(
        label=form.label,
        text=form.text,
        href=reverse("requests-certificate", args=[detail.number, key]),
        button=form.ending.removeprefix("-"),
    )


def _download(content: bytes, name: str, media_type: str) -> HttpResponse:
    response = HttpResponse(content, content_type=media_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
