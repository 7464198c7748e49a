"""Every route × method × person: who is let in, who learns nothing, and what stays as it was.

The routes are enumerated from the URL configuration itself, so a new one without a row in `TABLE` fails.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pytest
from django.conf import settings as in_force
from django.db import connection, transaction
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import DjangoDbBlocker

from certdesk.acme.application import HEADERS as ACME_HEADERS
from certdesk.acme.urls import VIEWS as ACME_VIEWS
from certdesk.domain.issuing.states import Status
from certdesk.services.system import runtime
from certdesk.store.models import EmailChallenge
from certdesk.web.access import is_public
from certdesk.web.account import middleware
from certdesk.web.help import typeset
from certdesk.web.middleware import HEADERS
from tests.integration.acme_support import in_room
from tests.integration.hidden_university import (
    DOMAIN,
    OUTSIDE_DOMAIN,
    PASSWORD,
    UNPROVEN_DOMAIN,
    WORD,
    World,
    build,
    csr_for,
)
from tests.integration.proving import outside

PEOPLE = ("anonymous", "charlie", "alice", "bob", "meg", "olga", "otto", "rick", "op")
#: Where no session counts, some of them show it, and so they do where a method is not allowed to anybody.
SOME = ("anonymous", "charlie", "olga", "op")
OUTSIDERS = ("anonymous", "charlie")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: A name of nobody here, for previews that anybody may make.
HARMLESS_CSR = csr_for("www.harmless.org").decode()
#: Open rooms whose views carry no mark, for they lie outside the portal's door (R38).
OPEN_BY_NATURE = {"healthz", "readyz", "issuer_certificate", "issuer_crl", "api/v1/openapi.json"}
#: A redirect to a page, whatever the method: there is nothing to forge.
CHANGES_NOTHING_EVER = {"well-known-change-password"}
WAITING = Status.WAITING_FOR_APPROVAL.value


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Row:
    """What a route answers: for each method, a status for each of PEOPLE. `*` marks a change that must come.

    A method that is not named is not allowed. `number` is the state of the request in the address, `body`
    what an entitled person would send: so a refusal is about the person, never about the form.
    """

    def __init__(
        self,
        answers: Mapping[str, str] = _NOTHING,
        /,
        *,
        number: str = Status.ISSUED.value,
        body: Mapping[str, Any] = _NOTHING,
        arguments: Mapping[str, object] = _NOTHING,
        shows_demo_mail: bool = False,
        headers: Mapping[str, str] = _NOTHING,
        **methods: str,
    ) -> None:
        self.answers = {**answers, **{name.upper(): cells for name, cells in methods.items()}}
        self.number, self.body, self.arguments = number, body, arguments
        self.shows_demo_mail, self.headers = shows_demo_mail, headers

    def cell(self, method: str, person: str) -> str:
        """The status that this person gets, with `*` where something has to change."""
        cells = self.answers[method].split()
        assert len(cells) == len(PEOPLE), f"{method}: {len(cells)} answers for {len(PEOPLE)} people"
        return cells[PEOPLE.index(person)]


EVIDENCE = {"how": "registry", "evidence": "The registry names them.", "reference": ""}
API_EVIDENCE = {"how": "registry", "details": "The registry names them."}
#       anonymous charlie alice bob meg olga otto rick op
_PUBLIC = {"GET": "200 200 200 200 200 200 200 200 200"}
_EVERYBODY = {"GET": "302 200 200 200 200 200 200 200 200"}
_OWN = {"GET": "302 404 200 200 200 200 200 200 404"}
_OFFICERS = {"GET": "302 403 403 403 403 200 200 403 403"}
_FAQ_EDITORS = {"GET": "302 403 403 403 403 200 200 403 200"}
_DECIDE = {"POST": "302 403 403 403 403 302* 302* 403 403"}
_MANAGERS = {"POST": "302 404 403 403 302* 302* 302* 403 404"}
_RA_ONLY = {"POST": "302 404 403 403 403 302* 302* 403 404"}
_PEOPLE_AND_OFFICERS = {"POST": "302 404 302* 302* 302* 302* 302* 403 404"}
_API_EVERYBODY = {"GET": "401 200 200 200 200 200 200 200 200"}
_API_OWN = {"GET": "401 404 200 200 200 200 200 200 404"}

#: A form is no signed message, whoever sends it.
_UNSIGNED = {"POST": "415 415 415 415 415 415 415 415 415"}
_NO_SUCH_CODE = "404 404 404 404 404 404 404 404 404"
_NO_ADDRESS = {"Referrer-Policy": "strict-origin"}
_FORM = ("GET", "POST")
_SIGNED_IN_302 = dict.fromkeys(_FORM, "302 302 302 302 302 302 302 302 302")
#: The domain that alice has asked about.
_ASKED: dict[str, object] = {"domain_id": "ASKED"}
#: Nobody here has a second factor, so there is none to look at or to end.
_NOBODY_YET_404 = dict.fromkeys(_FORM, "302 404 404 404 404 404 404 404 404")

_ACME_OWN = {"GET": "302 404 404 404 200 200 200 200 404"}
_ACME_ASKED = {"GET": "302 404 404 404 200 200 200 403 404", "POST": "302 404 404 404 302* 302* 302* 403 404"}
_API_ACME_OWN = {"GET": "401 404 404 404 200 200 200 200 404"}
_API_ACME_ACT = {"POST": "401 404 404 404 200* 200* 200* 403 404"}
_RENEWALS = {
    "starts_at": "2090-01-01T00:00",
    "ends_at": "2090-01-02T00:00",
    "reason": "A mass revocation.",
    "confirmed": "yes",
}

TABLE: dict[str, Row] = {
    # Portal
    "home": Row(_EVERYBODY),
    "requests-list": Row(_EVERYBODY),
    "requests-csv": Row(_EVERYBODY),
    "requests-new": Row(  # the preview that is sent back is alice's
        get="302 200 200 200 200 403 403 403 403",
        post="302 422 200 422 422 422 422 422 422",
        body={"preview": "TOKEN"},
    ),
    "requests-preview": Row(
        get="302 302 302 302 302 302 302 302 302",
        post="302 200 200 200 200 403 403 403 403",
        body={"csr_text": HARMLESS_CSR, "duration_years": "1", "server_software": "nginx"},
    ),
    "requests-confirm": Row(post="302 422 302* 422 422 422 422 422 422", body={"preview": "TOKEN"}),
    "requests-show": Row(_OWN),
    "requests-status": Row(get="302 404 204 204 204 204 204 204 404"),
    "requests-withdraw": Row(
        get="302 404 200 200 200 200 200 200 404",
        post="302 404 302* 403 302* 403 403 403 404",
        number=WAITING,
    ),
    "requests-end": Row(
        get="302 404 200 200 200 200 200 200 404",
        post="302 404 403 403 302* 302* 302* 403 404",
        body={"reason": "The server is gone."},
    ),
    "requests-another": Row(  # the CSR is for other names than the request's
        get="302 404 200 200 200 403 403 403 404",
        post="302 404 422 422 422 403 403 403 404",
        body={"csr_text": HARMLESS_CSR},
    ),
    "requests-another-confirm": Row(  # the token is for a new request
        post="302 404 422 422 422 422 422 422 404", body={"preview": "TOKEN"}
    ),
    "requests-bundle": Row(_OWN),
    "requests-certificate": Row(_OWN),
    "requests-ask": Row(
        post="302 404 302* 302* 302* 302* 302* 403 404",
        number="pending",
        body={"domain": UNPROVEN_DOMAIN, "mailbox": f"admin@{UNPROVEN_DOMAIN}"},
    ),
    "certificates-revoke": Row(
        get="302 404 200 403 200 200 200 403 404",
        post="302 404 302* 403 302* 302* 302* 403 404",
        body={"reason": "superseded", "note": ""},
    ),
    "domains-list": Row(_EVERYBODY),
    "domains-csv": Row(_EVERYBODY),
    "domains-add": Row(  # to one's own organisation
        post="302 302* 302* 302* 302* 403 403 403 403", body={"domain": "another.ac.uk"}
    ),
    "domains-show": Row(_OWN),
    "domains-ask": Row(post="302 404 302* 302* 302* 302* 302* 403 404", body={"mailbox": f"admin@{DOMAIN}"}),
    "domains-validate": Row(post="302 404 403 403 403 302* 302* 403 404", body=EVIDENCE),
    "domains-end-validation": Row(
        get="302 404 403 403 200 200 200 403 404",
        post="302 404 403 403 302* 302* 302* 403 404",
        body={"reason": "The domain was sold."},
    ),
    "domains-prove": Row(_PEOPLE_AND_OFFICERS, body={"method": "http_file"}),
    "domains-check": Row(_PEOPLE_AND_OFFICERS),
    "domains-cancel-challenge": Row(_PEOPLE_AND_OFFICERS),
    "domains-persistent-check": Row(_PEOPLE_AND_OFFICERS),
    "domains-persistent-stop": Row(_PEOPLE_AND_OFFICERS),
    "domains-ca-state": Row(_RA_ONLY, body={"ca": "Some CA", "valid_until": "2027-01-31"}),
    "domains-cancel": Row(post="302 404 302* 302* 302* 302* 302* 403 404"),
    # Whoever has a code is whoever reads the mailbox; without one, there is one page for all.
    "dcv": Row(_PUBLIC, post=_NO_SUCH_CODE, body={"code": "nonsense"}, headers=_NO_ADDRESS),
    "dcv-confirm": Row(
        dict.fromkeys(("GET", "POST"), _NO_SUCH_CODE), arguments={"code": "A" * 52}, headers=_NO_ADDRESS
    ),
    "queue-list": Row(_OFFICERS),
    "queue-decide": Row(_OFFICERS, number=WAITING),
    "queue-approve": Row(
        _DECIDE,
        number=WAITING,
        body={
            "shown": "SHOWN",
            "note": "Known to us.",
            **{f"{OUTSIDE_DOMAIN}-{name}": value for name, value in EVIDENCE.items()},
        },
    ),
    "queue-reject": Row(_DECIDE, number=WAITING, body={"version": "0", "details": "Not theirs."}),
    "keys-list": Row(
        get="302 404 404 404 404 200 200 200 404",
        post="302 404 404 404 404 302* 302* 403 404",
        body={"evidence": HARMLESS_CSR, "reason": "Found."},
    ),
    "keys-unblock": Row(post="302 404 404 404 404 302* 302* 403 404", body={"reason": "A mistake."}),
    "organisations-list": Row(get="302 302 302 302 302 200 200 200 200"),
    "organisations-new": Row(
        get="302 403 403 403 403 200 200 403 403",
        post="302 403 403 403 403 302* 302* 403 403",
        body={"legal_name": "New College", "slug": "new-college", "country": "GB", "locality": ""},
    ),
    "organisations-show": Row(_OWN),
    "organisations-vet": Row(
        post="302 404 404 404 404 302* 302* 403 404",
        arguments={"slug": f"{WORD}-institute"},
        body={"evidence": "The register of companies."},
    ),
    "organisations-validate": Row(
        post="302 404 403 403 403 302* 302* 403 404", body={"domain": f"new-{DOMAIN}", **EVIDENCE}
    ),
    "organisations-add-person": Row(
        post="302 404 403 403 200* 200* 200* 403 404",
        body={"username": "nina", "name": "Nina New", "email": "nina@example.org", "role": "applicant"},
    ),
    "organisations-disable-person": Row(_MANAGERS),
    "organisations-enable-person": Row(  # bob is enabled already
        post="302 404 403 403 409 409 409 403 404"
    ),
    "organisations-person-role": Row(_MANAGERS, body={"role": "manager"}),
    "organisations-person-account": Row(
        post="302 404 403 403 200* 200* 200* 403 404", body={"act": "password"}
    ),
    "organisations-person-keys": Row(  # nothing is chosen
        get="302 404 403 403 200 200 200 403 404", post="302 404 403 403 302 302 302 403 404"
    ),
    "organisations-hand-over": Row(_MANAGERS, body={"leaver": "USER bob", "successor": "USER alice"}),
    "organisations-add-existing": Row(
        post="302 404 403 403 403 302* 302* 403 404", body={"existing": "charlie", "role": "applicant"}
    ),
    "organisations-rename": Row(
        _RA_ONLY,
        body={"legal_name": "New name", "country": "GB", "locality": "", "evidence": "The register."},
    ),
    "organisations-active": Row(_RA_ONLY, body={"to": "disabled", "reason": "It has closed."}),
    "requests-retry": Row(_RA_ONLY, number=Status.REJECTED_BY_CA.value, body={"note": "Settled."}),
    "requests-poll": Row(_RA_ONLY, number=Status.SUBMITTED.value),
    "acme-list": Row(_EVERYBODY),
    "acme-new": Row(
        get="302 403 403 403 200 200 200 403 403",
        post="302 403 403 403 302* 302* 302* 403 403",
        body={"name": "more servers", "organisation": "ORGANISATION"},
    ),
    "acme-show": Row(_ACME_OWN),
    "acme-change": Row(_ACME_ASKED, body={"name": "fewer servers"}),
    "acme-key": Row(post="302 404 404 404 200* 200* 200* 403 404"),
    "acme-rotate": Row(_ACME_ASKED),
    "acme-revoke": Row(_ACME_ASKED),
    "acme-account": Row(_ACME_OWN),
    "acme-deactivate": Row(_ACME_ASKED),
    "service-renewals": Row(
        get="302 404 404 404 404 404 404 404 200", post="302 404 404 404 404 404 404 404 302*", body=_RENEWALS
    ),
    "service-renewals-withdraw": Row(post="302 404 404 404 404 404 404 404 302*"),
    "settings": Row(
        get="302 404 404 404 404 404 404 200 200",
        post="302 404 404 404 404 404 404 403 302*",
        body={
            "version": "0",
            "ra": "The Registrars",
            "service_name": "Certdesk",
            "ra_contact": "",
            "support_url": "",
            "trusted_suffixes": "ac.uk",
            "durations": ["1"],
            "server_software": "nginx",
            "ownership_days": "90",
            "challenge_days": "7",
            "password_min_length": "15",
        },
    ),
    "settings-reset": Row(  # it is at its default already
        post="302 404 404 404 404 404 404 403 302", body={"name": "ra", "version": "0"}
    ),
    "service": Row(get="302 404 404 404 404 404 404 404 200"),
    "cas": Row(get="302 404 404 404 404 404 404 404 200"),
    "cas-reconciliation": Row(get="302 404 404 404 404 404 404 200 200"),
    "cas-finding-keep": Row(post="302 404 404 404 404 404 404 403 302*", body={"note": "They know it."}),
    "cas-finding-revoke": Row(post="302 404 404 404 404 404 404 403 302*", body={"note": "Nobody knows it."}),
    "service-people": Row(get="302 404 404 404 404 404 404 404 200"),
    "service-person": Row(
        post="302 404 404 404 404 404 404 404 200*",
        arguments={"user_id": "USER rick"},
        body={"act": "password"},
    ),
    "service-retry": Row(  # there is no such job
        post="302 404 404 404 404 404 404 404 409",
        arguments={"job_id": "00000000-0000-4000-8000-000000000000"},
    ),
    "help": Row(_PUBLIC),
    "help-page": Row(_PUBLIC, arguments={"slug": "requesting"}),
    "help-search": Row(_PUBLIC),
    "help-page-pdf": Row(_PUBLIC, arguments={"slug": "requesting"}),
    "help-pdf": Row(_PUBLIC),
    "help-faq-manage": Row(_FAQ_EDITORS),
    "help-faq-new": Row(
        _FAQ_EDITORS,
        post="302 403 403 403 403 302* 302* 403 302*",
        body={"question": "May I?", "answer": "You may.", "version": ""},
    ),
    "help-faq-edit": Row(
        _FAQ_EDITORS,
        post="302 403 403 403 403 302* 302* 403 302*",
        arguments={"key": "wildcards"},
        body={"question": "May I?", "answer": "You may.", "version": "0"},
    ),
    "help-faq-act": Row(
        post="302 403 403 403 403 302* 302* 403 302*",
        arguments={"key": "wildcards"},
        body={"version": "0", "way": "hide"},
    ),
    "help-faq-history": Row(_FAQ_EDITORS, arguments={"key": "wildcards"}),
    "status": Row(_PUBLIC),
    # A demo has one mailbox for everybody, and no real mail in it; elsewhere both are 404.
    "demo-mail": Row(_EVERYBODY, shows_demo_mail=True),
    "demo-message": Row(_EVERYBODY, shows_demo_mail=True),
    # REST
    "api/v1/requests/preview": Row(
        post="401 200 200 200 200 403 403 403 403",
        body={"csr": HARMLESS_CSR, "duration_years": 1, "server_software": "nginx"},
    ),
    "api/v1/requests": Row(
        _API_EVERYBODY,
        post="401 201* 201* 201* 201* 403 403 403 403",
        body={"csr": HARMLESS_CSR, "duration_years": 1, "server_software": "nginx"},
    ),
    "api/v1/requests/<int:number>": Row(_API_OWN),
    "api/v1/requests/<int:number>/certificates": Row(
        post="401 404 201* 201* 201* 403 403 403 404",
        body={"csr": csr_for(f"{Status.ISSUED.value}.{DOMAIN}").decode()},
    ),
    "api/v1/requests/<int:number>/withdraw": Row(
        post="401 404 200* 403 200* 403 403 403 404", number=WAITING
    ),
    "api/v1/requests/<int:number>/end": Row(
        post="401 404 403 403 200* 200* 200* 403 404", body={"reason": "The server is gone."}
    ),
    "api/v1/requests/<int:number>/decision": Row(get="401 404 403 403 403 200 200 403 404", number=WAITING),
    "api/v1/requests/<int:number>/approve": Row(
        post="401 404 403 403 403 200* 200* 403 404",
        number=WAITING,
        body={
            "shown": "SHOWN",
            "note": "Known to us.",
            "evidence": [{"domain": OUTSIDE_DOMAIN, **API_EVIDENCE}],
        },
    ),
    "api/v1/requests/<int:number>/reject": Row(
        post="401 404 403 403 403 200* 200* 403 404", number=WAITING, body={"details": "Not theirs."}
    ),
    "api/v1/requests/<int:number>/retry": Row(
        post="401 404 403 403 403 200* 200* 403 404",
        number=Status.REJECTED_BY_CA.value,
        body={"note": "Settled."},
    ),
    "api/v1/requests/<int:number>/poll": Row(
        post="401 404 403 403 403 200* 200* 403 404", number=Status.SUBMITTED.value
    ),
    "api/v1/requests/<int:number>/bundle.zip": Row(_API_OWN),
    "api/v1/requests/<int:number>/certificate": Row(_API_OWN),
    "api/v1/requests/<int:number>/csr": Row(_API_OWN),
    "api/v1/requests/<int:number>/caa": Row(_API_OWN),
    "api/v1/certificates": Row(_API_EVERYBODY),
    "api/v1/certificates/<int:certificate_id>": Row(_API_OWN),
    "api/v1/certificates/<int:certificate_id>/file": Row(_API_OWN),
    "api/v1/certificates/<int:certificate_id>/revoke": Row(
        post="401 404 200* 403 200* 200* 200* 403 404", body={"reason": "superseded"}
    ),
    "api/v1/blocked-keys": Row(
        get="401 404 404 404 404 200 200 200 404",
        post="401 403 403 403 403 200* 200* 403 403",
        body={"evidence": HARMLESS_CSR, "reason": "Found."},
    ),
    "api/v1/blocked-keys/<int:blocked_id>/unblock": Row(
        post="401 404 404 404 404 200* 200* 403 404", body={"reason": "A mistake."}
    ),
    "api/v1/organisations": Row(_API_EVERYBODY),
    "api/v1/organisations/<slug:slug>": Row(_API_OWN),
    "api/v1/organisations/<slug:slug>/members": Row(get="401 404 403 403 200 200 200 200 404"),
    "api/v1/organisations/<slug:slug>/members/<int:user_id>/disable": Row(
        post="401 404 403 403 200* 200* 200* 403 404"
    ),
    "api/v1/organisations/<slug:slug>/members/<int:user_id>/enable": Row(  # bob is enabled already
        post="401 404 403 403 409 409 409 403 404"
    ),
    "api/v1/organisations/<slug:slug>/domains": Row(
        post="401 404 403 403 403 201* 201* 403 404", body={"domain": f"new-{DOMAIN}", **API_EVIDENCE}
    ),
    "api/v1/domains": Row(  # to one's own organisation; officers have to name one
        _API_EVERYBODY, post="401 201* 201* 201* 201* 422 422 422 422", body={"domain": "another.ac.uk"}
    ),
    "api/v1/domains/<int:domain_id>": Row(_API_OWN),
    "api/v1/domains/<int:domain_id>/validations": Row(
        _API_OWN, post="401 404 201* 201* 201* 201* 201* 403 404", body={"mailbox": f"admin@{DOMAIN}"}
    ),
    "api/v1/domains/<int:domain_id>/validations/<int:validation_id>/end": Row(
        post="401 404 403 403 200* 200* 200* 403 404", body={"reason": "The domain was sold."}
    ),
    "api/v1/domains/<int:domain_id>/deadlines": Row(_API_OWN),
    "api/v1/domains/<int:domain_id>/caa": Row(_API_OWN),
    "api/v1/domains/<int:domain_id>/publications": Row(get="401 404 200 200 200 200 200 403 404"),
    "api/v1/domains/<int:domain_id>/publications/<slug:method>/check": Row(
        post="401 404 200* 200* 200* 200* 200* 403 404"
    ),
    "api/v1/domains/<int:domain_id>/publications/<slug:method>": Row(
        delete="401 404 204* 204* 204* 204* 204* 403 404"
    ),
    "api/v1/domains/<int:domain_id>/challenges": Row(_API_OWN),
    "api/v1/domains/<int:domain_id>/challenges/<int:challenge_id>/resend": Row(
        post="401 404 201* 201* 201* 201* 201* 403 404", arguments=_ASKED
    ),
    "api/v1/domains/<int:domain_id>/challenges/<int:challenge_id>": Row(
        delete="401 404 204* 204* 204* 204* 204* 403 404", arguments=_ASKED
    ),
    "api/v1/acme/credentials": Row(
        _API_EVERYBODY,
        post="401 404 403 403 201* 201* 201* 403 404",
        body={"name": "more servers", "organisation": f"{WORD}-university"},
    ),
    "api/v1/acme/credentials/<int:credential_id>": Row(
        _API_ACME_OWN, patch="401 404 404 404 200* 200* 200* 403 404", body={"name": "fewer servers"}
    ),
    "api/v1/acme/credentials/<int:credential_id>/rotate": Row(_API_ACME_ACT),
    "api/v1/acme/credentials/<int:credential_id>/reveal": Row(_API_ACME_ACT),
    "api/v1/acme/credentials/<int:credential_id>/revoke": Row(_API_ACME_ACT),
    "api/v1/acme/accounts": Row(_API_EVERYBODY),
    "api/v1/acme/accounts/<int:account_id>": Row(_API_ACME_OWN),
    "api/v1/acme/accounts/<int:account_id>/deactivate": Row(_API_ACME_ACT),
    "api/v1/tokens": Row(
        _API_EVERYBODY, post="401 201* 201* 201* 201* 201* 201* 201* 201*", body={"name": "another"}
    ),
    "api/v1/tokens/<int:token_id>": Row(  # the token is alice's, and nobody else's business
        delete="401 404 204* 404 404 404 404 404 404"
    ),
    "api/v1/openapi.json": Row(_PUBLIC),
    "api/v1/": Row(dict.fromkeys(METHODS, "404 404 404 404 404 404 404 404 404")),  # and all below
    # Status of the service, for machines
    "healthz": Row(_PUBLIC),
    "readyz": Row(_PUBLIC),
    "issuer_certificate": Row(_PUBLIC),
    "issuer_crl": Row(_PUBLIC),
    # Sign-in: what is not offered here (signing up, login codes, e-mail confirmation) opens nothing
    "account_login": Row(
        get="200 302 302 302 302 302 302 302 302",
        post="200 302 302 302 302 302 302 302 302",
        body={"login": "olga", "password": "a wrong one"},
    ),
    "account_logout": Row(
        get="302 200 200 200 200 200 200 200 200", post="302 302 302 302 302 302 302 302 302"
    ),
    "account_change_password": Row(
        get="302 200 200 200 200 200 200 200 200",
        post="302 302* 302* 302* 302* 302* 302* 302* 302*",
        body={"oldpassword": PASSWORD, "password1": f"new {PASSWORD}", "password2": f"new {PASSWORD}"},
    ),
    "account_reauthenticate": Row(dict.fromkeys(_FORM, _EVERYBODY["GET"])),
    "account_inactive": Row(_PUBLIC),
    "account_reset_password": Row(dict.fromkeys(_FORM, _PUBLIC["GET"]), body={"email": "not an address"}),
    "account_reset_password_done": Row(_PUBLIC),
    "account_reset_password_from_key": Row(dict.fromkeys(_FORM, _PUBLIC["GET"])),
    "account_reset_password_from_key_done": Row(_PUBLIC),
    "well-known-change-password": Row(dict.fromkeys(METHODS, _SIGNED_IN_302["GET"])),
    "account-invitation": Row(  # whoever has the mail has the token
        dict.fromkeys(_FORM, _NO_SUCH_CODE), arguments={"token": "A" * 52}, headers=_NO_ADDRESS
    ),
    "account-tokens": Row(
        _EVERYBODY, post="302 200* 200* 200* 200* 200* 200* 200* 200*", body={"name": "another", "days": "30"}
    ),
    "account-tokens-revoke": Row(  # the token is alice's
        post="302 404 302* 404 404 404 404 404 404"
    ),
    "account-sessions": Row(_EVERYBODY),
    "account-sessions-end": Row(  # a session of nobody here
        post=_NOBODY_YET_404["POST"], arguments={"session_id": 999_999}
    ),
    "account-sessions-end-others": Row(post=_SIGNED_IN_302["POST"]),
    "mfa_index": Row(_EVERYBODY),
    "mfa_list_webauthn": Row(_EVERYBODY),
    # after proving that it is oneself, again
    **dict.fromkeys(("mfa_activate_totp", "mfa_add_webauthn"), Row(_SIGNED_IN_302)),
    **dict.fromkeys(("mfa_authenticate", "mfa_reauthenticate"), Row(_SIGNED_IN_302)),
    "mfa_reauthenticate_webauthn": Row(_SIGNED_IN_302),
    "mfa_remove_webauthn": Row(_SIGNED_IN_302, arguments={"pk": 999_999}),
    "mfa_edit_webauthn": Row(_SIGNED_IN_302, arguments={"pk": 999_999}),
    "mfa_login_webauthn": Row(_SIGNED_IN_302),
    "mfa_deactivate_totp": Row(_NOBODY_YET_404),
    "mfa_view_recovery_codes": Row(get=_NOBODY_YET_404["GET"]),
    "mfa_generate_recovery_codes": Row(_SIGNED_IN_302),
    "mfa_download_recovery_codes": Row(_NOBODY_YET_404),
    # ACME: messages signed by accounts, which test_acme_access.py tells apart; no session opens anything here
    "acme/directory": Row(_PUBLIC),
    "acme/new-nonce": Row(get="204 204 204 204 204 204 204 204 204"),
    "acme/renewal-info/<identifier>": Row(
        get="404 404 404 404 404 404 404 404 404", arguments={"identifier": "bm9uZQ.AQ"}
    ),
    "acme/orders/<number>/<before>": Row(_UNSIGNED, arguments={"before": 5}),
    "acme/chall/<number>/<kind>": Row(_UNSIGNED, arguments={"kind": "http-01"}),
    **dict.fromkeys(("acme/new-account", "acme/acct/<number>", "acme/key-change"), Row(_UNSIGNED)),
    **dict.fromkeys(("acme/new-order", "acme/orders/<number>", "acme/order/<number>"), Row(_UNSIGNED)),
    **dict.fromkeys(("acme/order/<number>/finalize", "acme/authz/<number>"), Row(_UNSIGNED)),
    **dict.fromkeys(
        ("acme/cert/<number>", "acme/cert/<number>/with-root", "acme/revoke-cert"), Row(_UNSIGNED)
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An address of the service, and how to fill it."""

    key: str
    pattern: str
    arguments: tuple[str, ...]
    is_api: bool
    is_account: bool
    is_acme: bool
    is_public: bool

    def address(self, values: dict[str, object]) -> str:
        """The path with its parameters filled in."""
        text = self.pattern
        for name in self.arguments:
            text = _fill(text, name, str(values[name]))
        return "/" + text.replace("^", "").replace("$", "").replace("\\Z", "")


