"""A wire between a studio and something it depends on, which can be cut, held and mended: how an outage is made."""

import contextlib
import selectors
import socket
import threading


class Wire:
    """Carries TCP from a port of its own to another one of this computer.

    While it is cut, nobody is there; while it is held, somebody is, and says nothing.
    """

    def __init__(self, to_port: int) -> None:
        self._to = ("127.0.0.1", to_port)
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._carries = threading.Event()
        self._carries.set()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Refuse connections, and break those there are."""
        # An accept that is under way keeps the socket open; this wakes it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Take connections and what is sent over them, and carry nothing on until `release`."""
        self._carries.clear()

    def release(self) -> None:
        """Carry on what was held, and everything after it."""
        self._carries.set()

    def mend(self) -> None:
        """Carry again."""
        self._listener = self._listen(self.port)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self._to) as far:
            with self._lock:
                self._ends |= {near, far}
            other = {near: far, far: near}
            with selectors.DefaultSelector() as ready:
                for end in other:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(end, selectors.EVENT_READ)
                open_ = True
                while open_:
                    for key, _ in ready.select():
                        end = next(each for each in other if each is key.fileobj)
                        data = end.recv(2**16)
                        self._carries.wait()
                        open_ = bool(data)
                        if not data:
                            break
                        other[end].sendall(data)
            with self._lock:
                self._ends -= {near, far}
