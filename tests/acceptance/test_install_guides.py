"""The instructions that go with a certificate, done as they say, with the files that they name.

Commands and configuration are taken from the INSTALL.txt of the downloaded bundle; only the folders of a real
server become the test's own. What has no program here (Windows, appliances) is checked as far as files go.
"""

import contextlib
import io
import re
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certdesk.web.help import contents
from tests.acceptance.seed_support import AVAILABLE, Csr, Staff, new_name, run
from tests.harness.ports import free_port
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.slow

PASSWORD = "a long password"
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FULL_CHAIN = ("Apache httpd", "nginx", "HAProxy", "Caddy", "Postfix or Dovecot", "Kubernetes")
PKCS7 = ("Microsoft IIS", "Microsoft Exchange", "Apache Tomcat")
WHOLE = ("F5 BIG-IP", "Citrix NetScaler", "Cisco")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A folder with the unpacked bundle and the key, and what INSTALL.txt says."""

    folder: Path
    host: str
    number: int
    text: str

    def blocks(self, language: str) -> list[str]:
        """The blocks in a language, in order."""
        return [code for kind, code in FENCE.findall(self.text) if kind == language]

    def command(self, beginning: str) -> str:
        """The command that begins like this, with its further lines; the test's folder for the server's."""
        block = next(b for b in self.blocks("sh") if beginning in b)
        found = re.search(rf"^{re.escape(beginning)}(?:[^\n]*\\\n)*[^\n]*", block, re.MULTILINE)
        assert found
        return self.here(found[0])

    def here(self, text: str) -> str:
        """The same with the test's folder in place of a real server's."""
        return re.sub(r"/etc/\w+/(?:tls/|certs/|private/)?|/var/tmp/", f"{self.folder}/", text)

    def do(self, command: str, *answers: str) -> str:
        """Run a command in the folder, as an administrator would who types the answers."""
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            input="".join(f"{answer}\n" for answer in answers),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            start_new_session=True,  # without a terminal, passwords are read from the input
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    @property
    def root(self) -> Path:
        """The root certificate of the bundle."""
        (found,) = self.folder.glob("root-*.crt")
        return found


def commands_for_csr(software: str) -> list[str]:
    """The help page's commands that make a CSR; the general page's where it has none that run here."""
    own = RUN.findall(contents.server_page(software).source)
    return own or RUN.findall(contents.page("server-other").source)


def install(staff: Staff, folder: Path, software: str) -> Installation:
    """From the page's own CSR commands to the unpacked bundle for this software."""
    host = new_name(prefix="install")
    for command in commands_for_csr(software):
        ours = re.sub(r"\b(?:www|mail)\.example\.ac\.uk", host, command)
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", ours],
            cwd=folder,
            input=f"{PASSWORD}\n{PASSWORD}\n",
            text=True,
            capture_output=True,
            check=True,
            timeout=120,
        )
    alice = staff("alice")
    csr = Csr(path=folder / f"{host}.csr", key=folder / f"{host}.key")
    number = alice.ask(csr, software=software)
    alice.wait_for(number, AVAILABLE)
    answer = alice.get(f"/requests/{number}/certificate/server/")
    assert answer.status == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)
    text = (folder / "INSTALL.txt").read_text()
    assert "[[" not in text
    assert host in text
    return Installation(folder=folder, host=host, number=number, text=text)


@pytest.mark.parametrize("software", [*FULL_CHAIN, *PKCS7, *WHOLE])
def test_r37_the_bundle_has_the_files_that_its_instructions_name(
    staff: Staff, tmp_path: Path, software: str
) -> None:
    made = install(staff, tmp_path, software)
    page = staff("alice").request(made.number)
    assert f"Bundle for {software}" in page.text
    stem = f"{made.host.replace('.', '_')}-"
    named = set(re.findall(rf"\b{re.escape(stem)}\d{{4}}-\d\d-\d\d[\w.-]*\w", made.text))
    named |= {path.name for path in tmp_path.glob("chain-*.crt")} if "chain-*" in made.text else set()
    assert named or software == "Cisco", "its files are pasted, not named"
    missing = [name for name in named if not (tmp_path / name).is_file()]
    assert not missing
    assert made.root.is_file()
    packed = zipfile.ZipFile(
        io.BytesIO(staff("alice").get(f"/requests/{made.number}/certificate/server/").content)
    )
    for name in packed.namelist():
        assert b"PRIVATE KEY" not in packed.read(name), name
    assert staff("charlie").get(f"/requests/{made.number}/certificate/server/").status == 404


def test_r12_r37_java_imports_the_reply_and_serves_the_chain(staff: Staff, tmp_path: Path) -> None:
    made = install(staff, tmp_path, "Apache Tomcat")
    made.do(made.command("keytool -importcert"), PASSWORD, "yes")
    listed = made.do(made.command("keytool -list"), PASSWORD)
    assert "Entry type: PrivateKeyEntry" in listed
    assert "Certificate chain length: 3" in listed
    store = tmp_path / f"{made.host}.p12"
    whole = run("openssl", "pkcs12", "-in", str(store), "-passin", f"pass:{PASSWORD}", "-nodes")
    assert whole.count("BEGIN CERTIFICATE") == 3
    assert whole.count("PRIVATE KEY-----") == 2


def test_r37_java_clients_take_the_trust_store(staff: Staff, tmp_path: Path) -> None:
    made = install(staff, tmp_path, "nginx")
    store = tmp_path / "trust.p12"
    store.write_bytes(staff("alice").get(f"/requests/{made.number}/certificate/truststore/").content)
    listed = made.do(f"keytool -list -v -storetype PKCS12 -storepass changeit -keystore {store.name}")
    assert "Your keystore contains 1 entry" in listed
    assert "trustedCertEntry" in listed
    shown = run("openssl", "x509", "-in", str(made.root), "-noout", "-fingerprint", "-sha256")
    assert shown.strip().partition("=")[2] in listed


