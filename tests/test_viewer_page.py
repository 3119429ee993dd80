"""The pages, in a real browser: what one sees is compared with directions known in closed form, and with the same
frames in NumPy."""

import base64
import shutil

import av
import cv2
import numpy as np
import pytest
from browser import CHROMIUM, FIREFOX, XVFB, browser_page, firefox_page
from sound_video import source, write_sound_video

from maps.extent import extent
from maps.regions import region_shares
from sphere import directions, with_margin
from viewer import page as viewer_page
from viewer.index import read_about, write_index
from viewer.overlay import overlay
from viewer.page import PageWriter, arrange, as_json, compose

FPS, FRAMES = 8, 16
TIMES = [number / FPS for number in range(FRAMES)]
FRAME_SHAPE, MAP_SHAPE = (192, 384), (120, 160)
SEAM, POLE, PLATEAU = (178.0, 25.0), (40.0, 80.0), (-60.0, -30.0)   # longitude and latitude of the blobs, degrees
MISSING = {"chromium": "NOT TESTED: the viewer needs chromium, which is missing",
           "firefox": "NOT TESTED: the viewer in Firefox needs firefox-esr, xvfb and libavcodec; one is missing"}
both = pytest.mark.parametrize("page", ["chromium", "firefox"], indirect=True)   # without it: in Chromium


def vector(lon, lat):
    lon, lat = np.radians(lon), np.radians(lat)
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def colours(vectors, time):
    """The test clip: the colour (BGR) of a direction tells it, and all becomes darker with time."""
    return (1 - time / (2 * FRAMES)) * (128 + 100 * vectors[..., ::-1])


def blob(time):
    """Where the maps are brightest: the blob crosses the seam, then stands near a pole, then is a broad plateau."""
    return SEAM if time < 6 else POLE if time < 11 else PLATEAU


def saliency(time):
    """The map of the test clip, in [0, 1], with a small bright spot elsewhere that is not the peak."""
    half = MAP_SHAPE[0] // 2, MAP_SHAPE[1] // 2
    angle = np.degrees(np.arccos(np.clip(directions(*half) @ vector(*blob(time)), -1, 1)))
    level = np.clip(2 - angle / 20, 0, 1) if blob(time) == PLATEAU else np.exp(-((angle / 12) ** 2) / 2)
    level[15:17, 20:22] = 1.0
    return level.repeat(2, axis=0).repeat(2, axis=1)   # as the model makes them


def clip():
    for time in range(FRAMES):
        yield colours(directions(*FRAME_SHAPE), time).astype(np.uint8), (255 * saliency(time)).astype(np.uint8)


def write_page(path, title, pairs, times, seconds, sound=None):
    """The files beside the page that it needs."""
    with PageWriter(path, title, source(seconds, sound), sound is not None) as page:
        for (frame, saliency), time in zip(pairs, times, strict=True):
            page.write(frame, saliency, time)
    return page.linked


@pytest.fixture(scope="module")
def clip_page(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "000.html"
    assert write_page(path, "000 <b>clip</b> & @@about@@.mp4", clip(), TIMES, FRAMES / FPS) == []
    return path


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip(MISSING["chromium"])
    with browser_page() as page:
        page.size(800, 500)
        yield page


@pytest.fixture(scope="module")
def firefox():
    if FIREFOX is None or XVFB is None:
        pytest.skip(MISSING["firefox"])
    with firefox_page() as page:
        page.size(800, 500)
        if not page.evaluate("""document.createElement("video").canPlayType('video/mp4; codecs="avc1.640028"')"""):
            pytest.skip(MISSING["firefox"])
        yield page


@pytest.fixture
def page(request, clip_page):
    """The clip's page, at rest at its first frame, with the plain video and no reduced motion."""
    browser = request.getfixturevalue(getattr(request, "param", "chromium"))
    browser.log.clear()
    browser.requests.clear()
    browser.reduce_motion(False)
    browser.open(clip_page)
    browser.wait("video.readyState >= 2")
    browser.evaluate("video.pause(), setBlend(0)")
    at_frame(browser, 0)
    return browser


def at_frame(page, number):
    """Shows a frame: the answer comes when it is there."""
    page.evaluate("new Promise(done => { video.addEventListener('seeked', done, { once: true });"
                  f"goToFrame({number}) }})")
    page.wait(f"!fresh && currentFrame() === {number}")


def pixels(page):
    """What is on the canvas, read back: (h, w, 3), BGR, row 0 above."""
    text = page.evaluate("""(() => {
        draw();
        const data = new Uint8Array(4 * canvas.width * canvas.height);
        gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, data);
        let text = "";
        for (const value of data) text += String.fromCharCode(value);
        return [canvas.height, canvas.width, btoa(text)];
    })()""")
    height, width, data = text
    picture = np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)
    return picture[::-1, :, 2::-1].astype(float)


