"""Certdesk's settings as mypy's Django plugin reads them: the real ones, with throw-away secrets.

Outside the demo the settings refuse to load without secrets, and a type check has no data folder to make
its own in.
"""

import os

# What steers the tests is no setting, and settings refuse names that they do not know.
for name in [name for name in os.environ if name.startswith("CERTDESK_")]:
    del os.environ[name]
os.environ |= {
    "CERTDESK_SECRET_KEY": "for-type-checks-only-" * 2,
    "CERTDESK_CA_PASSPHRASE": "for-type-checks-only-" * 2,
}

from certdesk.conf.settings import *  # noqa: E402, F403 - the environment comes first; read by name
