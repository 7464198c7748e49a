"""The help as PDF: each page and the whole, tagged, bounded, and polite without Pango."""

import re
import sys
import threading
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
from django.test import Client
from django.urls import reverse

from certdesk.web.help import contents, pdf, typeset

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def empty_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test finds no PDF kept by another."""
    monkeypatch.setattr(pdf, "_shelf", pdf.Shelf())


def test_r3_the_whole_holds_every_page_and_every_link_within_it_leads_somewhere() -> None:
    html = pdf.whole_html()
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for slug in contents.SLUGS:
        assert f"{slug}--top" in ids
    for anchor in re.findall(r'href="#([^"]+)"', html):
        assert anchor in ids
    assert not re.findall(r'href="/', html), "an address without its host"


def test_r3_addresses_in_a_single_page_are_complete() -> None:
    html = pdf.page_html("requesting")
    assert not re.findall(r'href="/', html)
    assert "/help/csr/" in html


def test_r3_a_pdf_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    make = Mock(return_value=b"%PDF-1.7 made")
    monkeypatch.setattr(typeset, "typeset", make)
    address = reverse("help-page-pdf", args=["dcv"])
    first, second = Client().get(address), Client().get(address, {"anything": "else"})
    assert first.content == second.content == b"%PDF-1.7 made"
    assert make.call_count == 1
    unchanged = Client().get(address, headers={"If-None-Match": first["ETag"]})
    assert unchanged.status_code == 304
    assert not unchanged.content


def test_r3_what_changes_makes_another_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typeset, "typeset", lambda html: html.encode())
    first = pdf.pdf_of(pdf.page_html("dcv"))
    other = pdf.pdf_of(pdf.page_html("csr"))
    assert isinstance(first, pdf.Pdf)
    assert isinstance(other, pdf.Pdf)
    assert first.digest != other.digest


def test_r3_kept_files_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "KEPT_BYTES", 100)
    shelf = pdf.Shelf()
    for name in ("a", "b"):
        shelf.put(name, b"x" * 40)
    assert shelf.get("a")
    shelf.put("c", b"x" * 40)
    assert shelf.get("b") is None, "the one that nobody asked for the longest goes first"
    assert shelf.get("a")
    assert shelf.get("c")
    shelf.put("huge", b"x" * 1000)
    assert not shelf.files


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody else's PDF is being made."""
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(pdf, "_makers", places)
    monkeypatch.setattr(pdf, "WAIT_SECONDS", 0.01)
    with places:
        yield


@pytest.mark.usefixtures("busy")
def test_r3_only_so_many_at_once() -> None:
    answer = Client().get(reverse("help-pdf"))
    assert answer.status_code == 503
    assert answer["Retry-After"] == "30"
    assert b"No PDF right now" in answer.content


def test_r3_the_place_is_free_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typeset, "typeset", Mock(side_effect=RuntimeError))
    for _ in range(pdf.AT_ONCE + 1):
        with pytest.raises(RuntimeError):
            pdf.pdf_of("<p>broken")


def test_r3_without_pango_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "certdesk.web.help.typeset", None)
    answer = Client().get(reverse("help-page-pdf", args=["csr"]))
    assert answer.status_code == 503
    assert "Retry-After" not in answer
    assert b"lacks a library" in answer.content
    assert Client().get("/help/csr/").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "https://elsewhere.example/a.css",
        "http://127.0.0.1:1/",
        "file:///etc/passwd",
        "static:certdesk/../../../../etc/passwd",
        "static:../conf/settings.py",
        "static:certdesk/certdesk.js",
        "static:certdesk/nothing.css",
        "data:text/css,p{}",
        "//elsewhere.example/x",
    ],
)
def test_r3_nothing_is_fetched_but_our_own_files(address: str) -> None:
    with pytest.raises(typeset.NotOurs):
        typeset.OwnFilesOnly().fetch(address)


def test_r3_a_picture_from_elsewhere_stops_the_making() -> None:
    with pytest.raises(typeset.NotOurs):
        typeset.typeset('<!DOCTYPE html><html lang="en"><title>x</title><img src="https://e.example/x.png">')
