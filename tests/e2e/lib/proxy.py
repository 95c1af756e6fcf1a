"""An HTTP proxy of a few lines: CONNECT only, and it remembers who asked for what."""
import base64
import selectors
import socket
import threading


class Proxy:
    """A proxy on a port of its own. names: {host: address} it resolves. Calling order: Proxy(...) -> url -> stop()."""

    def __init__(self, names, user=None, refuse=None):
        self.names, self.user, self.refuse = names, user, refuse
        self.asked = []      # "HOST:PORT", in order, refused ones too
        self.headers = []    # the whole head of each request
        self.closing = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.1)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def port(self):
        return self.listener.getsockname()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def stop(self):
        self.closing = True
        self.thread.join()
        self.listener.close()

    def _serve(self):
        while not self.closing:
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client):
        with client:
            client.settimeout(10)
            head = b""
            while b"\r\n\r\n" not in head:
                part = client.recv(4096)
                if not part:
                    return
                head += part
            words = head.decode("latin-1")
            self.headers.append(words)
            method, target = words.split(" ")[:2]
            self.asked.append(target)
            status = self._judge(method, words)
            if status:
                client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            host, port = target.rsplit(":", 1)
            with socket.create_connection((self.names.get(host, host), int(port)), 10) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\nDate: Thu, 01 Jan 1970 00:00:01 GMT\r\n\r\n")
                self._pass(client, server)

    def _judge(self, method, words):
        if method != "CONNECT":
            return "405 Method Not Allowed"
        if self.user:
            wanted = base64.b64encode(self.user.encode()).decode()
            given = [line.split(":", 1)[1].split() for line in words.split("\r\n")
                     if line.lower().startswith("proxy-authorization:")]
            if given != [["Basic", wanted]]:
                return "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x"
        return self.refuse

    def _pass(self, client, server):
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while not self.closing:
                for key, _ in ready.select(0.1):
                    try:
                        data = key.fileobj.recv(65536)
                        if not data:
                            return
                        key.data.sendall(data)
                    except OSError:
                        return
