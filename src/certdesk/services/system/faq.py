"""The FAQ: entries that ship, and the versions by which officers and operators change them.

The shipped entries are a file; a version in the database takes the place of the entry with its key.
Nothing is ever overwritten: an edit, a move and hiding are each a new version, and audited.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.resources import files

from django.db import IntegrityError
from django.utils.text import slugify

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import InvalidInput, NotAuthorized, NotFound, StateConflict, existing
from certdesk.services.system.text_input import MAX_TEXT, storable
from certdesk.store import audit
from certdesk.store.copied import copied
from certdesk.store.db import write_transaction
from certdesk.store.models.versions import FaqVersion

MAX_QUESTION = 200
#: A bound for what visitors search through and what is set as one PDF.
MAX_ENTRIES = 100
STEP = 10
_KEY = 60
#: Anchors and addresses that the pages need themselves.
_TAKEN = frozenset({"new", "edit", "manage", "faq", "main", "search"})
CHANGED_SINCE = "Someone else has changed this entry since. Open it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class FaqEntry:
    """One version of an entry; `version` 0 is how it ships. `answer` is Markdown."""

    key: str
    question: str
    answer: str
    position: int
    version: int = 0
    is_published: bool = True
    by: str = ""
    at: datetime | None = None


def may_edit_faq(actor: Actor) -> bool:
    """Whether the actor edits the FAQ: RA officers and operators do."""
    return can(actor, Action.REQUEST_DECIDE) or can(actor, Action.SERVICE_OPERATE)


def list_faq() -> tuple[FaqEntry, ...]:
    return tuple(entry for entry in _all() if entry.is_published)


def list_every_faq(*, actor: Actor) -> tuple[FaqEntry, ...]:
    """Every entry, hidden ones too, in order. Raises NotAuthorized."""
    _admit(actor)
    return _all()


def get_faq(*, actor: Actor, key: str) -> FaqEntry:
    """One entry as it is now. Raises NotAuthorized, NotFound."""
    _admit(actor)
    return _entry(key)


def faq_history(*, actor: Actor, key: str) -> tuple[FaqEntry, ...]:
    """Every version of an entry, newest first, down to how it shipped. Raises NotAuthorized, NotFound."""
    _admit(actor)
    rows = [_from_row(row) for row in FaqVersion.objects.filter(key=key).order_by("-number")]
    found = (*rows, *(entry for entry in shipped() if entry.key == key))
    if not found:
        raise NotFound("There is no such entry.")
    return found


def add_faq(*, actor: Actor, question: str, answer: str, now: datetime) -> str:
    """Adds an entry at the end and returns its key. Raises InvalidInput, NotAuthorized."""
    _admit(actor)
    question, answer = _texts(question, answer)
    with write_transaction():
        entries = _all()
        if len(entries) >= MAX_ENTRIES:
            raise InvalidInput(f"The FAQ has {MAX_ENTRIES} entries already. Change one of them instead.")
        key = base = slugify(question)[:_KEY].strip("-") or "entry"
        taken, number = _TAKEN.union(entry.key for entry in entries), 1
        while key in taken:
            number += 1
            key = f"{base}-{number}"
        entry = FaqEntry(
            key=key,
            question=question,
            answer=answer,
            position=max((entry.position for entry in entries), default=0) + STEP,
        )
        _store(entry, actor=actor, action="faq.add", now=now)
    return entry.key


def change_faq(
    *, actor: Actor, key: str, question: str, answer: str, seen_version: int, now: datetime
) -> None:
    """Replaces question and answer; `seen_version` is what the form was filled from.

    Raises InvalidInput, NotAuthorized, NotFound, StateConflict when somebody else was faster.
    """
    _admit(actor)
    question, answer = _texts(question, answer)
    with write_transaction():
        entry = _seen(key, seen_version)
        if (entry.question, entry.answer) != (question, answer):
            changed = replace(entry, question=question, answer=answer)
            _store(changed, actor=actor, action="faq.change", now=now)


def publish_faq(*, actor: Actor, key: str, published: bool, seen_version: int, now: datetime) -> None:
    """Shows an entry to visitors or hides it. Raises NotAuthorized, NotFound, StateConflict."""
    _admit(actor)
    with write_transaction():
        entry = _seen(key, seen_version)
        if entry.is_published is not published:
            action = "faq.show" if published else "faq.hide"
            _store(replace(entry, is_published=published), actor=actor, action=action, now=now)


def move_faq(*, actor: Actor, key: str, up: bool, seen_version: int, now: datetime) -> None:
    """Exchanges the places of an entry and its neighbour; at the end of the list nothing happens.

    Raises NotAuthorized, NotFound, StateConflict.
    """
    _admit(actor)
    with write_transaction():
        entry = _seen(key, seen_version)
        entries = _all()
        index = next(i for i, other in enumerate(entries) if other.key == key)
        neighbour = index - 1 if up else index + 1
        if not 0 <= neighbour < len(entries):
            return
        other = entries[neighbour]
        _store(replace(entry, position=other.position), actor=actor, action="faq.move", now=now)
        _store(replace(other, position=entry.position), actor=actor, action="faq.move", now=now)


@cache
def shipped() -> tuple[FaqEntry, ...]:
    """The entries that come with Certdesk, in their order."""
    text = files("certdesk.services.system").joinpath("faq.md").read_text(encoding="utf-8")
    entries = []
    for number, part in enumerate(text.split("\n## ")[1:], start=1):
        heading, _, answer = part.partition("\n")
        question, _, key = heading.rstrip("}").partition(" {#")
        entries.append(FaqEntry(key=key, question=question, answer=answer.strip(), position=number * STEP))
    return tuple(entries)


def _all() -> tuple[FaqEntry, ...]:
    current = {entry.key: entry for entry in shipped()}
    rows = FaqVersion.objects.filter(next__isnull=True)
    current |= {row.key: _from_row(row) for row in rows}
    return tuple(sorted(current.values(), key=lambda entry: (entry.position, entry.key)))


def _entry(key: str) -> FaqEntry:
    row = FaqVersion.objects.filter(key=key, next__isnull=True).first()
    if row:
        return _from_row(row)
    return existing(next((one for one in shipped() if one.key == key), None), "There is no such entry.")


def _seen(key: str, version: int) -> FaqEntry:
    entry = _entry(key)
    if entry.version != version:
        raise StateConflict(CHANGED_SINCE)
    return entry


def _store(entry: FaqEntry, *, actor: Actor, action: str, now: datetime) -> None:
    previous = FaqVersion.objects.filter(key=entry.key, next__isnull=True).first()
    try:
        FaqVersion.objects.create(
            key=entry.key,
            number=entry.version + 1,
            previous=previous,
            question=entry.question,
            answer=entry.answer,
            position=entry.position,
            is_published=entry.is_published,
            by=actor.label,
            user_id=actor.user_id,
            at=now,
        )
    except IntegrityError as error:  # two at once: the number or `previous` is unique
        raise StateConflict(CHANGED_SINCE) from error
    data = {"version": entry.version + 1, "question": entry.question, "position": entry.position}
    audit.record(actor, action, entry.key, now=now, data=data)


def _from_row(row: FaqVersion) -> FaqEntry:
    return copied(FaqEntry, row, version=row.number)


def _texts(question: str, answer: str) -> tuple[str, str]:
    question = " ".join(storable(question, field="question", limit=MAX_QUESTION).split())
    answer = storable(answer, field="answer", limit=MAX_TEXT).replace("\r\n", "\n")
    fields = {}
    if not question or not question.isprintable():
        fields["question"] = "Write the question, in one line."
    if not answer:
        fields["answer"] = "Write the answer."
    if fields:
        raise InvalidInput("The entry can't be saved like this.", fields)
    return question, answer


def _admit(actor: Actor) -> None:
    if not may_edit_faq(actor):
        raise NotAuthorized("Only officers and operators edit the FAQ.")
