"""Mailboxes that a domain's owner has put into the DNS: TXT and CAA contacts (BR 3.2.2.4.13, .14; A.1, A.2).

What is challenged and granted is the ADN that was looked at, never the mailbox's own domain (V3).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from certdesk.dcv.base import Problem
from certdesk.dcv.caa import look_up
from certdesk.dcv.look import look
from certdesk.dcv.resolver import Resolver
from certdesk.domain.caa import climb, parse_record
from certdesk.domain.evidence import Method

LABEL = "_validation-contactemail"

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOMAIN_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#: RFC 5322's dot-atom form in ASCII. The rule allows more (RFC 6532); what else there is can't be used here.
_MAILBOX = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_DOMAIN_LABEL}(?:\.{_DOMAIN_LABEL})+", re.ASCII)
_MAX_MAILBOX, _MAX_LOCAL = 254, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Contacts:
    """The mailboxes of one ADN, as found, by one method; `where` is the name that had the records."""

    method: Method
    adn: str
    mailboxes: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoContacts:
    """Why there are none."""

    method: Method
    adn: str
    problem: Problem


def txt_contacts(adn: str, *, resolver: Resolver) -> Contacts | NoContacts:
    """The mailboxes at `_validation-contactemail.<ADN>`: of that name alone, no parent's."""
    method = Method.EMAIL_DNS_CONTACT
    found = look(resolver, f"{LABEL}.{adn}", "TXT")
    fault = found.fault()
    if fault is not None:
        return NoContacts(method=method, adn=adn, problem=fault)
    mailboxes = mailboxes_in_txt(found.answer.values)
    if not mailboxes:
        return NoContacts(
            method=method,
            adn=adn,
            problem=Problem(
                code="dcv.email.no_txt_contact",
                detail=f"There is no TXT record at {found.name} that is an e-mail address and nothing else.",
            ),
        )
    return Contacts(method=method, adn=adn, mailboxes=mailboxes, where=found.name)


def caa_contacts(adn: str, *, resolver: Resolver) -> Contacts | NoContacts:
    """The `contactemail` properties of the CAA records that are relevant for the ADN (RFC 8659 3)."""
    method = Method.EMAIL_CAA_CONTACT
    for name in climb(adn):
        found = look_up(name, resolver=resolver)
        if found.failure:
            detail = f"The CAA records of {name} can't be looked up ({found.failure})."
            problem = Problem(code=f"dcv.dns.{found.failure}", detail=detail, acme_type="dns", retry=True)
            return NoContacts(method=method, adn=adn, problem=problem)
        if found.records:
            mailboxes = mailboxes_in_caa(found.records)
            if mailboxes:
                return Contacts(method=method, adn=adn, mailboxes=mailboxes, where=name)
            break
    return NoContacts(
        method=method,
        adn=adn,
        problem=Problem(
            code="dcv.email.no_caa_contact",
            detail=f"The CAA records for {adn} have no contactemail that is an e-mail address.",
        ),
    )


def mailboxes_in_txt(values: Iterable[str]) -> tuple[str, ...]:
    """The records that are an e-mail address, with no padding or structure (BR A.2.1)."""
    return tuple(sorted({value for value in values if is_mailbox(value)}))


def mailboxes_in_caa(records: Iterable[str]) -> tuple[str, ...]:
    """The `contactemail` values that are an e-mail address and nothing else (BR A.1.1)."""
    parsed = (parse_record(record) for record in records)
    values = (record.value for record in parsed if record is not None and record.tag == "contactemail")
    return tuple(sorted({value for value in values if is_mailbox(value)}))


def is_mailbox(text: str) -> bool:
    """Whether the whole text is one plain address: no quotes, comments, white space or line ends."""
    return (
        len(text) <= _MAX_MAILBOX
        and len(text.partition("@")[0]) <= _MAX_LOCAL
        and _MAILBOX.fullmatch(text) is not None
    )
