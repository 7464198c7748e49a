"""`certdesk certificate check`: what is judged of a certificate, and how monitoring hears of it."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certdesk.cli.client import keys
from certdesk.cli.client.check import Level, Limits, Verdict, covers, host_and_port, judge, line
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.main import certdesk

NOW = datetime.now(UTC).replace(microsecond=0)
LIMITS = Limits(warning=30, critical=7)
DAY = timedelta(days=1)


def leaf(*, begins: timedelta = -DAY, ends: timedelta = 60 * DAY, names: tuple[str, ...] = ()) -> keys.Leaf:
    return keys.Leaf(
        names=names or ("www.example.ac.uk",),
        not_before=NOW + begins,
        not_after=NOW + ends,
        serial="1f",
        sha256="",
        spki=b"",
    )


@pytest.mark.parametrize(
    "ends, level, days",
    [
        (60 * DAY, Level.OK, 60),
        (30 * DAY, Level.OK, 30),
        (30 * DAY - timedelta(seconds=1), Level.WARNING, 29),
        (7 * DAY, Level.WARNING, 7),
        (7 * DAY - timedelta(seconds=1), Level.CRITICAL, 6),
        (timedelta(seconds=0), Level.CRITICAL, 0),  # the last second still counts
        (-timedelta(seconds=1), Level.CRITICAL, -1),
    ],
)
def test_days_left_are_whole_days(ends: timedelta, level: Level, days: int) -> None:
    verdict = judge(leaf(ends=ends), now=NOW, limits=LIMITS)
    assert (verdict.level, verdict.days) == (level, days)


def test_one_that_has_not_begun_or_is_somebody_else_s_is_critical() -> None:
    early = judge(leaf(begins=DAY), now=NOW, limits=LIMITS)
    other = judge(leaf(), now=NOW, limits=LIMITS, host="mail.example.ac.uk")
    assert early.level is other.level is Level.CRITICAL
    assert "not valid before" in early.text
    assert "www.example.ac.uk" in other.text
    assert judge(leaf(), now=NOW, limits=LIMITS, host="WWW.example.ac.uk").level is Level.OK


@pytest.mark.parametrize(
    "name, host, matches",
    [
        ("*.example.ac.uk", "a.example.ac.uk", True),
        ("*.example.ac.uk", "a.b.example.ac.uk", False),
        ("*.example.ac.uk", "example.ac.uk", False),
        ("*.uk", "uk", False),
        ("www.example.ac.uk", "www.example.ac.uk.", True),
        ("www.example.ac.uk", "wwwXexample.ac.uk", False),
    ],
)
def test_an_asterisk_stands_for_one_whole_label(name: str, host: str, *, matches: bool) -> None:
    assert covers((name,), host) is matches


def test_the_worst_of_several_comes_first_and_the_figure_is_the_least() -> None:
    found = [
        Verdict(level=Level.OK, text="a ends", days=60),
        Verdict(level=Level.UNKNOWN, text="b can't | be\nread"),
        Verdict(level=Level.WARNING, text="c ends", days=20),
    ]
    level, text = line(found, limits=LIMITS)
    assert level is Level.UNKNOWN
    assert text == "CERTIFICATE UNKNOWN - b can't / be read; c ends; a ends | days=20;30;7"


@pytest.mark.parametrize(
    "target, expected",
    [
        ("www.example.ac.uk", ("www.example.ac.uk", 443)),
        ("www.example.ac.uk:8443", ("www.example.ac.uk", 8443)),
        ("[::1]:8443", ("::1", 8443)),
        ("::1", ("::1", 443)),
        ("[::1]", ("::1", 443)),
    ],
)
def test_where_a_server_is(target: str, expected: tuple[str, int]) -> None:
    assert host_and_port(target) == expected


@pytest.mark.parametrize("target", ["host:https", "host:0", "host:65536"])
def test_a_port_is_a_number(target: str) -> None:
    with pytest.raises(ValueError, match=r"port|invalid literal"):
        host_and_port(target)


def certificate(
    key: ec.EllipticCurvePrivateKey, *names: str, days: int = 60, issuer: str = "Test"
) -> x509.Certificate:
    """Signed by itself."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + days * DAY + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