def look(page, lon, lat):
    page.evaluate(f"look({np.radians(lon)}, {np.radians(lat)})")


def seen(page):
    """Longitude and latitude of the middle of the view, degrees."""
    return page.evaluate("[wrapped(view.lon) / DEGREE, view.lat / DEGREE]")


def apart(first, second):
    """The angle between two directions (longitude, latitude), degrees."""
    return np.degrees(np.arccos(np.clip(vector(*first) @ vector(*second), -1, 1)))


def view_directions(page, lon, lat):
    """The unit vectors of all canvas pixels when looking at (lon, lat): (h, w, 3). A second, plain formulation."""
    height, width, size = page.evaluate("[canvas.height, canvas.width, pixelSize()]")
    right = (np.arange(width) + 0.5 - width / 2) * size
    up = -(np.arange(height) + 0.5 - height / 2) * size
    ahead, east, north = vector(lon, lat), vector(lon + 90, 0), vector(lon, lat + 90)
    rays = ahead + right[None, :, None] * east + up[:, None, None] * north
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def steady(page):
    page.wait("Math.hypot(goal.lon - view.lon, goal.lat - view.lat) <= 1e-4")


# ------------------------------------------------------------------------------------------------- without a browser


def test_frame_and_map_stand_in_one_picture():
    frame, level = next(clip())
    layout = arrange(frame.shape, level.shape)
    picture = compose(frame, level, layout).to_ndarray(format="bgr24").astype(int)
    assert picture.shape == (layout.height, layout.width, 3)
    assert abs(picture[:layout.frame_rows] - frame).max() <= 6
    below = picture[layout.map_top:, layout.map_left:][:layout.map_height, :layout.map_width]
    assert (layout.map_height, layout.map_width) == (MAP_SHAPE[0] // 2, MAP_SHAPE[1] // 2)
    assert abs(below - level[::2, ::2, None]).max() <= 1


@pytest.mark.parametrize(("frame", "level", "frame_size", "map_size"), [
    ((960, 1920), (240, 320), (960, 1920), (120, 160)), ((3000, 6001), (960, 1920), (960, 1920), (256, 512)),
    ((321, 641), (12, 16), (322, 642), (6, 8)), ((8, 10), (240, 320), (8, 64), (120, 48)),
    ((9, 64), (5, 4), (10, 64), (3, 2)), ((9, 64), (1, 1), (10, 64), (1, 1))])
def test_sizes_are_even_and_bounded(frame, level, frame_size, map_size):
    layout = arrange(frame, level)
    assert (layout.frame_rows, layout.width, layout.map_height, layout.map_width) == (*frame_size, *map_size)
    assert layout.width % 2 == layout.height % 2 == layout.frame_rows % 2 == 0
    picture = compose(np.full((*frame, 3), 200, np.uint8), np.full(level, 100, np.uint8), layout)
    picture = picture.to_ndarray(format="bgr24")
    assert (abs(picture[:layout.frame_rows] - 200.0) <= 1).all()
    assert set(np.unique(picture[layout.frame_rows + viewer_page.MARGIN:])) <= {0, 99, 100, 101}


def test_the_margin_goes_on_as_the_sphere_does():
    level = np.arange(24, dtype=np.uint8).reshape(4, 6)
    wide = with_margin(level, 2)
    assert wide.shape == (8, 10)
    assert np.array_equal(wide[2:6, 2:8], level)
    assert np.array_equal(wide[2:6, :2], level[:, -2:])
    assert np.array_equal(wide[2:6, -2:], level[:, :2])
    assert np.array_equal(wide[1, 2:8], np.roll(level[0], 3))
    assert np.array_equal(wide[7, 2:8], np.roll(level[2], 3))


def test_the_video_in_a_page_is_the_frames(clip_page, tmp_path):
    text = clip_page.read_text(encoding="utf-8")
    data = [part.partition('")')[0] for part in text.split('<script>piece("')[1:]]
    (tmp_path / "video.mp4").write_bytes(b"".join(map(base64.b64decode, data)))
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == FPS
        decoded = [frame.to_ndarray(format="bgr24").astype(int) for frame in container.decode(video=0)]
    assert len(decoded) == FRAMES
    layout = arrange((*FRAME_SHAPE, 3), MAP_SHAPE)
    for picture, (frame, level) in zip(decoded, clip()):
        assert abs(picture - compose(frame, level, layout).to_ndarray(format="bgr24")).mean() < 4
    assert sorted(path.name for path in clip_page.parent.iterdir()) == ["000.html"]


def test_an_error_leaves_the_former_page_and_nothing_else(tmp_path):
    page = tmp_path / "a.html"
    page.write_text("before")
    with pytest.raises(RuntimeError), PageWriter(page, "a", source(1)) as writer:
        writer.write(*next(clip()), 0)
        raise RuntimeError
    with PageWriter(page, "a", source(1)):
        pass
    assert page.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_the_index_lists_what_is_there(clip_page, tmp_path):
    shutil.copy(clip_page, tmp_path / "1 ?.html")
    shutil.copy(clip_page, tmp_path / "000.html")
    (tmp_path / "000.mp4").touch()
    earlier = {"title": "of an earlier version", "frames": 12, "fps": 4.0, "poster": ""}
    (tmp_path / "3.html").write_text(f'<script type="application/json" id="about">{as_json(earlier)}</script>\n')
    (tmp_path / "other.html").write_text("not ours")
    write_index(tmp_path)
    write_index(tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert text.count("<li>") == 3 and "0:03 · 12 frames" in text
    assert 'href="000.html"' in text and 'href="1%20%3F.html"' in text
    assert text.count('href="000.mp4"') == text.count(">overlay<") == 1
    assert text.count("0:02 · 16 frames") == 2
    assert "000 &lt;b&gt;clip&lt;/b&gt; &amp; @@about@@.mp4" in text
    about = read_about(clip_page)
    poster = cv2.imdecode(np.frombuffer(base64.b64decode(about["poster"]), np.uint8), cv2.IMREAD_COLOR)
    assert abs(poster.astype(int) - overlay(*[*clip()][15], viewer_page.POSTER_SIZE)).mean() < 4


# ------------------------------------------------------------------------------------------------------- in a browser


@both
def test_a_page_opens_from_the_disk_without_a_request(page, clip_page):
    foreign = [address for address in page.requests if not address.startswith(("blob:", "data:"))]
    assert set(foreign) <= {clip_page.resolve().as_uri()}   # Firefox does not even mention files
    assert page.log == []
    assert page.evaluate("document.title") == "000 <b>clip</b> & @@about@@.mp4"
    assert page.evaluate("$('message').hidden")


@both
def test_it_plays_by_itself_and_time_changes_the_picture(page):
    first = pixels(page)
    assert first.mean() > 50
    at_frame(page, FRAMES - 1)
    assert first.mean() - pixels(page).mean() > 20
    page.key(" ")
    page.wait("!video.paused && video.currentTime < 1 && video.currentTime > 0")   # it starts over at its end
    page.key(" ")
    page.wait("video.paused")


PAUSE = [number / FPS + (3 if number > 5 else 0) for number in range(FRAMES)]   # after frame 5; the end comes at 5.5


@pytest.fixture(scope="module")
def pausing_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pausing")
    write_sound_video(folder / "sound.mkv", "libopus", seconds=6)
    write_page(folder / "000.html", "a pause", clip(), PAUSE, 5.5, folder / "sound.mkv")
    return folder / "000.html"


def test_frames_are_shown_at_their_own_times(page, pausing_page):
    page.open(pausing_page)
    page.wait("video.readyState >= 2")
    page.evaluate("video.pause(), setBlend(0)")
    assert page.evaluate("video.duration") == pytest.approx(5.5, abs=0.05)
    for time, frame in ((0.3, 2), (0.7, 5), (2, 5), (3.7, 5), (3.8, 6), (5.4, 15)):
        page.evaluate("new Promise(done => { video.addEventListener('seeked', done, { once: true });"
                      f"video.currentTime = {time} }})")
        page.wait("!fresh")
        assert page.evaluate("[currentFrame(), Number($('time').value)]") == [frame, pytest.approx(time, abs=0.01)]
        assert abs(pixels(page) - colours(view_directions(page, 0, 0), frame)).mean() < 3, time
    assert page.evaluate("$('clock').textContent") == "0:05 / 0:05"
    at_frame(page, 4)
    for key, frame in ((".", 5), (".", 6), (",", 5), (",", 4)):
        page.key(key)
        page.wait(f"currentFrame() === {frame} && !video.seeking")
        assert abs(page.evaluate("video.currentTime") - PAUSE[frame]) < 0.1


@both
def test_the_slider_runs_in_the_video_s_own_time(page, pausing_page):
    page.open(pausing_page)
    page.wait("video.readyState >= 2")
    page.evaluate("video.pause(), setBlend(0), document.activeElement.blur()")
    slider = "Number($('time').value)"
    assert page.evaluate("Number($('time').max)") == 5.5
    page.evaluate("$('time').value = 1.2, $('time').dispatchEvent(new Event('input'))")
    page.wait("!video.seeking && !fresh && currentFrame() === 5")
    assert page.evaluate(f"[video.currentTime, {slider}]") == pytest.approx([1.2, 1.2], abs=0.01)
    page.key(" ")
    page.wait(f"video.currentTime > 1.6 && {slider} > 1.6")   # in the pause, too
    page.key(" ")
    page.wait(f"video.paused && Math.abs({slider} - video.currentTime) < 0.01")
    assert page.evaluate("currentFrame()") == 5
    page.evaluate("$('time').focus()")
    for key, frame in (("ArrowRight", 6), ("ArrowLeft", 5), ("ArrowLeft", 4), ("End", 15), ("Home", 0)):
        page.key(key)
        page.wait(f"currentFrame() === {frame} && !video.seeking && !fresh")
        assert page.evaluate(slider) == pytest.approx(page.evaluate("video.currentTime"), abs=0.01)
    assert abs(pixels(page) - colours(view_directions(page, 0, 0), 0)).mean() < 3
    assert page.log == []


def test_the_sound_is_off_until_somebody_turns_it_on(page, pausing_page):
    page.open(pausing_page)
    page.wait("!video.paused && video.currentTime > 0")   # a page with sound plays by itself, too
    button = "$('mute').getAttribute('aria-pressed') === '%s' && video.muted === %s && $('mute').clientWidth > 30"
    assert page.evaluate(button % ("false", "true"))
    page.key("m")
    assert page.evaluate(button % ("true", "false"))
    page.wait("video.webkitAudioDecodedByteCount > 1000")
    page.evaluate("$('mute').click()")
    assert page.evaluate(button % ("false", "true"))
    assert page.log == []


def test_a_page_without_sound_has_no_button_for_it(page):
    assert page.evaluate("$('mute').clientWidth") == 0
    page.key("m")
    assert page.evaluate("video.muted")


@both
def test_every_pixel_shows_its_direction(page):
    for direction in ((0, 0), (180, 0), (-135, 40), (100, 88), (30, -90)):
        look(page, *direction)
        difference = abs(pixels(page) - colours(view_directions(page, *direction), 0))
        assert difference.mean() < 3, direction
        assert difference.max() < 16, direction   # a seam would show


def test_dragging_to_the_right_shows_what_was_to_the_left(page):
    page.evaluate("zoom(0.5)")
    quarter = np.pi / 2 / page.evaluate("pixelSize() * canvas.width / canvas.clientWidth")
    page.mouse("mousePressed", 100, 200, button="left", buttons=1, clickCount=1)
    for step in np.linspace(0, quarter, 6)[1:]:
        page.mouse("mouseMoved", 100 + step, 200, button="left", buttons=1)
    page.mouse("mouseReleased", 100 + quarter, 200, button="left")
    assert apart(seen(page), (-90, 0)) < 1
    dragged = pixels(page)
    look(page, -90, 0)
    assert abs(dragged - pixels(page)).max() < 5
    assert abs(dragged - colours(view_directions(page, -90, 0), 0)).mean() < 4


def test_two_fingers_zoom_and_one_turns(page):
    def touch(kind, *points):
        fingers = [{"x": x, "y": 200, "id": finger} for finger, x in enumerate(points)]
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)

    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    field = page.evaluate("view.field")
    for kind, points in (("touchStart", (300, 400)), ("touchMove", (250, 450)), ("touchEnd", ())):
        touch(kind, *points)
    assert page.evaluate("view.field") == pytest.approx(field / 2, rel=0.05)
    assert apart(seen(page), (0, 0)) < 0.1
    for kind, points in (("touchStart", (300,)), ("touchMove", (200,)), ("touchEnd", ())):
        touch(kind, *points)
    assert seen(page)[0] > 5
    page.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_keys_and_wheel(page):
    for key, direction in (("ArrowLeft", (-6, 0)), ("ArrowUp", (-6, 6)), ("ArrowRight", (0, 6)), ("ArrowDown", (0, 0))):
        page.key(key)
        steady(page)
        assert apart(seen(page), direction) < 0.1
    field = page.evaluate("view.field")
    page.key("+")
    assert page.evaluate("view.field") == pytest.approx(field / 1.1)
    page.key("-")
    page.mouse("mouseWheel", 400, 200, deltaX=0, deltaY=-100)
    page.wait(f"view.field < {field} - 0.01")
    page.key(".")
    page.wait("currentFrame() === 1")
    page.key("]")
    assert page.evaluate("$('blend').valueAsNumber") == pytest.approx(0.05)
    page.key("?")
    assert page.evaluate("$('keys').open")


@both
def test_the_slider_goes_from_the_video_over_the_overlay_to_the_map(page):
    look(page, *SEAM)
    vectors = view_directions(page, *SEAM)
    frame, angle = colours(vectors, 0), np.degrees(np.arccos(np.clip(vectors @ vector(*SEAM), -1, 1)))
    level = (255 * np.exp(-((angle / 12) ** 2) / 2)).astype(np.uint8)
    glowing = overlay(frame.astype(np.uint8), level, level.shape)
    alone = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)
    for blend, expected in ((0, frame), (0.5, glowing), (1, alone)):
        page.evaluate(f"setBlend({blend})")
        assert abs(pixels(page) - expected).mean() < 5, blend


