"""What a program says to `list`: read page by page, and refused where it breaks the contract."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.backends.base import Finds, Lists
from certdesk.backends.command import backend as backend_module
from certdesk.backends.command.messages import Unreadable, listed_of
from certdesk.backends.registry import load_backends
from certdesk.domain.errors import Unavailable

NOW = datetime.now(UTC).replace(microsecond=0)


def pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.ac.uk")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


PEM = pem()


def test_a_page_is_read() -> None:
    whole = {
        "certificate": PEM,
        "issued_at": "2026-11-27T10:30:00Z",
        "revoked_at": "2026-11-28T10:30:00+01:00",
        "reason": "superseded",
        "idempotency_key": "0b9d",
    }
    (first, second), following = listed_of({"certificates": [whole, {"certificate": PEM}], "next": "4711"})
    assert following == "4711"
    assert (first.serial, first.key, first.reason, first.is_revoked) == (7, "0b9d", "superseded", True)
    assert first.revoked_at == datetime(2026, 11, 28, 9, 30, tzinfo=UTC)
    assert (second.issued_at, second.is_revoked, second.der) == (NOW, False, first.der)
    assert listed_of({"certificates": []}) == ([], "")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"certificates": "none"},
        {"certificates": [PEM]},
        {"certificates": [{}]},
        {"certificates": [{"certificate": "no PEM"}]},
        {"certificates": [{"certificate": 5}]},
        {"certificates": [{"certificate": PEM, "issued_at": "noon"}]},
        {"certificates": [{"certificate": PEM, "issued_at": "2026-11-27T10:30:00"}]},
        {"certificates": [{"certificate": PEM, "revoked_at": 5}]},
        {"certificates": [{"certificate": PEM, "idempotency_key": 5}]},
        {"certificates": [{"certificate": PEM}] * 501},
        {"certificates": [], "next": 5},
    ],
)
def test_what_breaks_the_contract_is_unreadable(said: dict[str, object]) -> None:
    with pytest.raises(Unreadable):
        listed_of(said)


def program(folder: Path, body: str, **settings: object) -> Lists:
    path = folder / "program"
    path.write_text(f"#!{sys.executable}\nimport json, sys\nasked = json.load(sys.stdin)\n{body}")
    path.chmod(0o700)
    chain = folder / "ca.pem"
    chain.write_text(PEM)
    own = {"kind": "command", "program": path, "chain_file": chain, "can_list": True, **settings}
    backend = load_backends({"ours": own})["ours"]
    assert isinstance(backend, Lists)
    return backend


def test_pages_are_asked_for_until_the_last(tmp_path: Path) -> None:
    one = f"{{'certificate': {PEM!r}}}"
    backend = program(
        tmp_path,
        f"assert asked['since'] == '2026-11-27T00:00:00Z'\n"
        f"following = {{'': 'a', 'a': 'b', 'b': ''}}[asked.get('after', '')]\n"
        f"print(json.dumps({{'outcome': 'listed', 'certificates': [{one}], 'next': following}}))\n",
    )
    assert len(list(backend.listed(since=datetime(2026, 11, 27, tzinfo=UTC)))) == 3


def test_pages_without_end_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "_MOST_PAGES", 3)
    backend = program(tmp_path, "print(json.dumps({'outcome': 'listed', 'certificates': [], 'next': 'x'}))\n")
    with pytest.raises(Unavailable, match="has no end"):
        list(backend.listed(since=NOW))


def test_it_finds_and_lists_as_it_is_set(tmp_path: Path) -> None:
    assert not isinstance(program(tmp_path, ""), Finds)
    assert isinstance(program(tmp_path, "", can_find=True), Finds)
    backend = program(tmp_path, "sys.exit(75)\n")
    with pytest.raises(Unavailable):
        list(backend.listed(since=NOW))
