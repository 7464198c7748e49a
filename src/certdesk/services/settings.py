"""Settings that an operator changes in the portal: audited, with history, in force at once."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import NotAuthorized, StateConflict
from certdesk.domain.settings import ServiceSettings, changed
from certdesk.services import runtime
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import SettingsVersion


def change_settings(
    *, actor: Actor, values: Mapping[str, object], seen_version: int | None, now: datetime
) -> ServiceSettings:
    """Puts new values in force; `seen_version` is the version that the form was filled from (W1).

    Raises InvalidInput per field, NotAuthorized, StateConflict when somebody else changed them since.
    """
    if not can(actor, Action.SERVICE_OPERATE):
        raise NotAuthorized("Only an operator changes settings.")
    with write_transaction():
        last = SettingsVersion.objects.order_by("-id").first()
        if seen_version is not None and seen_version != (last.pk if last else 0):
            raise StateConflict("Somebody else has changed the settings since. Look at them again.")
        before = runtime.settings_from(last.values if last else {}, now=now)
        after = changed(before, values, now=now)
        old, new = asdict(before), asdict(after)
        differences = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
        if not differences:
            return before
        SettingsVersion.objects.create(
            previous=last, values=new, changed=differences, by=actor.label, user_id=actor.user_id, at=now
        )
        audit.record(
            actor=actor,
            action="settings.change",
            object_type="settings",
            object_id="service",
            now=now,
            data=differences,
        )
    runtime.refresh()
    return after
