"""A page in a headless browser: in Chromium, driven over its DevTools protocol through a pair of pipes, or in Firefox,
driven over WebDriver BiDi through a web socket."""

import base64
import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIREFOX, XVFB = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None), shutil.which("Xvfb")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
         "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-quic", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
PREFERENCES = {"webgl.force-enabled": True, "media.autoplay.default": 0, "browser.download.folderList": 2,
               "browser.download.always_ask_before_handling_new_types": False, "app.normandy.enabled": False,
               "datareporting.policy.dataSubmissionEnabled": False, "browser.aboutwelcome.enabled": False,
               "media.hardware-video-decoding.enabled": False, "network.connectivity-service.enabled": False}
OF_OUR_OWN_READING = "GL Driver Message|Canvas2D: Multiple readback"  # what Chromium says when tests read back pixels
PATIENCE = 60  # seconds that the browser has for an answer
KEYS = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
BIDI_KEYS = {"Tab": "\ue004", "Enter": "\ue006", "End": "\ue010", "Home": "\ue011", "ArrowLeft": "\ue012",
             "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015"}


class Page:
    """What both browsers do. `log`: what the page said on the console, and its errors; `requests`: the addresses it
    asked for; `downloads`: the folder where it saves files."""

    def __init__(self, downloads):
        self.downloads, self.number, self.log, self.requests = downloads, 0, [], []

    def wait(self, condition):
        """Waits until a JavaScript expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            assert time.monotonic() < until, f"it never came to {condition}; console: {self.log}"
            time.sleep(0.02)

    def downloaded(self):
        """(name, bytes) of the picture that the page has saved, once it is there; then it is gone."""
        until = time.monotonic() + PATIENCE
        while not (files := [file for file in self.downloads.glob("*.png") if file.read_bytes()[-8:-4] == b"IEND"]):
            assert time.monotonic() < until, f"nothing was saved; console: {self.log}"
            time.sleep(0.02)
        [file] = files
        data = file.read_bytes()
        file.unlink()
        return file.name, data


class Chromium(Page):
    def __init__(self, read, write, downloads):
        super().__init__(downloads)
        self.incoming, self.outgoing, self.buffer, self.session = read, write, b"", None
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """The result of a DevTools command; events that come before it are noted."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.outgoing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _receive(self):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.incoming], [], [], PATIENCE)
            assert ready, "the browser does not answer"
            data = os.read(self.incoming, 2**20)
            assert data, "the browser has ended"
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(message)
        method, details = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.log.append(" ".join(str(argument.get("value")) for argument in details["args"]))
        elif method == "Runtime.exceptionThrown":
            self.log.append(details["exceptionDetails"]["exception"].get("description", "an exception"))
        elif method == "Log.entryAdded" and not re.search(OF_OUR_OWN_READING, details["entry"]["text"]):
            self.log.append(details["entry"]["text"])
        return message

    def evaluate(self, script):
        """The value of a JavaScript expression in the page; of a promise, what it comes to."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def size(self, width, height, scale=1, mobile=False):
        """Gives the page another size, and waits until it has taken it on: width and height may come one by one."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=mobile)
        self.wait(f"innerWidth === {width} && innerHeight === {height}")
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def open(self, address):
        """Opens a page: a URL, or the path of a file."""
        self.call("Page.navigate", url=address if isinstance(address, str) else address.resolve().as_uri())
        self.wait("document.readyState == 'complete'")

    def mouse(self, kind, x, y, **parameters):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **parameters)

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", buttons=1, clickCount=1)

    def key(self, key):
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        more = {"text": text, "windowsVirtualKeyCode": KEYS.get(key, 0)}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **more)

    def reduce_motion(self, reduced):
        motion = {"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"}
        self.call("Emulation.setEmulatedMedia", features=[motion])

    def screenshot(self):
        """What stands on the screen, BGR uint8."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


class Firefox(Page):
    def __init__(self, port, downloads):
        super().__init__(downloads)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(bytes(16)).decode()
        headers = {"Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade",
                   "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"}
        lines = ["GET /session HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        while self.stream.readline().strip():
            pass
        self.call("session.new", capabilities={})
        self.tab = self.call("browsingContext.getTree")["contexts"][0]["context"]
        self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])

    def call(self, method, **parameters):
        """The result of a BiDi command; events that come before it are noted."""
        self.number += 1
        data = json.dumps({"id": self.number, "method": method, "params": parameters}).encode()
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2)
        self.socket.sendall(b"\x81" + size + b"\1\1\1\1" + bytes(byte ^ 1 for byte in data))  # RFC 6455: masked, by 1
        while True:
            answer = self._receive()
            if answer.get("id") == self.number:
                assert answer["type"] == "success", f"{method}: {answer}"
                return answer["result"]

    def _receive(self):
        text, last = b"", False
        while not last:
            first, size = self.stream.read(2)
            last = first & 0x80
            if size > 125:
                size = int.from_bytes(self.stream.read(2 if size == 126 else 8))
            text += self.stream.read(size)
        message = json.loads(text)
        if message.get("method") == "network.beforeRequestSent":
            self.requests.append(message["params"]["request"]["url"])
        elif message.get("method") == "log.entryAdded":
            self.log.append(message["params"]["text"])
        return message

    def evaluate(self, script):
        """The value of a JavaScript expression in the page; of a promise, what it comes to."""
        expression = f"(async () => JSON.stringify(await ({script})) ?? null)()"
        answer = self.call("script.evaluate", expression=expression, awaitPromise=True, target={"context": self.tab})
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"].get("value", "null"))

    def size(self, width, height):
        self.call("browsingContext.setViewport", context=self.tab, viewport={"width": width, "height": height})
        self.wait(f"innerWidth === {width} && innerHeight === {height}")
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")

    def open(self, address):
        """Opens a page: a URL, or the path of a file."""
        url = address if isinstance(address, str) else address.resolve().as_uri()
        self.call("browsingContext.navigate", context=self.tab, url=url, wait="complete")

    def act(self, kind, *actions, **parameters):
        source = {"type": kind, "id": kind, "actions": actions, **parameters}
        self.call("input.performActions", context=self.tab, actions=[source])

    def click(self, x, y):
        self.act("pointer", {"type": "pointerMove", "x": round(x), "y": round(y)}, {"type": "pointerDown", "button": 0},
                 {"type": "pointerUp", "button": 0})

    def key(self, key):
        self.act("key", *({"type": kind, "value": BIDI_KEYS.get(key, key)} for kind in ("keyDown", "keyUp")))

    def reduce_motion(self, reduced):
        assert not reduced, "BiDi has no command for it"

    def screenshot(self):
        """What stands on the screen, BGR uint8."""
        data = base64.b64decode(self.call("browsingContext.captureScreenshot", context=self.tab)["data"])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@contextlib.contextmanager
def running(command, **options):
    """A process that ends with the context."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextlib.contextmanager
