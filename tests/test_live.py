"""Live prediction: the samples, the page in a real browser, and whole runs on files and on a stream that breaks off."""

import re
import signal
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from browser import CHROMIUM, browser_page
from conftest import ROOT, stereo_frames
from processes import Script

import config
from flow.dis import dis_flow
from inference import predict
from live import LiveFrame, Source, live_inputs, newest
from model import SST_Sal, load_model, save_model
from sphere import directions
from video.encode import write_video
from video.resize import resized
from viewer.server import LivePage
from windows import SteppedWindows

SIZE = 48, 96


def frames(number):
    """A texture that turns: (H, W, 3) BGR uint8 each."""
    still = (np.sin(directions(*SIZE) @ np.array([[9, 2, 5], [3, 8, 1], [2, 4, 7.0]])) * 100 + 128).astype(np.uint8)
    return [np.roll(still, 3 * k, axis=1) for k in range(number)]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.pth"
    save_model(SST_Sal(6, 4, "exact", latitude=True), path, {})
    return path


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / "clip.mp4", frames(12), 8)
    return tmp_path / "clip.mp4"


def start(model_file, *arguments):
    """live.py as a process; its port is one that is free."""
    return Script("live.py", f"--inference_model={model_file}", "--live_port=0", "--resolution=(24, 48)",
                  "--device=cpu", *arguments, cwd=ROOT)


def address_of(process):
    """Where its page stands, which its first line says."""
    line = process.stdout.readline()
    return re.search(r"http://127\.0\.0\.1:\d+", line)[0]


def get(address, **headers):
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60)


def read_back(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


# ---------------------------------------------------------------------------------------------------------- the stages


def test_maps_are_those_of_predict(model_file, monkeypatch):
    monkeypatch.setattr(config, "resolution", (24, 48))
    monkeypatch.setattr(config, "sequence_length", 6)
    clip, device = frames(10), torch.device("cpu")     # 6 + 4: the last window ends with the last frame
    monkeypatch.setattr(config, "overlap", 2)
    expected = list(predict(clip, model_file))
    live_frames = [LiveFrame(slot, 0.0, image) for slot, image in enumerate(clip)]
    step = SteppedWindows(load_model(model_file, device), 6, 2, device)
    found = [(frame.slot, step(read)) for frame, read in live_inputs(live_frames, dis_flow, (24, 48), 512)]
    assert [slot for slot, _ in found] == list(range(10))
    np.testing.assert_allclose([saliency for _, saliency in found], expected, atol=1e-5)


@pytest.mark.parametrize("number", [0, 1])
def test_few_frames_have_flow_that_moves_nowhere(number):
    live_frames = [LiveFrame(0, 0.0, image) for image in frames(number)]
    inputs = [read for _, read in live_inputs(live_frames, dis_flow, (24, 48), 512)]
    assert len(inputs) == number and all((read[..., 3:] == 255).all() for read in inputs)


class Endless:
    """A camera that sends a frame every 10 ms."""

    def __init__(self):
        self.stopped, self.capture, self.sent = threading.Event(), self, 0

    def frames(self):
        for slot in count():
            if self.stopped.wait(0.01):
                return
            self.sent = slot
            yield LiveFrame(slot, time.monotonic(), None)

    def release(self):
        self.released = True


def test_the_newest_frame_comes_and_those_before_it_are_left_out():
    source = Endless()
    with newest(source) as live_frames:
        first = next(live_frames).slot
        time.sleep(0.3)
        second, sent = next(live_frames).slot, source.sent
    assert second > first + 3 and second >= sent - 3
    assert source.stopped.is_set() and source.released


def test_a_file_plays_at_its_pace_and_its_last_frame_is_not_lost(video):
    began = time.monotonic()
    source = Source(str(video), "mono", 720)
    with newest(source) as live_frames:
        slots = [frame.slot for frame in live_frames]
    assert time.monotonic() - began >= 11 / 8 and slots[-1] == 11
    assert "ended after 1 s" in source.ended and not source.vanished


def test_the_model_reads_fewer_rows_than_are_shown(video):
    with newest(Source(str(video), "mono", 36, model_rows=24)) as live_frames:
        frame = next(iter(live_frames))
    assert frame.image.shape == (24, 48, 3) and (frame.picture.height, frame.picture.width) == (48, 96)
    greys = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(int) for image in (
        frame.image, resized(frames(1)[0], (24, 48)))]  # colours have a quarter of the pixels
    assert abs(greys[0] - greys[1]).mean() < 4


