"""A page in headless Chromium, driven over its DevTools protocol through a pair of pipes."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

import cv2
import numpy as np

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
         "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-quic", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
PATIENCE = 60  # seconds that the browser has for an answer


class Page:
    """`log`: what the page said on the console, and its errors; `requests`: the addresses it asked for."""

    def __init__(self, read, write):
        self.incoming, self.outgoing, self.buffer = read, write, b""
        self.number, self.log, self.requests, self.session = 0, [], [], None
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
        elif method == "Log.entryAdded" and "GL Driver Message" not in details["entry"]["text"]:  # of our own reading
            self.log.append(details["entry"]["text"])
        return message

    def evaluate(self, script):
        """The value of a JavaScript expression in the page; of a promise, what it comes to."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition):
        """Waits until a JavaScript expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            assert time.monotonic() < until, f"it never came to {condition}; console: {self.log}"
            time.sleep(0.02)

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

    def key(self, key):
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def screenshot(self):
        """What stands on the screen, BGR uint8."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@contextlib.contextmanager
def browser_page(*flags):
    """A `Page` of a browser of its own, which ends with the context."""
    (here_in, there_out), (there_in, here_out) = os.pipe(), os.pipe()
    os.set_blocking(here_in, False)

    def connect():  # the protocol's places: the browser reads 3 and writes 4
        read, write = os.dup(there_in), os.dup(there_out)
        os.dup2(read, 3)
        os.dup2(write, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen([CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}"], preexec_fn=connect,
                                   close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(there_in)
        os.close(there_out)
        try:
            yield Page(here_in, here_out)
        finally:
            os.close(here_in)
            os.close(here_out)
            process.terminate()
            process.wait(PATIENCE)
