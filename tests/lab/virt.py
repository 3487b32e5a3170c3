# SPDX-License-Identifier: LGPL-2.1-or-later
"""A minimal libvirt binding through ctypes, to query a guest's state many times a second.

virsh costs one process per query, which a sampler that looks for two running copies cannot afford on two cores. The
host's socket is reached through /proc/PID/root, so no namespace is entered.
"""
import ctypes

STATES = ['no state', 'running', 'idle', 'paused', 'in shutdown', 'shut off', 'crashed',
          'pmsuspended']


def _load():
    lib = ctypes.CDLL('libvirt.so.0')
    lib.virConnectOpen.restype = ctypes.c_void_p
    lib.virConnectOpen.argtypes = [ctypes.c_char_p]
    lib.virDomainLookupByName.restype = ctypes.c_void_p
    lib.virDomainLookupByName.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    lib.virDomainGetState.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int),
                                      ctypes.POINTER(ctypes.c_int), ctypes.c_uint]
    for name in ('virDomainFree', 'virConnectClose', 'virConnectIsAlive'):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
    lib.virSetErrorFunc.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return lib


class StateReader:
    """Queries one host's libvirtd for states; reconnects by itself after libvirtd was down."""

    _lib = None
    _handler_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    _silent = _handler_type(lambda *_: None)

    def __init__(self, lab, host):
        self.lab, self.host = lab, host
        socket = lab.path(host, '/run/libvirt/libvirt-sock')
        self.uri = f'qemu+unix:///system?socket={socket}&mode=legacy'.encode()
        self.connection = None
        if StateReader._lib is None:
            StateReader._lib = _load()
            StateReader._lib.virSetErrorFunc(None, ctypes.cast(self._silent, ctypes.c_void_p))

    def close(self):
        """Close the connection."""
        if self.connection:
            self._lib.virConnectClose(self.connection)
        self.connection = None

    def state(self, domain):
        """A word of STATES; None if the host has no such domain; 'unknown' if libvirtd is down."""
        if self.connection and self._lib.virConnectIsAlive(self.connection) != 1:
            self.close()
        if not self.connection and self.lab.may_ask_libvirt(self.host):
            self.connection = self._lib.virConnectOpen(self.uri)
        if not self.connection:
            return 'unknown'
        found = self._lib.virDomainLookupByName(self.connection, domain.encode())
        if not found:
            return None if self._lib.virConnectIsAlive(self.connection) == 1 else 'unknown'
        state, reason = ctypes.c_int(), ctypes.c_int()
        failed = self._lib.virDomainGetState(found, ctypes.byref(state), ctypes.byref(reason), 0)
        self._lib.virDomainFree(found)
        return 'unknown' if failed else STATES[state.value]