def test_stereo_taken_for_mono_is_warned_of(tmp_path, capsys):
    write_video(tmp_path / "stereo.mp4", stereo_frames("top_bottom"), 8)
    for layout in ("top_bottom", "mono"):
        with newest(Source(str(tmp_path / "stereo.mp4"), layout, 720)) as live_frames:
            list(live_frames)
        warned = "stereo.mp4 looks like stereo; if it is, use --stereo_layout=top_bottom" in capsys.readouterr().err
        assert warned == (layout == "mono")


def test_errors_of_the_source_are_raised():
    class Broken(Endless):
        def frames(self):
            yield LiveFrame(0, 0.0, None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), newest(Broken()) as live_frames:
        list(live_frames)


# ------------------------------------------------------------------------------------------------------------ the page


def brightness(time):
    """A frame and a map that say by their brightness when they are."""
    return np.full((64, 128, 3), 40 + 20 * time, np.uint8), np.full((24, 48), 10 * time, np.uint8)


def test_pictures_come_when_there_is_a_newer_one():
    with LivePage(0, "camera 0") as page:
        page.show(*brightness(1), "first")
        answer = get(f"{page.address}/picture?after=0")
        picture = cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR)
        assert answer.headers["X-Number"] == "1" and answer.headers["X-State"] == "first"
        assert abs(picture[:64].mean() - 60) < 2
        threading.Timer(0.3, lambda: page.show(*brightness(2), "second")).start()
        began = time.monotonic()
        assert get(f"{page.address}/picture?after=1").headers["X-State"] == "second"
        assert time.monotonic() - began > 0.2


def test_strangers_and_unknown_addresses_are_turned_away():
    with LivePage(0, "x") as page:
        page.show(*brightness(0), "")
        for path, host, status in (("/", "evil.example:80", 403), ("/picture?after=0", "evil.example", 403),
                                   ("/secret", None, 404), ("/picture?after=x", None, 404)):
            with pytest.raises(urllib.error.HTTPError) as problem:
                get(page.address + path, **({"Host": host} if host else {}))
            assert problem.value.code == status
        assert get(page.address).status == 200


def test_it_answers_that_it_has_ended():
    page = LivePage(0, "x")
    with page:
        page.show(*brightness(0), "")
        failures = []

        def ask():
            try:
                get(f"{page.address}/picture?after=1")
            except urllib.error.HTTPError as problem:
                failures.append(problem.code)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.2)
    asking.join(10)
    assert failures == [410]


@pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the live page needs chromium, which is missing")
def test_the_page_shows_what_comes_and_says_when_it_ends():
    middle = """(() => {
        draw();
        const data = new Uint8Array(4);
        gl.readPixels(canvas.width >> 1, canvas.height >> 1, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, data);
        return data[1];
    })()"""
    with browser_page() as tab:
        tab.size(400, 300)
        with LivePage(0, "a <camera>") as page:
            page.show(*brightness(1), "8.0 frames/s, latency 100 ms")
            tab.open(page.address)
            tab.evaluate("setBlend(0)")
            tab.wait("live.picture && !fresh")
            assert tab.evaluate("document.title") == "a <camera>"
            assert abs(tab.evaluate(middle) - 60) < 4
            assert tab.evaluate("$('clock').textContent") == "8.0 frames/s, latency 100 ms"
            page.show(*brightness(5), "later")
            tab.wait("$('clock').textContent == 'later' && !fresh")
            assert abs(tab.evaluate(middle) - 140) < 4
            tab.key(" ")                                                    # paused
            page.show(*brightness(8), "much later")
            time.sleep(0.3)
            assert abs(tab.evaluate(middle) - 140) < 4
            tab.key(" ")
            page.show(*brightness(9), "now")
            tab.wait("$('clock').textContent == 'now' && !fresh")
            assert abs(tab.evaluate(middle) - 220) < 4
            shown = tab.evaluate("getComputedStyle($('time')).display")
            assert shown == "none"                                          # nothing to seek in
            assert not tab.log and all(address.startswith(page.address) for address in tab.requests)
        tab.wait("!$('message').hidden")
        assert "has ended" in tab.evaluate("$('message').textContent")


# ---------------------------------------------------------------------------------------------------------- whole runs


