"""The application that granian serves, warmed up so that the first applicant does not wait for us."""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.urls import get_resolver

from certdesk.conf.log import configure_logging
from certdesk.domain.csr.csr import read_csr
from certdesk.domain.errors import BadCsr
from certdesk.domain.issuing.lint import lint_certificate
from certdesk.domain.names.identifiers import parse_dns_name
from certdesk.front import Front
from certdesk.services.system import runtime

_SET_PDEATHSIG = 1  # of prctl(2)


def warm_up() -> None:
    """Opens the CA keys, loads the views and builds what is made on first use, such as validators (a second).

    Without it the first people to meet a new process wait for that.
    """
    for issuing in runtime.current().backend(runtime.current().default_backend).chain()[:1]:
        lint_certificate(issuing)
    get_resolver()._populate()  # noqa: SLF001 - loads every view; no public call does so without a request
    parse_dns_name("www.example.ac.uk")
    try:
        read_csr(b"-----BEGIN CERTIFICATE REQUEST-----")
    except BadCsr:
        return


def room_by_room(django: WSGIApplication) -> WSGIApplication:
    """ACME's room beside Django's handler, which costs as much as half of what a signed message asks for."""
    from certdesk.acme import application as acme  # noqa: PLC0415 - models come after django.setup()

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith(acme.ROOM):
            return django(environ, start_response)
        try:
            return acme.application(environ, start_response)
        finally:
            close_old_connections()  # as after Django's own requests

    return application


configure_logging(os.environ.get("CERTDESK_LOG_LEVEL", "INFO"))
wsgi = room_by_room(get_wsgi_application())

from certdesk.conf.bodies import admits, limit, unread  # noqa: E402 - models come after django.setup()

# Requests are read before a thread is taken.
application = Front(wsgi, threads=settings.CERTDESK.threads, limit=limit, admits=admits, unread=unread)
if os.uname().sysname == "Linux":
    # This process is killed when `certdesk serve` is, so that no orphan keeps the port. Granian, told to end
    # with nobody left to wait for it, may stand still in a transaction, with its locks. Every step of ours
    # survives a kill.
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
warm_up()
# A thread gives Python's lock away at each statement and waits its turn to go on, often in the middle of the
# one write transaction that everybody else waits for: with 8 clients p99 falls by a quarter where turns are
# taken every half millisecond instead of every five.
sys.setswitchinterval(0.0005)
# What was loaded lives as long as the process: out of the garbage collector's sight, so that it does not go
# through all that Django and pkilint have made each time.
gc.collect()
gc.freeze()
gc.set_threshold(10_000, 20, 20)
