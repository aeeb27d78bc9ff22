"""First on PYTHONPATH, this lets no Python process, nor any that it starts, use a network, and
writes down who tried.

An audit hook sees what Python code can hide: libraries that catch the error, sockets made in C.
Unix sockets and the loopback stay, since kernels need them. The file is named by OFFLINE_LOG; a
line says who asked for what. It also names the loggers that are imported: a curve goes to a
service only when a reader asks for it.
"""

import os
import sys

LOCAL = ("127.0.0.1", "::1", "localhost", "")
TO_ADDRESS = ("socket.connect", "socket.sendto", "socket.sendmsg")  # (socket, address)
TO_NAME = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")  # (host, ...)
LOGGERS = ("wandb", "tensorboard", "torch.utils.tensorboard")


def note(line: str) -> None:
    said = f"{line}, asked by {' '.join(' '.join(sys.orig_argv).split())[:200]}\n"
    log = os.open(os.environ["OFFLINE_LOG"], os.O_WRONLY | os.O_APPEND)
    os.write(log, said.encode())
    os.close(log)


def watch(event: str, args: tuple) -> None:
    if event == "import" and args[0] in LOGGERS:
        note(f"import {args[0]}")
    host = None
    if event in TO_ADDRESS and isinstance(
        args[1], tuple
    ):  # a path or bytes: a unix socket; None: already connected
        host = args[1][0]
    elif event in TO_NAME:
        host = args[0]
    host = host.decode() if isinstance(host, bytes) else host
    if isinstance(host, str) and host not in LOCAL:
        note(f"{event} {host}")
        raise OSError(f"no network here: {event} {host}")


sys.addaudithook(watch)
