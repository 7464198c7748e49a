"""The key of our account at an ACME CA: read, and rolled over to a new one (RFC 8555 7.3.5).

Beside `account.key` in the CA's folder there is `account.key.next` while the CA may know either, and a file
`account.key.<SHA-256>` for each former key, until the last certificate that was issued under it has ended.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from acme import messages
from acme.jws import JWS
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from certdesk.backends.acme.account import (
    KEY,
    account_key,
    existing,
    known_account,
    new_key,
    read_key,
    title_of,
)
from certdesk.backends.acme.config import AcmeConfig
from certdesk.backends.acme.connection import Connection, Payload
from certdesk.backends.acme.journal import Journal
from certdesk.backends.acme.problems import Doing, code_of, translated
from certdesk.backends.own_ca import exclusive, write_new
from certdesk.domain.errors import BackendRefused, Misconfigured, OutcomeUnknown

_NEXT = f"{KEY}.next"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledOver:
    """The account's address, and the SHA-256 of its public keys: before and now."""

    account: str
    former: str
    current: str


class AccountKey:
    """The account's key as it is now: a roll-over in another process is noticed. Threads may share it."""

    def __init__(self, config: AcmeConfig) -> None:
        """Makes the key, if there is none. Raises Misconfigured."""
        self._config = config
        self._read = (account_key(config), self._seen())

    def current(self) -> JWKEC:
        """The key. Raises Misconfigured when it can't be read any longer."""
        key, seen = self._read
        if (now := self._seen()) != seen:
            key = account_key(self._config)
            self._read = key, now
        return key

    def settled(self) -> JWKEC:
        """The key, after the end of a roll-over that was broken off. Raises BackendError."""
        # Without an account there is nothing to end, and whoever registers one holds the lock.
        if (self._config.folder / _NEXT).exists() and known_account(self._config) is not None:
            with exclusive(self._config.folder):
                _finish(self._config)
        return self.current()

    def _seen(self) -> tuple[int, int]:
        try:
            found = (self._config.folder / KEY).stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns


def roll_over(config: AcmeConfig, journal: Journal, *, now: datetime) -> RolledOver:
    """Gives the account a new key. After a crash at any point the same again ends what was begun.

    Raises: Misconfigured, Unavailable, OutcomeUnknown: the CA knows one of the two keys, which are both kept.
    """
    title = title_of(config)
    with exclusive(config.folder):
        account, former = known_account(config), read_key(config.folder / KEY)
        if account is None:
            raise Misconfigured(f"{title} has registered no account yet, so there is no key to roll over.")
        # 1. What was begun before, and the CA has done, is the roll-over that was wanted.
        if not _finish(config):
            # 2. The new key is on the disk before the CA knows it.
            path = config.folder / _NEXT
            if not path.exists():
                write_new({path: new_key()})
            _change(config, account.url, former, read_key(path))
        # 3. Former keys go once nothing that was issued under them is in use.
        current = read_key(config.folder / KEY)
        for key, until in journal.issued_until().items():
            if until < now.timestamp() and key != key_id(current):
                (config.folder / f"{KEY}.{key}").unlink(missing_ok=True)
        return RolledOver(account=account.url, former=key_id(former), current=key_id(current))


def key_id(key: JWKEC) -> str:
    """The SHA-256 of the public key (SPKI), in hexadecimal digits."""
    public = key.public_key().key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


def _change(config: AcmeConfig, account_url: str, former: JWKEC, new: JWKEC) -> None:
    """Asks the CA for the change, and keeps it. Nobody else is at it."""
    title = title_of(config)
    with translated(title, Doing.ASKING):
        connection = _connection(config, former)
        connection.act_as(account_url)
        url = getattr(connection.directory, "keyChange", None)
    if url is None:
        raise Misconfigured(f"{title} does not let an account's key be changed (keyChange).")
    wanted = {"account": account_url, "oldKey": former.public_key().to_json()}
    inner = JWS.sign(json.dumps(wanted).encode(), key=new, alg=ES256, nonce=None, url=url)
    try:
        with translated(title, Doing.ACTING):
            connection.post(url, Payload(json.loads(inner.json_dumps())))
    except OutcomeUnknown:
        if not _finish(config):
            raise
    except BackendRefused as error:
        raise Misconfigured(f"{title} doesn't change our account's key. {error.detail}") from error
    else:
        _promote(config.folder)


def _finish(config: AcmeConfig) -> bool:
    """Whether a new key was waiting, and the CA knows our account by it: then it is the key from here on."""
    path, account = config.folder / _NEXT, known_account(config)
    if account is None or not path.exists():
        return False
    with translated(title_of(config), Doing.ASKING):
        connection = _connection(config, read_key(path))
        try:
            url = existing(connection)
        except messages.Error as error:
            if code_of(error) != "accountDoesNotExist":
                raise
            return False
    if url != account.url:
        return False
    _promote(config.folder)
    return True


def _promote(folder: Path) -> None:
    """The former key is kept under its own name before the new one takes its place."""
    kept = folder / f"{KEY}.{key_id(read_key(folder / KEY))}"
    if not kept.exists():
        write_new({kept: (folder / KEY).read_bytes()})
    (folder / _NEXT).replace(folder / KEY)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connection(config: AcmeConfig, key: JWKEC) -> Connection:
    ca_file = None if config.ca_file is None else str(config.ca_file)
    return Connection(config.directory_url, key=key, ca_file=ca_file, timeout=config.timeout)
