"""Says whether the requirements' locks pin the versions of uv.lock, for machines that have pip and no uv."""

import re
import sys
import tomllib
from pathlib import Path

_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==([^ ;\\]+)", re.MULTILINE)


def main() -> int:
    """Compare names and versions; hashes are pip's own affair.

    Returns:
        The exit status: 0 when both locks agree.
    """
    root = Path(__file__).resolve().parent.parent
    locked = tomllib.loads((root / "uv.lock").read_text(encoding="utf-8"))["package"]
    by_uv = {(package["name"], package["version"]) for package in locked if package["name"] != "certdesk"}
    files = [root / name for name in ("requirements.lock", "requirements-peers.lock")]
    by_pip = {pin for file in files for pin in _PIN.findall(file.read_text(encoding="utf-8"))}
    differing = sorted(by_uv ^ by_pip)
    for name, version in differing:
        print(f"{name} {version} is in one lock only: run make lock.", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
