# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proxy in front of a lab host's libvirtd that parses libvirt's RPC and can cut it at one message.

    with RpcProxy(lab, 'b') as proxy:
        cut = proxy.arm(Cut(FINISH, 'reply', 'close'))
        ... migrate to b ...
        cut.fired.wait(30)

It listens in place of /run/libvirt/libvirt-sock and forwards everything to the real socket beside it. So all clients of
that libvirtd use the proxy: virsh, the tool, and over ssh the other host's libvirtd with its peer-to-peer migration.
Only the connection that carries the named message is cut. A restarted libvirtd creates its own socket in that place,
which disables the proxy.
"""
import dataclasses
import socket
import struct
import threading
import time
import typing

# remote_protocol.x. Of the five calls of a migration, these two cross the network in a peer-to-peer one; Begin, Perform
# and Confirm are calls within the source's libvirtd.
PROGRAM = 0x20008086
PREPARE, FINISH = 303, 306
CALL, REPLY = 0, 1
SOCKET = '/run/libvirt/libvirt-sock'
HEADER = struct.Struct('>IIIiIi')  # program, version, procedure, type, serial, status: virnetprotocol.x
MOST = 32 * 1024 * 1024


@dataclasses.dataclass
class Cut:
    """Where and how a connection breaks, once.

    procedure   of the message
    where       'call': it does not reach libvirtd; 'reply': the reply gets lost; 'delivered': right after the reply
    how         'close', or 'hole': the connection stays open, but everything from either end is dropped, even its close
    also        called at that moment, before anything is cut
    """
    procedure: int
    where: str
    how: str
    also: typing.Callable = None
    fired: threading.Event = dataclasses.field(default_factory=threading.Event)
    at: float = None  # the time.monotonic() of the cut


class _Link:
    """One connection with both its ends."""

    def __init__(self, client, server):
        self.client, self.server, self.hole = client, server, False
        self.pumps = 2

    def cut(self):
        """Close both ends of the connection."""
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def _read(end, length):
    data = bytearray()
    while len(data) < length:
        part = end.recv(min(length - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def _read_packet(end):
    """One message with its length, which includes itself."""
    head = _read(end, 4)
    length, = struct.unpack('>I', head)
    if not 4 + HEADER.size <= length <= MOST:
        raise OSError(f'a message of {length} bytes is none of libvirt')
    return head + _read(end, length - 4)


class RpcProxy:
    """Use in a `with`. seen: [(procedure, 'call' or 'reply')] of the connections that migrate."""

    def __init__(self, lab, host):
        self.path = lab.path(host, SOCKET)
        self.real = lab.path(host, f'{SOCKET}.real')
        self.seen, self.cuts, self.links, self.threads = [], [], [], []
        self.lock = threading.Lock()
        self.listener = None

    def arm(self, cut):
        """Arm a Cut; returns it."""
        with self.lock:
            self.cuts.append(cut)
        return cut

    def __enter__(self):
        self.path.rename(self.real)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(64)
        self._thread(self._accept)
        return self

    def __exit__(self, *_):
        """Put the real socket back in its place; this ends every connection through the proxy."""
        mine = self.path.exists() and self.real.exists()
        if mine:
            self.real.rename(self.path)
        self.listener.shutdown(socket.SHUT_RDWR)
        with self.lock:
            links = list(self.links)
        for link in links:
            link.hole = False
            link.cut()
        for thread in self.threads:
            thread.join(10)
        self.listener.close()

    def _thread(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self.real))
            except OSError:
                client.close()
                continue
            link = _Link(client, server)
            with self.lock:
                self.links.append(link)
            self._thread(self._pump, link, client, server)
            self._thread(self._pump, link, server, client)

    def _pump(self, link, source, target):
        try:
            while True:
                packet = _read_packet(source)
                program, _, procedure, kind, _, _ = HEADER.unpack_from(packet, 4)
                cut = None
                if program == PROGRAM and procedure in (PREPARE, FINISH) and not link.hole:
                    cut = self._meet(procedure, 'call' if kind == CALL else 'reply')
                if cut and cut.where == 'delivered':
                    target.sendall(packet)
                if cut:
                    self._make(cut, link)
                elif not link.hole:
                    target.sendall(packet)
        except (OSError, EOFError):
            pass
        if not link.hole:
            link.cut()
        with self.lock:
            link.pumps -= 1
            if link.pumps:
                return
            self.links.remove(link)
        link.client.close()
        link.server.close()

    def _meet(self, procedure, kind):
        """The Cut that this message triggers, or None."""
        with self.lock:
            self.seen.append((procedure, kind))
            for cut in self.cuts:
                wanted = 'call' if cut.where == 'call' else 'reply'
                if cut.procedure == procedure and wanted == kind and not cut.fired.is_set():
                    cut.at = time.monotonic()
                    cut.fired.set()
                    return cut
        return None

    @staticmethod
    def _make(cut, link):
        if cut.also:
            cut.also()
        if cut.how == 'hole':
            link.hole = True
        else:
            link.cut()
