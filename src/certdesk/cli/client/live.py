"""What the client keeps on this machine: keys, certificates, what to renew and how.

    live/<name>            → the newest version: privkey.pem cert.pem chain.pem fullchain.pem
    archive/<name>/<n>/    the last versions; `live` is a link that is swapped whole, so that a server which
                           reloads at any moment finds a key and a certificate that belong together
    renewal/<name>.json    what to ask for again
    pending/<name>/        a key whose certificate is not there yet, with its CSR and what was asked

Everything is for its owner alone. No network here, no cryptography.
"""

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.files import write_file

KEY_TYPES = ("p256", "p384", "rsa2048", "rsa3072", "rsa4096")
KEPT_VERSIONS = 3
FILES = ("privkey.pem", "cert.pem", "chain.pem", "fullchain.pem")
_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]{0,252}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for, now and at each renewal."""

    names: tuple[str, ...]
    key_type: str
    years: int
    software: str
    reuse_key: bool = False
    organisation: str = ""
    profile: str = ""
    note: str = ""
    deploy_hook: str = ""


def submission_fields(asked: Mapping[str, Any]) -> dict[str, str]:
    """What goes with a CSR, as the service calls it; of a wish, or of a command's options."""
    return {
        "duration_years": str(asked["years"]),
        "server_software": asked["software"],
        **{name: asked[name] for name in ("note", "profile", "organisation")},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A request under way. The same key, CSR and idempotency key go out again after a crash.

    `under` is the request that allows another certificate, while it is asked for that and not for a new one.
    """

    wish: Wish
    idempotency_key: str
    request: int | None = None
    under: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A certificate that is in place; `hook_due` until its deploy hook has succeeded."""

    wish: Wish
    request: int
    certificate: int
    hook_due: bool = False


_Kept = TypeVar("_Kept", Pending, Record)


class Home:
    """The folder with all of it. Whoever changes something holds the lock."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def default(cls) -> Self:
        """`/etc/certdesk` for root, `~/.config/certdesk` for everybody else."""
        if os.geteuid() == 0:
            return cls(Path("/etc/certdesk"))
        return cls(Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "certdesk")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other runs out. Raises Failure (75) while one is at work; the kernel drops a dead one's."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = (self.root / ".lock").open("ab")
        except OSError as error:
            raise Failure(f"{self.root} can't be written to: {error}") from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(f"Another certdesk is at work in {self.root}.", code=Exit.RETRY_LATER) from None
            yield

    def names(self) -> list[str]:
        """Every certificate that is in place or under way."""
        kept = {path.stem for path in (self.root / "renewal").glob("*.json")}
        return sorted(kept | {path.name for path in (self.root / "pending").glob("[!.]*")})

    def live(self, name: str) -> Path:
        """Where servers find the files."""
        return self.root / "live" / checked(name)

    def record(self, name: str) -> Record | None:
        """What is in place under this name."""
        return _read(self.root / "renewal" / f"{checked(name)}.json", Record)

    def save(self, name: str, record: Record) -> None:
        """Keeps what is in place."""
        _write(self.root / "renewal", f"{checked(name)}.json", asdict(record))

    def pending(self, name: str) -> Pending | None:
        """What is under way under this name."""
        return _read(self._pending(name) / "pending.json", Pending)

    def pending_files(self, name: str) -> tuple[bytes, bytes]:
        """The private key and the CSR of what is under way, PEM."""
        folder = self._pending(name)
        return (folder / "privkey.pem").read_bytes(), (folder / "request.csr").read_bytes()

    def begin(self, name: str, pending: Pending, *, key: bytes, csr: bytes) -> None:
        """Keeps a new key and its CSR, both or neither, before anything is sent."""
        folder = self._pending(name)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (folder, *folder.parent.glob(".new-*")):  # by a run that died half-way
            shutil.rmtree(left, ignore_errors=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
        write_file(made, "privkey.pem", key)
        write_file(made, "request.csr", csr)
        _write(made, "pending.json", asdict(pending))
        made.replace(folder)

    def note(self, name: str, pending: Pending) -> Pending:
        """Notes what has changed about what is under way."""
        _write(self._pending(name), "pending.json", asdict(pending))
        return pending

    def forget(self, name: str) -> None:
        """Ends what was under way, key and all."""
        shutil.rmtree(self._pending(name), ignore_errors=True)

    def install(self, name: str, files: dict[str, bytes]) -> Path:
        """Puts a version in place, all of it at once; returns where servers find it."""
        versions = self.root / "archive" / checked(name)
        number = max((int(path.name) for path in versions.glob("[0-9]*")), default=0) + 1
        folder = versions / f"{number:04}"
        folder.mkdir(mode=0o700, parents=True)
        for file_name in FILES:
            write_file(folder, file_name, files[file_name])
        live = self.live(name)
        live.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = live.with_name(f".{live.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path("..") / "archive" / name / folder.name)
        temporary.replace(live)
        for old in sorted(versions.glob("[0-9]*"))[:-KEPT_VERSIONS]:
            shutil.rmtree(old, ignore_errors=True)
        return live

    def _pending(self, name: str) -> Path:
        return self.root / "pending" / checked(name)


def name_for(host: str) -> str:
    """The name of a host's folder: a wildcard's asterisk is no friend of shells."""
    return host.replace("*.", "_wildcard.", 1)


def checked(name: str) -> str:
    """The name, if it can be that of a folder and nothing else. Raises Failure."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise Failure(f"“{name}” can't be the name of a certificate here.", code=Exit.USAGE)
    return name


def _read(path: Path, kind: type[_Kept]) -> _Kept | None:
    """What a file of ours says, or None where there is none. Raises Failure for a damaged one."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Failure(f"{path} can't be read: {error}") from None
    try:
        wish = told["wish"]
        return kind(**{**told, "wish": Wish(**{**wish, "names": tuple(wish["names"])})})
    except (KeyError, TypeError):
        raise Failure(f"{path} does not hold what it should. Restore it, or remove it.") from None


def _write(folder: Path, name: str, content: dict[str, Any]) -> None:
    write_file(folder, name, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
