"""What the rows call a setting, changed by the operator in the portal."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tests.acceptance.seed_support import Page, Portal, Staff

USUAL: dict[str, Any] = {
    "ra": "JTAG",
    "service_name": "Certdesk",
    "ra_contact": "",
    "support_url": "",
    "trusted_suffixes": "ac.uk\ngov.uk",
    "durations": ["1", "2", "3"],
    "server_software": "Apache httpd\nnginx\nOther",
    "ownership_days": "398",
    "challenge_days": "7",
    "password_min_length": "15",
}
Changed = Callable[..., AbstractContextManager[None]]


def change(staff: Staff, **values: Any) -> Page:
    """The operator fills in the form of the settings; what is not given is as usual."""
    op = staff("op")
    return op.post("/settings/", version=op.get("/settings/").field("version"), **(USUAL | values))


@pytest.fixture
def changed(staff: Staff) -> Changed:
    """Other settings for a while."""

    @contextmanager
    def change_for_a_while(**values: Any) -> Iterator[None]:
        page = change(staff, **values)
        assert page.status == 200, page.text
        try:
            yield
        finally:
            assert change(staff).status == 200

    return change_for_a_while


def test_r04_r34_periods_are_settings_within_their_limits(staff: Staff, changed: Changed) -> None:
    for wrong in ({"challenge_days": "31"}, {"ownership_days": "399"}, {"challenge_days": "0"}):
        assert change(staff, **wrong).status == 422, wrong
    with changed(challenge_days="30", ownership_days="90"):
        assert "30 days" in staff().get("/help/dcv/").text


def test_r07_the_minimum_is_a_setting_and_three_its_lowest_value(staff: Staff, changed: Changed) -> None:
    refused = change(staff, password_min_length="2")
    assert refused.status == 422
    assert "from 3" in refused.text
    with changed(password_min_length="3"):
        address = "/accounts/password/change/"
        joined = staff.joined(staff("meg"), "example-university", "minimum")
        own = "several unrelated words"
        assert "3 characters" in joined.get(address).text
        short = joined.post(address, oldpassword=own, password1="ab", password2="ab")
        assert short.path == address
        assert joined.post(address, oldpassword=own, password1="abc", password2="abc").path != address
        joined.close()
        again = Portal(staff.server, "minimum", "abc")
        assert again.get("/").path == "/"
        again.close()


def test_r13_r14_durations_and_software_are_lists_that_the_operator_edits(
    staff: Staff, changed: Changed
) -> None:
    with changed(durations=["1"], server_software="Webster 7"):
        form = staff("alice").get("/requests/new/").html
        assert re.findall(r'name="duration_years" value="(\d)"', form) == ["1"]
        assert re.findall(r'<option value="([^"]+)"', form) == ["Webster 7", "Other"]
    assert change(staff, durations=["4"]).status == 422
