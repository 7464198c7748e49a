"""Mailboxes found in the DNS: BR 3.2.2.4.13 and .14, appendix A."""

import pytest

from certdesk.dcv.conformance import ScriptedResolver, txt
from certdesk.dcv.email.contacts import Contacts, NoContacts, caa_contacts, is_mailbox, txt_contacts
from certdesk.dcv.resolver import Answer, Status
from certdesk.domain.evidence import Method

_AT = ("_validation-contactemail.example.ac.uk", "TXT")


def test_the_txt_contacts_are_those_of_the_adn() -> None:
    resolver = ScriptedResolver(
        answers={_AT: txt("dns@example.ac.uk", "it@other.example", "dns@example.ac.uk")}
    )
    found = txt_contacts("example.ac.uk", resolver=resolver)
    assert found == Contacts(
        method=Method.EMAIL_DNS_CONTACT,
        adn="example.ac.uk",
        mailboxes=("dns@example.ac.uk", "it@other.example"),
        where=_AT[0],
    )


def test_what_is_granted_is_never_the_mailboxs_domain() -> None:
    # A CA once marked the mailbox's domain as validated and certified it to a stranger (2025).
    resolver = ScriptedResolver(answers={_AT: txt("me@big-provider.example")})
    found = txt_contacts("example.ac.uk", resolver=resolver)
    assert isinstance(found, Contacts)
    assert found.adn == "example.ac.uk"


def test_a_parents_txt_contact_is_not_the_names() -> None:
    resolver = ScriptedResolver(answers={_AT: txt("dns@example.ac.uk")})
    found = txt_contacts("www.example.ac.uk", resolver=resolver)
    assert isinstance(found, NoContacts)
    assert found.problem.code == "dcv.email.no_txt_contact"
    assert resolver.asked == [("_validation-contactemail.www.example.ac.uk", "TXT")]


def test_the_caa_contacts_are_found_by_the_climb_and_by_it_alone() -> None:
    answers = {
        ("www.example.ac.uk", "CAA"): Answer(status=Status.NO_DATA),
        ("example.ac.uk", "CAA"): txt(
            '0 issue "ca.example.net"',
            '128 ContactEmail "dns@example.ac.uk"',
            '0 contactemail "not an address"',
            '0 iodef "mailto:security@example.ac.uk"',
        ),
        ("ac.uk", "CAA"): txt('0 contactemail "registry@ac.uk"'),
    }
    found = caa_contacts("www.example.ac.uk", resolver=ScriptedResolver(answers=answers))
    assert isinstance(found, Contacts)
    assert (found.adn, found.where) == ("www.example.ac.uk", "example.ac.uk")
    assert found.mailboxes == ("dns@example.ac.uk",)


def test_a_nearer_set_without_contact_hides_the_one_above() -> None:
    answers = {
        ("example.ac.uk", "CAA"): txt('0 issue ";"'),
        ("ac.uk", "CAA"): txt('0 contactemail "registry@ac.uk"'),
    }
    found = caa_contacts("example.ac.uk", resolver=ScriptedResolver(answers=answers))
    assert isinstance(found, NoContacts)
    assert found.problem.code == "dcv.email.no_caa_contact"


@pytest.mark.parametrize("status", [status for status in Status if not status.answered])
def test_a_fault_is_no_contact(status: Status) -> None:
    resolver = ScriptedResolver(otherwise=Answer(status=status))
    for found in (
        txt_contacts("example.ac.uk", resolver=resolver),
        caa_contacts("example.ac.uk", resolver=resolver),
    ):
        assert isinstance(found, NoContacts)
        assert found.problem.code == f"dcv.dns.{status.value}"


@pytest.mark.parametrize(
    "text", ["a@example.ac.uk", "first.last+tag@dept.example.ac.uk", "x@xn--n-nga1b.example"]
)
def test_an_address(text: str) -> None:
    assert is_mailbox(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.ac.uk",
        "mailto:a@example.ac.uk",
        " a@example.ac.uk",
        "a@example.ac.uk\n",
        "a@example.ac.uk\r\nBcc: b@example.org",
        "A <a@example.ac.uk>",
        "a@example.ac.uk, b@example.org",
        '"a b"@example.ac.uk',
        "a@b@example.ac.uk",
        "a@localhost",
        "a@[192.0.2.1]",
        "a@example..uk",
        "a@-example.ac.uk",
        ".a@example.ac.uk",
        "a..b@example.ac.uk",
        "ä@example.ac.uk",
        f"{'a' * 65}@example.ac.uk",
        f"a@{'b.' * 130}uk",
    ],
)
def test_the_whole_text_is_one_address_or_none_of_it(text: str) -> None:
    assert not is_mailbox(text)
