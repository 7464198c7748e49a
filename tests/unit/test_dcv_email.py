"""The pure part of domain control by e-mail: mailboxes, codes, the mail's text."""

import hashlib
from datetime import UTC, datetime

import pytest

from certdesk.dcv.email_challenge import (
    LOCAL_PARTS,
    ChallengeFacts,
    code_digest,
    mailboxes,
    message_text,
    normalised_code,
    secret_from,
)
from certdesk.domain.errors import NotFound

FACTS = ChallengeFacts(
    adn="other.ac.uk",
    organisation="Other College",
    asked_by="Charlie (charlie)",
    names=("www.other.ac.uk",),
    expires_at=datetime(2026, 11, 30, 12, 0, tzinfo=UTC),
    service_name="Certdesk",
)


def test_r4_the_five_mailboxes_at_the_name_and_its_parents_but_never_at_a_public_suffix() -> None:
    found = mailboxes("www.dept.other.ac.uk")
    adns = ("www.dept.other.ac.uk", "dept.other.ac.uk", "other.ac.uk")
    assert found == {f"{local}@{adn}": adn for adn in adns for local in LOCAL_PARTS}
    assert set(LOCAL_PARTS) == {"admin", "administrator", "webmaster", "hostmaster", "postmaster"}
    assert "admin@ac.uk" not in found
    assert set(mailboxes("other.ac.uk").values()) == {"other.ac.uk"}


def test_r4_a_code_carries_256_bits_and_is_told_by_its_digest_alone() -> None:
    secret = secret_from(bytes(range(32)))
    plain = normalised_code(secret.code)
    assert len(plain) == 52
    assert secret.digest == hashlib.sha256(plain.encode()).hexdigest()
    assert code_digest(secret.code.lower().replace("-", " ")) == secret.digest
    assert secret.code not in repr(secret)
    assert secret_from(bytes(reversed(range(32)))).digest != secret.digest


def test_a_code_of_fewer_bits_is_never_made() -> None:
    with pytest.raises(ValueError, match="256"):
        secret_from(bytes(31))


@pytest.mark.parametrize("typed", ["", "A" * 51, "A" * 53, "1" * 52, "é" * 52, "A" * 51 + "\0"])
def test_what_is_no_code_is_not_found(typed: str) -> None:
    with pytest.raises(NotFound):
        code_digest(typed)


def test_v9_what_people_wrote_comes_after_the_link_on_one_line_and_short() -> None:
    nasty = ChallengeFacts(
        **{
            **{name: getattr(FACTS, name) for name in FACTS.__slots__},
            "asked_by": "Mallory\r\n\r\nhttps://evil.example/\u2028" + "x" * 500,
            "names": tuple(f"h{index}.other.ac.uk" for index in range(50)),
        }
    )
    text = message_text(nasty, link="https://here/dcv/CODE/", code="CODE", page="https://here/dcv/")
    assert text.index("https://here/dcv/CODE/") < text.index("Mallory")
    (line,) = [line for line in text.splitlines() if "Mallory" in line]
    assert "evil.example" in line
    assert len(line) < 120
    assert "h9.other.ac.uk and more" in text
    assert "h10." not in text
