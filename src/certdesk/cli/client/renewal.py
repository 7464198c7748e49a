"""Asking for a certificate with a key of this machine, and again in time: one step after the other.

Each step leaves what the next one needs in `live.Home`, so that a run which dies anywhere is taken up by the
next one: the same key, CSR and idempotency key go out again and make no second request.
"""

import os
import secrets
import subprocess
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path

from certdesk.cli.client import keys
from certdesk.cli.client.connection import Json, Service
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.live import Home, Pending, Record, Wish, submission_fields

HOOK_SECONDS = 600
UNPROCESSABLE = 422
IN_PROGRESS = frozenset({"accepted", "submitted"})
WAITING = "waiting_for_approval"
#: The service need not renew what this client does.
_RENEWED_HERE = {"renews_itself": "true"}
#: The service's answers to another certificate under a request that a new request may fare better with.
REFUSED = frozenset({403, 404, 409, 422})
BUSY, CA_REFUSED = "state_conflict", "backend.refused"


def is_due(*, not_before: datetime, not_after: datetime, now: datetime, days: int | None) -> bool:
    """Whether it is time to renew: with less than `days` left, or less than a third of the lifetime."""
    left = not_after - now
    return left < (timedelta(days=days) if days is not None else (not_after - not_before) / 3)


def is_advised(told: Json, *, sha256: str, now: datetime) -> bool:
    """Whether a window of the service (RFC 9773 4.2) says that it is time.

    Each certificate has a moment of its own in the window, the same at every run.
    """
    try:
        window = told["suggestedWindow"]
        start, end = (datetime.fromisoformat(window[edge]) for edge in ("start", "end"))
        return now >= start + (end - start) * (int(sha256[:8], 16) / 2**32)
    except (KeyError, TypeError, ValueError):
        return False  # advice that can't be read is none


def begin(home: Home, name: str, wish: Wish, *, under: int | None = None) -> Pending:
    """Makes key and CSR, or takes up those that are under way. Raises Failure for other names than theirs.

    With `under`, another certificate under that request is to be asked for.
    """
    under_way = home.pending(name)
    if under_way is not None:
        if under_way.wish.names != wish.names:
            raise Failure(
                f"A request for {', '.join(under_way.wish.names)} is still under way as {name}. Wait for it, "
                "withdraw it, or choose another name with --cert-name."
            )
        return under_way
    kept = home.live(name) / "privkey.pem"
    key = kept.read_bytes() if wish.reuse_key and kept.exists() else keys.make_key(wish.key_type)
    pending = Pending(wish=wish, idempotency_key=_new_key(), under=under)
    home.begin(name, pending, key=key, csr=keys.make_csr(key, wish.names))
    return pending


def send(service: Service, home: Home, name: str, pending: Pending) -> Json:
    """Sends the CSR, unless it was sent: what the service says about the request now.

    A request that ended without a certificate is forgotten, so that the next run may ask anew.
    """
    if pending.under is not None:
        try:
            return _send_under(service, home, name, pending, pending.under)
        except Failure as failure:
            if failure.status not in REFUSED or failure.problem == BUSY:
                raise
            # A new request has to be made for the same key and CSR.
            pending = home.note(name, replace(pending, under=None, idempotency_key=_new_key()))
    if pending.request is not None:
        told = service.show(f"/requests/{pending.request}")
    else:
        _key, csr = home.pending_files(name)
        try:
            fields = submission_fields(asdict(pending.wish)) | _RENEWED_HERE
            told = service.upload("/requests", csr, fields, key=pending.idempotency_key)
        except Failure as failure:
            if failure.status == UNPROCESSABLE:  # it made no request, and never will
                home.forget(name)
            raise
        home.note(name, replace(pending, request=int(told["id"])))
    if told["status"] not in (*IN_PROGRESS, WAITING, "issued"):
        home.forget(name)
    return told


def _send_under(service: Service, home: Home, name: str, pending: Pending, number: int) -> Json:
    """Asks for another certificate under a request; what came of it, in the shape of a request."""
    _key, csr = home.pending_files(name)
    try:
        path, key = f"/requests/{number}/certificates", pending.idempotency_key
        sent = service.upload(path, csr, _RENEWED_HERE, key=key)
    except Failure as failure:
        if failure.problem == CA_REFUSED:  # the same would be refused for ever
            home.forget(name)
        raise
    made = sent["certificate"]
    return {
        "id": number,
        "status": "submitted" if made is None else "issued",
        "status_text": "The CA is at work on another certificate",
        "detail": "Run the same again.",
        "certificates": [] if made is None else [made],
    }


