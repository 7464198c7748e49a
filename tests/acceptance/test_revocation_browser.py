"""A certificate is revoked in a browser; OpenSSL refuses it, by the CRL that the certificate names."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.acceptance import stories
from tests.acceptance.seed_support import AVAILABLE, make_csr, new_name, run
from tests.acceptance.test_dcv_browser import mails_to
from tests.harness.browser import look_at
from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Visit = Callable[..., Page]


def files_of(page: Page, folder: Path) -> tuple[Path, Path, Path]:
    """Leaf, intermediate and root from the .zip."""
    bundle = stories.download(page, "Download .zip", folder)
    run("unzip", "-q", str(bundle), "-d", str(folder / "zip"))
    (root,) = (folder / "zip").glob("root-*.crt")
    (chain,) = (folder / "zip").glob("chain-*.crt")
    (leaf,) = {*(folder / "zip").glob("*.crt")} - {root, chain}
    return leaf, chain, root


def fetch_crl(leaf: Path, server: DemoServer, folder: Path) -> Path:
    """The CRL that the certificate points at, as a relying party fetches it: in DER, over plain HTTP."""
    told = run("openssl", "x509", "-in", str(leaf), "-noout", "-text")
    found = re.search(r"URI:(http://\S+\.crl)", told)
    assert found
    answer = httpx2.get(server.base_url + "/" + found[1].split("/", 3)[3], trust_env=False)
    assert answer.headers["content-type"] == "application/pkix-crl"
    assert answer.headers["cache-control"] == "public, max-age=300"  # O1: fresh within five minutes
    (folder / "ca.crl").write_bytes(answer.content)
    run("openssl", "crl", "-inform", "DER", "-in", str(folder / "ca.crl"), "-out", str(folder / "crl.pem"))
    return folder / "crl.pem"


def verdict(leaf: Path, chain: Path, root: Path, crl: Path) -> str:
    """What `openssl verify -crl_check` says."""
    done = subprocess.run(
        ["openssl", "verify", "-crl_check", "-CRLfile", crl, "-CAfile", root, "-untrusted", chain, leaf],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_revoking_from_the_question_to_the_crl(visit: Visit, server: DemoServer, tmp_path: Path) -> None:
    alice = visit("alice")
    number = stories.ask(alice, make_csr(tmp_path, new_name()))
    stories.expect_status(alice, AVAILABLE)
    expect(alice.locator("section:has(#download) .pill")).to_have_text("Valid")
    leaf, chain, root = files_of(alice, tmp_path)
    assert verdict(leaf, chain, root, fetch_crl(leaf, server, tmp_path)).endswith(": OK\n")

    alice.get_by_role("link", name="Revoke this certificate").click()
    expect(alice.get_by_role("heading", level=1)).to_have_text("Revoke a certificate")
    look_at(alice, "revoke")
    expect(alice.get_by_label("The holder broke the rules")).to_have_count(0)  # the staff's alone
    alice.get_by_role("button", name="Revoke certificate").click()
    expect(alice.get_by_role("alert")).to_contain_text("Choose a reason")
    look_at(alice, "revoke-problem")
    alice.get_by_label("The private key is no longer secret").check()
    alice.get_by_label("In your own words").fill("The laptop was stolen.")
    alice.get_by_role("button", name="Revoke certificate").click()
    alice.wait_for_url(f"**/requests/{number}/")

    expect(alice.locator("section:has(#download) .pill")).to_have_text("Revoked")
    expect(alice.get_by_text("Revoked on")).to_contain_text("by alice: the private key is no longer secret")
    expect(alice.locator(".timeline")).to_contain_text("Certificate revoked")
    expect(alice.get_by_role("link", name="Revoke this certificate")).to_have_count(0)
    look_at(alice, "revoked")

    crl = fetch_crl(leaf, server, tmp_path)
    assert "certificate revoked" in verdict(leaf, chain, root, crl)
    listed = run("openssl", "crl", "-in", str(crl), "-noout", "-text")
    serial = run("openssl", "x509", "-in", str(leaf), "-noout", "-serial").strip().partition("=")[2]
    assert f"Serial Number: {serial}" in listed
    assert "Key Compromise" in listed
    address = "alice@example.ac.uk"
    wait_until(
        lambda: any("was revoked" in text and "laptop" in text for text in mails_to(server, address)),
        what="the mail about it",
    )


def test_a_colleague_may_not_and_the_same_key_is_not_certified_again(visit: Visit, tmp_path: Path) -> None:
    """Without JavaScript."""
    csr = make_csr(tmp_path, new_name())
    alice = visit("alice", javascript=False)
    number = stories.ask(alice, csr)
    revoking = alice.get_by_role("link", name="Revoke this certificate").get_attribute("href")
    assert revoking
    bob = visit("bob")
    bob.goto(f"/requests/{number}/")
    expect(bob.get_by_role("link", name="Revoke this certificate")).to_have_count(0)
    answer = bob.goto(revoking)
    assert answer is not None
    assert answer.status == 403
    meg = visit("meg", javascript=False)
    meg.goto(revoking)
    meg.get_by_label("The private key is no longer secret").check()
    meg.get_by_role("button", name="Revoke certificate").click()
    expect(meg.locator("section:has(#download) .pill")).to_have_text("Revoked")
    stories.preview(alice, csr)
    expect(alice.get_by_role("button", name="Confirm request")).to_have_count(0)
    expect(alice.locator("main")).to_contain_text("key")
