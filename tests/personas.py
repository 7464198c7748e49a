"""The people of the demo, and what each is for in a test. Their passwords are random: see demo.json."""

from dataclasses import dataclass

UNIVERSITY = "Example University"
UNIVERSITY_DOMAIN = "example.ac.uk"
OTHER_DOMAIN = "other.ac.uk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """Somebody of the demo. `domain` is that of the organisation, and empty for people of the RA."""

    username: str
    role: str
    purpose: str
    domain: str = ""


ALICE = Persona(
    username="alice",
    role="applicant",
    domain=UNIVERSITY_DOMAIN,
    purpose="The applicant of every story: her organisation is vetted and its domain validated.",
)
BOB = Persona(
    username="bob",
    role="applicant",
    domain=UNIVERSITY_DOMAIN,
    purpose="Her colleague: sees what alice asked for (R20).",
)
MEG = Persona(
    username="meg",
    role="manager",
    domain=UNIVERSITY_DOMAIN,
    purpose="Their management contact: says who may request.",
)
CHARLIE = Persona(
    username="charlie",
    role="applicant",
    domain=OTHER_DOMAIN,
    purpose="Of another organisation, not vetted: must never see anything of alice's.",
)
OLGA = Persona(username="olga", role="officer", purpose="Decides the requests that need a human.")
OTTO = Persona(username="otto", role="officer", purpose="The second officer: races olga, relieves her.")
RICK = Persona(username="rick", role="auditor", purpose="Reads everything and changes nothing.")
OP = Persona(username="op", role="operator", purpose="Runs the service; neither asks nor decides.")

EVERYBODY = (ALICE, BOB, MEG, CHARLIE, OLGA, OTTO, RICK, OP)