@pytest.mark.parametrize(("time", "motion"), [(0, "reduce"), (8, "reduce"), (14, "reduce"), (0, "no-preference")])
def test_the_button_turns_to_where_people_look(page, time, motion):
    page.reduce_motion(motion == "reduce")
    at_frame(page, time)
    page.evaluate("$('peak').click()")
    if motion == "reduce":
        assert apart(seen(page), blob(time)) < 5
    else:
        assert apart(seen(page), blob(time)) > 5   # it turns smoothly
    steady(page)
    assert apart(seen(page), blob(time)) < 5


def test_reduced_motion_does_not_play_by_itself(page, clip_page):
    page.reduce_motion(True)
    page.open(clip_page)
    page.wait("video.readyState >= 2")
    assert page.evaluate("video.paused && video.currentTime === 0")


def test_the_flat_view_has_a_grid_of_equal_solid_angles(page):
    page.key("f")
    page.evaluate("zoom(100)")   # the outline of the sphere view is small, then
    picture = pixels(page)
    width, height = map(int, page.evaluate("flatSize()"))
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    picture = picture[top:top + height, left:left + width]
    plain = colours(directions(height, width), 0)
    lit = (picture - plain).mean(axis=2) > 10   # a line that falls between two pixels is half as bright
    rows, columns = np.flatnonzero(lit[:, 5:15].all(axis=1)), np.flatnonzero(lit[5:25].all(axis=0))
    lines = np.sin(np.pi / 2 - (rows + 0.5) * np.pi / height) * 3
    assert {*np.round(lines)} >= {-2, -1, 0, 1, 2}
    assert abs(lines - np.round(lines)).max() < 0.05
    assert abs((columns + 0.5) / width * 12 - np.round((columns + 0.5) / width * 12)).max() < 0.05
    assert len({*np.round((columns + 0.5) / width * 12)}) >= 11
    assert abs(picture - plain)[~lit].mean() < 4
    page.click(200, 240)
    assert page.evaluate("wrapped(view.lon) / DEGREE") == pytest.approx((200 - 400) / width * 360, abs=1)


