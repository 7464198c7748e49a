"""Whatever is sent, reading it gives a request or `BadCsr`; nothing is echoed at length."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certdesk.domain.csr.csr import MAX_UPLOAD, Csr, read_csr
from certdesk.domain.errors import BadCsr
from tests.vectors import forge

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pyca's, about fields of odd length

VECTORS = Path(__file__).parent.parent / "vectors"
_SEEDS = sorted((VECTORS / "good").iterdir()) + sorted((VECTORS / "bad").iterdir())
UPLOADS = [upload for path in _SEEDS if len(upload := path.read_bytes()) < 8_000]
DERS = [
    forge.ec_request(
        forge.san(b"www.example.ac.uk", b"*.example.ac.uk"),
        subject=forge.name(("2.5.4.10", b"Example University")),
    ),
    forge.rsa_request(forge.seeded_rsa(2048)),
]
EXCERPT = 120


def judge(upload: bytes) -> None:
    """Reads it; a message may quote a short piece of the upload, and must say something."""
    outcome: Csr | BadCsr
    try:
        outcome = read_csr(upload)
    except BadCsr as error:
        outcome = error
    if isinstance(outcome, BadCsr):
        assert outcome.code.startswith("csr.")
        assert 20 < len(outcome.detail) < 500
        assert outcome.detail.isprintable()
        return
    assert outcome.findings
    for check in outcome.findings:
        assert check.message.isprintable()
        assert len(check.message) < 400 + 3 * EXCERPT
        assert len(check.seen) < 12 * EXCERPT


@given(st.binary(max_size=600))
def test_random_bytes(upload: bytes) -> None:
    judge(upload)


@given(st.text(max_size=400))
def test_random_text(upload: str) -> None:
    judge(upload.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=400))
def test_random_bytes_as_a_sequence_or_in_pem(noise: bytes) -> None:
    judge(forge.sequence(noise))
    judge(forge.pem(noise))


@given(st.sampled_from(UPLOADS), st.data())
@settings(max_examples=300)
def test_real_uploads_with_bytes_changed(upload: bytes, data: st.DataObject) -> None:
    changed = bytearray(upload)
    for _ in range(data.draw(st.integers(1, 4))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    judge(bytes(changed))


@given(st.sampled_from(DERS), st.data())
@settings(max_examples=500)
def test_real_requests_with_bits_flipped(der: bytes, data: st.DataObject) -> None:
    changed = bytearray(der)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    judge(bytes(changed))
    judge(forge.pem(bytes(changed)))


@given(st.sampled_from(UPLOADS), st.data())
def test_real_uploads_cut_short(upload: bytes, data: st.DataObject) -> None:
    judge(upload[: data.draw(st.integers(0, len(upload)))])


@given(st.sampled_from(UPLOADS), st.sampled_from(UPLOADS), st.data())
def test_two_real_uploads_spliced(first: bytes, second: bytes, data: st.DataObject) -> None:
    head, tail = data.draw(st.integers(0, len(first))), data.draw(st.integers(0, len(second)))
    judge(first[:head] + second[tail:])


@given(st.lists(st.binary(max_size=80), max_size=6), st.binary(max_size=120))
@settings(max_examples=300)
def test_any_bytes_as_names_and_organisation(names: list[bytes], organisation: bytes) -> None:
    judge(
        forge.ec_request(
            forge.san(*names), subject=forge.name(("2.5.4.10", organisation), ("2.5.4.3", organisation))
        )
    )


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_as_a_name(name: str) -> None:
    judge(forge.ec_request(forge.san(name.encode("utf-8", "surrogatepass"))))


REPEATED = (
    *(b" ", b"A", b"-", b"=", b"\r", b"0\x80", b"\x30\x82\xff\xff", b"\xff\xfe", b"-\0-\0", b"/a", b"a.csr "),
    *(b"BEGIN ", b"BEGIN NEW ", b"-----BEGIN ", b"<html", b"openssl", b"PuTTY-User-Key-File-"),
    *(b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN CERTIFICATE REQUEST-----", b"BEGIN PRIVATE KEY "),
)


@pytest.mark.parametrize("unit", REPEATED)
def test_the_largest_upload_of_one_thing_repeated_is_quickly_refused(unit: bytes) -> None:
    start = time.process_time()
    with pytest.raises(BadCsr):
        read_csr((unit * MAX_UPLOAD)[:MAX_UPLOAD])
    assert time.process_time() - start < 1