def virtual_screen():
    """The name of a display of its own, ":N", that nobody sees."""
    reading, writing = os.pipe()
    with running([XVFB, "-displayfd", str(writing), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"],
                 pass_fds=[writing]):
        os.close(writing)
        with os.fdopen(reading) as number:
            yield f":{int(number.readline())}"


@contextlib.contextmanager
def firefox_page():
    """A `Firefox` of its own, which ends with the context. It draws on no screen, but needs a virtual one for
    WebGL in software."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, virtual_screen() as display:
        downloads = Path(profile, "downloads")
        downloads.mkdir()
        preferences = {**PREFERENCES, "browser.download.dir": str(downloads)}
        Path(profile, "user.js").write_text("".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
                                                    for name, value in preferences.items()))
        command = [FIREFOX, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port=0"]
        with running(command, env={**os.environ, "DISPLAY": display}):
            listening, until = Path(profile, "WebDriverBiDiServer.json"), time.monotonic() + PATIENCE
            while not listening.is_file() or not listening.read_text().endswith("}"):
                assert time.monotonic() < until, "Firefox does not listen"
                time.sleep(0.05)
            yield Firefox(json.loads(listening.read_text())["ws_port"], downloads)


@contextlib.contextmanager
def browser_page(*flags):
    """A `Chromium` of its own, which ends with the context."""
    (here_in, there_out), (there_in, here_out) = os.pipe(), os.pipe()
    os.set_blocking(here_in, False)

    def connect():  # the protocol's places: the browser reads 3 and writes 4
        read, write = os.dup(there_in), os.dup(there_out)
        os.dup2(read, 3)
        os.dup2(write, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}"]
        with running(command, preexec_fn=connect, close_fds=False):
            os.close(there_in)
            os.close(there_out)
            try:
                downloads = Path(profile, "downloads")
                downloads.mkdir()
                yield Chromium(here_in, here_out, downloads)
            finally:
                os.close(here_in)
                os.close(here_out)
