"""Filters that every template knows: times, counts and marks as people read them."""

import textwrap

from django.template import Library

from certdesk.domain.acme.advice import advice_for, request_in, without_address
from certdesk.domain.names.identifiers import is_ip_address, to_unicode
from certdesk.domain.policy.catalogue import CATALOGUE
from certdesk.web import times

register = Library()
for one in (
    *(times.ago, times.at, times.at_second, times.counted, times.day, times.days_left, times.iso),
    *(times.lasted, times.plain_day, times.until, advice_for, is_ip_address, request_in, without_address),
):
    register.filter(one.__name__, one)


@register.filter
def fingerprint(hexadecimal: str) -> str:
    """SHA-256 as people compare it: upper case, in pairs."""
    return ":".join(textwrap.wrap(hexadecimal.upper(), 2))


@register.filter
def rule_help(code: str) -> str:
    """The help on the rule behind a check; empty where the check is nobody's request's."""
    return f"/help/checks/#{code.partition('.')[0]}" if code in CATALOGUE else ""


@register.filter
def in_unicode(name: str) -> str:
    """The Unicode form of a name; empty where it is the name itself."""
    return shown if (shown := to_unicode(name)) != name else ""