def _fill(pattern: str, name: str, value: str) -> str:
    """One parameter, whether written as `<int:number>`, `<number>` or a named group."""
    start = pattern.find(f"(?P<{name}>")
    if start >= 0:
        depth = 0
        for end in range(start, len(pattern)):
            depth += {"(": 1, ")": -1}.get(pattern[end], 0)
            if depth == 0:
                return pattern[:start] + value + pattern[end + 1 :]
    for part in pattern.replace("<", "\n<").replace(">", ">\n").splitlines():
        if part.startswith("<") and part.strip("<>").rpartition(":")[2] == name:
            return pattern.replace(part, value)
    return pattern


def _walk(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        pattern = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _walk(entry, pattern)
        else:
            yield pattern, entry


def _in_prefix(pattern: str, entry: URLPattern) -> list[str]:
    """The parameters of the rooms around a route, such as that of allauth's keys."""
    return re.findall(r"<(?:\w+:)?(\w+)>", pattern.removesuffix(str(entry.pattern)))


def every_route() -> dict[str, Route]:
    """All routes of the service, by name, or by pattern where several methods share one."""
    found = {}
    for pattern, entry in _walk(get_resolver()):
        is_api = pattern.startswith("api/")
        key = pattern if is_api else str(entry.name)
        found[key] = Route(
            key=key,
            pattern=pattern,
            arguments=(*_in_prefix(pattern, entry), *entry.pattern.regex.groupindex),
            is_api=is_api,
            is_account=pattern.startswith("accounts/"),
            is_acme=False,
            is_public=is_public(entry.callback) or key in OPEN_BY_NATURE,
        )
    for pattern in (f"acme/{one}" for one in ACME_VIEWS):
        found[pattern] = Route(
            key=pattern,
            pattern=pattern,
            arguments=tuple(re.findall(r"<(\w+)>", pattern)),
            is_api=False,
            is_account=False,
            is_acme=True,
            is_public=True,
        )
    return found


ROUTES = every_route()


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """Made once, in a transaction that ends with the module; every call is undone by itself."""
    with django_db_blocker.unblock(), transaction.atomic(), pytest.MonkeyPatch.context() as patched:
        # A session that is noted anew a minute later would be written in a transaction that a refusal broke.
        patched.setattr(middleware, "NOTED_EVERY", 10**9)
        patched.setattr(typeset, "typeset", lambda _html: b"%PDF-1.7 takes seconds to make")
        made = build()
        Client().get("/ca/embedded.crl")  # the first one makes the list that the others are given
        yield made
        transaction.set_rollback(True)
    for mail in in_force.CERTDESK.mail_directory.glob("*.log"):
        mail.unlink()


@pytest.fixture(autouse=True)
def in_the_database(world: World, db: None) -> Iterator[None]:
    """Every test of this module works in a savepoint."""
    with outside():
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, and whether any row of the service changed."""

    response: HttpResponseBase
    body: str
    changed: bool


def _client(world: World, person: str, *, csrf: bool = False) -> Client:
    client = Client(enforce_csrf_checks=csrf, raise_request_exception=False)
    if person != "anonymous":
        client.cookies[in_force.SESSION_COOKIE_NAME] = world.sessions[person]
    return client


def _given(world: World, value: object) -> object:
    """A value of a body, where it depends on the world."""
    if value == "ASKED":
        return EmailChallenge.objects.get(domain__adn=UNPROVEN_DOMAIN).domain_id
    if value == "ORGANISATION":
        return world.arguments["organisation_id"]
    if value == "TOKEN":
        return world.preview_token
    if value == "SHOWN":
        return world.shown
    if isinstance(value, str) and value.startswith("USER "):
        return world.users[value.removeprefix("USER ")].pk
    return value


def call(
    world: World,
    route: Route,
    method: str,
    person: str,
    *,
    address: str = "",
    csrf: bool = False,
    reads: bool = False,
) -> Answer:
    """One call by one person, as if nothing had been called before; undone afterwards."""
    row = TABLE[route.key]
    body = {k: _given(world, v) for k, v in row.body.items()}
    values = {**world.arguments, "number": world.requests[row.number], **row.arguments}
    address = address or route.address({name: _given(world, value) for name, value in values.items()})
    outside = transaction.savepoint()
    sending: dict[str, Any] = {"data": body} if method == "POST" else {}
    if route.is_api:
        client = Client(raise_request_exception=False)
        if method in ("POST", "PATCH"):
            sending = {"data": body, "content_type": "application/json"}
        if person != "anonymous":
            token = (world.readers if reads else world.tokens)[person]
            sending["headers"] = {"Authorization": f"Bearer {token}"}
    else:
        client = _client(world, person, csrf=csrf)
    with world.before.watch() as watch:
        if route.is_acme:
            reply = in_room(method, address, body=b"", headers={})
            response: HttpResponseBase = HttpResponse(
                b"" if method == "HEAD" else reply.body, status=reply.status, headers=reply.headers
            )
        else:
            response = getattr(client, method.lower())(address, **sending)
        content = response.getvalue() if isinstance(response, StreamingHttpResponse) else response.content  # type: ignore[attr-defined]  # of the other kind
    # An error inside a transaction undoes all of it in real life; here, only the mark of it is left.
    undone = connection.needs_rollback
    transaction.set_rollback(False)
    answer = Answer(
        response=response,
        body=content.decode("utf-8", "replace").lower(),
        changed=not undone and watch.changed(),
    )
    transaction.savepoint_rollback(outside)
    runtime.refresh()  # settings that were changed are as they were
    return answer


def _expected(route: Route, method: str, person: str) -> str:
    row = TABLE[route.key]
    if method in row.answers:
        return row.cell(method, person)
    kept_out = person == "anonymous" and not route.is_api and not route.is_public
    return "302" if kept_out else "405"


def test_every_route_has_a_row() -> None:
    assert sorted(ROUTES) == sorted(TABLE)


@pytest.mark.parametrize("key", sorted(ROUTES))
def test_who_gets_what(world: World, key: str) -> None:
    """Statuses, changes, and where a visitor is sent, exactly as the table says."""
    route = ROUTES[key]
    for method in METHODS:
        people = PEOPLE if method in TABLE[key].answers and not route.is_acme else SOME
        answers = [call(world, route, method, person) for person in people]
        expected = [_expected(route, method, person) for person in people]
        got = [f"{a.response.status_code}{'*' * a.changed}" for a in answers]
        if method in TABLE[key].answers or not route.is_account:
            assert got == expected, f"{key} {method}: got {' '.join(got)}, expected {' '.join(expected)}"
        else:  # Django's forms take PUT for POST; here it comes without a body
            assert not any(a.changed for a in answers), f"{key} {method}"
        if not route.is_api and expected[0] == "302":
            own = route.is_account or route.is_public
            door = "/accounts/" if own else "/accounts/login/?next="
            assert answers[0].response["Location"].startswith(door), key
        for person, answer in zip(people, answers, strict=True):
            _check_headers(route, method, person, answer.response)
            if person in OUTSIDERS and not TABLE[key].shows_demo_mail:
                leaked = [secret for secret in world.secrets if secret in answer.body]
                assert not leaked, f"{key} {method} tells {person}: {leaked}"


#: What proves a domain is for people who may ask to have it proven, what an approval is about for officers;
#: nobody learns here whose a token is.
NOT_FOR_READERS = ("api/v1/domains/<int:domain_id>/publications", "api/v1/requests/<int:number>/decision")
ANOTHERS_TOKEN = ("api/v1/tokens/<int:token_id>", "DELETE")


@pytest.mark.parametrize("key", sorted(k for k in ROUTES if ROUTES[k].is_api and not ROUTES[k].is_public))
def test_a_token_that_may_only_read_reads_all_and_does_nothing(world: World, key: str) -> None:
    """Where its person would get through, the answer names the scope that it lacks (RFC 6750 3.1).

    Before it tells of a state (409): only a person of that right learns it.
    """
    route, row = ROUTES[key], TABLE[key]
    for method in row.answers:
        for person in PEOPLE[1:]:
            answer, full = call(world, route, method, person, reads=True), row.cell(method, person)
            assert not answer.changed, (method, person)
            refused = full.startswith(("2", "409")) and (method != "GET" or key in NOT_FOR_READERS)
            if not refused and (key, method) != ANOTHERS_TOKEN:
                assert str(answer.response.status_code) == full, (method, person)
                continue
            assert answer.response.status_code == 403, (method, person)
            problem = json.loads(answer.body)
            assert problem["code"] == "token.scope", (method, person)
            assert problem["scope"] in problem["detail"]
            assert f'scope="{problem["scope"]}"' in answer.response["WWW-Authenticate"]


@pytest.mark.parametrize("key", sorted(k for k in ROUTES if "GET" in TABLE.get(k, Row()).answers))
def test_head_answers_as_get_does_without_a_body(world: World, key: str) -> None:
    """What watches a service, and what checks links, asks with HEAD (RFC 9110, 9.3.2)."""
    route = ROUTES[key]
    for person in ("anonymous", "alice", "olga"):
        answer = call(world, route, "HEAD", person)
        expected = "200" if key == NEW_NONCE else TABLE[key].cell("GET", person)
        assert str(answer.response.status_code) == expected, person
        assert not answer.body, person
        assert not answer.changed, person


#: The one address where the two differ: 204 for GET, 200 for HEAD (RFC 8555, 7.2).
NEW_NONCE = "acme/new-nonce"


def _check_headers(route: Route, method: str, person: str, response: HttpResponseBase) -> None:
    own = TABLE[route.key].headers if method in TABLE[route.key].answers else {}
    usual = ACME_HEADERS if route.is_acme else HEADERS
    for name, value in {**usual, **own}.items():
        assert response[name] == value, f"{route.key}: {name}"
    if person != "anonymous" and not route.is_public:
        # What carries an ETag may be kept by the client itself, who asks again each time.
        kept = "no-cache" if response.has_header("ETag") and method == "GET" else "no-store"
        assert kept in response["Cache-Control"], route.key
        assert "private" in response["Cache-Control"], route.key


@pytest.mark.parametrize(
    "key", sorted(k for k in ROUTES if "number" in ROUTES[k].arguments and not ROUTES[k].is_acme)
)
def test_an_outsider_cannot_tell_a_foreign_request_from_none(world: World, key: str) -> None:
    """Whatever state it is in: same status, same words, nothing changed."""
    route = ROUTES[key]
    for method in TABLE[key].answers:
        missing = {**world.arguments, "number": max(world.requests.values()) + 1000}
        none = call(world, route, method, "charlie", address=route.address(missing))
        for state, number in world.requests.items():
            address = route.address({**world.arguments, "number": number})
            foreign = call(world, route, method, "charlie", address=address)
            assert foreign.response.status_code == none.response.status_code in (403, 404), (method, state)
            assert foreign.body == none.body, (method, state)
            assert not foreign.changed, (method, state)


#: What else an address may name, and one of it that is not there.
NOT_THERE: dict[str, object] = {
    "slug": "no-such-place",
    **dict.fromkeys(
        ("user_id", "domain_id", "validation_id", "challenge_id", "method_challenge_id"), 999_999
    ),
    **dict.fromkeys(("certificate_id", "credential_id", "account_id", "blocked_id", "token_id"), 999_999),
}


@pytest.mark.parametrize("key", sorted(k for k in ROUTES if set(NOT_THERE) & set(ROUTES[k].arguments)))
def test_an_outsider_cannot_tell_what_is_foreign_from_what_is_not_there(world: World, key: str) -> None:
    route, row = ROUTES[key], TABLE[key]
    values = {**world.arguments, "number": world.requests[row.number], **row.arguments}
    given = {name: _given(world, value) for name, value in values.items()}
    for method in row.answers:
        foreign = call(world, route, method, "charlie")
        if foreign.response.status_code == 404:
            for name in set(NOT_THERE) & set(route.arguments):
                address = route.address({**given, name: NOT_THERE[name]})
                none = call(world, route, method, "charlie", address=address)
                assert (none.response.status_code, none.body) == (404, foreign.body), (method, name)


@pytest.mark.parametrize("key", sorted(k for k in ROUTES if not (ROUTES[k].is_api or ROUTES[k].is_acme)))
def test_a_form_needs_its_csrf_token(world: World, key: str) -> None:
    """Every POST of the portal, even by people who may do it, and signing in as well."""
    route, row = ROUTES[key], TABLE[key]
    if "POST" not in row.answers or key in CHANGES_NOTHING_EVER:
        return
    people = [p for p in PEOPLE if row.cell("POST", p).endswith("*")] or ["anonymous", "olga"]
    for person in people:
        answer = call(world, route, "POST", person, csrf=True)
        assert answer.response.status_code == 403, person
        assert not answer.changed, person


@pytest.mark.parametrize("key", sorted(k for k in ROUTES if ROUTES[k].is_api and not ROUTES[k].is_public))
def test_a_portal_session_opens_no_door_of_rest(world: World, key: str) -> None:
    """Only a bearer token does: so no other site can make a browser call REST."""
    route = ROUTES[key]
    address = route.address({**world.arguments, "number": world.requests[TABLE[key].number]})
    for person in ("alice", "olga"):
        for method, cells in TABLE[key].answers.items():
            answer = getattr(_client(world, person), method.lower())(address)
            assert answer.status_code == int(cells.split()[0]) in (401, 404), (method, person)