def test_a_file_from_start_to_end(model_file, video, tmp_path):
    process = start(model_file, f"--source={video}", f"--live_file={tmp_path / 'seen.mp4'}")
    address = address_of(process)
    page = get(address).read().decode()
    assert "connect-src 'self'" in page and '"live": true' in page
    assert get(f"{address}/picture?after=0").read()[:2] == b"\xff\xd8"
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "ended after 1 s" in output and re.search(r"\d+ maps in .* latency \d+ ms on average", output)
    seen = read_back(tmp_path / "seen.mp4")
    assert len(seen) <= 12 and seen[0].shape == (*SIZE, 3) and seen[-1].std() > 10
    with av.open(str(tmp_path / "seen.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(12 / 8)   # a frame stands in for those left out after it


def test_ctrl_c_ends_it_and_finishes_the_file(model_file, tmp_path):
    write_video(tmp_path / "long.mp4", frames(400), 8)
    process = start(model_file, f"--source={tmp_path / 'long.mp4'}", f"--live_file={tmp_path / 'seen.mp4'}")
    address = address_of(process)
    assert get(f"{address}/picture?after=2").status == 200
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "stopped" in output and "Traceback" not in errors
    assert 3 <= len(read_back(tmp_path / "seen.mp4")) < 400


class BreaksOff(BaseHTTPRequestHandler):
    """A stream of MPEG-TS at the pace of a camera, which after a while ends for ever."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        data = self.server.stream.read_bytes()
        for position in range(0, len(data) * 3 // 4, 4096):
            self.wfile.write(data[position : position + 4096])
            time.sleep(0.02)

    def log_message(self, *_):
        pass


def test_a_stream_that_vanishes_ends_with_a_clear_line_and_a_playable_file(model_file, tmp_path):
    noise = np.random.default_rng(0)
    with av.open(str(tmp_path / "stream.ts"), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for frame in frames(60):
            frame = cv2.add(frame, noise.integers(60, size=frame.shape, dtype=np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())
    with ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as server:
        server.stream, server.daemon_threads = tmp_path / "stream.ts", True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/stream.ts"
        process = start(model_file, f"--source={url}", f"--live_file={tmp_path / 'seen.mp4'}")
        output, errors = process.communicate(timeout=60)
        server.shutdown()
    assert process.returncode == 1
    assert re.search(rf"^error: {re.escape(url)} sent no more frames after \d+ s$", errors, re.MULTILINE)
    assert "Traceback" not in errors and "maps in" in output
    assert len(read_back(tmp_path / "seen.mp4")) >= 1


class Sends(BaseHTTPRequestHandler):
    """A whole file."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.file.stat().st_size))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(self.server.file.read_bytes())

    def log_message(self, *_):
        pass


def test_a_video_at_a_url_plays_at_its_own_pace(video):
    with ThreadingHTTPServer(("127.0.0.1", 0), Sends) as server:
        server.file, server.daemon_threads = video, True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        began, source = time.monotonic(), Source(f"http://127.0.0.1:{server.server_port}/a.mp4", "mono", 720)
        with newest(source) as live_frames:
            slots = [frame.slot for frame in live_frames]
        server.shutdown()
    assert slots[-1] == 11 and time.monotonic() - began >= 11 / 8
    assert "ended after" in source.ended and not source.vanished


@pytest.mark.parametrize(("arguments", "message"), [
    (("--source=nothing.mp4",), "error: nothing.mp4 does not exist"),
    (("--source=97",), "error: camera 97 cannot be opened"),
    (("--source=http://127.0.0.1:9/x",), "error: http://127.0.0.1:9/x cannot be opened"),
    (("--live_port=70000", "--live_file=x.avi"), "error: live_port must be at least 0 and at most 65535"),
])
def test_wrong_sources_are_one_line(model_file, arguments, message):
    process = start(model_file, *arguments)
    _, errors = process.communicate(timeout=60)
    lines = errors.splitlines()
    assert process.returncode == 1 and lines[0].startswith(message), errors
    assert all(line.startswith("error: ") for line in lines)


def test_a_port_that_is_taken_is_named(model_file, video):
    with LivePage(0, "x") as page:
        port = page.server.server_port
        process = start(model_file, f"--source={video}", f"--live_port={port}")
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and errors.startswith(f"error: port {port} cannot be had")


def test_a_video_that_is_cut_short_counts_as_vanished(model_file, video):
    source = Source(str(video), "mono", 720)
    source.info = source.info._replace(problem="it was cut short")
    with newest(source) as live_frames:
        list(live_frames)
    assert source.vanished and "sent no more frames" in source.ended


def test_nothing_is_written_without_live_file(model_file, video, tmp_path):
    before = sorted(Path(tmp_path).iterdir())
    process = start(model_file, f"--source={video}")
    process.communicate(timeout=60)
    assert process.returncode == 0 and sorted(Path(tmp_path).iterdir()) == before
