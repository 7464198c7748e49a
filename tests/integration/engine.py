"""The channels that lead to the one engine, a CA that watches how it is asked, and what has to hold after it.

No tests live here.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection

from certdesk.domain.actors import SYSTEM
from certdesk.domain.errors import BackendRefused
from certdesk.domain.issuing.certificates import Intent, Issued, Outcome
from certdesk.domain.issuing.states import DONE, IssuanceId, Status, Work
from certdesk.services.acme.orders import OrderView, order_view
from certdesk.services.issuance import engine as issuance
from certdesk.services.requests.asking import create_request
from certdesk.services.requests.confirm import submit_another, submit_request
from certdesk.store.models import AcmeAccount, AcmeOrder, Certificate, Issuance, Request, Revocation
from certdesk.store.selectors.certificates import Filters, list_certificates
from tests.harness.acme_client import Reply, make_csr
from tests.integration.acme_support import acme_world
from tests.integration.support import (
    Clock,
    FindingCa,
    ScriptedCa,
    audit_problems,
    backend,
    csr,
    events_of,
    signed,
    state_of,
    submission,
)

NAME = "www.example.ac.uk"
#: Each way to a certificate: one that is issued while the applicant waits, one that is left to the worker,
#: one more under a request that has one, an ACME order of its own, and one under a request of people.
CHANNELS = ("first", "worker", "another", "order", "renewal")
#: Under a standing request its status and history tell only how the next certificate ended.
STANDING = ("another", "renewal")
ORDERS = ("order", "renewal")


def watching(answers: Sequence[object], *, polls: Sequence[object] = (), found: object = None) -> ScriptedCa:
    """A CA that is scripted as `ScriptedCa` is; without `found` it can't tell what became of a submit."""
    scripts = {"answers": _watched(answers), "polls": _watched(polls), "inline": True}
    return ScriptedCa(**scripts) if found is None else FindingCa(**scripts, found=_watched(found))  # type: ignore[arg-type]  # of all types


def _watched(script: object) -> list[object]:
    assert isinstance(script, (list, tuple))
    return [_watch(answer) for answer in script]


def _watch(answer: object) -> Callable[[Intent], Outcome]:
    """The answer, after a look whether the very intent is recorded, and no transaction is open."""

    def say(intent: Intent) -> Outcome:
        assert not connection.in_atomic_block
        row = Issuance.objects.get(intent_key=intent.idempotency_key)
        assert row.state in (Work.CLAIMED, Work.SUBMITTED)
        assert (bytes(row.spki_der), row.names) == (intent.spki_der, list(intent.names))
        if isinstance(answer, Exception):
            raise answer
        return answer(intent) if callable(answer) else answer  # type: ignore[return-value]  # scripts hold answers of all types

    return say


class Story:
    """One certificate on its way by one channel."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.here = acme_world()
        self.w = self.here.world
        self.clock = Clock(datetime.now(UTC))  # ACME's edge has the real time
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.client = self.here.registered() if channel in ORDERS else None
        self.reply: Reply | None = None
        self.earlier: list[Issued] = []
        if channel in STANDING:
            with backend(ScriptedCa([self._kept], inline=True)):
                self._submit()
        self.before = Certificate.objects.count()

    def _kept(self, intent: Intent) -> Issued:
        self.earlier.append(signed(intent))
        return self.earlier[0]

    def _submit(self) -> None:
        asked = submission(self.w.university, upload=csr(NAME, key=self.key))
        submit_request(actor=self.w.alice, submission=asked, channel="portal", clock=self.clock)

    def ask(self) -> None:
        """Ask for the certificate, as far as the channel takes it."""
        match self.channel:
            case "first":
                self._submit()
            case "worker":
                asked = submission(self.w.university, upload=csr(NAME, key=self.key))
                create_request(actor=self.w.alice, submission=asked, channel="portal", now=self.clock())
                self.step()
            case "another":
                with suppress(BackendRefused):
                    submit_another(
                        actor=self.w.alice,
                        number=self.request.pk,
                        upload=csr(NAME, key=self.key),
                        channel="api",
                        idempotency_key="another",
                        clock=self.clock,
                    )
            case _:
                assert self.client is not None
                ordered = self.client.order(NAME)
                self.reply = self.client.finalize(ordered.json, make_csr(NAME, key=self.key))

    @property
    def request(self) -> Request:
        """The request, as it is stored now."""
        return Request.objects.get()

    @property
    def row(self) -> Issuance:
        """The issuance that was asked for, as it is stored now; not what an officer may have made again."""
        return Issuance.objects.exclude(idempotency_key__regex=r"^request-\d+-\d+$").latest("id")

    @property
    def order(self) -> OrderView:
        """The order as its client would read it."""
        row = AcmeOrder.objects.get()
        return order_view(row, list(row.authorizations.order_by("id")), now=self.clock.now)

    def step(self) -> timedelta:
        """Wait until it is due, and work as the worker does; how long that was."""
        row = self.row
        assert row.next_attempt_at is not None, f"nobody would ever look at it again: {row.state}"
        waited = row.next_attempt_at - self.clock.now
        self.clock.now = max(self.clock.now, row.next_attempt_at)
        assert IssuanceId(row.pk) in issuance.due_issuances(now=self.clock.now)
        issuance.drive(issuance_id=IssuanceId(row.pk), clock=self.clock)
        return waited

    def run(self, *, rounds: int = 30) -> None:
        """Work until it has ended."""
        for _ in range(rounds):
            if self.row.state in DONE:
                return
            self.step()
        raise AssertionError(f"it is {self.row.state} after {rounds} rounds")

    def expect(self, ends: Work, *, trail: str | None = None, reason: str = "", kept: str = "") -> None:
        """Look at everything that must hold once it has ended.

        `trail` is the history of a request without a certificate (None: not looked at); `kept` says what came
        of a certificate that nobody may have: "withheld", or "received" for what can't be read.
        """
        row, issued = self.row, ends is Work.ISSUED
        assert (row.state, row.next_attempt_at) == (ends, None), row.detail
        assert issued or reason in row.detail
        own = Certificate.objects.filter(issuance=row)
        assert [one.withheld for one in own] == ([False] if issued else [True] if kept == "withheld" else [])
        for one in own:
            assert list(one.names.values_list("name", flat=True)) == ([NAME] if issued else [])
            assert not issued or row.serial in (None, one.serial)
        assert Revocation.objects.filter(certificate__in=own).count() == (kept == "withheld")
        assert (row.received is not None) is (kept == "received")
        offered = list_certificates(actor=SYSTEM, filters=Filters(), now=self.clock.now)
        assert len(offered) == self.before + issued
        if trail is not None:
            self.expect_history(ends, trail.split())
        if self.channel in ORDERS:
            assert self.order.status == ("valid" if issued else "invalid")
            assert issued or reason in str(self.order.problem)
            assert issued or reason in AcmeAccount.objects.get().last_problem
        assert audit_problems() == []

    def expect_history(self, ends: Work, trail: Sequence[str]) -> None:
        """The request's status and its history."""
        number, first = self.request.pk, ["create", "claim", "ca_accept", "issue"]
        if self.channel in STANDING:
            assert state_of(number) is Status.ISSUED
            assert events_of(number) == [*first, *trail[-1:]]
            return
        status = {Work.ISSUED: Status.ISSUED, Work.REFUSED: Status.REJECTED_BY_CA}.get(ends)
        assert status is None or state_of(number) is status
        assert events_of(number) == ["create", *trail]
