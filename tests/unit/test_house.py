"""The house around the code: what the repository may not hold, and pages that must be fresh."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BINARY = {".png", ".ico", ".woff2", ".der", ".p7b", ".csr"}
# Spelt in parts, so that this file does not find itself.
_MACHINE_PATHS = re.compile(
    "|".join([r"(?<![\w./>}-])/" + name + r"\b" for name in ("work", "root", "tmp/brief")])
)


def _tracked() -> list[Path]:
    if not (ROOT / ".git").exists():  # an unpacked archive: everything in it was tracked
        parts = {".venv", "var", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
        return [path for path in ROOT.rglob("*") if path.is_file() and not parts & set(path.parts)]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def _product() -> list[Path]:
    """The modules of the product."""
    ours = [path for path in _tracked() if path.suffix == ".py" and path.is_relative_to(ROOT / "src")]
    return [path for path in ours if "migrations" not in path.parts]


def _text_files() -> list[Path]:
    return [path for path in _tracked() if path.suffix not in _BINARY and path.name != "test_house.py"]


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in _text_files()
        if (match := _MACHINE_PATHS.search(path.read_text(encoding="utf-8", errors="replace")))
    ]
    assert not found


def test_the_pattern_of_machine_paths_finds_what_it_should() -> None:
    assert _MACHINE_PATHS.search('open("/work' + '/main/x")')
    assert _MACHINE_PATHS.search("cd /root" + "/certdesk")
    assert not _MACHINE_PATHS.search("https://example.ac.uk/work")
    assert not _MACHINE_PATHS.search("docs/root-certificate.md")


def test_no_private_key_is_checked_in() -> None:
    marker = "-----BEGIN " + "{}PRIVATE KEY-----\n"
    shapes = [marker.format(kind) for kind in ("", "RSA ", "EC ", "ENCRYPTED ")]
    body = re.compile("|".join(re.escape(shape) + r"[A-Za-z0-9+/]{40}" for shape in shapes))
    # Keys pasted by mistake are among the bad inputs; they were made for that and certify nothing.
    elsewhere = [path for path in _text_files() if not path.is_relative_to(ROOT / "tests" / "vectors")]
    assert not [path for path in elsewhere if body.search(path.read_text(encoding="utf-8", errors="replace"))]


def test_decision_records_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "adr").glob("*.md"))
    numbers = [name[:4] for name in names]
    assert numbers == [f"{number:04}" for number in range(1, len(names) + 1)]
    for name in names:
        heading = (ROOT / "docs" / "adr" / name).read_text(encoding="utf-8").splitlines()[0]
        assert heading.startswith(f"# {int(name[:4])}. "), f"{name} begins with {heading!r}"


def test_what_is_tested_on_sqlite_alone_neither_races_nor_looks_at_statements() -> None:
    script = (ROOT / "scripts" / "test").read_text(encoding="utf-8")
    (listed,) = re.findall(r'ON_SQLITE_ALONE="([^"]+)"', script)
    own = re.compile(*re.findall(r"RACES_OR_STATEMENTS='([^']+)'", script))
    for name in listed.split():
        text = (ROOT / "tests" / "integration" / f"test_{name}.py").read_text(encoding="utf-8")
        assert not own.search(text), name


@pytest.mark.parametrize("script", ["states.py --check", "checks.py --check", "compare_locks.py"])
def test_what_is_made_by_a_script_is_fresh_and_both_locks_pin_the_same_versions(script: str) -> None:
    name, *arguments = script.split()
    command = [sys.executable, str(ROOT / "scripts" / name), *arguments]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_links_between_documents_lead_somewhere() -> None:
    link = re.compile(r"\]\((?!https?:|mailto:|#|/)([^)#\s]+)(?:#[^)]*)?\)")
    broken = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in _tracked()
        if page.suffix == ".md"
        for target in link.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_every_setting_is_documented() -> None:
    config = (ROOT / "src/certdesk/conf/config.py").read_text(encoding="utf-8")
    body = config.partition("class Config(")[2].partition("\n\n\n")[0]
    fields = re.findall(r"^    ([a-z_]+): [A-Za-z]", body, re.MULTILINE)
    assert "trusted_suffixes" in fields
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert not [name for name in fields if f"`CERTDESK_{name.upper()}`" not in page]


def test_the_page_on_clients_names_the_tests_that_show_what_it_says() -> None:
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| `(test_acme_\w+\.py)`: (.+) \|$", page, re.MULTILINE)
    assert rows
    for file, named in rows:
        text = (ROOT / "tests" / "acceptance" / file).read_text(encoding="utf-8")
        assert re.findall(r"`(test_\w+)`", named) == re.findall(r"^def (test_\w+)", text, re.MULTILINE)


def test_every_make_target_explains_itself_and_runs_scripts_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (declared,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(declared.split()) == set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE))
    named = set(re.findall(r"\bscripts/[\w.-]+", makefile))
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]


def test_ruff_ignores_carry_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    entry = re.compile(r'^\s+"[A-Z]+[0-9]*",')
    assert [line for line in lines if entry.match(line)]
    assert not [line for line in lines if entry.match(line) and "#" not in line]


def test_suppressions_in_the_code_carry_a_reason() -> None:
    bare = re.compile(r"#\s*(?:noqa(?::\s*[A-Z0-9, ]+)?|type:\s*ignore(?:\[[^\]]*\])?)\s*$")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _tracked()
        if path.suffix == ".py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if bare.search(line)
    ]
    assert not found


def test_no_module_grows_beyond_five_hundred_lines() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in _product()}
    assert not {name: lines for name, lines in long.items() if lines > 500}


#: What requirements were called in tables that no reader of the repository has.
_CODES = re.compile(
    r"\b(?:[RSWVO][1-9]\d?|A(?:[1-35-9]|1[01])|P[58]|DESIGN|PERFORMANCE\.md|PRODUCT\.md)(?![\w/-])"
)
#: docs/seed.md defines its ids; decision records are never rewritten.
_HAS_IDS = {"seed.md", "seed.py"}


@cache
def _seen_by_people() -> list[tuple[Path, str]]:
    """Pages, help, documents, and every text of the code that is no docstring."""
    seen: list[tuple[Path, str]] = []
    for path in _text_files():
        place = path.relative_to(ROOT)
        if place.parts[0] not in ("src", "docs", "scripts") and place.suffix != ".md":
            continue
        if place.name in _HAS_IDS or "adr" in place.parts or "migrations" in place.parts:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if place.suffix == ".py":
            seen += [(place, said) for said in _strings(text)]
        elif place.suffix in (".md", ".html", ".txt"):
            seen.append((place, text))
    return seen


def _strings(text: str) -> Iterator[str]:
    tree = ast.parse(text)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_nobody_meets_a_code_that_cannot_be_looked_up() -> None:
    found = [
        f"{place}: {match.group()}" for place, text in _seen_by_people() for match in _CODES.finditer(text)
    ]
    assert not found


#: Words that are wrong wherever people read them; plainer ones are always at hand.
_WRONG = re.compile(
    r"\b(?:anew|any more|came to nothing|whoever|somebody(?!-)|by themselves|nothing needs you)\b",
    re.IGNORECASE,
)


def test_what_people_read_is_plain() -> None:
    inside = ROOT.joinpath("src").relative_to(ROOT)
    found = [
        f"{place}: {match.group()}"
        for place, text in _seen_by_people()
        if place.is_relative_to(inside)
        for match in _WRONG.finditer(re.sub(r"{#.*?#}", "", text))
    ]
    assert not found


def test_the_pattern_of_codes_finds_what_it_should() -> None:
    for code in ("Rule: S4, BR 6.1.5", "(R35)", "S1 to S11", "as DESIGN §5 has it", "see PERFORMANCE.md"):
        assert _CODES.search(code), code
    for text in ("P-256", "SC-073", "BR 6.1.5", "A4 paper", "RFC 8555 7.3", "SHA-256"):
        assert not _CODES.search(text), text


def test_every_module_of_the_product_says_what_lives_in_it() -> None:
    assert not [path for path in _product() if path.read_text(encoding="utf-8").lstrip()[:3] != '"""']


def test_the_command_starts_without_django() -> None:
    """Client commands talk REST from machines that may have no Django, and must start fast."""
    program = "import sys, certdesk.cli.main; raise SystemExit('django' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr or "certdesk.cli.main imports django"