def test_the_outline_of_the_sphere_view_leaves_the_other_half_alone(page):
    page.size(390, 700)
    page.wait("canvas.clientWidth === 390")
    page.key("f")
    pictures = []
    for lat in (11, -11):
        look(page, 180, lat)
        pictures.append(pixels(page)[:, 130:260])
    page.size(800, 500)
    assert abs(pictures[0] - pictures[1]).max() < 2


def codes(page, text):
    """What the page reads of numbers of 16 bits."""
    return np.array(page.evaluate(f"Array.from({text})"))


def test_a_page_holds_the_shares_and_the_extents_of_its_maps(clip_page, tmp_path, monkeypatch):
    about = read_about(clip_page)
    assert about["tiles"] == [4, 8]   # where nobody asks for another grid
    shares, extents = (np.frombuffer(base64.b64decode(about[name]), "<u2") / 65535 for name in ("shares", "extents"))
    maps = [level for _, level in clip()]
    assert np.allclose(shares, np.concatenate([region_shares(level, 4, 8).ravel() for level in maps]), atol=1 / 130000)
    assert np.allclose(extents, [extent(level) for level in maps], atol=1 / 130000)
    for most, tiles in ((2 * 3 * 5, [3, 5]), (2 * 3 * 5 - 1, None)):   # too many shares are left out
        monkeypatch.setattr(viewer_page, "MOST_SHARES", most)
        with PageWriter(tmp_path / "000.html", "a", source(1), tiles=(3, 5)) as writer:
            for (frame, level), time in zip(clip(), (0, 0.5)):
                writer.write(frame, level, time)
        assert read_about(tmp_path / "000.html").get("tiles") == tiles