@contextmanager
def tls_server(folder: Path, *names: str, days: int = 60) -> Iterator[tuple[int, Path]]:
    """A server on loopback that shakes hands and hangs up; its port, and its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = certificate(key, *names, days=days)
    (folder / "server.pem").write_bytes(
        made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (folder / "root.pem").write_bytes(made.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    plain, _peer = listening.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(plain, server_side=True).close()
                except OSError:
                    plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], folder / "root.pem"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=10)


def run(*arguments: str) -> Result:
    """The command, with no service to ask."""
    nothing: dict[str, str | None] = {
        "CERTDESK_URL": None,
        "CERTDESK_TOKEN": None,
        "CERTDESK_TOKEN_FILE": None,
    }
    return CliRunner().invoke(certdesk, ["certificate", "check", *arguments], env=nothing)


def test_a_server_is_looked_at_over_tls(tmp_path: Path) -> None:
    with tls_server(tmp_path, "localhost", days=20) as (port, root):
        warned = run(f"localhost:{port}")
        trusted = run(f"localhost:{port}", "--ca-file", str(root), "--warning", "10")
        other = run(f"127.0.0.1:{port}")
        (tmp_path / "other").mkdir()
        stranger = certificate(ec.generate_private_key(ec.SECP256R1()), "x", issuer="Another")
        (tmp_path / "stranger.pem").write_bytes(stranger.public_bytes(Encoding.PEM))
        distrusted = run(f"localhost:{port}", "--ca-file", str(tmp_path / "stranger.pem"))
    assert (warned.exit_code, trusted.exit_code) == (1, 0), warned.output + trusted.output
    assert warned.stdout.startswith("CERTIFICATE WARNING - localhost ends in 20 days")
    assert warned.stdout.rstrip().endswith("| days=20;30;7")
    assert other.exit_code == distrusted.exit_code == 2
    gone = run(f"localhost:{port}", "--timeout", "2")
    assert gone.exit_code == 2
    assert "does not answer with TLS" in gone.stdout


def test_a_file_is_read_in_pem_and_der_and_in_a_folder_of_ours(tmp_path: Path) -> None:
    made = certificate(ec.generate_private_key(ec.SECP256R1()), "a.example.ac.uk", days=3)
    forms = {"cert.pem": Encoding.PEM, "a.der": Encoding.DER}
    for name, encoding in forms.items():
        (tmp_path / name).write_bytes(made.public_bytes(encoding))
    for target in (tmp_path / "cert.pem", tmp_path / "a.der", tmp_path):
        done = run(str(target))
        assert done.exit_code == 2
        assert "a.example.ac.uk ends in 3 days" in done.stdout
        assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--bogus", "x"),
        ("x", "--warning", "many"),
        ("{noise}",),
        ("1042",),  # a request, and no service is set
        ("host:port",),
    ],
    ids=str,
)
def test_what_can_t_be_found_out_is_unknown(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """3, never click's 2, which monitoring would take for CRITICAL."""
    (tmp_path / "noise").write_bytes(b"\x00noise")
    done = run(*(a.format(noise=tmp_path / "noise") for a in arguments))
    assert done.exit_code == 3, done.output
    assert done.stdout.startswith("CERTIFICATE UNKNOWN - ")


@pytest.mark.parametrize(
    "given, name",
    [
        ("WWW.Example.ac.uk", "www.example.ac.uk"),
        ("bücher.example.ac.uk", "xn--bcher-kva.example.ac.uk"),
        ("*.example.ac.uk", "*.example.ac.uk"),
    ],
)
def test_names_stand_in_a_csr_as_in_certificates(given: str, name: str) -> None:
    assert keys.ascii_name(given) == name


@pytest.mark.parametrize("given", ["", "a b.example", "a..example", "../etc", "x" * 64 + ".example"])
def test_what_is_no_name_makes_no_csr(given: str) -> None:
    with pytest.raises(Failure) as refused:
        keys.ascii_name(given)
    assert refused.value.code is Exit.USAGE


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_a_key_and_its_csr_belong_together(kind: str) -> None:
    key = keys.make_key(kind)
    long_name = "a" * 60 + ".example.ac.uk"
    made = x509.load_pem_x509_csr(keys.make_csr(key, ("www.example.ac.uk", long_name)))
    assert made.is_signature_valid
    sans = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sans.get_values_for_type(x509.DNSName) == ["www.example.ac.uk", long_name]
    assert x509.load_pem_x509_csr(keys.make_csr(key, (long_name,))).subject.rdns == []
