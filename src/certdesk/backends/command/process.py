"""Runs the program once: no shell, a process group of its own, limits on time and output.

What it prints for people is cut, stripped of control characters, and of the values of its environment.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

import structlog

from certdesk.backends.chains import one_line
from certdesk.backends.command.config import CommandConfig
from certdesk.domain.errors import Misconfigured, Unavailable

log = structlog.get_logger()

_MOST_OUTPUT, _MOST_LOGGED, _MOST_TOLD = 1 << 20, 2000, 300
_CHUNK = 1 << 16
_STOPPED_WITHIN = 1.0  # second
_INHERITED = ("PATH", "LANG")
#: Shorter values, such as `1`, are no secrets, and stand in too many words.
_LEAST_SECRET = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What came of it. `status` is negative for a signal; `fault` says why it was stopped, if it was."""

    output: bytes
    status: int
    fault: str = ""


def run(config: CommandConfig, act: str, given: bytes, *, until: float) -> Ended:
    """Starts the program with this on its input; at the monotonic time `until` it is stopped.

    It is stopped with all that it has started, when it ends as well. Raises: Unavailable when it was not
    started: nothing was sent.
    """
    begun = time.monotonic()
    try:
        config.refuse_unsafe()
    except Misconfigured as error:  # it may be mended, as a back end that can't be used
        raise Unavailable(error.detail) from error
    if begun >= until:
        raise Unavailable(f"{config.name} took too long to answer.")
    try:
        # An anonymous file: a program that never reads its input can't hold us up.
        with open(os.memfd_create("intent"), "w+b") as source:  # noqa: PTH123 - a descriptor, no path
            source.write(given)
            source.seek(0)
            process = subprocess.Popen(  # noqa: S603 - the operator's own program, no shell
                [config.program, *config.arguments],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=_environment(config),
                start_new_session=True,
                umask=0o077,
            )
    except OSError as error:
        told = f"{config.name}: {config.program} can't be started: {error.strerror}."
        raise Unavailable(told) from error
    output, errors, fault = bytearray(), bytearray(), ""
    try:
        fault = _read(process, output, errors, until=until)
    except OSError as error:
        fault = f"it could not be watched ({error.strerror})"
    finally:
        # Not waited for yet, so that its number, which is its group's, is still its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    try:
        process.wait(_STOPPED_WITHIN)
    except subprocess.TimeoutExpired:  # one that has changed its account, such as sudo
        fault = "it could not be stopped"
    status = -signal.SIGKILL if process.returncode is None else process.returncode
    log.info(
        "command.ran",
        backend=config.name,
        act=act,
        status=status,
        seconds=round(time.monotonic() - begun, 3),
        fault=fault,
        said=plain(config, errors.decode(errors="replace"), most=_MOST_LOGGED),
    )
    return Ended(output=bytes(output), status=status, fault=fault)


def plain(config: CommandConfig, text: str, *, most: int = _MOST_TOLD) -> str:
    """A program's words in one line for people: limited, without control characters and secrets."""
    for value in sorted(config.environment.values(), key=len, reverse=True):
        if len(value) >= _LEAST_SECRET:
            text = text.replace(value, "…")
    return one_line(text, most=most)


def _environment(config: CommandConfig) -> Mapping[str, str]:
    handed_on = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**handed_on, **config.environment}


def _read(process: subprocess.Popen[bytes], output: bytearray, errors: bytearray, *, until: float) -> str:
    """Reads until the program ends, whoever else has its pipes open. Returns why it has to be stopped."""
    exited = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    os.set_blocking(stream.fileno(), False)
                    selector.register(stream, selectors.EVENT_READ)
            selector.register(exited, selectors.EVENT_READ)
            while True:
                left = until - time.monotonic()
                ready = selector.select(left) if left > 0 else []
                if not ready:
                    return "it took too long"
                is_over = any(key.fileobj == exited for key, _events in ready)
                for key in list(selector.get_map().values()) if is_over else [key for key, _ in ready]:
                    if key.fileobj == exited:
                        continue
                    into = output if key.fileobj is process.stdout else errors
                    if _drain(key.fileobj, into, until=until):  # type: ignore[arg-type]  # a pipe's end
                        selector.unregister(key.fileobj)
                if len(output) > _MOST_OUTPUT:
                    return "it printed too much"
                if is_over:
                    return ""
    finally:
        os.close(exited)


def _drain(stream: IO[bytes], into: bytearray, *, until: float) -> bool:
    """Takes what is there, of which no more is kept than is needed. Returns whether that was the end."""
    while time.monotonic() < until:
        try:
            chunk = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            return True
        into += chunk[: max(0, _MOST_OUTPUT + 1 - len(into))]
        if len(into) > _MOST_OUTPUT:
            return False
    return False
