"""CertCentral's Services API v2, from https://dev.digicert.com/certcentral-apis/services-api.html."""

import json
import re

from tests.harness.vendors.stand_in import Answer, Asked, Order, StandIn

KEY = "ABCDEF0123456789-api-key"
ORGANIZATION = 123456


class DigiCert(StandIn):
    """One account; orders are approved where they ask to skip approval, or always with `approves`."""

    #: What an administrator does with requests for a revocation.
    rejects = False

    def answer(self, asked: Asked) -> Answer:  # noqa: PLR0911 - one API, one table
        if asked.headers.get("X-DC-DEVKEY") != KEY:
            return _errors(
                401, "invalid_api_key", f"The key {asked.headers.get('X-DC-DEVKEY')} is not valid."
            )
        path = asked.path.removeprefix("/services/v2/")
        data = json.loads(asked.body or b"{}")
        if match := re.fullmatch(r"order/alternate/(\w+)", path):
            found = [one for one in self.orders if one.key == match[1]]
            orders = [{"order_id": one.number, "certificate_id": 1, "status": one.status} for one in found]
            return _json(200, {"orders": orders, "page": {"total": len(found), "limit": 1000, "offset": 0}})
        if path == "order/certificate/ssl_basic":
            names = [data["certificate"]["common_name"], *data["certificate"].get("dns_names", [])]
            if data["organization"]["id"] != ORGANIZATION:
                return _errors(400, "invalid_organization", "There is no such organization.")
            if any(" " in name for name in names):
                return _errors(400, "invalid_dns_name", f"The name {names[0]} is not valid.")
            order = self.take(
                key=data["alternative_order_id"],
                csr=data["certificate"]["csr"].encode(),
                names=names,
                days=data["order_validity"]["days"],
                status="pending",
            )
            return _json(201, {"id": order.number, "requests": [{"id": 1, "status": "pending"}]})
        if match := re.fullmatch(r"certificate/download/order/(\d+)/format/pem_all", path):
            return 200, {"Content-Type": "application/octet-stream"}, self.bundle(self._order(match[1]))
        if match := re.fullmatch(r"order/certificate/(\d+)/revoke", path):
            order = self._order(match[1])
            if data.get("skip_approval"):
                order.is_revoked, order.status = True, "revoked"
                return 204, {}, b""
            order.revoking = True
            return _json(201, {"id": 2, "type": "revoke", "status": "pending"})
        if match := re.fullmatch(r"order/certificate/([0-9A-F]+)", path):
            known = next((one for one in self.orders if str(one.number) == match[1]), None)
            return self._info(known or self.by_serial(match[1]))
        if path == f"organization/{ORGANIZATION}":
            return _json(200, {"id": ORGANIZATION, "status": "active", "name": "Example University"})
        return _errors(404, "not_found", "There is nothing here.")

    def refusal(self) -> Answer:
        return _errors(400, "domain_not_validated", "The domain is not validated.")

    def _order(self, number: str) -> Order:
        return next(one for one in self.orders if one.number == int(number))

    def _info(self, order: Order | None) -> Answer:
        if order is None:
            return _errors(404, "not_found|order", "Order was not found.")
        requests = [{"id": 1, "type": "new_request", "status": "approved"}]
        if order.revoking:
            status = "rejected" if self.rejects else "pending"
            requests.append({"id": 2, "type": "revoke", "status": status})
        return _json(200, {"id": order.number, "status": order.status, "requests": requests})


def _json(status: int, data: object) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(data).encode()


def _errors(status: int, code: str, message: str) -> Answer:
    return _json(status, {"errors": [{"code": code, "message": message}]})
