"""“Check delegation”: whether a name can be validated here, before the first order for it.

A trial record is added, looked for at every authoritative server, and removed again.
"""

import secrets

from certdesk.backends.acme.dcv.base import Dcv
from certdesk.domain.errors import BackendError
from certdesk.domain.findings import Check, Verdict

_LABEL = "_acme-challenge"


def check_delegation(dcv: Dcv, name: str) -> tuple[Check, ...]:
    """Findings for a name such as `www.example.org` or `*.example.org`, in the order of the steps.

    The first REFUSE ends it. WARN: the record is there, but not everywhere yet. Never raises.
    """
    asked = f"{_LABEL}.{name.removeprefix('*.')}"
    found: list[Check] = []
    try:
        # 1. Where the record belongs.
        at = dcv.lookup.target(asked)
        shown = at.to_text(omit_final_dot=True)
        moved = shown.lower() != asked.lower()
        told = f"{asked} is a CNAME to {shown}." if moved else f"{asked} is no CNAME, and is changed itself."
        found.append(Check("delegation.target", Verdict.PASS, told, seen=shown))
        # 2. Whose it is.
        zone = dcv.lookup.zone(at)
        servers = dcv.lookup.authoritative(zone)
        zone_shown = zone.to_text(omit_final_dot=True) or "."
        told = f"It lies in the zone {zone_shown}, which {len(servers)} server addresses answer for."
        seen = ", ".join(f"{host} port {port}" for host, port in servers)
        found.append(Check("delegation.zone", Verdict.PASS, told, seen=seen))
        # 3. Whether we may change it, and others see that.
        value = f"certdesk-trial-{secrets.token_hex(8)}"
        dcv.driver.add(at, value)
        try:
            found.append(
                Check("delegation.add", Verdict.PASS, f"A trial record was added by {dcv.driver.title}.")
            )
            if missing := dcv.lookup.missing_at(at, value):
                told = "The trial record is not on every server yet. An order waits until it is."
                found.append(Check("delegation.visible", Verdict.WARN, told, seen="; ".join(missing)))
            else:
                told = "Every authoritative server showed the trial record."
                found.append(Check("delegation.visible", Verdict.PASS, told))
        finally:
            dcv.driver.remove(at, value)
        found.append(Check("delegation.remove", Verdict.PASS, "The trial record was removed."))
    except BackendError as error:
        found.append(Check("delegation.failed", Verdict.REFUSE, error.detail))
    return tuple(found)
