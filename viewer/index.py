"""The page results_dir/index.html: a list of all pages in results_dir."""

import html
import json
import re
from pathlib import Path
from urllib.parse import quote

from files import write_text
from viewer.page import fill, read_template


def read_about(path):
    """What `PageWriter` noted in a page, as a dict: title, number of frames, fps, poster and more; None if the file is
    not such a page."""
    with Path(path).open("rb") as page:
        head = page.read(2**18).decode("utf-8", "replace")
    found = re.search(r'<script type="application/json" id="about">(.*?)</script>', head, re.DOTALL)
    return json.loads(found[1]) if found else None


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
            link = f' · <a href="{quote(video.name)}">overlay</a>' if video.is_file() else ""
            cards.append(fill(card, {
                "page": quote(path.name), "title": html.escape(about["title"]), "poster": about["poster"],
                "frames": str(about["frames"]), "duration": duration(about["frames"] / about["fps"]), "overlay": link}))
    count = f"{len(cards)} video{'s' if len(cards) != 1 else ''}"
    write_text(Path(results_dir, "index.html"),
               fill(read_template("index.html"), {"cards": "".join(cards), "count": count}))
