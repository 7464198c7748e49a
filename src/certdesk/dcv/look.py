"""What the DNS methods share: a look-up as evidence, and a fault as a problem. No method's own ways."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from certdesk.dcv.base import Problem
from certdesk.dcv.resolver import Answer, Resolver, Status

#: Of somebody's TXT records so many, and so much of each, are kept as evidence.
_KEPT, _KEPT_LENGTH = 20, 300

_FAULTS = {
    Status.SERVFAIL: "the name servers fail (SERVFAIL)",
    Status.BOGUS: "the DNSSEC signatures are wrong",
    Status.TIMEOUT: "the name servers do not answer in time",
    Status.REFUSED: "the name servers refuse to answer",
    Status.MALFORMED: "the name servers' answer can't be read",
    Status.CNAME_LOOP: "the CNAME records run in a circle, or are too many",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    name: str
    kind: str
    answer: Answer

    @property
    def asked(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def answered(self) -> str:
        answer = self.answer
        return f"{len(answer.values)} records" if answer.status is Status.OK else answer.status.value

    def details(self, *, secrets: Collection[str] = ()) -> Mapping[str, object]:
        """The answer as evidence, in which no secret stands: only its digest."""
        answer = self.answer
        return {
            "question": self.asked,
            "status": answer.status.value,
            "values": [_kept(value, secrets) for value in answer.values[:_KEPT]],
            "chain": list(answer.chain),
            "authenticated": answer.authenticated,
            "server": answer.server,
            "ttl": answer.ttl,
            "note": answer.note,
        }

    def fault(self) -> Problem | None:
        """The problem where the DNS gave no answer; None where it did."""
        answer = self.answer
        if answer.status.answered:
            return None
        why = _FAULTS.get(answer.status, answer.status.value)
        note = f" The resolver says: {answer.note}." if answer.note else ""
        code, told = f"dcv.dns.{answer.status.value}", f"{self.asked} can't be looked up: {why}.{note}"
        return Problem(code=code, detail=told, acme_type="dns", retry=answer.status.passing)


def look(resolver: Resolver, name: str, kind: str) -> Look:
    return Look(name=name, kind=kind, answer=resolver.lookup(name, kind))


def digest(value: str) -> str:
    """How a secret value stands in evidence."""
    return "sha256:" + hashlib.sha256(value.encode()).hexdigest()


def _kept(value: str, secrets: Collection[str]) -> str:
    if any(secret in value for secret in secrets):
        return digest(value) if value in secrets else "a secret of the challenge, with more around it"
    return "".join(c if c.isprintable() else "?" for c in value[:_KEPT_LENGTH])
