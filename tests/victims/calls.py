"""calls OPENED READ PORT: as calls.c does, on one thread."""
import os
import socket
import sys
from collections import Counter

opened, read, port = sys.argv[1:]
file = os.open(read, os.O_RDONLY)


def connect():
    socket.create_connection(("127.0.0.1", int(port))).close()


OPS = {
    "open": lambda: os.close(os.open(opened, os.O_RDONLY)),
    "read": lambda: os.pread(file, 1, 0),
    "connect": connect,
}


def errno(make):
    try:
        make()
    except OSError as error:
        return error.errno
    return 0


print("ready", flush=True)
for line in sys.stdin:
    words = []
    for name, make in OPS.items():
        seen = Counter(errno(make) for _ in range(10))
        words.append(name + "=" + ",".join(f"{number}:{count}" for number, count in seen.items()))
    print(" ".join(words), flush=True)