@both
def test_the_regions_have_lines_and_shares_in_both_views(page):
    page.key("g")
    assert page.evaluate("regions && $('regions').getAttribute('aria-pressed')") == "true"
    for lon, lat, field in ((0, 0, 95), (170, 60, 60), (100, 88, 95)):
        page.evaluate(f"zoom(view.field / ({field} * DEGREE))")
        look(page, lon, lat)
        vectors = view_directions(page, lon, lat)
        difference = abs(pixels(page) - colours(vectors, 0)).mean(axis=2)
        lats, lons = np.arcsin(vectors[..., 2]), np.arctan2(vectors[..., 1], vectors[..., 0])
        parallel = abs(lats - np.round(lats * 4 / np.pi) * np.pi / 4) + 9 * (abs(lats) > 3 * np.pi / 8)
        meridian = abs(np.sin(lons - np.round(lons * 4 / np.pi) * np.pi / 4)) * np.cos(lats)
        away = np.minimum(parallel, meridian) / page.evaluate("pixelSize()")   # pixels, about
        assert difference[away < 0.3].min() > 10
        assert difference[away > 2.5].max() < 16
    labels = "$('labels').getContext('2d').getImageData(%d, %d, 30, 20).data.some(value => value)"
    look(page, 0, 0)
    page.evaluate("draw()")
    x, y = page.evaluate("placeOf(22.5 * DEGREE, 22.5 * DEGREE)")
    assert page.evaluate(labels % (x - 15, y - 10)) and not page.evaluate(labels % (x - 15, y + 20))
    level = next(clip())[1]
    shares = region_shares(level, 4, 8)
    row, column = np.unravel_index(shares.argmax(), shares.shape)
    assert np.allclose(codes(page, "currentRegions().map(region => region.share)"), shares.ravel(), atol=1e-5)
    note = page.evaluate("$('note').textContent").replace("\u2212", "-").replace("\u202f", " ")
    assert note == (f"The largest share of 4 × 8 regions: {100 * shares.max():.0f} %, lat {45 - 45 * row}° to "
                    f"{90 - 45 * row}°, lon {45 * column - 180}° to {45 * column - 135}°")
    page.key("f")
    page.evaluate("zoom(100), draw()")
    width, height, all_width, all_height = page.evaluate("[...flatSize(), canvas.width, canvas.height]")
    top, left = int(all_height - height + 1) // 2, int(all_width - width + 1) // 2
    picture = pixels(page)[top:top + int(height), left:left + int(width)]
    lit = (picture - colours(directions(*picture.shape[:2]), 0)).mean(axis=2) > 10
    edges = np.flatnonzero(lit[5:25].all(axis=0)) / width * 8
    assert {*np.round(edges)} >= {1, 2, 3, 4, 5, 6, 7} and abs(edges - np.round(edges)).max() < 0.05
    assert page.evaluate(labels % (all_width / 2 + width / 16 - 15, all_height / 2 - height / 8 - 10))
    page.key("g")
    page.evaluate("draw()")
    assert not page.evaluate(labels % (all_width / 2 + width / 16 - 15, all_height / 2 - height / 8 - 10))
    assert page.evaluate("$('note').textContent").startswith("Every cell of the grid covers the same solid angle")
    assert page.log == []


