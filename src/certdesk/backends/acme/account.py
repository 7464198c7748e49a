"""Our account at an ACME CA: made once, kept in a folder, bound to a contract where the CA wants that (EAB).

The folder holds `account.key` (P-256, PKCS#8, mode 0600) and, once the CA has registered it, `account.json`.
Neither is lost: only the account that got a certificate can revoke it. `roll_over` keeps former keys.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from acme import messages
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from josepy.errors import Error as JoseError
from josepy.jwk import JWKEC

from certdesk.backends.acme.config import AcmeConfig
from certdesk.backends.acme.connection import Connection, Payload
from certdesk.backends.acme.problems import Doing, code_of, translated
from certdesk.backends.acme.reading import secret_file
from certdesk.backends.own_ca import exclusive, write_new
from certdesk.domain.errors import BackendRefused, Misconfigured

KEY, _ACCOUNT = "account.key", "account.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A registered account: its address at the CA, and the terms of service that were agreed to."""

    url: str
    terms: str


def known_account(config: AcmeConfig) -> Account | None:
    """The account of this folder; None before it is registered. Raises Misconfigured for one elsewhere."""
    path = config.folder / _ACCOUNT
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        url, directory, terms = (str(kept[key]) for key in ("url", "directory", "terms"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Misconfigured(f"The account in {path} can't be read: {error}. Restore it.") from error
    if directory != config.directory_url:
        advice = "Give each CA a folder of its own."
        raise Misconfigured(f"The account in {path} is one at {directory}, not at this CA. {advice}")
    return Account(url=url, terms=terms)


def account_key(config: AcmeConfig) -> JWKEC:
    """The account's key, made at first. Raises Misconfigured."""
    path = config.folder / KEY
    try:
        config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A new key in the place of a lost one would be a stranger's to the CA.
        if not path.exists() and not (config.folder / _ACCOUNT).exists():
            with exclusive(config.folder):
                if not path.exists():
                    write_new({path: new_key()})
    except OSError as error:
        raise Misconfigured(f"The account's key {path} can't be made: {error}.") from error
    return read_key(path)


def read_key(path: Path) -> JWKEC:
    """A key of an account. Raises Misconfigured."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(f"The account's key {path} can't be used: {error}. Restore it.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Misconfigured(
            f"The account's key {path} is not one of P-256. Restore the one that was made here."
        )
    return JWKEC(key=key)


def new_key() -> bytes:
    """A key for an account, as its file holds it."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def existing(connection: Connection) -> str:
    """The address of the account that has the connection's key. Raises the library's exceptions."""
    return _ask(connection, {"onlyReturnExisting": True})


def register(config: AcmeConfig, connection: Connection) -> Account:
    """The account, registered now unless it is already. One process registers, others wait for it.

    Raises: Misconfigured when the CA won't have it; Unavailable.
    """
    with exclusive(config.folder):
        if (known := known_account(config)) is not None:
            return known
        # 1. The CA may know the key although we don't know the account: its answer was lost. The credential
        #    for the binding is used up then, and asking with it again would be refused.
        terms = str(getattr(connection.directory.meta, "terms_of_service", "") or "")
        with translated(title_of(config), Doing.ASKING):
            try:
                url = existing(connection)
            except messages.Error as error:
                if code_of(error) != "accountDoesNotExist":
                    raise
                url = ""
        # 2. A new one.
        if not url:
            if terms and not config.terms_agreed:
                raise Misconfigured(
                    f"{title_of(config)} has terms of service. Read {terms}, then set terms_agreed to true."
                )
            if connection.directory.meta.external_account_required and config.eab_hmac_file is None:
                told = f"{title_of(config)} wants external account binding."
                raise Misconfigured(f"{told} Set eab_kid and eab_hmac_file as the CA gave them.")
            wanted: dict[str, object] = {"contact": list(config.contact)} if config.contact else {}
            if terms:
                wanted["termsOfServiceAgreed"] = True
            if config.eab_hmac_file is not None:
                wanted["externalAccountBinding"] = _binding(config, connection)
            try:
                with translated(title_of(config), Doing.ASKING):
                    url = _ask(connection, wanted)
            except BackendRefused as error:
                told = f"{title_of(config)} doesn't register our account. {error.detail}"
                raise Misconfigured(told) from error
        kept = {"url": url, "directory": config.directory_url, "terms": terms}
        try:
            write_new({config.folder / _ACCOUNT: json.dumps(kept, indent=1).encode()})
        except OSError as error:
            raise Misconfigured(f"The account can't be kept in {config.folder}: {error}") from error
        return Account(url=url, terms=terms)


def account_status(connection: Connection) -> str:
    """What the CA says of the account that the connection acts as, such as `valid` (RFC 8555 7.1.2)."""
    if connection.network.account is None:
        raise ValueError("the connection acts for no account")
    return str(connection.post(connection.network.account.uri, None).json()["status"])


def _ask(connection: Connection, wanted: dict[str, object]) -> str:
    answer = connection.post(connection.directory["newAccount"], Payload(wanted))
    return answer.headers["Location"]


def _binding(config: AcmeConfig, connection: Connection) -> dict[str, object]:
    """RFC 8555 7.3.4. CAs hand out the key as base64url."""
    if config.eab_hmac_file is None or connection.network.key is None:
        raise Misconfigured("There is nothing to bind the account with.")
    secret = secret_file(config.eab_hmac_file, what="The key for the external account binding")
    try:
        return dict(
            messages.ExternalAccountBinding.from_data(
                connection.network.key.public_key(), config.eab_kid, secret, connection.directory
            )
        )
    except (ValueError, JoseError) as error:
        told = f"The key for the external account binding in {config.eab_hmac_file} is not base64url: {error}"
        raise Misconfigured(told) from error


def title_of(config: AcmeConfig) -> str:
    """What people read."""
    return config.title or config.name