def install(service: Service, home: Home, name: str, told: Json) -> Path:
    """Fetches the certificate, checks that it is for our key and names, and puts it in place."""
    pending, record = home.pending(name), home.record(name)
    if pending is None:
        raise Failure(f"Nothing is under way as {name}.", code=Exit.NOT_FOUND)
    certificate = int(told["certificates"][0]["id"])
    if record is None or record.certificate != certificate or not home.live(name).exists():
        fullchain = service.get(f"/certificates/{certificate}/file", format="fullchain").content
        key = home.pending_files(name)[0]
        try:
            leaf_pem, chain = keys.split_chain(fullchain)
            leaf = keys.read_leaf(leaf_pem)
        except ValueError as error:
            raise Failure(f"What the service sent is not a certificate: {error}") from None
        if not keys.belongs(leaf, key) or set(leaf.names) != set(pending.wish.names):
            raise Failure(
                "The certificate is not for the key and the names that were asked for. It is not used."
            )
        files = {
            "privkey.pem": key,
            "cert.pem": leaf_pem,
            "chain.pem": chain,
            "fullchain.pem": leaf_pem + chain,
        }
        due = bool(pending.wish.deploy_hook)
        made = Record(wish=pending.wish, request=int(told["id"]), certificate=certificate, hook_due=due)
        # The hook is noted as due before the files are swapped, so that no crash forgets it.
        home.save(name, replace(made, certificate=0))
        home.install(name, files)
        home.save(name, made)
    home.forget(name)
    run_hook(home, name)
    return home.live(name)


def run_hook(home: Home, name: str) -> None:
    """Runs the deploy hook that is due, if any. It stays due until it succeeds. Raises Failure."""
    record = home.record(name)
    if record is None or not record.hook_due:
        return
    live = home.live(name).absolute()
    told = {
        "CERT_PATH": str(live / "cert.pem"),
        "KEY_PATH": str(live / "privkey.pem"),
        "CHAIN_PATH": str(live / "chain.pem"),
        "FULLCHAIN_PATH": str(live / "fullchain.pem"),
        "DOMAINS": " ".join(record.wish.names),
    }
    # The hook is a shell's command line on purpose: those who may write it may run it.
    command = ["/bin/sh", "-c", record.wish.deploy_hook]
    # The token is the client's business, not the hook's.
    inherited = {key: value for key, value in os.environ.items() if key != "CERTDESK_TOKEN"}
    try:
        done = subprocess.run(  # noqa: S603 - as above
            command, env=inherited | told, capture_output=True, text=True, timeout=HOOK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"The deploy hook of {name} did not end in {HOOK_SECONDS} seconds.") from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise Failure(
            f"The deploy hook of {name} ended with {done.returncode}; it runs again. {said}".strip()
        )
    home.save(name, replace(record, hook_due=False))


def renew(
    service: Service, home: Home, name: str, *, now: datetime, days: int | None, force: bool, hook: str | None
) -> str:
    """Takes one certificate on: asks again when it is due, fetches what is ready.

    Returns what happened, or an empty text when nothing was to be done. Raises Failure, with 5 while an
    officer has to decide and 75 while the CA is at work.
    """
    pending, record = home.pending(name), home.record(name)
    if pending is None and record is None:
        raise Failure(f"There is no certificate {name} in {home.root}.", code=Exit.NOT_FOUND)
    if record is not None and hook is not None and hook != record.wish.deploy_hook:
        record = replace(record, wish=replace(record.wish, deploy_hook=hook))
        home.save(name, record)
    if pending is None and record is not None:
        path = home.live(name) / "cert.pem"
        try:
            leaf = keys.read_leaf(path.read_bytes())
        except (OSError, ValueError) as error:
            raise Failure(f"{path} can't be read: {error}") from None
        due = is_due(not_before=leaf.not_before, not_after=leaf.not_after, now=now, days=days)
        if not (due or force or _asked_to(service, home, name, leaf, now=now)):
            run_hook(home, name)
            return ""
        pending = begin(home, name, record.wish, under=_open_request(service, record, leaf, now=now))
    assert pending is not None  # noqa: S101 - one of the two is there, and a record has just made the other
    told = send(service, home, name, pending)
    done = finish(service, home, name, told)
    if record is None:
        return done
    if told["id"] == record.request:
        return f"{done}, another certificate under request {record.request}"
    return f"{done}, by a new request {told['id']}: request {record.request} allows none that runs on"


def _asked_to(service: Service, home: Home, name: str, leaf: keys.Leaf, *, now: datetime) -> bool:
    """Whether the service asks for a renewal now (ARI). Without its answer our own rule has to do."""
    identifier = keys.renewal_identifier((home.live(name) / "cert.pem").read_bytes())
    if not identifier:
        return False
    try:
        return is_advised(service.renewal_info(identifier), sha256=leaf.sha256, now=now)
    except Failure:
        return False


def _open_request(service: Service, record: Record, leaf: keys.Leaf, *, now: datetime) -> int | None:
    """The request that allows another certificate, if that would run for half of this one's time at least.

    One that ends with the term as this one does is a new key and no more time.
    """
    try:
        told = service.show(f"/requests/{record.request}")
    except Failure as failure:
        if failure.code is Exit.NOT_FOUND:
            return None
        raise
    until = told.get("entitled_until")
    if not until:
        return None
    room = datetime.fromisoformat(until) - now
    return record.request if room >= (leaf.not_after - leaf.not_before) / 2 else None


def _new_key() -> str:
    return f"certdesk-{secrets.token_hex(16)}"


def finish(service: Service, home: Home, name: str, told: Json) -> str:
    """Puts an issued certificate in place. Raises Failure with what stands in the way of any other."""
    if told["status"] == "issued":
        return f"{name}: in place in {install(service, home, name, told)}"
    code = Exit.FAILED
    if told["status"] == WAITING:
        code = Exit.NEEDS_APPROVAL
    elif told["status"] in IN_PROGRESS:
        code = Exit.RETRY_LATER
    raise Failure(f"{name}: request {told['id']}: {told['status_text']}. {told['detail']}", code=code)
