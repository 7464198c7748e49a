"""The back ends that ship, against the suite that every back end must pass."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certdesk.backends.base import Backend
from certdesk.backends.conformance import BackendConformance, BackendFactory, MakeIntent
from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig, create_authority
from certdesk.domain.certificates import Intent, server_subject
from certdesk.domain.profiles import profile, validity


@pytest.fixture
def make_intent() -> MakeIntent:
    def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        begins, ends = validity(profile("tls-server"), duration_years=1, now=datetime.now(UTC))
        return Intent(
            idempotency_key=uuid.uuid4().hex,
            backend="embedded",
            profile_id="tls-server",
            profile_version=1,
            csr_der=b"",
            spki_der=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            names=names,
            subject=server_subject(names=names, organisation="Example University", country="GB"),
            not_before=begins,
            not_after=ends,
        )

    return make


class TestEmbedded(BackendConformance):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> BackendFactory:
        config = EmbeddedConfig(
            directory=tmp_path / "issuing", root_directory=tmp_path / "root", passphrase=b"a passphrase"
        )
        create_authority(config, datetime.now(UTC))

        def factory() -> Backend:
            return EmbeddedBackend(config)

        return factory
