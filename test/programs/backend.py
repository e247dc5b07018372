# SPDX-License-Identifier: BSD-2-Clause
"""Something for relays to connect to: a listener whose connections the test handles itself, or that
serves each with a function on a thread."""
import socket
import threading

from program import cli


class Backend:
    def __init__(self, serve=None, family=socket.AF_INET, host="127.0.0.1"):
        self.listener = socket.create_server((host, 0), family=family, backlog=256)
        self.listener.settimeout(cli.PATIENCE_S)
        self.port = self.listener.getsockname()[1]
        self.count = 0
        self.serve = serve
        if serve is not None:
            threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self.handle, args=(peer,), daemon=True).start()

    def handle(self, peer):
        peer.settimeout(cli.PATIENCE_S)
        with peer:
            try:
                self.serve(peer)
            except OSError:
                pass

    def accept(self):
        peer, _ = self.listener.accept()
        peer.settimeout(cli.PATIENCE_S)
        return peer

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.serve is not None:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        self.listener.close()


def echo(peer):
    while data := peer.recv(65536):
        peer.sendall(data)


def refusing_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def both_ways(front, back, size):
    """Sends so many bytes each way at once; what went in must come out."""
    import hashlib
    sums = {}

    def send(peer, name):
        block = bytearray(name.encode() * (1 << 16))[:1 << 16]
        digest, left, step = hashlib.blake2b(), size, 0
        while left > 0:
            block[:8] = step.to_bytes(8, "big")
            part = memoryview(block)[:min(left, len(block))]
            digest.update(part)
            peer.sendall(part)
            left -= len(part)
            step += 1
        peer.shutdown(socket.SHUT_WR)
        sums[name, "sent"] = digest.hexdigest()

    def receive(peer, name):
        digest, buffer = hashlib.blake2b(), bytearray(1 << 18)
        while (count := peer.recv_into(buffer)) > 0:
            digest.update(memoryview(buffer)[:count])
        sums[name, "received"] = digest.hexdigest()
    threads = [threading.Thread(target=send, args=(front, "up")),
               threading.Thread(target=receive, args=(back, "up")),
               threading.Thread(target=send, args=(back, "down")),
               threading.Thread(target=receive, args=(front, "down"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sums
