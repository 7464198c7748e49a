"""A process that gets certificates from an ACME CA and may be killed at any moment: python -m … FOLDER.

FOLDER holds the back end's settings, the intents, and for each what the engine would have in its database:
`N.handle` once the CA has acknowledged, `N.issued` once there is a certificate. No tests live here.
"""

import base64
import json
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.conformance import server_intent
from certdesk.domain.errors import OutcomeUnknown, Unavailable
from certdesk.domain.issuing.certificates import Accepted, Intent, Issued, Outcome

_PAUSE = 0.01


def main(folder: Path) -> None:
    """Go on with what there is to do, and say so first."""
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    intents = [_intent(**one) for one in json.loads((folder / "intents.json").read_text(encoding="utf-8"))]
    backend = AcmeBackend.from_settings(name="pebble", settings=settings)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for number, intent in enumerate(intents):
        handle, issued = folder / f"{number}.handle", folder / f"{number}.issued"
        while not issued.exists():
            try:
                outcome = _step(backend, intent, handle)
            except (Unavailable, OutcomeUnknown):
                continue
            if isinstance(outcome, Accepted) and not handle.exists():
                _record(handle, outcome.handle.encode())
            if isinstance(outcome, Issued):
                _record(issued, outcome.chain[0])
            threading.Event().wait(_PAUSE)


def as_record(intent: Intent) -> dict[str, object]:
    """What `main` makes the intent of."""
    csr = base64.b64encode(intent.csr_der).decode("ascii")
    return {"key": intent.idempotency_key, "names": list(intent.names), "csr": csr}


def _intent(*, key: str, names: list[str], csr: str) -> Intent:
    der = base64.b64decode(csr)
    public_key = x509.load_der_x509_csr(der).public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    made = server_intent(now=datetime.now(UTC), names=tuple(names), key=public_key)
    return replace(made, idempotency_key=key, csr_der=der)


def _step(backend: AcmeBackend, intent: Intent, handle: Path) -> object:
    if handle.exists():
        return backend.poll(intent, handle.read_text(encoding="ascii"))
    found = backend.find(intent)
    return found if isinstance(found, Outcome) else backend.submit(intent)


def _record(path: Path, content: bytes) -> None:
    """In one step, as a transaction does."""
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").rename(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
