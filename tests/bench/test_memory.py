# SPDX-License-Identifier: LGPL-2.1-or-later
"""Proves that what copies an image takes no more memory for a file of 1 TiB: the copier in one process, the receiver in
another, as in the tool and the agent, and a real qemu-nbd between them."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

MIB = 1 << 20
SIZE = (1 << 40) + 513
ISLANDS = 64
LIMIT_KIB = 128 << 10


def fill(path, seed):
    """A sparse file of 1 TiB: islands over its whole length, and a piece long enough to fill every buffer."""
    block = bytes((value + seed[0]) % 256 for value in range(256)) * 2048
    with open(path, 'wb') as file:
        file.truncate(SIZE)
        for island in range(ISLANDS):
            file.seek(SIZE // ISLANDS * island + 12345)
            file.write(seed + block + island.to_bytes(8, 'big'))
        file.seek(SIZE // 2 + MIB)
        for number in range(128):
            file.write(number.to_bytes(8, 'big') + seed + block)


def copy(program, source, part, socket):
    """What bench-copy says of one copy."""
    done = subprocess.run([program, 'send', source, socket, '--', program, 'receive', part, str(SIZE), socket],
                          capture_output=True, text=True, timeout=100, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def judge(what, result, limit, sent):
    """Print how it went; 1 if it failed."""
    here, there = result['memory_kib'], result['memory_there_kib']
    good = result['equal'] and here > 0 and there > 0 and here + there < limit and sent(result['sent'])
    print(f'{"ok" if good else "not ok"} - {what}: {here >> 10} MiB here, {there >> 10} MiB there, '
          f'{result["sent"] / MIB:.0f} MiB sent in {result["seconds"]:.1f} s')
    return not good


def main():
    """Both ways to copy."""
    program = os.environ['BENCH_COPY']
    if shutil.which('qemu-nbd') is None:
        print('ok - memory # SKIP qemu-nbd is not installed\n0 passed, 0 failed, 1 skipped')
        return 0
    # AddressSanitizer's own memory is not what is meant; the copies must be right with it all the same.
    sanitized = b'__asan_init' in pathlib.Path(program).read_bytes()
    limit = LIMIT_KIB * (20 if sanitized else 1)
    with tempfile.TemporaryDirectory(dir='/var/tmp', prefix='vmig-memory-') as folder:
        source, part, socket = (str(pathlib.Path(folder) / name) for name in ('source', 'part', 'sock'))
        fill(source, b'new')

        def copied():
            return copy(program, source, part, socket)
        failed = judge('a new copy of 1 TiB', copied(), limit, lambda sent: sent > 64 * MIB)
        fill(part, b'old')
        failed += judge('a copy onto 1 TiB that differs', copied(), limit, lambda sent: sent > 64 * MIB)
        failed += judge('a copy onto 1 TiB that is equal', copied(), limit, lambda sent: sent == 0)
    print(f'{3 - failed} passed, {failed} failed, 0 skipped')
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
