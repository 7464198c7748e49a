"""Sectigo Certificate Manager's REST API, from Sectigo's reference of version 25.5."""

import json
import re

from tests.harness.vendors.stand_in import Answer, Asked, Order, StandIn

PASSWORD = "Password123!"
ORGANIZATION, PROFILE = 103, 1013
_HEADERS = {"login": "certdesk", "password": PASSWORD, "customerUri": "example"}


class Sectigo(StandIn):
    """One customer with one profile, of one mandatory custom field."""

    #: Whether what is issued can be collected.
    collectable = True
    refuses = (-737, "The domain(s): example.ac.uk are not validated!")

    def answer(self, asked: Asked) -> Answer:  # noqa: PLR0911 - one API, one table
        if any(asked.headers.get(name) != value for name, value in _HEADERS.items()):
            return _error(401, -16, f"Unknown user, with {asked.headers.get('password')}")
        path = asked.path.removeprefix("/api/ssl/v1")
        if path == "" and asked.method == "GET":
            return self._list(asked)
        if path == "/types":
            types = [{"id": PROFILE, "name": "OV SSL", "terms": [30, 199], "keyTypes": {"RSA": ["2048"]}}]
            return _json(200, types)
        if path == "/enroll":
            return self._enroll(json.loads(asked.body))
        if match := re.fullmatch(r"/revoke/serial/([0-9A-F]+)", path):
            order = self.by_serial(match[1])
            if order is None:
                return _error(404, -5101, "Certificate not found. ")
            if order.is_revoked:
                return _error(400, -159, "Your certificate already revoked")
            order.is_revoked, order.status = True, "Revoked"
            order.asked.update(json.loads(asked.body))
            return 204, {}, b""
        if match := re.fullmatch(r"(?:/collect)?/(\d+)", path):
            order = next((one for one in self.orders if str(one.number) == match[1]), None)
            if order is None:
                return _error(400, -124, f"Wrong SSL certificate id {match[1]}.")
            return self._collect(order) if path.startswith("/collect") else _json(200, _details(order))
        return _error(404, -1, "Unknown error.")

    def refusal(self) -> Answer:
        return _error(400, *self.refuses)

    def _list(self, asked: Asked) -> Answer:
        wanted, size = asked.query["subjectAlternativeName"], int(asked.query["size"])
        found = [one for one in self.orders if wanted in one.names]
        begin = int(asked.query["position"])
        page = [{"sslId": one.number, "commonName": one.names[0]} for one in found[begin : begin + size]]
        status, headers, body = _json(200, page)
        return status, {**headers, "X-Total-Count": str(len(found))}, body

    def _enroll(self, data: dict[str, object]) -> Answer:
        names = str(data["subjAltNames"]).split(",")
        if not data["customFields"]:
            return _error(400, -62, "Missing mandatory custom field!")
        if (data["orgId"], data["certType"]) != (ORGANIZATION, PROFILE):
            return _error(400, -39, "The certificate profile id is invalid!")
        if any(" " in name for name in names):
            return _error(400, -732, "Invalid domain name.")
        days = data["term"]
        assert isinstance(days, int)
        csr = str(data["csr"]).encode()
        order = self.take(key=str(data["comments"]), csr=csr, names=names, days=days, status="Requested")
        return _json(200, {"sslId": order.number, "renewId": "gu03sW6WENt7GTvDTuOP"})

    def _collect(self, order: Order) -> Answer:
        if order.leaf is None or not self.collectable:
            return _error(400, -183, "Certificate is not collectable.")
        return 200, {"Content-Type": "application/octet-stream"}, self.bundle(order)


def _details(order: Order) -> dict[str, object]:
    return {"id": order.number, "sslId": order.number, "status": order.status.title(), "comments": order.key}


def _json(status: int, data: object) -> Answer:
    return status, {"Content-Type": "application/json;charset=UTF-8"}, json.dumps(data).encode()


def _error(status: int, code: int, description: str) -> Answer:
    return _json(status, {"code": code, "description": description})
