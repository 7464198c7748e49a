"""The pages that ship with Certdesk: which there are, in which order, read from the folder `pages`."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from certdesk.domain.errors import InvariantViolated

FAQ = "faq"
SERVERS = "On your server"
#: The table of contents. The FAQ has no file: its entries come from `services.system.faq`.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Requesting",
        (
            "certificates",
            "requesting",
            "csr",
            "requests",
            "checks",
            "downloads",
            "revoking",
            "domains",
            "dcv",
            "acme",
        ),
    ),
    (
        SERVERS,
        (
            "server-apache",
            "server-nginx",
            "server-haproxy",
            "server-caddy",
            "server-iis",
            "server-exchange",
            "server-tomcat",
            "server-mail",
            "server-f5",
            "server-netscaler",
            "server-kubernetes",
            "server-cisco",
            "server-other",
        ),
    ),
    ("People", ("password", "people")),
    ("For the RA and for programs", ("officers", "operators", "api")),
    ("More", (FAQ, "accessibility")),
)
SLUGS: tuple[str, ...] = tuple(slug for _title, slugs in GROUPS for slug in slugs)


@dataclass(frozen=True, slots=True, kw_only=True)
class HelpPage:
    """A page as it ships. `software` lists the entries of the server software list that it speaks of;
    `form` is the download that suits them (a key of `web.requests.certificate.FORMS`, or zip).
    """

    slug: str
    title: str
    summary: str
    source: str
    software: tuple[str, ...] = ()
    form: str = "zip"


@cache
def page(slug: str) -> HelpPage:
    """One page. Raises KeyError for a slug that is not in the table of contents."""
    if slug not in SLUGS:
        raise KeyError(slug)
    if slug == FAQ:
        return HelpPage(slug=FAQ, title="Questions and answers", summary="what people often ask", source="")
    text = files("certdesk.web.help").joinpath("pages", f"{slug}.md").read_text(encoding="utf-8")
    head, mark, source = text.partition("\n---\n")
    if not mark:
        raise InvariantViolated(f"the help page {slug} has no head")
    said = dict(line.split(": ", 1) for line in head.splitlines())
    return HelpPage(
        slug=slug,
        title=said["title"],
        summary=said["summary"],
        source=source,
        software=tuple(name.strip() for name in said["software"].split(",")) if "software" in said else (),
        form=said.get("form", "zip"),
    )


def server_page(software: str) -> HelpPage:
    """The page that tells how to install on a server software; the general one for any other."""
    servers = dict(GROUPS)[SERVERS]
    return next((page(slug) for slug in servers if software in page(slug).software), page("server-other"))


def neighbours(slug: str) -> tuple[HelpPage | None, HelpPage | None]:
    """The pages before and after one."""
    index = SLUGS.index(slug)
    before = page(SLUGS[index - 1]) if index else None
    after = page(SLUGS[index + 1]) if index + 1 < len(SLUGS) else None
    return before, after
