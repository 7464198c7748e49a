"""What hangs on a domain: the certificates that are valid now and the requests under way, for names below it.

Counted per organisation in two queries and put to their domains here: cheap for thousands of domains.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from certdesk.domain.issuing.states import FINAL, OrganisationId, Status
from certdesk.store.models import CertificateName, Request

#: More names than this are not walked through for a page of a list; the counts are then "at least".
MOST_NAMES = 20_000
_UNDER_WAY = sorted(set(Status) - FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relying:
    """How many certificates are valid now, and how many requests are under way, for names at or below it.

    `at_least` says that there were too many to count them all.
    """

    certificates: int = 0
    requests: int = 0
    at_least: bool = False


def relying_on(
    domains: Sequence[tuple[OrganisationId, str]], *, now: datetime, most: int = MOST_NAMES
) -> dict[tuple[OrganisationId, str], Relying]:
    """Organisation and ADN → what hangs on it. A name counts for every listed domain that it is below."""
    organisations = {organisation for organisation, _adn in domains}
    certificates: dict[tuple[OrganisationId, str], set[int]] = {key: set() for key in domains}
    # Organisation, certificate and name of what is valid now, the newest first.
    found = CertificateName.objects.filter(
        certificate__organisation_id__in=organisations,
        certificate__not_after__gt=now,
        certificate__revoked_at__isnull=True,
        certificate__withheld=False,
    ).order_by("-certificate_id")
    names = list(found.values_list("certificate__organisation_id", "certificate_id", "name")[: most + 1])
    for organisation, certificate, name in names[:most]:
        for key in _above(OrganisationId(organisation), name):
            if key in certificates:
                certificates[key].add(certificate)
    requests = dict.fromkeys(domains, 0)
    running = Request.objects.filter(organisation_id__in=organisations, status__in=_UNDER_WAY)
    waiting = list(running.order_by("-id").values_list("organisation_id", "names")[: most + 1])
    for organisation, asked in waiting[:most]:
        keys = {key for name in asked for key in _above(OrganisationId(organisation), name)}
        for key in keys & requests.keys():
            requests[key] += 1
    at_least = len(names) > most or len(waiting) > most
    return {
        key: Relying(certificates=len(certificates[key]), requests=requests[key], at_least=at_least)
        for key in domains
    }


def _above(organisation: OrganisationId, name: str) -> Iterable[tuple[OrganisationId, str]]:
    """The name and every name above it, as keys."""
    labels = name.removeprefix("*.").split(".")
    return ((organisation, ".".join(labels[start:])) for start in range(len(labels)))
