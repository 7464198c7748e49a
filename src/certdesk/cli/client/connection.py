"""One connection to a Certdesk service: where it is, who asks, and its problems as failures."""

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import click

from certdesk.cli.client.exits import Exit, Failure

if TYPE_CHECKING:  # slow to load, and `check` and `--help` need none
    import httpx2

Json = dict[str, Any]

ROOT = "/api/v1"
TIMEOUT_SECONDS = 60.0
MAX_PAGES = 100_000
_STATUS_EXITS = {401: Exit.DENIED, 403: Exit.DENIED, 404: Exit.NOT_FOUND}
_RETRY = frozenset({429, 502, 503, 504})
_WAITING_EXITS = {
    "waiting_for_approval": Exit.NEEDS_APPROVAL,
    "accepted": Exit.RETRY_LATER,
    "submitted": Exit.RETRY_LATER,
}
#: A CA's no is for good, though it comes with the status of a broken gateway.
_CODE_EXITS = {"backend.refused": Exit.FAILED}
_TOKEN = re.compile(r"[!-~]+")


class Service:
    """A service to talk to. Every answer that is no success is raised as Failure."""

    def __init__(self, url: str, token: str, *, transport: "httpx2.BaseTransport | None" = None) -> None:
        import httpx2  # noqa: PLC0415 - as said above

        self._url = url
        self._http = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json, */*"},
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,  # the token goes to the address that was asked for, and nowhere else
            trust_env=not is_loopback(url),  # a proxy can't reach this machine's own loopback
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_unused: object) -> None:
        self._http.close()

    def get(self, path: str, **params: str) -> "httpx2.Response":
        """The answer to a GET."""
        return self._call("GET", path, params=_given(params))

    def show(self, path: str, **params: str) -> Json:
        """The JSON object behind an address."""
        return _json(self.get(path, **params))

    def post(self, path: str, body: Json, *, key: str = "", if_match: str = "") -> Json:
        """The JSON answer to a JSON body, without the members that are None."""
        told = {name: value for name, value in body.items() if value is not None}
        headers = {"Idempotency-Key": key, "If-Match": if_match}
        return _json(self._call("POST", path, json=told, headers=_given(headers)))

    def delete(self, path: str) -> None:
        """Takes something away."""
        self._call("DELETE", path)

    def upload(self, path: str, csr: bytes, fields: dict[str, str], *, key: str = "") -> Json:
        """The JSON answer to a CSR sent as a file, PEM or DER, with those fields that are not empty."""
        files = {"csr": ("request.csr", csr, "application/octet-stream")}
        headers = _given({"Idempotency-Key": key})
        return _json(self._call("POST", path, files=files, data=_given(fields), headers=headers))

    def renewal_info(self, identifier: str) -> Json:
        """When to renew a certificate (RFC 9773 4.1); anybody may ask."""
        return _json(self._call("GET", f"/acme/renewal-info/{identifier}", root=""))

    def pages(self, path: str, *, every: bool, **params: str) -> Iterator[Json]:
        """The pages of a list: the first, or every one."""
        cursor = ""
        for _count in range(MAX_PAGES):
            page = self.show(path, **params, cursor=cursor)
            yield page
            cursor = str(page.get("next_cursor") or "")
            if not (every and cursor):
                return

    def _call(self, method: str, path: str, *, root: str = ROOT, **how: Any) -> "httpx2.Response":
        import httpx2  # noqa: PLC0415 - as said above

        try:
            response = self._http.request(method, root + path, **how)
        except httpx2.ConnectError as error:
            raise Failure(
                f"{self._url} can't be reached ({error}). Is CERTDESK_URL right, and does the service run?",
                code=Exit.RETRY_LATER,
            ) from None
        except httpx2.TimeoutException:
            raise Failure(
                f"{self._url} did not answer in {TIMEOUT_SECONDS:g} seconds. Sending the same again is safe.",
                code=Exit.RETRY_LATER,
            ) from None
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise Failure(f"{self._url} did not answer properly: {error}", code=Exit.RETRY_LATER) from None
        if not response.is_success:
            raise _failure(response)
        return response


def _given(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def make_service(url: str | None, *, token_file: Path | None, insecure_http: bool = False) -> Service:
    """The service to use. Raises UsageError where address or token is missing, Failure where one is bad."""
    return Service(_address(url, insecure_http=insecure_http), _token(token_file))


def is_loopback(url: str) -> bool:
    """Whether an address leads to this machine itself."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(url: str | None, *, insecure_http: bool) -> str:
    if not url:
        raise click.UsageError("Say which service: set CERTDESK_URL, or give --url https://…")
    url = url.strip().rstrip("/")
    if not _usable(url):
        raise click.UsageError("The service's address must look like https://certdesk.example.ac.uk")
    if urlsplit(url).scheme == "http" and not insecure_http and not is_loopback(url):
        raise click.UsageError(
            f"{url} is plain HTTP, so anybody on the way could read the token. "
            "Use https://, or say --insecure-http if you know better."
        )
    return url


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False
    return usable and not parts.query and not parts.fragment


def _token(path: Path | None) -> str:
    # From the environment alone: what stands on a command line is read by everybody on the machine.
    token = os.environ.get("CERTDESK_TOKEN", "").strip()
    if path is not None and not token:
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"The token file can't be read: {error}") from None
    if not token:
        raise click.UsageError("Set CERTDESK_TOKEN (cdk_…), or name a file with the token: --token-file.")
    if not _TOKEN.fullmatch(token):
        raise Failure("The token holds characters that no token has. Copy it again.", code=Exit.DENIED)
    return token


def _json(response: "httpx2.Response") -> Json:
    try:
        told = response.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise Failure(
            f"{response.url} did not answer with JSON. Does CERTDESK_URL lead to a Certdesk service?"
        )
    return told


def _failure(response: "httpx2.Response") -> Failure:
    status = response.status_code
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "detail" not in problem:
        return Failure(
            f"{response.url} answered {status} {response.reason_phrase}. "
            "Does CERTDESK_URL lead to a Certdesk service?",
            code=Exit.RETRY_LATER if status in _RETRY else Exit.FAILED,
        )
    if status == 401:  # noqa: PLR2004 - Unauthorized
        told = "The service does not know this token; it may be mistyped, expired or revoked. Make a new one."
        return Failure(told, code=Exit.DENIED)
    code = _STATUS_EXITS.get(status, Exit.RETRY_LATER if status in _RETRY else Exit.FAILED)
    code = _WAITING_EXITS.get(str(problem.get("request_status")), code)
    code = _CODE_EXITS.get(str(problem.get("code")), code)
    lines = [str(problem["detail"])]
    for item in problem.get("errors") or []:
        where = str(item.get("pointer") or item.get("parameter") or "").removeprefix("#/")
        lines.append(f"  {where}: {item.get('detail', '')}" if where else f"  {item.get('detail', '')}")
    # The first few refusals make up the detail; a script or a person may want all of them.
    for check in problem.get("checks") or []:
        if check.get("verdict") == "refuse" and str(check.get("message")) not in lines[0]:
            lines.append(f"  {check.get('code')}: {check.get('message')}")
    return Failure("\n".join(lines), code=code, status=status, problem=str(problem.get("code", "")))
