"""A wire to PostgreSQL that breaks at COMMIT: before it, or before its answer."""
import collections
import socket
import struct
import threading

PROTOCOL = 3 << 16  # of a startup message; TLS and GSS are asked for with other codes
DONE = b"C\0\0\0\x0bCOMMIT\0"  # CommandComplete
READY = b"Z\0\0\0\5"


class Line:
    """One connection: what of the client's words is read so far."""

    def __init__(self, client, server):
        self.client, self.server = client, server
        self.words, self.started, self.kept = b"", False, None

    def cut(self):
        for side in (self.client, self.server):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def next_message(self):
        """The next whole message of the client; None: the rest of it has not come."""
        head = 1 if self.started else 0
        if len(self.words) < head + 4:
            return None
        size = head + struct.unpack("!I", self.words[head:head + 4])[0]
        if len(self.words) < size:
            return None
        message, self.words = self.words[:size], self.words[size:]
        self.started = self.started or struct.unpack("!I", message[4:8])[0] == PROTOCOL
        return message


class CommitThief:
    """On a port of 127.0.0.1, in front of a server's Unix socket. take(): what becomes of the COMMIT that the client sends
    now: "commit" (the server never sees it), "answer" (the server has done it, the client is not told), or None.

    Calling order: CommitThief(socket, take) -> port -> stop(). taken counts; take is called by one thread at a time."""

    def __init__(self, path, take):
        self.path, self.take, self.lock = str(path), take, threading.Lock()
        self.taken, self.lines = collections.Counter(), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.path)
            except OSError:
                client.close()
                continue
            line = Line(client, server)
            with self.lock:
                self.lines.append(line)
            for pump in (self.upward, self.downward):
                threading.Thread(target=self.carry, args=(pump, line), daemon=True).start()

    @staticmethod
    def carry(pump, line):
        try:
            pump(line)
        except OSError:
            pass
        line.cut()

    def upward(self, line):
        while data := line.client.recv(65536):
            line.words += data
            while (message := line.next_message()) is not None:
                if message[:1] == b"P" and message[5:].split(b"\0")[1] == b"COMMIT":
                    with self.lock:
                        kind = self.take()
                        self.taken[kind] += 1
                    if kind == "commit":
                        return
                    if kind == "answer":
                        line.kept = b""
                line.server.sendall(message)

    @staticmethod
    def downward(line):
        while data := line.server.recv(65536):
            if line.kept is None:
                line.client.sendall(data)
                continue
            line.kept += data
            if DONE in line.kept:
                return
            if READY in line.kept:  # it was refused: that is no answer to keep
                data, line.kept = line.kept, None
                line.client.sendall(data)

    def stop(self):
        self.listener.close()
        with self.lock:
            lines, self.lines = self.lines, []
        for line in lines:
            line.cut()
