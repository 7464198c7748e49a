"""A small ACME client for tests: says what it is told, right or wrong. Cryptography by joserfc and pyca.

`Transport` is anything that sends a request; tests give Django's client or a real connection.
"""

import base64
import ipaddress
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

JOSE = "application/jose+json"
Key = ECKey | RSAKey | OKPKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back; `json` is None for an answer that is none."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - tests look into it as they like
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        """The last part of the problem's type; empty for an answer that is no problem."""
        if not self.headers.get("Content-Type", "").startswith("application/problem+json"):
            return ""
        return str(self.json["type"]).removeprefix("urn:ietf:params:acme:error:")

    @property
    def refusal(self) -> tuple[int, str]:
        """The status and the problem."""
        return self.status, self.problem


class Transport(Protocol):
    """Sends one request to an absolute URL."""

    def __call__(self, method: str, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
        """The answer, whatever its status."""


def over_http(context: ssl.SSLContext | None = None) -> Transport:
    """A transport over real connections; `context` says whom it trusts where the directory is https."""

    def send(method: str, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
        request = Request(url, data=body or None, headers=dict(headers), method=method)
        try:
            with urlopen(request, context=context, timeout=30) as answer:
                return Reply(status=answer.status, headers=_titled(answer.headers), body=answer.read())
        except HTTPError as error:
            with error:
                return Reply(status=error.code, headers=_titled(error.headers), body=error.read())

    return send


def _titled(headers: Message) -> dict[str, str]:
    """Headers as the RFCs spell them, whatever the server's spelling."""
    return {name.title(): value for name, value in headers.items()}


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def new_key() -> ECKey:
    """A P-256 key."""
    return ECKey.generate_key("P-256")


def public(key: Key) -> dict[str, Any]:
    """The public half as JWK, with the members that matter alone."""
    found = key.as_dict(private=False)
    return {name: found[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in found}


def sign(payload: bytes, key: Key | OctKey, header: Mapping[str, Any]) -> dict[str, Any]:
    """A flattened JWS, with any algorithm that joserfc knows."""
    registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    registry.max_header_length = 100_000
    registry.max_payload_length = 1_000_000
    return dict(jws.serialize_json({"protected": dict(header)}, payload, key, registry=registry))


@dataclass(slots=True, kw_only=True)
class AcmeClient:
    """An account's key and where it is registered. `directory` is the URL of the server's directory."""

    send: Transport
    directory: str
    key: Key = field(default_factory=new_key)
    alg: str = "ES256"
    kid: str = ""
    nonce: str = ""
    known: dict[str, Any] = field(default_factory=dict)

    def get(self, url: str) -> Reply:
        """A plain GET."""
        return self.send("GET", url, body=b"", headers={})

    @property
    def at(self) -> dict[str, Any]:
        """The directory."""
        if not self.known:
            self.known = self.get(self.directory).json
        return self.known

    def fresh_nonce(self) -> str:
        """The last answer's nonce, or a new one."""
        nonce, self.nonce = self.nonce, ""
        if nonce:
            return nonce
        return self.send("HEAD", self.at["newNonce"], body=b"", headers={}).headers["Replay-Nonce"]

    def header(self, url: str, **changes: Any) -> dict[str, Any]:
        """The protected header of a request; a change to None leaves a member out."""
        signer = {"kid": self.kid} if self.kid else {"jwk": public(self.key)}
        made = {"alg": self.alg, "nonce": None, "url": url, **signer, **changes}
        if made["nonce"] is None and "nonce" not in changes:
            made["nonce"] = self.fresh_nonce()
        return {name: value for name, value in made.items() if value is not None}

    def post(self, url: str, payload: object = None, *, key: Key | None = None, **changes: Any) -> Reply:
        """A signed POST; without a payload a POST-as-GET. `changes` are to the protected header."""
        raw = b"" if payload is None else json.dumps(payload).encode()
        return self.post_raw(
            url, json.dumps(sign(raw, key or self.key, self.header(url, **changes))).encode()
        )

    def post_raw(self, url: str, body: bytes, *, content_type: str = JOSE) -> Reply:
        """Exactly these bytes."""
        reply = self.send("POST", url, body=body, headers={"Content-Type": content_type})
        self.nonce = reply.headers.get("Replay-Nonce", "")
        return reply

    def binding(self, credential: str, hmac_key: str, **changes: Any) -> dict[str, Any]:
        """An external account binding for this key; `changes` are to its header."""
        header = {"alg": "HS256", "kid": credential, "url": self.at["newAccount"], **changes}
        secret = OctKey.import_key({"kty": "oct", "k": hmac_key})
        return sign(json.dumps(public(self.key)).encode(), secret, header)

    def register(self, kid: str, hmac_key: str, **payload: Any) -> Reply:
        """Registers with a credential; from then on requests are signed for the account."""
        body = {
            "termsOfServiceAgreed": True,
            "contact": ["mailto:webmaster@example.ac.uk"],
            "externalAccountBinding": self.binding(kid, hmac_key),
            **payload,
        }
        reply = self.post(self.at["newAccount"], body)
        if reply.status in (200, 201):
            self.kid = reply.headers["Location"]
        return reply

    def key_change(self, key: Key, header: Mapping[str, Any] | None = None, **payload: Any) -> dict[str, Any]:
        """The message that asks for this key (RFC 8555 7.3.5); a member that is None is left out."""
        told = {"account": self.kid, "oldKey": public(self.key), **payload}
        kept = {name: value for name, value in told.items() if value is not None}
        usual = {"alg": "ES256", "jwk": public(key), "url": self.at["keyChange"]}
        return sign(json.dumps(kept).encode(), key, {**usual, **(header or {})})

    def change_key(self, key: Key, header: Mapping[str, Any] | None = None, **payload: Any) -> Reply:
        """Sends it; this client goes on signing with its own key."""
        return self.post(self.at["keyChange"], self.key_change(key, header, **payload))

    def order(self, *names: str, **payload: Any) -> Reply:
        """A new order for DNS names and IP addresses."""
        identifiers = [{"type": "ip" if address_of(name) else "dns", "value": name} for name in names]
        return self.post(self.at["newOrder"], {"identifiers": identifiers, **payload})

    def finalize(self, order: Mapping[str, Any], csr: bytes) -> Reply:
        """Finalizes an order with a CSR in DER."""
        return self.post(order["finalize"], {"csr": b64(csr)})

    def issue(self, *names: str, csr: bytes | None = None) -> bytes:
        """The chain, PEM, for names that need no challenge; whatever stands in the way fails the test."""
        ordered = self.order(*names)
        assert ordered.status == 201, ordered.body
        done = self.finalize(ordered.json, csr or make_csr(*names))
        assert done.status == 200, done.body
        assert done.json["status"] == "valid", done.body
        return self.post(done.json["certificate"]).body

    def answer(self, authorization_url: str, kind: str, prove: Callable[[str], None]) -> Reply:
        """Answers one challenge: `prove` is given the key authorization first."""
        found = self.post(authorization_url).json
        challenge = next(one for one in found["challenges"] if one["type"] == kind)
        prove(f"{challenge.get('token', '')}.{self.key.thumbprint()}")
        return self.post(challenge["url"], {})


def address_of(name: str) -> x509.IPAddress | None:
    """The SAN of a name that is an IP address."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return None


def make_csr(*names: str, key: ec.EllipticCurvePrivateKey | None = None, organisation: str = "") -> bytes:
    """A CSR in DER with an empty subject, unless an organisation is given."""
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    sans = x509.SubjectAlternativeName([address_of(name) or x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    signer = key or ec.generate_private_key(ec.SECP256R1())
    return (
        builder.add_extension(sans, critical=False).sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)
    )


def names_in(chain: bytes) -> Sequence[str]:
    """The DNS names of a chain's first certificate."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def addresses_in(chain: bytes) -> Sequence[str]:
    """The IP addresses of a chain's first certificate."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(address) for address in names.get_values_for_type(x509.IPAddress)]