@both
def test_the_view_is_saved_as_a_picture(page):
    at_frame(page, 3)
    page.key("g")
    shown = pixels(page)
    page.key("s")
    name, data = page.downloaded()
    assert name == "000 -b-clip--b- & @@about@@_0.375s.png"   # of what a file name may hold
    saved = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(float)
    assert saved.shape == shown.shape
    assert np.median(abs(saved - shown)) <= 1 and 20 < (abs(saved - shown).max(axis=2) > 60).sum() < 5000   # the labels
    assert page.evaluate("$('said').textContent") == f"Saved: {name}"
    page.key("f")
    page.evaluate("$('save').click()")
    saved = cv2.imdecode(np.frombuffer(page.downloaded()[1], np.uint8), cv2.IMREAD_COLOR)
    assert saved.shape[:2] == tuple(map(int, page.evaluate("flatSize()")))[::-1]   # without the rest of the canvas
    assert page.log == []


@both
def test_the_curve_shows_where_attention_is_concentrated(page, pausing_page):
    page.open(pausing_page)
    page.wait("video.readyState >= 2")
    page.evaluate("video.pause(), document.activeElement.blur()")
    left, top, width, height = page.evaluate(
        "(({ left, top, width, height }) => [left, top, width, height])($('curve').getBoundingClientRect())")
    heights = codes(page, """(() => {
        const { width, height } = $('curve'), data = $('curve').getContext('2d').getImageData(0, 0, width, height).data;
        return Array.from({ length: width }, (_, x) => {
            let y = 0;
            while (y < height && data[4 * (y * width + x) + 3] < 128) y++;
            return height - y;
        });
    })()""")
    bits = np.array([-np.log2(extent(level)) for _, level in clip()])
    shown = bits[np.searchsorted(PAUSE, (np.arange(len(heights)) + 0.5) / len(heights) * 5.5, "right") - 1]
    assert np.corrcoef(heights, shown)[0, 1] > 0.97   # at the frames' own times
    page.click(left + width * 0.6, top + height / 2)   # a part of the slider
    page.wait("!video.seeking && Math.abs(video.currentTime - 0.6 * 5.5) < 0.05")
    percent = 100 * extent([*clip()][5][1])
    text = f"on {percent:.{0 if percent >= 9.95 else 1}f}\u202f% of the sphere"
    page.wait(f"$('extent').textContent === '{text}'")
    assert page.evaluate("$('time').getAttribute('aria-valuetext')") == f"0:03, frame 6 of 16, attention {text}"
    playhead = page.evaluate("getComputedStyle($('time').parentNode, '::after').left")
    assert float(playhead.removesuffix("px")) == pytest.approx(8 + 0.6 * width, abs=2)
    assert page.log == []


