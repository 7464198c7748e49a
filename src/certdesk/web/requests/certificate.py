"""A request's certificate on its page, and the files that it downloads as (R37). Never a private key."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.http import HttpResponse
from django.urls import reverse
from django.utils.text import slugify

from certdesk.domain.downloads import FORMS, TRUSTSTORE_PASSWORD, bundle_zip, file_stem, server_zip
from certdesk.domain.errors import NotFound
from certdesk.domain.settings import OTHER
from certdesk.store.selectors.requests import CertificateRow, RequestDetail
from certdesk.web import times
from certdesk.web.requests.install import Guide, form_for, guide_for, instructions
from certdesk.web.requests.rows import fingerprint

#: The last second still counts (RFC 5280 4.1.2.5).
LAST_SECOND = timedelta(seconds=1)
#: The zip for the server software of the request, beside the forms.
SERVER = "server"

#: What the page calls each form, and whom it is for.
WORDS: Mapping[str, tuple[str, str]] = {
    "fullchain": ("Full chain (PEM)", "Certificate and chain: nginx, Apache and most others"),
    "pem": ("Certificate alone (PEM)", "For servers that take the chain separately"),
    "chain": ("Chain alone (PEM)", "The file that goes with it there: older Apache, appliances"),
    "der": ("Certificate alone (DER)", "Binary, for some appliances"),
    "p7b": ("PKCS#7", "Everything in one file: IIS, Exchange, Tomcat"),
    "truststore": (
        "Java trust store",
        f"The root, for Java clients that have to trust it; its password is “{TRUSTSTORE_PASSWORD}”",
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
    first = WORDS.get(wanted)
    days = (certificate.not_after - certificate.not_before + LAST_SECOND).days
    forms = [_file(detail, key) for key in sorted(WORDS, key=lambda key: key != wanted)]
    before = 1 if first else 0  # the form that the server takes, then the bundle with it, then the others
    return CertificateView(
        hint="The .zip holds your certificate, each chaining certificate and the root."
        + (f" For {detail.server_software}, take “{first[0]}” below." if first else ""),
        zip_href=reverse("requests-bundle", args=[detail.number]),
        open_files=first is not None or detail.server_software != OTHER,
        files=(*forms[:before], *_for_server(detail), *forms[before:]),
        validity=f"{times.at(certificate.not_before)} to {times.at(certificate.not_after)} ({days} days)",
        serial=fingerprint(certificate.serial),
        issuer=certificate.issuer,
        sha256=fingerprint(certificate.sha256),
    )


def install_view(detail: RequestDetail) -> InstallView | None:
    """How to install it, or None while there is nothing to install."""
    if not detail.certificates:
        return None
    guide = guide_for(detail.server_software, stem=stem_of(detail, newest(detail)), host=_host(detail))
    software = detail.server_software if detail.server_software != OTHER else "your server"
    return InstallView(software=software, guide=guide)


def bundle_response(detail: RequestDetail) -> HttpResponse:
    """The .zip. Raises NotFound while there is no certificate."""
    certificate = newest(detail)
    stem = stem_of(detail, certificate)
    return _download(bundle_zip(certificate.chain, stem), f"{stem}.zip", "application/zip")


def form_response(detail: RequestDetail, key: str) -> HttpResponse:
    """One form of the certificate. Raises NotFound for an unknown form or while there is none."""
    certificate = newest(detail)
    if key == SERVER:
        return _server_response(detail, certificate)
    if key not in FORMS:
        raise NotFound("A certificate has no such form.")
    form = FORMS[key]
    name = stem_of(detail, certificate) + form.ending
    return _download(form.make(certificate.chain), name, form.media_type)


def _server_response(detail: RequestDetail, certificate: CertificateRow) -> HttpResponse:
    stem, software = stem_of(detail, certificate), detail.server_software
    text = instructions(software, stem=stem, host=_host(detail))
    content = server_zip(certificate.chain, stem, form=form_for(software), instructions=text)
    return _download(content, f"{stem}-{slugify(software) or SERVER}.zip", "application/zip")


def _for_server(detail: RequestDetail) -> tuple[FileRow, ...]:
    """What to hand to whoever runs the server; nobody knows what an unnamed one takes."""
    if detail.server_software == OTHER:
        return ()
    return (
        FileRow(
            label=f"Bundle for {detail.server_software}",
            text="What it takes, the root, and the instructions below as a text",
            href=reverse("requests-certificate", args=[detail.number, SERVER]),
            button=".zip",
        ),
    )


def _host(detail: RequestDetail) -> str:
    return detail.common_names.replace("*.", "www.", 1)


def _file(detail: RequestDetail, key: str) -> FileRow:
    label, text = WORDS[key]
    return FileRow(
        label=label,
        text=text,
        href=reverse("requests-certificate", args=[detail.number, key]),
        button=FORMS[key].ending.removeprefix("-"),
    )


def _download(content: bytes, name: str, media_type: str) -> HttpResponse:
    response = HttpResponse(content, content_type=media_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
