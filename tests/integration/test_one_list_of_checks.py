"""One list of checks wherever it is read: preview, request's page, officer's page, REST, command line."""

import html
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from certdesk.cli.client import show
from tests.integration.api_calls import callers
from tests.integration.support import csr, signed_in

pytestmark = pytest.mark.django_db

_WORDS = {
    "Passed.": "pass",
    "Not checked.": "not_checked",
    "Note.": "warn",
    "To be confirmed.": "pending",
    "Needs review.": "manual",
    "Not accepted.": "refuse",
}
_SIGNS = {
    "[ok]": "pass",
    "[unchecked]": "not_checked",
    "[warning]": "warn",
    "[waiting]": "pending",
    "[officer]": "manual",
    "[REFUSED]": "refuse",
}


class Line(NamedTuple):
    """A check as it is read."""

    code: str
    verdict: str
    message: str
    seen: str
    rule: str
    rule_from: str
    changed_by: str


def of_records(records: Iterable[Mapping[str, str]]) -> list[Line]:
    return [Line(**{name: record[name] for name in Line._fields}) for record in records]


def of_page(content: bytes) -> list[Line]:
    """Every check on a page, in the order of the page."""
    found = []
    items = re.findall(r'<li class="check \w+" data-code="([^"]+)">(.*?)</li>', content.decode(), re.DOTALL)
    for code, item in items:
        said = re.search(r"<b>(.*?)</b> (.*?)</p>", item, re.DOTALL)
        assert said
        facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", item, re.DOTALL))
        since = re.search(r'datetime="([^"]+)"', facts.get("Rule", ""))
        found.append(
            Line(
                code=code,
                verdict=_WORDS[said[1]],
                message=html.unescape(said[2]),
                seen=_text(facts.get("Seen", "")),
                rule=_text(
                    re.sub(r'<span class="vh">.*?</span>', "", facts.get("Rule", "")).partition(", since")[0]
                ),
                rule_from=since[1] if since else "",
                changed_by=_text(facts.get("Who can change it", "")),
            )
        )
    return found


def _text(markup: str) -> str:
    return html.unescape(re.sub(r"<.*?>", "", markup))


def of_terminal(output: str) -> list[Line]:
    """Every check that the command line prints: sign, message and code; below, what stands behind."""
    lines = [line.strip() for line in output.splitlines()]
    found = []
    for line, behind in pairwise(lines):
        sign, _space, rest = line.partition(" ")
        if sign not in _SIGNS:
            continue
        told = re.fullmatch(r"(.*) \(([a-z_.]+)\)", rest.strip())
        assert told, line
        parts = dict(part.split(": ", 1) for part in behind.split(" · "))
        rule, _comma, since = parts.get("Rule", "").partition(", since ")
        found.append(
            Line(
                code=told[2],
                verdict=_SIGNS[sign],
                message=told[1],
                seen=parts.get("Seen", ""),
                rule=rule,
                rule_from=since,
                changed_by=parts.get("Who can change it", ""),
            )
        )
    return found


@pytest.mark.parametrize(
    "names",
    [
        ("www.example.ac.uk",),
        ("www.example.ac.uk", "*.outside.example", "www.other.ac.uk"),
        ("xn--80ak6aa92e.example.ac.uk", "www.elsewhere.org"),
    ],
)
def test_the_same_list_is_read_everywhere(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    alice = callers().alice
    key = ec.generate_private_key(ec.SECP256R1())
    # An earlier request with the same key, so that there is something to note.
    assert alice.upload("/requests", csr("first.example.ac.uk", key=key)).status == 201
    upload = csr(*names, key=key)

    page = signed_in("alice").post(
        reverse("requests-preview"),
        {"duration_years": "1", "server_software": "nginx", "csr": SimpleUploadedFile("a.csr", upload)},
    )
    previewed = alice.upload("/requests/preview", upload).json
    expected = of_records(previewed["checks"])
    assert len(expected) > 10
    assert {"key.reused", "certificate.lint", "key.known"} <= {line.code for line in expected}
    assert {line.verdict for line in expected if line.code == "key.known"} == {"not_checked"}
    assert of_page(page.content) == expected
    show.preview(previewed)
    assert of_terminal(capsys.readouterr().out) == expected

    made = alice.upload("/requests", upload)
    assert made.status == 201, made.content
    number = made.json["id"]
    stored = alice.get(f"/requests/{number}").json
    assert of_records(stored["checks"]) == expected
    assert of_page(signed_in("alice").get(reverse("requests-show", args=[number])).content) == expected
    show.request(stored)
    assert of_terminal(capsys.readouterr().out) == expected
    assert of_page(signed_in("olga").get(reverse("queue-decide", args=[number])).content) == expected