@both
def test_the_speed_of_video_and_sound_can_be_chosen(page, pausing_page):
    page.open(pausing_page)
    page.wait("!video.paused && video.currentTime > 0")
    for key, rate in ((">", 1.5), (">", 2), (">", 2), ("<", 1.5), ("<", 1), ("<", 0.75)):
        page.key(key)
        assert page.evaluate("[video.playbackRate, Number($('rate').value)]") == [rate, rate]
    assert page.evaluate("$('said').textContent") == "Speed 0.75×"
    page.evaluate("$('rate').value = '0.25', $('rate').dispatchEvent(new Event('change'))")
    assert page.evaluate("[video.playbackRate, video.preservesPitch]") == [0.25, True]
    page.evaluate("$('rate').focus()")
    page.key("g")   # the keys of the page work here, too
    assert page.evaluate("regions && $('rate').value") == "0.25"
    page.wait("video.currentTime > 0.1")
    assert page.log == []


@both
def test_everything_can_be_reached_by_keyboard_and_has_a_name(page, pausing_page):
    page.open(pausing_page)
    page.wait("video.readyState >= 2")
    page.evaluate("canvas.focus()")
    seen = []
    for _ in range(10):
        page.key("Tab")
        element, name, outline, focus = page.evaluate("""(element => [element.id,
            element.getAttribute('aria-label') ?? element.textContent.trim(), getComputedStyle(element).outlineStyle,
            document.hasFocus()])(document.activeElement)""")
        assert name and (outline == "solid" or not focus), element   # a Firefox that is driven never has the focus
        seen.append(element)
    assert seen == ["play", "time", "rate", "mute", "blend", "peak", "flat", "regions", "save", "help"]
    page.evaluate("$('regions').focus()")
    page.key("Enter" if focus else "g")
    page.wait("regions")
    page.key("?")
    page.wait("$('keys').open")
    listed = page.evaluate("$('keys').textContent")
    assert all(word in listed for word in ("slower, faster", "save this view", "regions", "sound on, off", "one frame"))


