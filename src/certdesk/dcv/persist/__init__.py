"""A record that stays: `_validation-persist.<ADN>` names us and an account (BR 3.2.2.4.22).

Reads draft-ietf-acme-dns-persist-01's account URIs in clear and -02's hashed ones.
"""
