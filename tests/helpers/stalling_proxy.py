"""A connection that a test can stall or cut."""

import math
import socket
import threading


class StallingProxy:
    """Passes bytes on to a port, until it is told to stall or to close, or has let so many bytes
    through.
    """

    def __init__(self, target_port):
        self.flowing = threading.Event()
        self.flowing.set()
        self.target_port = target_port
        self.links = []
        self.num_left = math.inf
        self.num_passed = 0
        self.before_cut = lambda: None
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.socket.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target_port))
            self.links += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink):
        try:
            while data := source.recv(65536):
                self.flowing.wait()
                if self.num_left < len(data):
                    sink.sendall(data[: int(self.num_left)])
                    self.num_left = math.inf
                    self.before_cut()
                    self.cut()
                    return
                self.num_left -= len(data)
                self.num_passed += len(data)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()

    def cut(self):
        links = self.links
        self.links = []
        for link in links:
            link.close()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self.socket.close()
        self.flowing.set()
        self.cut()