def test_r37_haproxy_s_file_has_chain_and_key(staff: Staff, tmp_path: Path) -> None:
    made = install(staff, tmp_path, "HAProxy")
    made.do(made.command("cat "))
    together = tmp_path / f"{made.host}.pem"
    assert together.read_text().count("BEGIN CERTIFICATE") >= 2
    public = run("openssl", "x509", "-in", str(together), "-noout", "-pubkey")
    assert public == run("openssl", "pkey", "-in", str(together), "-pubout"), "key and certificate fit"


def test_r37_a_chain_for_appliances(staff: Staff, tmp_path: Path) -> None:
    made = install(staff, tmp_path, "F5 BIG-IP")
    made.do(made.command("cat chain-"))
    (leaf,) = tmp_path.glob(f"{made.host.replace('.', '_')}-*.crt")
    verify = ("openssl", "verify", "-CAfile", str(made.root), "-untrusted", str(tmp_path / "chain.pem"))
    assert run(*verify, str(leaf)).strip().endswith("OK")
    alone = staff("alice").get(f"/requests/{made.number}/certificate/chain/").content
    assert alone == (tmp_path / "chain.pem").read_bytes(), "the form “chain alone” is the same"


def test_r12_a_pkcs12_for_devices_that_want_one(staff: Staff, tmp_path: Path) -> None:
    """INSTALL.txt goes with named software; for any other the page says the same."""
    made = install(staff, tmp_path, "nginx")
    other = contents.server_page("Other").source
    (command,) = re.findall(r"^openssl pkcs12 [^\n]+", other, re.MULTILINE)
    (chain,) = tmp_path.glob("*-fullchain.pem")
    ours = command.replace("[[host]]", made.host).replace(
        "[[stem]]", chain.name.removesuffix("-fullchain.pem")
    )
    made.do(ours, PASSWORD, PASSWORD)
    packed = ("openssl", "pkcs12", "-in", str(tmp_path / f"{made.host}.p12"), "-passin", f"pass:{PASSWORD}")
    assert run(*packed, "-nodes").count("BEGIN CERTIFICATE") >= 2


def test_r12_apache_takes_the_directives(staff: Staff, tmp_path: Path) -> None:
    apache = shutil.which("apache2") or shutil.which("apache2", path="/usr/sbin")
    if apache is None:
        pytest.skip("Apache is not installed (Debian: apache2)")
    made = install(staff, tmp_path, "Apache httpd")
    (directives,) = (made.here(block) for block in made.blocks("apache"))
    modules = "/usr/lib/apache2/modules/mod_"
    lines = [f"LoadModule {name}_module {modules}{name}.so" for name in ("mpm_event", "authz_core", "ssl")]
    lines += [f"ServerName {made.host}", f"Listen {free_port()}", f"PidFile {tmp_path}/pid", "ErrorLog logs"]
    (tmp_path / "httpd.conf").write_text("\n".join([*lines, directives]))
    made.do(f"{apache} -d {tmp_path} -f httpd.conf -t")


def test_r12_caddy_takes_the_block(staff: Staff, tmp_path: Path) -> None:
    if shutil.which("caddy") is None:
        pytest.skip("Caddy is not installed (Debian: caddy)")
    made = install(staff, tmp_path, "Caddy")
    (tmp_path / "Caddyfile").write_text(made.here(made.blocks("caddy")[0]))
    made.do("HOME=$PWD caddy validate --adapter caddyfile --config Caddyfile")


@contextlib.contextmanager
def serving(made: Installation, port: int) -> Iterator[None]:
    """OpenSSL's own server with the full chain, as any server of the guides would send it."""
    (chain,) = made.folder.glob("*-fullchain.pem")
    key = made.folder / f"{made.host}.key"
    listening = ("openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}")
    server = subprocess.Popen(
        [*listening, "-cert", chain, "-cert_chain", chain, "-key", key],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(port), what="OpenSSL's server", seconds=30)
        yield
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def test_r12_the_check_shows_a_complete_chain(staff: Staff, tmp_path: Path) -> None:
    made = install(staff, tmp_path, "nginx")
    port = free_port()
    command = made.command("openssl s_client").replace(
        f"-connect {made.host}:443", f"-connect 127.0.0.1:{port}"
    )
    assert "127.0.0.1" in command
    with serving(made, port):
        seen = made.do(command.replace("</dev/null", f"-CAfile {made.root} </dev/null"))
        assert "Verify return code: 0 (ok)" in seen, "as the page says, with a private CA's root"


def test_r12_the_checks_of_the_download_page_tell_the_right_certificate(staff: Staff, tmp_path: Path) -> None:
    made = install(staff, tmp_path, "F5 BIG-IP")
    (leaf,) = tmp_path.glob(f"{made.host.replace('.', '_')}-*.crt")
    page = contents.page("downloads").source.partition("{#check}")[2]
    ours = page.replace("[[stem]].crt", leaf.name).replace("www.example.ac.uk.key", f"{made.host}.key")
    first, second = (code for kind, code in FENCE.findall(ours) if kind == "sh")
    fingerprint = re.search(r"Fingerprint=([0-9A-F:]+)", made.do(first))
    assert fingerprint
    assert fingerprint[1] in staff("alice").request(made.number).text
    certificate, key = made.do(second).splitlines()
    assert certificate == key
