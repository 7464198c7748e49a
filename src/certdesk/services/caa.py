"""CAA for what is about to be decided or signed: asked outside any transaction, every answer kept.

With the policy's `caa` off nothing is asked, read or written. What an answer does to a request is policy's
(`domain.policy_limits`); what the records mean is `domain.caa`.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from certdesk.dcv.caa import CaaChecked
from certdesk.domain.caa import Looked, Question, climb, decide
from certdesk.domain.evidence import covering
from certdesk.domain.identifiers import is_ip_address
from certdesk.domain.policy_limits import CaaAnswer
from certdesk.domain.policy_rules import CaaMode
from certdesk.domain.requests import OrganisationId
from certdesk.domain.rules import RuleId, in_force
from certdesk.services import runtime
from certdesk.services.runtime import AskCaa
from certdesk.store.models import CaaCheck, Organisation
from certdesk.store.selectors.caa import StoredAnswer, stored_answers
from certdesk.store.selectors.facts import organisation_facts, organisation_row

log = structlog.get_logger()

#: Names looked up at once, and the seconds that all of them have together; perspectives take up to 25.
AT_ONCE = 16
SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CaaSeen:
    """What is known of CAA now. `answers` is what policy judges, None where nobody asked.

    `new` is what was looked up for it, and remains to be recorded.
    """

    answers: tuple[CaaAnswer, ...] | None = None
    new: tuple[tuple[Question, CaaChecked], ...] = ()


NOT_ASKED = CaaSeen()


def look_at_caa(
    *,
    organisation_id: OrganisationId,
    profile_id: str,
    names: Sequence[str],
    account_uri: str = "",
    now: datetime,
) -> CaaSeen:
    """What CAA says now about these names, all looked up at once; outside any transaction.

    `account_uri` is the asking account's, for a CA without an account of ours (RFC 8657 3).
    """
    if all(map(is_ip_address, names)) or not runtime.current().policy.may_ask_caa:
        return NOT_ASKED
    organisation = organisation_row(organisation_id)
    if _is_off(organisation, profile_id):
        return NOT_ASKED
    return _seen(_questions(organisation, names, account_uri, now=now), {}, now=now)


def known_caa(
    *,
    request_id: int,
    organisation: Organisation,
    profile_id: str,
    names: Sequence[str],
    account_uri: str = "",
    now: datetime,
) -> CaaSeen:
    """What CAA says about names under a stored request: answers that are young enough, the others looked up
    now. Outside any transaction.
    """
    if not names or _is_off(organisation, profile_id):
        return NOT_ASKED
    young = now - timedelta(hours=in_force(RuleId.CAA_AGE, now).value)
    stored = stored_answers(request_id=request_id, since=young)
    return _seen(_questions(organisation, names, account_uri, now=now), stored, now=now)


def record_caa(
    seen: CaaSeen, *, organisation_id: int, request_id: int | None = None, order_id: int | None = None
) -> None:
    """Keeps what was looked up, in the caller's transaction."""
    if not seen.new:
        return
    CaaCheck.objects.bulk_create(
        [
            CaaCheck(
                organisation_id=organisation_id,
                request_id=request_id,
                order_id=order_id,
                name=checked.name,
                allowed=checked.decision.allowed,
                code=checked.decision.code,
                found_at=checked.decision.where,
                records=list(checked.decision.records),
                server=checked.looked[-1].server,
                question=_described(question),
                evidence=checked.evidence(),
                at=checked.at,
            )
            for question, checked in seen.new
        ]
    )


def _is_off(organisation: Organisation, profile_id: str) -> bool:
    rules = runtime.current().rules_for(organisation=organisation.slug, profile=profile_id)
    return rules.caa is CaaMode.OFF


def _questions(
    organisation: Organisation, names: Sequence[str], account_uri: str, *, now: datetime
) -> list[Question]:
    """One for each DNS name, with the method of the proof that it rests on (RFC 8657 4).

    An IP address has no CAA records (RFC 8659 3), so that there is nothing to ask.
    """
    rt = runtime.current()
    names = [name for name in names if not is_ip_address(name)]
    proofs = organisation_facts(organisation, names=names, now=now).validations
    covered = {name: covering(name, proofs, now=now) for name in names}
    return [
        Question(
            name=name,
            issuers=rt.caa.issuers,
            account_uri=rt.caa.account_uri or account_uri,
            method=None if proof is None else proof.method,
        )
        for name, proof in covered.items()
    ]


def _seen(questions: list[Question], stored: Mapping[str, StoredAnswer], *, now: datetime) -> CaaSeen:
    """A stored answer counts for the very question that it was given to, and only if it was one."""
    kept = {
        question.name: found.answer
        for question in questions
        if (found := stored.get(question.name)) is not None
        and found.answer.answered
        and found.question == _described(question)
    }
    missing = [question for question in questions if question.name not in kept]
    ask = runtime.current().caa.ask
    if ask is None and missing:
        log.warning("caa.nobody_to_ask", names=len(missing))
    checked = [] if ask is None else _ask(missing, ask, now=now)
    return CaaSeen(
        answers=(*kept.values(), *map(_answer, checked)),
        new=tuple(zip(missing, checked, strict=True)) if checked else (),
    )


def _ask(questions: list[Question], ask: AskCaa, *, now: datetime) -> list[CaaChecked]:
    """Every name's own look-up, at once. One that takes too long or breaks is one that failed."""
    if not questions:
        return []
    pool = ThreadPoolExecutor(max_workers=min(len(questions), AT_ONCE), thread_name_prefix="caa")
    try:
        asked = [pool.submit(ask, question, now) for question in questions]
        wait(asked, timeout=SECONDS)
        return [_result(*pair, now=now) for pair in zip(questions, asked, strict=True)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # what still runs ends by its own time-outs


def _result(question: Question, asked: Future[CaaChecked], *, now: datetime) -> CaaChecked:
    if not asked.done():
        return _failed(question, "timeout", now=now)
    if (error := asked.exception()) is not None:
        log.error("caa.look_up_broke", name=question.name, exc_info=error)
        return _failed(question, "it broke on our side", now=now)
    return asked.result()


def _failed(question: Question, why: str, *, now: datetime) -> CaaChecked:
    looked = (Looked(name=climb(question.name)[0], failure=why),)
    return CaaChecked(name=question.name, decision=decide(question, looked), looked=looked, at=now)


def _answer(checked: CaaChecked) -> CaaAnswer:
    decision = checked.decision
    return CaaAnswer(
        name=checked.name,
        permits=decision.allowed,
        answered=decision.code.is_answer,
        detail=decision.detail,
        found=decision.records,
        to_add=decision.to_add,
        at=checked.at,
    )


def _described(question: Question) -> dict[str, object]:
    """Who wants to certify, as it is stored."""
    return {
        "issuers": list(question.issuers),
        "account_uri": question.account_uri,
        "method": question.method.value if question.method else "",
    }
