"""A process to be killed, or one that looks at what a killed one has left. Run by `test_crash.py`.

    python -m tests.acceptance.crash_runner crash <point> <folder>
    python -m tests.acceptance.crash_runner recover <folder>
    python -m tests.acceptance.crash_runner recover-further <folder>
    python -m tests.acceptance.crash_runner report

The data folder comes in CERTDESK_DATA; `<folder>` keeps the CSR, and the bytes that were signed.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from certdesk.conf import server

#: What takes long to import and needs no settings: a process that has these forks all the others.
IMPORTED_BEFORE = (
    *("certdesk.conf.server", "certdesk.backends.embedded.backend", "certdesk.domain.policy_file"),
    *("certdesk.dcv.caa", "certdesk.dcv.mpic", "django.core.handlers.wsgi", "django.template.defaulttags"),
)


def run(arguments: Sequence[str], environment: Mapping[str, str], output: Path, errors: Path) -> None:
    """Do it in this forked process, as if it had been started with this environment."""
    os.environ.clear()
    os.environ.update(environment)
    for file, path in ((sys.stdout, output), (sys.stderr, errors)):
        with path.open("wb") as opened:
            os.dup2(opened.fileno(), file.fileno())
    main(list(arguments))


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    server.setup()
    from tests.acceptance import crash_points  # noqa: PLC0415 - models come only after django.setup()

    match arguments:
        case ["crash", point, folder]:
            crash_points.crash(point, Path(folder))
        case ["recover", folder]:
            crash_points.recover(Path(folder))
        case ["recover-further", folder]:
            crash_points.recover_further(Path(folder))
        case ["report"]:
            crash_points.report()
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
