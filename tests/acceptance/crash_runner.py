"""A process to be killed, or one that looks at what a killed one has left. Run by `test_crash.py`.

    python -m tests.acceptance.crash_runner prepare
    python -m tests.acceptance.crash_runner crash <point> <folder>
    python -m tests.acceptance.crash_runner recover <folder>
    python -m tests.acceptance.crash_runner recover-further <folder>
    python -m tests.acceptance.crash_runner report

The data folder comes in CERTDESK_DATA; `<folder>` keeps the CSR, and the bytes that were signed.
"""

import sys
from pathlib import Path

from certdesk.conf import server


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    if arguments == ["prepare"]:
        server.prepare(talk=lambda _line: None)
        return
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
