"""The process that test_log_kill.py kills: an audit log under load that tells each acknowledged record on its output.

It forks the writer anew at each line of its input, so that fifty starts cost one import.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from audit_proxy.adapters.audit_journal.log import Options, open_log
from audit_proxy.adapters.files_posix import PosixFiles

ORIGIN = "example.com/killed"
SEED = b"s" * 32


class Clock:
    def now(self):
        return time.time()


async def write(directory, turn):
    options = Options(commit_interval_ms=1, checkpoint_interval_s=0.005, segment_bytes=200_000)
    log = await open_log(PosixFiles(Path(directory)), ORIGIN, "n", SEED, Clock(), options)
    os.write(1, b"open %d\n" % log.size)

    async def task(number):
        n = 0
        while True:
            n += 1
            record = b'{"r":"%d.%d.%d","pad":"%s"}' % (turn, number, n, b"x" * (n % 900))
            index = await log.append(record)
            os.write(1, b"ack %d %b\n" % (index, record))

    await asyncio.gather(*(task(number) for number in range(24)))


def main():
    for turn, _ in enumerate(sys.stdin):
        child = os.fork()
        if not child:
            asyncio.run(write(sys.argv[1], turn))
        os.write(1, b"pid %d\n" % child)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
