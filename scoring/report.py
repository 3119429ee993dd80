"""What an evaluation writes: tables of scores per frame, per video and over videos, and figures.

Scores are {predictor: {video: {column: (T,)}}}, the predictors in the order of the table, the model first.
"""

import csv
import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from files import replacing
from scoring.scores import COLUMNS, METRICS, PLAIN
from scoring.statistics import bootstrap, video_means

UNBOUNDED = ("KLD", "IG")  # where a map that is zero in the wrong place scores tens
# Okabe and Ito's colours, which most colour-blind people can tell apart; the shapes tell them apart in grey
STYLES = (("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "D"), ("#CC79A7", "^"), ("#555555", "v"))


# -------------------------------------------------------------------------------------------------------------- tables


def tables(scores, notes, seed, groups=None, weighting="solid angle"):
    """The means over videos as Markdown: one table weighted, one plain, one of the model's weighted scores by groups of
    videos, {group: [names]}, and the lines `notes` below. weighting: what the weights are, in words."""
    means = {predictor: video_means(videos) for predictor, videos in scores.items()}
    lines = []
    for title, suffix in ((f"Weighted by {weighting}", ""), ("Plain, the image as a plane", PLAIN)):
        lines += [f"**{title}**", "", f"| | {' | '.join(f'{metric} {better}' for metric, better in METRICS.items())} |",
                  "|---" * (1 + len(METRICS)) + "|"]
        for predictor, columns in means.items():
            cells = [_cell(*bootstrap(columns[_column(metric, suffix)], seed)) for metric in METRICS]
            lines.append(f"| {predictor} | {' | '.join(cells)} |")
        lines.append("")
    predictor, videos = next(iter(scores.items()))
    if groups:
        lines += [f"**The {predictor} by the camera's motion, weighted**", "",
                  f"| | {' | '.join(f'{metric} {better}' for metric, better in METRICS.items())} |",
                  "|---" * (1 + len(METRICS)) + "|"]
        for group, names in groups.items():
            columns = video_means({name: videos[name] for name in names})
            cells = [_cell(*bootstrap(columns[_column(metric, "")], seed)) for metric in METRICS]
            lines.append(f"| {group}, {len(names)} video{'s' * (len(names) > 1)} | {' | '.join(cells)} |")
        lines.append("")
    lines.append("Means over videos of the mean over frames, [95% bootstrap interval over videos]; ↑ higher is better. "
                 "KLD in nats, IG in bits per fixation over the equator prior; no area enters sAUC.")
    return "\n".join([*lines, *notes, *undefined(scores)]) + "\n"


def _column(metric, suffix):
    return metric if metric == "sAUC" else metric + suffix


def _cell(mean, low, high):
    if np.isnan(mean):
        return "–"
    return f"{mean:.3f}" if np.isnan(low) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def undefined(scores):
    """A line for each predictor that has frames without a score, and their number. The means leave them out."""
    lines = []
    for predictor, videos in scores.items():
        frames = sum(len(columns["CC"]) for columns in videos.values())
        counts = {metric: sum(np.isnan(columns[metric]).sum() for columns in videos.values()) for metric in METRICS}
        if any(counts.values()):
            listed = ", ".join(f"{metric} {count}" for metric, count in counts.items() if count)
            lines.append(f"Frames, of {frames}, without a score (constant map, no fixation) for {predictor}: {listed}.")
    return lines


def write_frames(path, numbers, videos):
    """Writes one predictor's scores of each frame as CSV. numbers: {video: (T,)}; videos: {video: {column: (T,)}}."""
    rows = ((name, number, *_numbers(columns[column][position] for column in COLUMNS))
            for name, columns in videos.items() for position, number in enumerate(numbers[name]))
    _write_csv(path, ("video", "frame", *COLUMNS), rows)


def write_videos(path, scores):
    """Writes every predictor's mean scores of each video as CSV."""
    rows = ((name, predictor, len(videos[name]["CC"]), *_numbers(video_means({name: videos[name]}).values()))
            for predictor, videos in scores.items() for name in videos)
    _write_csv(path, ("video", "predictor", "frames", *COLUMNS), rows)


def _numbers(values):
    """The values as text, "" for NaN."""
    return ["" if np.isnan(value) else f"{float(np.squeeze(value)):.6g}" for value in values]


def _write_csv(path, header, rows):
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


# ------------------------------------------------------------------------------------------------------------- figures


def draw_scores(scores):
    """A figure of every video's scores, weighted by solid angle: a panel for each metric that any video has (three
    without fixations), a line for each video, the best CC on top."""
    names = list(next(iter(scores.values())))
    means = {predictor: video_means(videos) for predictor, videos in scores.items()}
    order = np.argsort(np.nan_to_num(next(iter(means.values()))["CC"], nan=-1), kind="stable")
    shown = [metric for metric in METRICS if any(np.isfinite(columns[metric]).any() for columns in means.values())]
    shown = shown or ["CC"]
    height, width = math.ceil(len(shown) / 4), min(len(shown), 4)
    figure = Figure(figsize=(1 + 3 * width, height * (1.3 + 0.17 * len(names))), layout="constrained")
    panels = figure.subplots(height, width, sharey=True, squeeze=False)
    for axes, metric in zip(panels.flat, shown):
        axes.set_title(f"{metric} {METRICS[metric]}", fontsize=10)
        if metric in UNBOUNDED:
            axes.set_xscale("symlog", linthresh=5, linscale=2)
            axes.xaxis.set_major_locator(FixedLocator([-40, -10, 0, 1, 2, 3, 4, 5, 10, 20, 40]))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:g}")
        axes.hlines(range(len(names)), 0, 1, transform=axes.get_yaxis_transform(), color="#eeeeee", zorder=0)
        for rank, ((predictor, columns), (colour, marker)) in enumerate(reversed(list(zip(means.items(), STYLES)))):
            axes.scatter(columns[metric][order], range(len(names)), s=26, color=colour, marker=marker, label=predictor,
                         alpha=0.9, linewidths=0, zorder=2 + rank)
        axes.set_yticks(range(len(names)), [names[position] for position in order], fontsize=7)
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    for axes in panels.flat[len(shown):]:
        axes.set_axis_off()
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def draw_frames(rows):
    """A figure with a line for each of `rows`: (title, frame, frame under the prediction, frame under the truth,
    fixations), the images (H, W, 3) uint8 BGR of one size, the fixations their rows (N,) and columns (N,) in it."""
    figure = Figure(figsize=(13, 2.35 * len(rows)), layout="constrained")
    headings = ("frame", "prediction", "truth and fixations")
    grid = figure.subplots(len(rows), 3, squeeze=False)
    for axes, heading in zip(grid[0], headings):
        axes.set_title(heading, fontsize=10)
    for panels, (title, *images, fixations) in zip(grid, rows):
        for axes, image in zip(panels, images):
            axes.imshow(image[..., ::-1])
            axes.set_axis_off()
        panels[0].text(0.01, 0.97, title, transform=panels[0].transAxes, va="top", fontsize=9, color="white",
                       bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 2})
        panels[2].scatter(fixations[1], fixations[0], s=9, color="#56B4E9", edgecolors="black", linewidths=0.4)
    return figure
