"""A request's certificate on its page, and the files that it downloads as. Never a private key."""

from collections.abc import Mapping
from datetime import timedelta

from django.http import HttpResponse
from django.utils.text import slugify

from certdesk.domain.errors import NotFound
from certdesk.domain.issuing.downloads import FORMS, TRUSTSTORE_PASSWORD, bundle_zip, file_stem, server_zip
from certdesk.domain.settings import OTHER
from certdesk.store.selectors.requests import CertificateRow, RequestDetail
from certdesk.web.requests.install import form_for, guide_for, instructions

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


def newest(detail: RequestDetail) -> CertificateRow:
    """The certificate that is offered. Raises NotFound while there is none."""
    if not detail.certificates:
        raise NotFound("There is no certificate for this request yet.")
    return detail.certificates[0]


def stem_of(detail: RequestDetail, certificate: CertificateRow) -> str:
    """The name of its files, without an ending."""
    return file_stem(detail.common_names, certificate.not_after)


def certificate_context(detail: RequestDetail) -> dict[str, object]:
    """What the page shows of the certificate and of installing it; nothing while there is none."""
    if not detail.certificates:
        return {}
    certificate, software = newest(detail), detail.server_software
    wanted, is_named = form_for(software), software != OTHER
    forms = sorted(WORDS, key=lambda form: form != wanted)  # the one that the server takes first
    files = [(form, *WORDS[form], FORMS[form].ending.removeprefix("-")) for form in forms]
    if is_named:
        text = "What it takes, the root, and the instructions below as a text"
        files.insert(1 if wanted in WORDS else 0, (SERVER, f"Bundle for {software}", text, ".zip"))
    return {
        "certificate": certificate,
        "days": (certificate.not_after - certificate.not_before + LAST_SECOND).days,
        "wanted": WORDS[wanted][0] if wanted in WORDS else "",
        "software": software if is_named else "",
        "files": files,
        "guide": guide_for(software, stem=stem_of(detail, certificate), host=_host(detail)),
    }


def bundle_response(detail: RequestDetail) -> HttpResponse:
    """The .zip. Raises NotFound while there is no certificate."""
    certificate = newest(detail)
    stem = stem_of(detail, certificate)
    return _download(bundle_zip(certificate.chain, stem), f"{stem}.zip", "application/zip")


def form_response(detail: RequestDetail, key: str) -> HttpResponse:
    """One form of the certificate. Raises NotFound for an unknown form or while there is none."""
    certificate = newest(detail)
    if key == SERVER:
        stem, software = stem_of(detail, certificate), detail.server_software
        text = instructions(software, stem=stem, host=_host(detail))
        content = server_zip(certificate.chain, stem, form=form_for(software), instructions=text)
        return _download(content, f"{stem}-{slugify(software) or SERVER}.zip", "application/zip")
    if key not in FORMS:
        raise NotFound("There is no such file format.")
    form = FORMS[key]
    name = stem_of(detail, certificate) + form.ending
    return _download(form.make(certificate.chain), name, form.media_type)


def _host(detail: RequestDetail) -> str:
    return detail.common_names.replace("*.", "www.", 1)


def _download(content: bytes, name: str, media_type: str) -> HttpResponse:
    response = HttpResponse(content, content_type=media_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
