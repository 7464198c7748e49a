"""Where the service has met a public key before; read inside the caller's transaction.

For policy alone, which sees every organisation: whose a key is never reaches a person through here.
"""

from django.db import connection

from certdesk.domain.policy_limits import KeyUses

#: One statement, each part answered from an index alone however often a key was used.
_USES = """
SELECT
  (SELECT MAX(request_id) FROM store_issuance
    WHERE spki_sha256 = %(key)s AND organisation_id = %(own)s AND id < %(before)s),
  EXISTS (SELECT 1 FROM store_issuance
    WHERE spki_sha256 = %(key)s AND organisation_id < %(own)s AND id < %(before)s),
  EXISTS (SELECT 1 FROM store_issuance
    WHERE spki_sha256 = %(key)s AND organisation_id > %(own)s AND id < %(before)s),
  EXISTS (SELECT 1 FROM store_certificate
    WHERE spki_sha256 = %(key)s AND revocation_reason = 'keyCompromise')
"""
_LATEST = 2**63 - 1


def key_uses(*, spki_sha256: str, organisation_id: int, before: int | None) -> KeyUses:
    """What is known of a key from issuances before the one numbered `before` (None: a new one).

    Later ones don't count: who used a key first is not held up by somebody who sends it afterwards.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _USES,
            {"key": spki_sha256, "own": organisation_id, "before": _LATEST if before is None else before},
        )
        row = cursor.fetchone()
    return KeyUses(earlier_request=row[0], elsewhere=bool(row[1] or row[2]), compromised=bool(row[3]))
