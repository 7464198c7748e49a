"""The pages of AD CS's web enrolment, as its clients know them; sign-in by Basic or NTLM."""

import base64
import hashlib
import os
from pathlib import Path
from urllib.parse import parse_qs

import spnego
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from spnego.channel_bindings import GssChannelBindings

from tests.harness.vendors.stand_in import Answer, Asked, Handler, Order, StandIn

USERNAME, PASSWORD = "EXAMPLE\\certdesk", "correct horse"


class Adcs(StandIn):
    """A CA with the template `WebServer`, over TLS with `binding`, the server's certificate (DER)."""

    scheme, binding = "basic", b""
    #: What it answers to the first token of a handshake, instead of its own.
    nonsense = ""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = _Handler

    def answer(self, asked: Asked) -> Answer:
        page = asked.path.removeprefix("/certsrv/")
        if page == "":
            return _page("Microsoft Active Directory Certificate Services")
        if page == "certcarc.asp":
            return _page("<Script>var nRenewals=0;</Script>")
        if page == "certfnsh.asp":
            return self._submit({name: values[0] for name, values in parse_qs(asked.body.decode()).items()})
        if page == "certnew.p7b":
            return self._chain(asked.query["ReqID"])
        return 404, {}, b"<h1>404</h1>"

    def refusal(self) -> Answer:
        return _denied(
            "Denied by Policy Module  0x80094800, The request was for a certificate template that is "
            "not supported by the Active Directory Certificate Services policy."
        )

    def _submit(self, form: dict[str, str]) -> Answer:
        csr = form["CertRequest"].encode()
        if "CertificateTemplate:WebServer" not in form["CertAttrib"]:
            return self.refusal()
        try:
            extensions = x509.load_pem_x509_csr(csr).extensions
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except ValueError:
            return _denied("Error Parsing Request  ASN1 bad tag value met.")
        asked = [str(name.value) for name in names]
        if any(" " in name for name in asked):
            return _denied("Denied by Policy Module  The name is not valid.")
        order = self.take(key="", csr=csr, names=asked, days=self.days, status="pending")
        if order.leaf is None:
            return _page(
                "<P><B>Certificate Pending</B><P>Your certificate request has been received. "
                "However, you must wait for an administrator to issue the certificate you requested."
                f"<P>Your Request Id is {order.number}."
            )
        return _page(f'<P>Certificate Issued<A Href="certnew.cer?ReqID={order.number}&Enc=b64">Download</A>')

    def _chain(self, number: str) -> Answer:
        order: Order | None = next((one for one in self.orders if str(one.number) == number), None)
        certificates = [self.root, self.issuing]
        if number != "CACert" and (order is None or order.leaf is None):
            told = (
                "Taken Under Submission"
                if order and order.status == "pending"
                else "Denied by EXAMPLE\\officer"
            )
            return _page(f"<TR><TD>Disposition message:</TD>\r\n<TD>{told}</TD></TR>")
        if order is not None and order.leaf is not None:
            certificates.append(order.leaf)
        body = serialize_certificates(certificates, Encoding.DER)
        return 200, {"Content-Type": "application/x-pkcs7-certificates"}, body


class _Handler(Handler):
    """Signs in a connection by NTLM, as IIS does, or each request by Basic."""

    server: Adcs

    def answer(self, asked: Asked) -> Answer:
        given = asked.headers.get("Authorization", "")
        if self.server.scheme == "basic":
            pair = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
            return self.server.answer(asked) if given == f"Basic {pair}" else _unauthorized("Basic realm=x")
        if getattr(self, "signed_in", False):
            return self.server.answer(asked)
        scheme, _, token = given.partition(" ")
        if scheme.lower() != self.server.scheme:
            return _unauthorized(self.server.scheme.title())
        if self.server.nonsense:
            return _unauthorized(f"{self.server.scheme.title()} {self.server.nonsense}")
        if not hasattr(self, "context"):
            bindings = None
            if self.server.binding:
                digest = hashlib.sha256(self.server.binding).digest()
                bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + digest)
            self.context = spnego.server(protocol=self.server.scheme, channel_bindings=bindings)
        try:
            reply = self.context.step(base64.b64decode(token))
        except spnego.exceptions.SpnegoError:
            return _unauthorized(self.server.scheme.title())
        if not self.context.complete:
            return _unauthorized(f"{self.server.scheme.title()} {base64.b64encode(reply or b'').decode()}")
        self.signed_in = True
        return self.server.answer(asked)


def ntlm_users(folder: Path) -> str:
    """Where pyspnego's server reads who may sign in by NTLM (NTLM_USER_FILE)."""
    path = folder / "users"
    domain, name = USERNAME.split("\\")
    path.write_text(f"{domain}:{name}:{PASSWORD}\n", encoding="utf-8")
    return os.fspath(path)


def _page(text: str) -> Answer:
    return 200, {"Content-Type": "text/html; Charset=UTF-8"}, f"<Html><Body>{text}</Body></Html>".encode()


def _denied(why: str) -> Answer:
    return _page(
        f'<P><B>Certificate Request Denied</B><P>Your Request Id is 9. The disposition message is "{why}".'
    )


def _unauthorized(offer: str) -> Answer:
    return 401, {"WWW-Authenticate": offer}, b"<h1>401</h1>"
