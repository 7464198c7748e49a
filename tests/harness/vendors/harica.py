"""CertManager's API, from https://guides.harica.gr/docs/Guides/Developer, and what public clients send."""

import base64
import json
import time
from datetime import UTC, datetime
from email import message_from_bytes, policy

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from tests.harness.vendors.stand_in import Answer, Asked, Order, StandIn

EMAIL, PASSWORD, SEED = "certdesk@example.ac.uk", "correct horse", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
_ORGANIZATION = {
    "id": "a1b2",
    "organizationName": "Example University",
    "country": "GB",
    "state": "",
    "locality": "",
}
_UUID = "00000000-0000-4000-8000-{:012}"


class Harica(StandIn):
    """One account. Requests are approved by another administrator: `approves` says whether at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sign_ins = 0
        self.jwt = ""
        #: Whether requests keep their friendly name, and certificates are revoked when that is asked for.
        self.keeps_names = self.revokes = True
        self.organizations: list[dict[str, str]] = [dict(_ORGANIZATION)]

    def answer(self, asked: Asked) -> Answer:  # noqa: PLR0911 - one API, one table
        signed_in = bool(self.jwt) and asked.headers.get("Authorization") == self.jwt
        if asked.path == "/":
            token = "user-token" if signed_in else "page-token"
            page = f'<form><input name="__RequestVerificationToken" type="hidden" value="{token}" /></form>'
            return (
                200,
                {"Content-Type": "text/html", "Set-Cookie": f".AspNetCore.Antiforgery=c-{token}"},
                page.encode(),
            )
        token = "page-token" if asked.path == "/api/User/Login2FA" else "user-token"
        if asked.headers.get("RequestVerificationToken") != token or f"c-{token}" not in asked.headers.get(
            "Cookie", ""
        ):
            return 400, {}, b""
        if asked.path == "/api/User/Login2FA":
            return self._sign_in(json.loads(asked.body))
        if not signed_in:
            return 401, {}, b""
        path = asked.path.removeprefix("/api/")
        if path == "ServerCertificate/GetMyTransactions":
            return _json(200, [self._transaction(one) for one in self.orders])
        if path == "ServerCertificate/CheckMachingOrganization":
            return _json(200, self.organizations)
        if path == "ServerCertificate/RequestServerCertificate":
            return self._request(asked)
        if path == "Certificate/GetRevocationReasons":
            texts = {
                "4.9.1.1.1.1": "The Subscriber requests in writing, without specifying a CRLreason",
                "4.9.1.1.1.3": "The private key is compromised (CRLReason #1, keyCompromise)",
                "4.9.1.1.1.9": "The certificate is replaced (CRLReason #4, superseded)",
            }
            return _json(200, [{"name": name, "revocationMessage": text} for name, text in texts.items()])
        data = json.loads(asked.body)
        wanted = data.get("id") or data.get("transactionId")
        order = next((one for one in self.orders if _UUID.format(one.number) == wanted), None)
        if order is None or order.leaf is None:
            return _json(404, {"message": "There is no such certificate."})
        if path == "Certificate/RevokeCertificate":
            order.asked["reason"], order.revoking = data["name"], True
            order.is_revoked = self.revokes
            return 200, {}, b""
        serial = f"{order.leaf.serial_number:X}"
        pem = order.leaf.public_bytes(Encoding.PEM)
        return _json(
            200,
            {
                "certificate": pem.decode(),
                "pemBundle": self.bundle(order).decode(),
                "serial": serial,
                "isRevoked": order.is_revoked,
            },
        )

    def refusal(self) -> Answer:
        return _json(400, {"message": "The domains are not validated."})

    def _sign_in(self, data: dict[str, str]) -> Answer:
        self.sign_ins += 1
        code = TOTP(base64.b32decode(SEED), 6, SHA1(), 30)  # noqa: S303 - RFC 6238's
        now = code.generate(int(time.time())).decode()
        if (data["email"], data["password"], data["token"]) != (EMAIL, PASSWORD, now):
            return 401, {}, b""
        ends = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time()) + 3600}).encode()).rstrip(b"=")
        self.jwt = f"eyJhbGciOiJIUzI1NiJ9.{ends.decode()}.signature{self.sign_ins}"
        return _json(200, self.jwt)

    def _request(self, asked: Asked) -> Answer:
        whole = b"Content-Type: " + asked.headers["Content-Type"].encode() + b"\r\n\r\n" + asked.body
        fields: dict[str, bytes] = {}
        for part in message_from_bytes(whole, policy=policy.HTTP).iter_parts():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            fields[str(part.get_param("name", header="content-disposition"))] = content
        names = [one["domain"] for one in json.loads(fields["domains"])]
        if any(" " in name for name in names):
            return _json(400, {"message": f"{names[0]} is not a domain."})
        if fields["organizationDN"] != b"OrganizationId:a1b2&C:GB&ST:&L:&O:Example University":
            return _json(400, {"message": "There is no such organization."})
        key = fields["friendlyName"].decode() if self.keeps_names else ""
        order = self.take(key=key, csr=fields["csr"], names=names, days=self.days, status="Pending")
        return _json(200, {"id": _UUID.format(order.number), "requiresConsentKey": False})

    def _transaction(self, order: Order) -> dict[str, object]:
        return {
            "transactionId": _UUID.format(order.number),
            "transactionStatus": "Completed" if order.leaf else order.status,
            "transactionStatusMessage": "The reviewer says no." if order.status == "Cancelled" else "",
            "friendlyName": order.key or None,
            "requestedAt": datetime.now(UTC).isoformat(),
            "isRevoked": order.is_revoked,
            "domains": [{"fqdn": name, "includesWWW": False, "validations": []} for name in order.names],
        }


def _json(status: int, data: object) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(data).encode()
