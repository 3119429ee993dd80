"""A local web server for the page of live.py, reachable from this machine only. The page asks for the next picture when
it has shown the last one."""

import html
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import cv2

from errors import InputError
from video.planes import even_size, size_of
from viewer.page import arrange, compose, live_page

MAX_ROWS = 720      # of a frame
MAX_WAIT = 20       # seconds that a request waits for a picture
JPEG = cv2.IMWRITE_JPEG_QUALITY, 88


def shown_size(frame):
    """(height, width) at which a frame is shown."""
    return even_size(*size_of(frame), MAX_ROWS)


class LivePage:
    """A context that serves the page at `address`. port: of this machine; 0 is any free one. title: of the page.
    Pictures are composed and encoded only when somebody looks. Raises InputError if the port cannot be had."""

    def __init__(self, port, title):
        self.title, self.changed, self.encoding = title, threading.Condition(), threading.Lock()
        self.number, self.latest, self.ended = 0, None, False
        self.encoded = 0, "", b""
        try:
            self.server = Server(("127.0.0.1", port), Handler)
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
        """Shows a frame, as `video.planes.to_planes` takes it, and its map, uint8 (h, w), with `state`, a line of text.
        The sizes must stay the same."""
        with self.changed:
            self.number, self.latest = self.number + 1, (frame, saliency, state)
            self.changed.notify_all()

    def page(self):
        """The page as bytes, once there is a picture; None if there is none within MAX_WAIT."""
        if not self.wait_beyond(0):
            return None
        frame, saliency, _ = self.latest
        return live_page(self.title, arrange(shown_size(frame), saliency.shape)).encode()

    def picture(self, after):
        """(number, state, JPEG bytes) of the newest picture, once its number is above `after`; None if no such picture
        comes within MAX_WAIT."""
        if not self.wait_beyond(after):
            return None
        with self.encoding:  # a picture is encoded once, however many pages show it
            with self.changed:
                number, (frame, saliency, state) = self.number, self.latest
            if self.encoded[0] != number:
                picture = compose(frame, saliency, arrange(shown_size(frame), saliency.shape))
                jpeg = cv2.imencode(".jpg", picture.to_ndarray(format="bgr24"), JPEG)[1].tobytes()
                self.encoded = number, state, jpeg
            return self.encoded

    def wait_beyond(self, number):
        """Waits for a picture with a higher number, MAX_WAIT at most, and returns whether there is one."""
        with self.changed:
            self.changed.wait_for(lambda: self.number > number or self.ended, MAX_WAIT)
            return self.number > number


class Server(ThreadingHTTPServer):
    """Says nothing of clients that leave in the middle of an answer."""

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers GET / and GET /picture?after=NUMBER."""

    protocol_version = "HTTP/1.1"
    timeout = 2 * MAX_WAIT

    def do_GET(self):
        page, url = self.server.page, urlsplit(self.path)
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in ("127.0.0.1", "localhost"):  # a page of another site asks, under a name for this machine
            return self.answer(403, b"only 127.0.0.1 and localhost are served here")
        if url.path == "/":
            body = page.page()
            if body:
                return self.answer(200, body, "text/html; charset=utf-8")
            text = f"{html.escape(page.title)} has sent no frame yet: reload this page later"
            return self.answer(503, text.encode())
        after = parse_qs(url.query).get("after", ["0"])[0]
        if url.path != "/picture" or not re.fullmatch(r"[0-9]{1,15}", after):
            return self.answer(404, b"there is / and /picture?after=NUMBER")
        found = page.picture(int(after))
        if found:
            number, state, jpeg = found
            return self.answer(200, jpeg, "image/jpeg", {"X-Number": number, "X-State": state})
        return self.answer(410 if page.ended else 204, b"")

    def answer(self, status, body, kind="text/plain; charset=utf-8", headers=None):
        """Sends a whole answer. kind: its Content-Type; headers: more of them, {name: value}."""
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
        """Logs nothing: the terminal shows the progress of the prediction."""
