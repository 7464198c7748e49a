"""Settings that an operator changes in the portal: audited, with history, in force at once."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import InvalidInput, StateConflict
from certdesk.domain.settings import ServiceSettings, changed
from certdesk.services.people.permissions import actor_now
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import SettingsVersion
from certdesk.store.selectors.settings import lock_settings


def change_settings(
    *, actor: Actor, values: Mapping[str, object], seen_version: int | None, now: datetime
) -> ServiceSettings:
    """Puts new values in force; `seen_version` is the version that the form was filled from.

    Raises InvalidInput per field, NotAuthorized, StateConflict when somebody else changed them since.
    """
    _expect_operator(actor)
    with write_transaction():
        lock_settings()
        _expect_operator(actor_now(actor))
        last = SettingsVersion.objects.order_by("-id").first()
        if seen_version is not None and seen_version != (last.pk if last else 0):
            raise StateConflict("Someone else has changed the settings since. Open them again.")
        before = runtime.settings_from(last.values if last else {}, now=now)
        after = changed(before, values, now=now)
        if "parts_stopped" in values:
            # What was stopped and is gone meanwhile hinders nobody, least of all who stops more.
            _refuse_unknown(tuple(line for line in after.parts_stopped if line not in before.parts_stopped))
        old, new, default = asdict(before), asdict(after), asdict(default_settings(now=now))
        differences = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
        if not differences:
            return before
        SettingsVersion.objects.create(
            previous=last,
            # What is as configured goes on following the configuration.
            values={name: value for name, value in new.items() if value != default[name]},
            changed=differences,
            by=actor.label,
            user_id=actor.user_id,
            at=now,
        )
        audit.record(actor, "settings.change", "service", now=now, data=differences)
    runtime.refresh()
    return after


def _refuse_unknown(parts: tuple[str, ...]) -> None:
    """Raises InvalidInput for a CA or profile that isn't there: what it means would go on."""
    rt = runtime.current()
    known = {f"ca {name}" for name in rt.backends} | {f"profile {name}" for name in rt.profiles}
    if unknown := [part for part in (line.partition(": ")[0] for line in parts) if part not in known]:
        advice = f"There is no “{unknown[0]}”. There are: {', '.join(sorted(known))}."
        raise InvalidInput("The settings can't be changed like this.", {"parts_stopped": advice})


def _expect_operator(actor: Actor) -> None:
    require(actor, Action.SERVICE_OPERATE, "Only an operator changes settings.")


def default_settings(*, now: datetime) -> ServiceSettings:
    """What holds where nobody has changed anything: the configuration, and the seed's figures without one."""
    return runtime.settings_from({}, now=now)


def reset_setting(*, actor: Actor, name: str, seen_version: int | None, now: datetime) -> ServiceSettings:
    """Puts one setting back to its default. Raises as `change_settings` does."""
    value = asdict(default_settings(now=now)).get(name, "")
    return change_settings(actor=actor, values={name: value}, seen_version=seen_version, now=now)