def test_a_large_video_stands_beside_its_page(page, tmp_path, monkeypatch):
    monkeypatch.setattr(viewer_page, "EMBED_LIMIT", 1000)
    monkeypatch.setattr(viewer_page, "PIECE", 3000)
    path = tmp_path / "a b?#.html"
    (tmp_path / "a b?#_video_99.js").write_text("stale")
    linked = write_page(path, "large", clip(), TIMES, FRAMES / FPS)
    assert len(linked) > 1
    assert sorted(tmp_path.iterdir()) == sorted([path, *linked])
    page.open(path)
    page.wait("video.readyState >= 2")
    page.evaluate("video.pause(), setBlend(0)")
    assert pixels(page).mean() > 50
    assert page.log == []
    linked[1].unlink()
    page.open(path)
    assert linked[1].name in page.evaluate("$('message').textContent")
    assert not page.evaluate("$('message').hidden")


@pytest.mark.skipif(CHROMIUM is None, reason=MISSING["chromium"])
def test_without_webgl_the_page_says_so_and_shows_the_flat_video(clip_page):
    with browser_page("--disable-webgl", "--disable-webgl2", "--disable-3d-apis") as page:
        page.size(390, 700)
        page.open(clip_page)
        page.wait("video.readyState >= 2")
        assert "no WebGL 2" in page.evaluate("$('message').textContent")
        assert page.evaluate("video.controls && video.clientWidth") == 390


@pytest.mark.parametrize(("width", "height"), [(360, 640), (844, 390), (1600, 900)])
def test_everything_has_its_place_on_every_screen(page, pausing_page, width, height):
    page.open(pausing_page)   # which has a button for its sound, too
    page.size(width, height)
    page.wait(f"canvas.clientWidth === {width}")
    assert page.evaluate("canvas.clientHeight") > height * 0.5
    boxes = page.evaluate("""[...document.querySelectorAll("footer :is(button, input, select)")].map(element => {
        const box = element.getBoundingClientRect();
        return [box.left, box.top, box.right, box.bottom, box.width * box.height];
    })""")
    for left, top, right, bottom, area in boxes:
        assert (left >= 0 and top >= 0 and right <= width and bottom <= height and area > 1000), boxes
    page.size(800, 500)
