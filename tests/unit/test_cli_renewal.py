"""`certdesk certificate renew` and what it keeps: against a made-up service, with crashes at every step."""

import json
import os
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.cli.client import keys, renewal
from certdesk.cli.client.connection import Service
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.live import KEPT_VERSIONS, Home, Wish, checked, name_for

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
HOST = "www.example.ac.uk"
WISH = Wish(names=(HOST, "example.ac.uk"), key_type="p256", years=1, software="nginx")


@dataclass(slots=True)
class Desk:
    """A service of a few lines: its requests by idempotency key, each with the CSR that made it."""

    status: str = "issued"
    days: int = 90
    down: bool = False
    wrong_key: bool = False
    until: datetime | None = None
    under: tuple[int, str] = (201, "")
    window: tuple[datetime, datetime] | None = None
    posts: list[str] = field(default_factory=list)
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    numbers: dict[str, int] = field(default_factory=dict)
    csrs: dict[int, x509.CertificateSigningRequest] = field(default_factory=dict)

    def service(self) -> Service:
        """The connection that the client takes for one."""
        transport = httpx2.MockTransport(self._answer)
        return Service("http://127.0.0.1:1", "cdk_test", transport=transport)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if self.down:
            raise httpx2.ConnectError("nobody there")
        path = request.url.path.removeprefix("/api/v1")
        if path.startswith("/acme/renewal-info/"):
            if self.window is None:
                return httpx2.Response(404, json={"detail": "There is none."})
            start, end = (moment.isoformat() for moment in self.window)
            return httpx2.Response(200, json={"suggestedWindow": {"start": start, "end": end}})
        if request.method == "POST":
            self.posts.append(path)
            further, problem = path.endswith("/certificates"), self.under[1]
            if further and problem:
                return httpx2.Response(self.under[0], json={"detail": "Not that.", "code": problem})
            if self.status == "refused":
                return httpx2.Response(422, json={"detail": "The key is weak.", "code": "policy.refused"})
            sent = request.read()
            assert b"PRIVATE KEY" not in sent
            number = self.numbers.setdefault(request.headers["Idempotency-Key"], len(self.numbers) + 1)
            begin = sent.index(b"-----BEGIN CERTIFICATE REQUEST")
            self.csrs[number] = x509.load_pem_x509_csr(sent[begin:].partition(b"\r\n--")[0])
            if further:
                made = {"id": 100 + number} if self.under[0] == 201 else None
                return httpx2.Response(
                    self.under[0], json={"request": int(path.split("/")[2]), "certificate": made}
                )
            return httpx2.Response(201, json=self._told(number))
        if path.startswith("/requests/"):
            return httpx2.Response(200, json=self._told(int(path.rpartition("/")[2])))
        return httpx2.Response(200, content=self._certificate(int(path.split("/")[2]) - 100))

    def _told(self, number: int) -> dict[str, Any]:
        return {
            "id": number,
            "status": self.status,
            "status_text": self.status,
            "detail": "",
            "entitled_until": None if self.until is None else self.until.isoformat(),
            "certificates": [{"id": 100 + number}] if self.status == "issued" else [],
        }

    def _certificate(self, number: int) -> bytes:
        csr, issuer = self.csrs[number], x509.Name([])
        public = ec.generate_private_key(ec.SECP256R1()).public_key() if self.wrong_key else csr.public_key()
        sans = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        builder = (
            x509.CertificateBuilder()
            .subject_name(csr.subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(1000 + number)
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + self.days * DAY)
            .add_extension(sans, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        made = builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)
        return made + made  # the second one stands for the chain


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def ask(desk: Desk, home: Home, wish: Wish = WISH) -> Path:
    """As `request submit --new-key` does."""
    with desk.service() as service:
        told = renewal.send(service, home, HOST, renewal.begin(home, HOST, wish))
        return renewal.install(service, home, HOST, told)


def begin(desk: Desk, home: Home) -> None:
    """The same, as far as sending it."""
    with desk.service() as service:
        renewal.send(service, home, HOST, renewal.begin(home, HOST, WISH))


def renew(desk: Desk, home: Home, **more: Any) -> str:
    """As `certificate renew` does."""
    asked = {"now": NOW, "days": None, "force": False, "hook": None, **more}
    with desk.service() as service:
        return renewal.renew(service, home, HOST, **asked)


def serial(home: Home) -> int:
    """Of the certificate in place."""
    return int(keys.read_leaf((home.live(HOST) / "cert.pem").read_bytes()).serial, 16)


def consistent(home: Home) -> bool:
    """Whether key and certificate in place belong together."""
    live = home.live(HOST)
    leaf = keys.read_leaf((live / "fullchain.pem").read_bytes())
    return keys.belongs(leaf, (live / "privkey.pem").read_bytes())


def test_what_is_put_in_place_is_complete_private_and_swapped_whole(desk: Desk, home: Home) -> None:
    live = ask(desk, home)
    assert live == home.root / "live" / HOST
    assert live.is_symlink()
    assert sorted(p.name for p in live.iterdir()) == ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"]
    for folder, _folders, files in os.walk(home.root):
        for name in files:
            mode = stat.S_IMODE((Path(folder) / name).stat().st_mode)
            assert mode == 0o600 or name == ".lock", (folder, name)
    assert stat.S_IMODE((home.root / "archive" / HOST / "0001").stat().st_mode) == 0o700
    assert (live / "fullchain.pem").read_bytes() == (
        (live / "cert.pem").read_bytes() + (live / "chain.pem").read_bytes()
    )
    assert consistent(home)
    assert home.pending(HOST) is None


@pytest.mark.parametrize(
    "left, days, due",
    [
        (31 * DAY, None, False),
        (30 * DAY, None, False),
        (30 * DAY - timedelta(seconds=1), None, True),
        (31 * DAY, 40, True),
        (31 * DAY, 31, False),
        (-DAY, None, True),
    ],
)
def test_it_is_due_with_a_third_left_or_as_told(left: timedelta, days: int | None, *, due: bool) -> None:
    end = NOW + left
    assert renewal.is_due(not_before=end - 90 * DAY, not_after=end, now=NOW, days=days) is due


def test_nothing_is_asked_and_nothing_changed_before_it_is_due(desk: Desk, home: Home) -> None:
    ask(desk, home)
    desk.down = True  # nobody is asked at all
    assert renew(desk, home) == ""
    assert serial(home) == 1001


@pytest.mark.parametrize("reuse", [True, False])
def test_a_due_one_is_renewed_with_a_new_key_or_the_same(desk: Desk, home: Home, *, reuse: bool) -> None:
    live = ask(desk, home, Wish(names=(HOST,), key_type="p256", years=1, software="nginx", reuse_key=reuse))
    before = (live / "privkey.pem").read_bytes()
    assert HOST in renew(desk, home, now=NOW + 70 * DAY)
    assert serial(home) == 1002
    assert ((live / "privkey.pem").read_bytes() == before) is reuse
    assert consistent(home)


def test_old_versions_and_their_keys_do_not_pile_up(desk: Desk, home: Home) -> None:
    ask(desk, home)
    for _ in range(5):
        renew(desk, home, force=True)
    versions = sorted(path.name for path in (home.root / "archive" / HOST).iterdir())
    assert len(versions) == KEPT_VERSIONS
    assert versions[-1] == "0006"
    assert serial(home) == 1006


@pytest.mark.parametrize("step", ["begin", "upload", "sent", "save", "install", "swap", "forget"])
def test_a_run_that_dies_anywhere_is_taken_up_without_a_second_request(
    desk: Desk, home: Home, step: str
) -> None:
    ask(desk, home)
    requests = len(desk.numbers)
    where = {
        "begin": (renewal, "send"),
        "upload": (Home, "note"),
        "sent": (renewal, "finish"),
        "save": (Home, "install"),
        "install": (Path, "symlink_to"),
        "swap": (Home, "forget"),
        "forget": (renewal, "run_hook"),
    }[step]
    with mock.patch.object(*where, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        renew(desk, home, force=True)
    assert consistent(home)
    renew(desk, home, now=NOW)  # the next run of cron
    assert len(desk.numbers) == requests + 1
    assert serial(home) == 1002
    assert consistent(home)
    assert home.pending(HOST) is None
    assert not list((home.root / "pending").iterdir())


def test_one_that_waits_for_an_officer_is_fetched_once_it_is_approved(desk: Desk, home: Home) -> None:
    desk.status = "waiting_for_approval"
    begin(desk, home)
    for status, code in (("waiting_for_approval", Exit.NEEDS_APPROVAL), ("submitted", Exit.RETRY_LATER)):
        desk.status = status
        with pytest.raises(Failure) as waiting:
            renew(desk, home)
        assert waiting.value.code is code
    desk.status = "issued"
    assert "in place" in renew(desk, home)
    assert len(desk.numbers) == 1
    assert consistent(home)


def test_a_rejected_one_is_forgotten_and_asked_for_anew(desk: Desk, home: Home) -> None:
    ask(desk, home)
    desk.status = "rejected_by_ra"
    with pytest.raises(Failure) as rejected:
        renew(desk, home, force=True)
    assert rejected.value.code is Exit.FAILED
    assert home.pending(HOST) is None
    assert serial(home) == 1001  # what works stays
    desk.status = "issued"
    renew(desk, home, force=True)
    assert serial(home) == 1003


def test_a_refusal_by_policy_leaves_nothing_behind(desk: Desk, home: Home) -> None:
    desk.status = "refused"
    with pytest.raises(Failure, match="weak"):
        begin(desk, home)
    assert home.pending(HOST) is None


def test_an_outage_keeps_the_key_that_was_perhaps_sent(desk: Desk, home: Home) -> None:
    desk.down = True
    with pytest.raises(Failure) as away:
        ask(desk, home)
    assert away.value.code is Exit.RETRY_LATER
    key, _csr = home.pending_files(HOST)
    desk.down = False
    ask(desk, home)
    assert (home.live(HOST) / "privkey.pem").read_bytes() == key


def test_a_certificate_for_another_key_is_not_used(desk: Desk, home: Home) -> None:
    ask(desk, home)
    desk.wrong_key = True
    with pytest.raises(Failure, match="not for the key"):
        renew(desk, home, force=True)
    assert serial(home) == 1001
    assert consistent(home)


def test_the_hook_is_told_where_everything_is_and_runs_until_it_succeeds(
    desk: Desk, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTDESK_TOKEN", "cdk_secret")
    out, gate = tmp_path / "out", tmp_path / "gate"
    hook = f'test -e {gate} || {{ echo "not yet" >&2; exit 3; }}; env > {out}'
    ask(desk, home)
    with pytest.raises(Failure, match=r"ended with 3; it runs again\. not yet"):
        renew(desk, home, force=True, hook=hook)
    assert serial(home) == 1002  # the certificate is in place all the same
    gate.touch()
    assert renew(desk, home) == ""
    told = dict(each.split("=", 1) for each in out.read_text().splitlines() if "=" in each)
    live = home.live(HOST)
    assert told["CERT_PATH"] == f"{live}/cert.pem"
    assert told["KEY_PATH"] == f"{live}/privkey.pem"
    assert told["CHAIN_PATH"] == f"{live}/chain.pem"
    assert told["FULLCHAIN_PATH"] == f"{live}/fullchain.pem"
    assert told["DOMAINS"] == f"{HOST} example.ac.uk"
    assert "CERTDESK_TOKEN" not in told
    out.unlink()
    renew(desk, home)
    assert not out.exists()  # once is enough


class TestUnderTheRequest:
    """A request allows further certificates while its term has room; a new one is made where it does not."""

    def test_a_new_key_and_no_new_request(self, desk: Desk, home: Home) -> None:
        desk.until = NOW + 300 * DAY
        live = ask(desk, home)
        key = (live / "privkey.pem").read_bytes()
        assert "under request 1" in renew(desk, home, now=NOW + 70 * DAY)
        assert desk.posts == ["/requests", "/requests/1/certificates"]
        assert (live / "privkey.pem").read_bytes() != key
        assert serial(home) == 1002
        assert consistent(home)
        record = home.record(HOST)
        assert record is not None
        assert (record.request, record.certificate) == (1, 102)

    @pytest.mark.parametrize("until", [None, NOW + 90 * DAY])
    def test_a_term_without_room_means_a_new_request(
        self, desk: Desk, home: Home, until: datetime | None
    ) -> None:
        desk.until = until
        ask(desk, home)
        assert "by a new request 2: request 1 allows none" in renew(desk, home, now=NOW + 70 * DAY)
        assert desk.posts == ["/requests", "/requests"]

    @pytest.mark.parametrize(
        "answer",
        [(409, "request.not_entitled"), (422, "policy.refused"), (404, "not_found"), (403, "not_authorized")],
    )
    def test_a_refusal_means_a_new_request_for_the_same_key(
        self, desk: Desk, home: Home, answer: tuple[int, str]
    ) -> None:
        desk.until, desk.under = NOW + 300 * DAY, answer
        ask(desk, home)
        assert "by a new request 2" in renew(desk, home, force=True)
        assert desk.posts == ["/requests", "/requests/1/certificates", "/requests"]
        assert consistent(home)

    @pytest.mark.parametrize(
        "answer, kept",
        [
            ((409, "state_conflict"), True),
            ((503, "backend.unavailable"), True),
            ((202, ""), True),
            ((502, "backend.refused"), False),
        ],
    )
    def test_what_comes_right_is_waited_for_with_the_same_key(
        self, desk: Desk, home: Home, answer: tuple[int, str], *, kept: bool
    ) -> None:
        desk.until, desk.under = NOW + 300 * DAY, answer
        ask(desk, home)
        with pytest.raises(Failure):
            renew(desk, home, force=True)
        before = home.pending(HOST)
        assert (before is not None) is kept
        assert serial(home) == 1001
        desk.under = (201, "")
        assert "under request 1" in renew(desk, home, force=True)
        assert "/requests" not in desk.posts[1:]
        assert consistent(home)

    def test_a_killed_run_asks_for_the_same_again(self, desk: Desk, home: Home) -> None:
        desk.until = NOW + 300 * DAY
        ask(desk, home)
        killed = mock.patch.object(renewal, "finish", side_effect=KeyboardInterrupt)
        with killed, pytest.raises(KeyboardInterrupt):
            renew(desk, home, force=True)
        renew(desk, home)
        assert len(desk.numbers) == 2
        assert serial(home) == 1002


class TestWhenTheServiceAsksForIt:
    """ARI (RFC 9773), beside the client's own rule."""

    @pytest.mark.parametrize(
        "start, end, advised", [(-2 * DAY, -DAY, True), (DAY, 2 * DAY, False), (-DAY, timedelta(), True)]
    )
    def test_its_window_counts(
        self, desk: Desk, home: Home, start: timedelta, end: timedelta, *, advised: bool
    ) -> None:
        desk.until = NOW + 300 * DAY
        ask(desk, home)
        desk.window = (NOW + start, NOW + end)
        assert bool(renew(desk, home)) is advised

    @pytest.mark.parametrize(
        "told", [{}, {"suggestedWindow": None}, {"suggestedWindow": {"start": "soon", "end": "later"}}]
    )
    def test_advice_that_can_t_be_read_is_none(self, told: dict[str, Any]) -> None:
        assert renewal.is_advised(told, sha256="00" * 32, now=NOW) is False


def test_two_runs_do_not_meet(home: Home) -> None:
    with home.lock(), pytest.raises(Failure) as busy, Home(home.root).lock():
        pass
    assert busy.value.code is Exit.RETRY_LATER
    with home.lock():
        pass


def test_other_names_under_way_are_not_mixed_up(desk: Desk, home: Home) -> None:
    desk.status = "waiting_for_approval"
    begin(desk, home)
    other = Wish(names=(HOST, "mail.example.ac.uk"), key_type="p256", years=1, software="nginx")
    with pytest.raises(Failure, match="--cert-name"):
        renewal.begin(home, HOST, other)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "-rf", "A", "a\n", "a..b"])
def test_a_name_can_t_leave_the_folder(home: Home, name: str) -> None:
    with pytest.raises(Failure):
        checked(name)
    with pytest.raises(Failure):
        home.record(name)


def test_what_is_kept_is_listed_and_a_damaged_record_says_so(desk: Desk, home: Home) -> None:
    assert home.names() == []
    ask(desk, home)
    assert home.names() == [HOST]
    assert name_for("*.example.ac.uk") == checked("_wildcard.example.ac.uk")
    record = home.root / "renewal" / f"{HOST}.json"
    assert json.loads(record.read_text())["request"] == 1
    for damaged in ("[]", "{}", '{"wish": {"names": []}}'):
        record.write_text(damaged)
        with pytest.raises(Failure, match="Restore it"):
            home.record(HOST)
    record.write_text("{")
    with pytest.raises(Failure, match="can't be read"):
        home.record(HOST)
