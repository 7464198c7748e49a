"""The policy as the composition root sees it: what is in force, and what would be with another file.

For the commands that show and try policies; the running service makes its own in `conf.apps`.
"""

from dataclasses import replace
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from certdesk.conf.apps import configured_settings, read_policy_file, refuse_unknown_cas
from certdesk.domain.actors import SYSTEM
from certdesk.domain.policy.file import PORTAL
from certdesk.services.system import runtime
from certdesk.services.system.runtime import Runtime
from certdesk.store.selectors.operations import unknown_slugs
from certdesk.store.selectors.settings import latest_settings


def proposed(path: Path) -> Runtime:
    """The runtime as it would be with this policy file in place of the present one; puts nothing in force.

    Raises Misconfigured with everything that is wrong in the file.
    """
    current = runtime.current()
    policy = read_policy_file(path, current.profiles)
    refuse_unknown_cas(policy, current.backends)
    base = configured_settings(settings.CERTDESK, policy)
    _version, changes = latest_settings()
    return replace(
        current, policy=policy, settings=runtime.settings_from(changes, base=base, now=timezone.now())
    )


def remarks(made: Runtime) -> list[str]:
    """What in the policy has no effect, for the person who wrote it."""
    _version, changes = latest_settings()
    hidden = sorted(PORTAL & made.policy.default.keys() & changes.keys())
    return [
        *(f"[default] {name} has no effect: it was changed in the portal, which wins." for name in hidden),
        *(
            f"[organisation.{slug}] has no effect: there is no organisation of that name."
            for slug in unknown_slugs(actor=SYSTEM, slugs=made.policy.named("organisation"))
        ),
    ]
