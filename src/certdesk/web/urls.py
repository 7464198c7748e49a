"""Every address of the portal. The names are what templates and tests use."""

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from certdesk.web.access import public
from certdesk.web.acme import accounts as acme_accounts
from certdesk.web.acme import renewals
from certdesk.web.acme import views as acme
from certdesk.web.cas import reconciliation
from certdesk.web.cas import views as cas
from certdesk.web.dcv import asking
from certdesk.web.dcv import views as dcv
from certdesk.web.demo import views as demo
from certdesk.web.domains import listing as domain_list
from certdesk.web.domains import views as domains
from certdesk.web.help import faq
from certdesk.web.help import views as help_pages
from certdesk.web.home import views as home
from certdesk.web.keys import views as keys
from certdesk.web.organisations import people
from certdesk.web.organisations import views as organisations
from certdesk.web.queue import views as queue
from certdesk.web.requests import another, listing, revoking, views
from certdesk.web.settings import operating
from certdesk.web.settings import views as settings
from certdesk.web.staff import views as staff
from certdesk.web.status import views as status

_DOMAIN = [
    path("", domains.show, name="domains-show"),
    path("ask/", domains.ask, name="domains-ask"),
    path("validate/", domains.validate, name="domains-validate"),
    path("validations/<int:validation_id>/end/", domains.end, name="domains-end-validation"),
    path("prove/", domains.prove, name="domains-prove"),
    path("persistent/check/", domains.check_persistent, name="domains-persistent-check"),
    path("persistent/stop/", domains.stop_persistent, name="domains-persistent-stop"),
    path("ca-state/", domains.ca_state, name="domains-ca-state"),
]
_PERSON = [
    path("disable/", people.disable, name="organisations-disable-person"),
    path("enable/", people.enable, name="organisations-enable-person"),
    path("role/", people.set_role, name="organisations-person-role"),
    path("account/", people.account, name="organisations-person-account"),
    path("keys/", people.keys, name="organisations-person-keys"),
]
_ORGANISATION: list[URLPattern | URLResolver] = [
    path("", organisations.show, name="organisations-show"),
    path("vet/", organisations.vet, name="organisations-vet"),
    path("domains/", organisations.validate, name="organisations-validate"),
    path("people/", people.add, name="organisations-add-person"),
    path("people/existing/", people.add_existing, name="organisations-add-existing"),
    path("people/<int:user_id>/", include(_PERSON)),
    path("hand-over/", people.leave, name="organisations-hand-over"),
    path("name/", organisations.rename, name="organisations-rename"),
    path("active/", organisations.set_active, name="organisations-active"),
]
urlpatterns: list[URLPattern | URLResolver] = [
    path("", home.home, name="home"),
    path("requests/", listing.listing, name="requests-list"),
    path("requests/export.csv", listing.as_csv, name="requests-csv"),
    path("requests/new/", views.new, name="requests-new"),
    path("requests/preview/", views.preview, name="requests-preview"),
    path("requests/confirm/", views.confirm, name="requests-confirm"),
    path("requests/<int:number>/", views.show, name="requests-show"),
    path("requests/<int:number>/status/", views.status, name="requests-status"),
    path("requests/<int:number>/withdraw/", views.withdraw, name="requests-withdraw"),
    path("requests/<int:number>/end/", views.end, name="requests-end"),
    path("requests/<int:number>/another/", another.another, name="requests-another"),
    path("requests/<int:number>/another/confirm/", another.confirm, name="requests-another-confirm"),
    path("requests/<int:number>/bundle.zip", views.bundle, name="requests-bundle"),
    path("requests/<int:number>/certificate/<slug:form>/", views.certificate, name="requests-certificate"),
    path("requests/<int:number>/retry/", views.retry, name="requests-retry"),
    path("requests/<int:number>/poll/", views.poll, name="requests-poll"),
    path("requests/<int:number>/ask/", asking.ask_for_request, name="requests-ask"),
    path("certificates/<int:certificate_id>/revoke/", revoking.revoke, name="certificates-revoke"),
    path("domains/", domain_list.listing, name="domains-list"),
    path("domains/export.csv", domain_list.as_csv, name="domains-csv"),
    path("domains/add/", domain_list.add, name="domains-add"),
    path("domains/<int:domain_id>/", include(_DOMAIN)),
    path("domains/challenges/<int:method_challenge_id>/check/", domains.check, name="domains-check"),
    path(
        "domains/challenges/<int:method_challenge_id>/cancel/",
        domains.cancel,
        name="domains-cancel-challenge",
    ),
    path("domains/confirmations/<int:challenge_id>/cancel/", asking.cancel, name="domains-cancel"),
    path("dcv/", dcv.enter, name="dcv"),
    path("dcv/<str:code>/", dcv.confirm, name="dcv-confirm"),
    path("queue/", queue.listing, name="queue-list"),
    path("queue/<int:number>/", queue.decide, name="queue-decide"),
    path("queue/<int:number>/approve/", queue.approve, name="queue-approve"),
    path("queue/<int:number>/reject/", queue.reject, name="queue-reject"),
    path("blocked-keys/", keys.listing, name="keys-list"),
    path("blocked-keys/<int:blocked_id>/unblock/", keys.unblock, name="keys-unblock"),
    path("organisations/", organisations.listing, name="organisations-list"),
    path("organisations/new/", organisations.new, name="organisations-new"),
    path("organisations/<slug:slug>/", include(_ORGANISATION)),
    path("acme-clients/", acme.listing, name="acme-list"),
    path("acme-clients/new/", acme.new, name="acme-new"),
    path("acme-clients/<int:credential_id>/", acme.show, name="acme-show"),
    path("acme-clients/<int:credential_id>/change/", acme.change, name="acme-change"),
    path("acme-clients/<int:credential_id>/key/", acme.key, name="acme-key"),
    path("acme-clients/<int:credential_id>/rotate/", acme.rotate, name="acme-rotate"),
    path("acme-clients/<int:credential_id>/revoke/", acme.revoke, name="acme-revoke"),
    path("acme-clients/accounts/<int:account_id>/", acme_accounts.show, name="acme-account"),
    path(
        "acme-clients/accounts/<int:account_id>/deactivate/", acme_accounts.deactivate, name="acme-deactivate"
    ),
    path("settings/", settings.settings, name="settings"),
    path("settings/default/", settings.reset, name="settings-reset"),
    path("service/", operating.service, name="service"),
    path("service/cas/", cas.listing, name="cas"),
    path("service/cas/reconciliation/", reconciliation.page, name="cas-reconciliation"),
    path("service/cas/findings/<int:finding_id>/keep/", reconciliation.keep, name="cas-finding-keep"),
    path("service/cas/findings/<int:finding_id>/revoke/", reconciliation.revoke, name="cas-finding-revoke"),
    path("service/people/", staff.people, name="service-people"),
    path("service/people/<int:user_id>/", staff.account, name="service-person"),
    path("service/renewals/", renewals.renewals, name="service-renewals"),
    path("service/renewals/<int:advice_id>/withdraw/", renewals.withdraw, name="service-renewals-withdraw"),
    path("service/jobs/<uuid:job_id>/retry/", operating.retry, name="service-retry"),
    path(
        ".well-known/change-password",
        public(RedirectView.as_view(pattern_name="account_change_password")),
        name="well-known-change-password",
    ),
    path("help/", help_pages.index, name="help"),
    path("help/search/", help_pages.find, name="help-search"),
    path("help/help.pdf", help_pages.whole_pdf, name="help-pdf"),
    path("help/<slug:slug>.pdf", help_pages.page_pdf, name="help-page-pdf"),
    path("help/<slug:slug>/", help_pages.page, name="help-page"),
    path("help/faq/edit/", faq.manage, name="help-faq-manage"),
    path("help/faq/edit/new/", faq.new, name="help-faq-new"),
    path("help/faq/<slug:key>/edit/", faq.edit, name="help-faq-edit"),
    path("help/faq/<slug:key>/act/", faq.act, name="help-faq-act"),
    path("help/faq/<slug:key>/history/", faq.history, name="help-faq-history"),
    path("status/", status.status, name="status"),
    path("demo/mail/", demo.mailbox, name="demo-mail"),
    path("demo/mail/<int:index>/", demo.message, name="demo-message"),
]
