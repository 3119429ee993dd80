"""The page results_dir/index.html: a list of all pages in results_dir."""

import html
import json
import re
from pathlib import Path
from urllib.parse import quote

from files import write_text
from viewer.page import fill, read_template


def read_about(path):
    """What `PageWriter` noted in a page, as a dict: title, number of frames, duration in seconds, poster and more; None
    if the file is not such a page."""
    with Path(path).open(encoding="utf-8", errors="replace") as page:
        for line in page:  # it stands on one line, before the video
            if found := re.match(r'<script type="application/json" id="about">(.*)</script>$', line):
                return json.loads(found[1])
    return None


def duration(seconds):
    """A duration as minutes and seconds: "0:06" for 6."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"


def write_index(results_dir):
    """Writes results_dir/index.html, with the poster, the duration and the overlay of each page in results_dir."""
    card, cards = read_template("card.html"), []
    for path in sorted(Path(results_dir).glob("*.html")):
        about = read_about(path)
        if about:
            video = path.with_suffix(".mp4")
            seconds = about.get("seconds") or about["frames"] / about["fps"]  # pages of earlier versions have a rate
            link = f' · <a href="{quote(video.name)}">overlay</a>' if video.is_file() else ""
            cards.append(fill(card, {
                "page": quote(path.name), "title": html.escape(about["title"]), "poster": about["poster"],
                "frames": str(about["frames"]), "duration": duration(seconds), "overlay": link}))
    count = f"{len(cards)} video{'s' if len(cards) != 1 else ''}"
    write_text(Path(results_dir, "index.html"),
               fill(read_template("index.html"), {"cards": "".join(cards), "count": count}))
