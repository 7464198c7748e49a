"""What the account pages know beyond their forms: `account` in every template, made when first asked for."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from certdesk.domain.actors import RaRole
from certdesk.services.people.second_factor import is_missing
from certdesk.web.actor import signed_in_user


def account(request: HttpRequest) -> dict[str, object]:
    """The context processor."""
    return {"account": SimpleLazyObject(lambda: _account(request))}


def _account(request: HttpRequest) -> dict[str, object]:
    """`passkeys` is False where no browser would make one; `named_url` is where one can in the demo,
    which is at home at `localhost`.
    """
    user = signed_in_user(request)
    role = RaRole(user.ra_role) if user is not None else RaRole.NONE
    named, demo = _has_name(request), settings.CERTDESK.demo
    return {
        "tabs": _tabs(request) if user is not None and not user.must_change_password else [],
        "passkeys": named,
        "named_url": "" if named or not demo else f"http://localhost:{request.get_port()}{request.path_info}",
        "factor_missing": user is not None and is_missing(user_id=user.pk, ra_role=role),
        "factor_waived": demo and not settings.CERTDESK.second_factor_required,
    }


def _tabs(request: HttpRequest) -> list[tuple[str, str, bool]]:
    """The account's pages: name, address, and whether this is it."""
    pages = (
        ("Password", reverse("account_change_password"), "/accounts/password/"),
        ("Second factor", reverse("mfa_index"), "/accounts/2fa/"),
        ("API tokens", reverse("account-tokens"), "/accounts/tokens/"),
        ("Sessions", reverse("account-sessions"), "/accounts/sessions/"),
    )
    return [(label, href, request.path_info.startswith(room)) for label, href, room in pages]


def _has_name(request: HttpRequest) -> bool:
    """WebAuthn binds a passkey to a domain name: at a bare IP address browsers refuse to make one."""
    try:
        ipaddress.ip_address(request.get_host().rpartition(":")[0].strip("[]") or request.get_host())
    except ValueError:
        return True
    return False
