"""The names of an order, and whether the CSR asks for just these: the CA signs what the CSR says."""

from cryptography import x509
from cryptography.x509.oid import NameOID

from certdesk.domain.errors import BackendRefused
from certdesk.domain.issuing.certificates import UNREADABLE, Intent
from certdesk.domain.names.identifiers import is_ip_address

_ADVICE = "This CA takes the names from the CSR. Make a CSR with exactly the names of the request."


def identifiers(names: tuple[str, ...]) -> list[dict[str, str]]:
    """RFC 8555 7.1.3 and RFC 8738."""
    return [{"type": "ip" if is_ip_address(name) else "dns", "value": name} for name in names]


def refuse_other_names(intent: Intent) -> None:
    """Raises BackendRefused when the CSR is for other names than the intent; the CA would refuse it later."""
    try:
        asked = _names(x509.load_der_x509_csr(intent.csr_der))
    except UNREADABLE as error:
        raise BackendRefused(f"The CSR can't be read. {_ADVICE}") from error
    wanted = {name.lower() for name in intent.names}
    if more := sorted(asked - wanted):
        raise BackendRefused(f"The CSR has names that are not requested: {', '.join(more)}. {_ADVICE}")
    if fewer := sorted(wanted - asked):
        raise BackendRefused(f"The CSR lacks names that are requested: {', '.join(fewer)}. {_ADVICE}")


def _names(csr: x509.CertificateSigningRequest) -> set[str]:
    """Common names and alternative names, in lower case."""
    found = {str(one.value).lower() for one in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    try:
        alternative = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return found
    return found | {str(getattr(one, "value", one)).lower() for one in alternative}
