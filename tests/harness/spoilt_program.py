#!/usr/bin/env python3
"""Stands between Certdesk and a program that asks a CA, and spoils what a file says, once each.

Usage: spoilt_program.py FOLDER PROGRAM ARGUMENT…. FOLDER/faults has lines such as `submit crash`, and
FOLDER/calls gets a line for each act.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    folder, program = Path(sys.argv[1]), sys.argv[2:]
    asked = json.load(sys.stdin)
    act = asked["act"]
    with (folder / "calls").open("a") as calls:
        calls.write(f"{act}\n")
    faults = (folder / "faults").read_text().splitlines()
    fault = next((line.split()[1] for line in faults if line.split()[0] == act), "")
    if fault:
        faults.remove(f"{act} {fault}")
        (folder / "faults").write_text("\n".join(faults))

    before(fault, folder, asked)
    done = subprocess.run(program, input=json.dumps(asked).encode(), stdout=subprocess.PIPE, check=False)
    after(fault, folder, asked)
    sys.stdout.buffer.write(done.stdout)
    sys.exit(done.returncode)


def before(fault: str, folder: Path, asked: dict[str, Any]) -> None:
    """What happens before the CA has heard of it, or instead."""
    match fault:
        case "refuse":
            say(outcome="refused", reason=f"No\x1b[31m, by {os.environ['SECRET']}.\n" + "x" * 1000)
        case "nothing-sent":
            sys.exit(75)
        case "unavailable":
            say(outcome="unavailable", detail="It is being repaired.")
        case "accept":
            (folder / "intent").write_text(json.dumps(asked["intent"]))
            say(outcome="accepted", handle="order 7")
        case "still":
            say(outcome="accepted", handle=asked["handle"])
        case "deliver":
            asked["act"] = "submit"
        case "environment":
            told = {"code": "seen", "verdict": "pass", "message": " ".join(sorted(os.environ))}
            say(outcome="checked", findings=[told])
        case "other-names":
            asked["intent"]["names"] = ["other.example.ac.uk"]
        case "other-key":
            asked["intent"]["csr"] = (folder / "other.csr").read_text()
        case "no-names":
            sign = ["openssl", "x509", "-req", "-CA", f"{folder}/ca/ca.pem", "-CAkey", f"{folder}/ca/ca.key"]
            leaf = subprocess.run(
                sign, input=asked["intent"]["csr"].encode(), stdout=subprocess.PIPE, check=True
            )
            say(outcome="issued", chain=[leaf.stdout.decode(), (folder / "ca" / "ca.pem").read_text()])


def after(fault: str, folder: Path, asked: dict[str, Any]) -> None:
    """What happens once the CA has acted."""
    match fault:
        case "slow":
            child = subprocess.Popen(["sleep", "300"])
            (folder / "child").write_text(str(child.pid))
            time.sleep(300)
        case "child":
            child = subprocess.Popen(["sleep", "300"])  # with our output still open
            (folder / "child").write_text(str(child.pid))
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "status":
            sys.exit(3)
        case "chatty":
            sys.stderr.write(f"{os.environ['SECRET']}\n" + "e" * 3_000_000)
        case "nothing":
            sys.exit(0)
        case "garbage":
            sys.stdout.write("<html>502</html>")
            sys.exit(0)
        case "list":
            sys.stdout.write("[]")
            sys.exit(0)
        case "too-much":
            sys.stdout.write('{"outcome": "issued", "chain": ["' + "A" * 2_000_000 + '"]}')
            sys.exit(0)
        case "no-certificate":
            say(outcome="issued", chain=["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
        case "no-chain":
            say(outcome="issued", chain=[])
        case "wrong-outcome":
            say(outcome="revoked")
        case "long-handle":
            say(outcome="accepted", handle="x" * 256)


def say(**outcome: object) -> None:
    json.dump(outcome, sys.stdout)
    sys.stdout.flush()
    sys.exit(0)


main()
