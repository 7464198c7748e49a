"""Open MPIC's requests and responses as types (open-mpic.org, API v2). No network and no decision here.

Parameters that would widen a check are refused: regular expressions, own headers, lookup failures allowed.
`account_uri` and `validation_method` of CAA (RFC 8657) are ours; other implementations ignore them.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from certdesk.dcv.base import MIN_EXPECTED
from certdesk.domain.validation.evidence import Method

_Secret = Annotated[str, Field(min_length=MIN_EXPECTED, max_length=512)]
_Label = Annotated[str, Field(pattern=r"^(_[A-Za-z0-9-]{1,62}(\.[A-Za-z0-9_-]{1,63})*)$", max_length=200)]
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}$")]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class WebsiteChange(_Schema):
    """BR 3.2.2.4.18."""

    validation_method: Literal["website-change"] = "website-change"
    challenge_value: _Secret
    http_token_path: _FileName
    url_scheme: Literal["http", "https"] = "http"
    match_regex: None = None
    http_headers: None = None


class DnsChange(_Schema):
    """BR 3.2.2.4.7, and 3.2.2.4.21 with the account's label in the prefix. Compared exactly, always."""

    validation_method: Literal["dns-change"] = "dns-change"
    challenge_value: _Secret
    dns_name_prefix: _Label
    dns_record_type: Literal["TXT", "CNAME"]
    require_exact_match: bool = True


class AcmeHttp(_Schema):
    """RFC 8555 8.3."""

    validation_method: Literal["acme-http-01"] = "acme-http-01"
    token: _FileName
    key_authorization: _Secret
    http_headers: None = None


class AcmeDns(_Schema):
    """RFC 8555 8.4; the hash is what the TXT record holds."""

    validation_method: Literal["acme-dns-01"] = "acme-dns-01"
    key_authorization_hash: _Secret


class AcmeTlsAlpn(_Schema):
    """RFC 8737; the hash is SHA-256 in hex."""

    validation_method: Literal["acme-tls-alpn-01"] = "acme-tls-alpn-01"
    key_authorization_hash: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class DnsPersistent(_Schema):
    """BR 3.2.2.4.22, at the target itself."""

    validation_method: Literal["dns-persistent"] = "dns-persistent"
    issuer_domain_names: Annotated[list[str], Field(min_length=1, max_length=10)]
    expected_account_uri: Annotated[str, Field(min_length=1, max_length=512)]


DcvParameters = Annotated[
    WebsiteChange | DnsChange | AcmeHttp | AcmeDns | AcmeTlsAlpn | DnsPersistent,
    Field(discriminator="validation_method"),
]


class DcvRequest(_Schema):
    domain_or_ip_target: str
    dcv_check_parameters: DcvParameters


class CaaParameters(_Schema):
    """Who asks for permission. Without `account_uri`, a record that is bound to one permits nothing."""

    certificate_type: Literal["tls-server"] = "tls-server"
    caa_domains: Annotated[list[str], Field(min_length=1, max_length=10)]
    allow_lookup_failure: Literal[False] = False
    account_uri: str = ""
    validation_method: Method | None = None


class CaaRequest(_Schema):
    domain_or_ip_target: str
    caa_check_parameters: CaaParameters


class CheckError(_Schema):
    error_type: str
    error_message: str


class CheckDetails(_Schema):
    """Of all that Open MPIC has, the parts that are told here; which of them depends on the check."""

    validation_method: str | None = None
    records_seen: list[str] | None = None
    ad_flag: bool | None = None
    found_at: str | None = None
    cname_chain: list[str] | None = None
    response_url: str | None = None
    response_status_code: int | None = None
    caa_record_present: bool | None = None


class CheckResponse(_Schema):
    """What either answers. `check_completed`: the question could be answered at all."""

    check_type: Literal["dcv", "caa"]
    check_completed: bool = False
    check_passed: bool = False
    errors: list[CheckError] | None = None
    timestamp_ns: int | None = None
    details: CheckDetails = CheckDetails()
    perspective: str | None = None
