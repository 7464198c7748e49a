"""Free ports on the loopback address."""

import secrets
import socket

#: Below those that the system gives to whoever binds port 0 or connects to somebody: so nothing but another
#: call of `free_port` could take a port before the server that it is meant for.
_LOWEST, _HIGHEST = 10_000, 32_000
_given: set[int] = set()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody has, by TCP or UDP, and that this process has not given before."""
    while True:
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
