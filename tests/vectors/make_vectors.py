"""Writes the test vectors: `python -m tests.vectors.make_vectors` from the root of the repository.

Bad ones come from fixed seeds and stay the same, but for those with salt in them, which are kept.
Good ones that OpenSSL, keytool or certtool made are kept if they are there; `--remake` makes them again.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from tests.vectors import bad_requests, bad_uploads, good_requests

HERE = Path(__file__).parent
_SALTED = ("locked", "openssh", ".p12")
_TOOLS = ("openssl", "keytool", "certtool")


def _write(folder: Path, file: str, upload: bytes, *, keep: bool) -> None:
    target = folder / file
    if not (keep and target.exists()):
        target.write_bytes(upload)


def _list(file: str, rows: list[dict[str, object]]) -> None:
    repeated = [name for name, count in Counter(row["file"] for row in rows).items() if count > 1]
    if repeated:
        sys.exit(f"{file}: the same name twice: {repeated}")
    (HERE / file).write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def make_bad() -> int:
    """Writes bad/ and bad.json; says how many."""
    rows: list[dict[str, object]] = []
    for vector in (*bad_uploads.unreadable(), *bad_requests.refused()):
        salted = any(word in vector.file for word in _SALTED)
        _write(HERE / "bad", vector.file, vector.upload, keep=salted)
        rows.append({"file": vector.file, "stage": vector.stage, "code": vector.code, "why": vector.why})
    _list("bad.json", rows)
    return len(rows)


def make_good(*, remake: bool) -> int:
    """Writes good/ and good.json; says how many."""
    rows: list[dict[str, object]] = []
    for good in good_requests.accepted():
        _write(HERE / "good", good.file, good.upload, keep=not remake and good.file.startswith(_TOOLS))
        rows.append(good._asdict() | {"names": list(good.names)})
        del rows[-1]["upload"]
    _list("good.json", rows)
    return len(rows)


def main() -> None:
    """Makes both folders."""
    for folder in ("bad", "good"):
        (HERE / folder).mkdir(exist_ok=True)
    sys.stdout.write(f"{make_bad()} bad, {make_good(remake='--remake' in sys.argv)} good\n")


if __name__ == "__main__":
    main()
