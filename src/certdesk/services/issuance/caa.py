"""CAA for what is about to be decided or signed: asked outside any transaction, every answer kept.

With the policy's `caa` off nothing is asked, read or written. What an answer does to a request is policy's
(`domain.policy.limits`); what the records mean is `domain.validation.caa`.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from certdesk.dcv.caa import CaaChecked
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.names.identifiers import is_ip_address
from certdesk.domain.policy.in_force import CaaMode
from certdesk.domain.policy.limits import CaaAnswer
from certdesk.domain.rules import RuleId, in_force
from certdesk.domain.validation.caa import LookUp, Question, climb, decide
from certdesk.domain.validation.evidence import covering
from certdesk.services.system import runtime
from certdesk.services.system.runtime import AskCaa
from certdesk.store.models import CaaCheck, Organisation
from certdesk.store.selectors.caa import stored_answers
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
    return _seen(organisation, profile_id, names, account_uri, dict, now=now)


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
    if not names:
        return NOT_ASKED
    young = now - timedelta(hours=in_force(RuleId.CAA_AGE, now).value)
    stored = partial(stored_answers, request_id=request_id, since=young)
    return _seen(organisation, profile_id, names, account_uri, stored, now=now)


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


def _seen(
    organisation: Organisation,
    profile_id: str,
    names: Sequence[str],
    account_uri: str,
    stored: Callable[[], Mapping[str, tuple[Mapping[str, object], CaaAnswer]]],
    *,
    now: datetime,
) -> CaaSeen:
    """What is stored already and what is looked up now; nothing where the policy's `caa` is off."""
    rt = runtime.current()
    if rt.rules_for(organisation=organisation.slug, profile=profile_id).caa is CaaMode.OFF:
        return NOT_ASKED

    # 1. A question for each DNS name, with the method of the proof that it rests on (RFC 8657 4). An IP
    #    address has no CAA records (RFC 8659 3), so that there is nothing to ask.
    names = [name for name in names if not is_ip_address(name)]
    proofs = organisation_facts(organisation, names=names, now=now).validations
    questions = []
    for name in names:
        proof = covering(name, proofs, now=now)
        questions.append(
            Question(
                name=name,
                issuers=rt.caa.issuers,
                account_uri=rt.caa.account_uri or account_uri,
                method=None if proof is None else proof.method,
            )
        )

    # 2. A stored answer counts for the very question that it was given to, and only if it was one.
    known, kept, missing = stored(), [], []
    for question in questions:
        asked, answer = known.get(question.name, ({}, None))
        if answer is not None and answer.answered and asked == _described(question):
            kept.append(answer)
        else:
            missing.append(question)

    # 3. The others are looked up.
    if rt.caa.ask is None and missing:
        log.warning("caa.nobody_to_ask", names=len(missing))
    checked = [] if rt.caa.ask is None else ask_all(missing, rt.caa.ask, now=now)
    answers = [
        CaaAnswer(
            name=one.name,
            permits=one.decision.allowed,
            answered=one.decision.code.is_answer,
            detail=one.decision.detail,
            found=one.decision.records,
            to_add=one.decision.to_add,
            at=one.at,
        )
        for one in checked
    ]
    new = tuple(zip(missing, checked, strict=True)) if checked else ()
    return CaaSeen(answers=(*kept, *answers), new=new)


def ask_all(questions: Sequence[Question], ask: AskCaa, *, now: datetime) -> list[CaaChecked]:
    """Every name's own look-up, at once. One that takes too long or breaks is one that failed."""
    if not questions:
        return []
    found: list[CaaChecked] = []
    pool = ThreadPoolExecutor(max_workers=min(len(questions), AT_ONCE), thread_name_prefix="caa")
    try:
        asked = [pool.submit(ask, question, now) for question in questions]
        done, _late = wait(asked, timeout=SECONDS)
        for question, one in zip(questions, asked, strict=True):
            error = one.exception() if one in done else None
            if one in done and error is None:
                found.append(one.result())
                continue
            if error is not None:
                log.error("caa.look_up_broke", name=question.name, exc_info=error)
            why = "timeout" if error is None else "it broke on our side"
            looked = (LookUp(name=climb(question.name)[0], failure=why),)
            decision = decide(question, looked)
            found.append(CaaChecked(name=question.name, decision=decision, looked=looked, at=now))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # what still runs ends by its own time-outs
    return found


def _described(question: Question) -> dict[str, object]:
    """Who wants to certify, as it is stored."""
    return {
        "issuers": list(question.issuers),
        "account_uri": question.account_uri,
        "method": question.method.value if question.method else "",
    }
