"""The page of live.py: viewer.py's, served to this machine alone. It asks for a picture when it has shown the last."""

import html
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2

from errors import InputError
from video.resize import limit_rows
from viewer.page import arrange, compose, live_page

ROWS = 720      # of a frame at most
PATIENCE = 20   # seconds that a request waits for a picture
QUALITY = 88    # of the JPEG


class LivePage:
    """A context, within which the page stands at `address`. port: 0 takes any that is free. Raises InputError where the
    port is taken. Pictures are composed and encoded only when somebody looks."""

    def __init__(self, port, title):
        self.title, self.changed, self.encoding = title, threading.Condition(), threading.Lock()
        self.number, self.latest, self.ended = 0, None, False
        self.encoded = 0, "", b""
        try:
            self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as problem:
            raise InputError(f"port {port} cannot be had ({problem.strerror}): choose another live_port, or 0 for any "
                             "that is free") from None
        self.server.page, self.server.daemon_threads, self.server.block_on_close = self, True, False
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()

    def show(self, frame, saliency, state):
        """Makes a frame (BGR uint8) and its map (uint8), of one size throughout, what is shown, with a line of text."""
        with self.changed:
            self.number, self.latest = self.number + 1, (frame, saliency, state)
            self.changed.notify_all()

    def page(self):
        """The page, once there is a picture; None if there is none for long."""
        if not self.wait_beyond(0):
            return None
        frame, saliency, _ = self.latest
        return live_page(self.title, arrange(limit_rows(frame, ROWS).shape, saliency.shape)).encode()

    def picture(self, after):
        """(number, state, JPEG) of the newest picture, once there is one beyond number `after`; None if none comes."""
        if not self.wait_beyond(after):
            return None
        with self.encoding:  # once for all who look
            with self.changed:
                number, (frame, saliency, state) = self.number, self.latest
            if self.encoded[0] != number:
                frame = limit_rows(frame, ROWS)
                picture = compose(frame, saliency, arrange(frame.shape, saliency.shape))
                jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
                self.encoded = number, state, jpeg
            return self.encoded

    def wait_beyond(self, number):
        """Waits until there is a picture beyond that number, and says whether there is."""
        with self.changed:
            self.changed.wait_for(lambda: self.number > number or self.ended, PATIENCE)
            return self.number > number


class Handler(BaseHTTPRequestHandler):
    """Answers GET / and GET /picture?after=NUMBER."""

    protocol_version = "HTTP/1.1"
    timeout = 2 * PATIENCE

    def do_GET(self):
        page, url = self.server.page, urlsplit(self.path)
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in ("127.0.0.1", "localhost"):  # another name for this machine: a stranger's page is asking
            return self.answer(403, b"only 127.0.0.1 and localhost are served here")
        if url.path == "/":
            body = page.page()
            if body:
                return self.answer(200, body, "text/html; charset=utf-8")
            text = f"{html.escape(page.title)} has sent no frame yet: reload this page later"
            return self.answer(503, text.encode())
        after = parse_qs(url.query).get("after", ["0"])[0]
        if url.path != "/picture" or not after.isdecimal():
            return self.answer(404, b"there is / and /picture?after=NUMBER")
        found = page.picture(int(after))
        if found:
            number, state, jpeg = found
            return self.answer(200, jpeg, "image/jpeg", {"X-Number": number, "X-State": state})
        return self.answer(410 if page.ended else 204, b"")

    def answer(self, status, body, kind="text/plain; charset=utf-8", headers=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        if status != 204:  # which has no body
            self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing: the terminal shows how the prediction goes."""
