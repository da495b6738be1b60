"""Tables and pictures in the assets' metadata: what the UI shows of a week. Item ids and numbers, no student's key."""

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pandas as pd

from seedtest_assets.models.irt import NODES, Floats, Ints, item_information

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 20
"""Longest table in an asset's metadata, and most items in a plot that names them."""
MOST_LINES, MOST_DOTS = 200, 800
DOTS_PER_INCH = 80
INTERVAL_95 = 1.959963984540054
INTERVAL_90 = 1.6448536269514722
PLAIN, STRIKING, PALE = "#33658a", "#c8553d", "#b8c4d0"


def table(frame: pd.DataFrame) -> dg.TableMetadataValue:
    """The first rows of a frame, numbers with three decimals."""
    shown = frame.head(ROWS)
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({str(name): _shown(value) for name, value in row.items()})
            for row in shown.astype(object).where(shown.notna(), None).to_dict("records")
        ],
        schema=dg.TableSchema([dg.TableColumn(str(name)) for name in shown.columns]),
    )


def _shown(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def item_map(b: Floats, theta: Floats) -> dg.MarkdownMetadataValue:
    """Wright map: the items' difficulties beside the students' abilities."""
    figure = _figure(5.0, 4.0)
    students, items = figure.subplots(1, 2, sharey=True)
    bins = np.arange(-4.25, 4.5, 0.25).tolist()
    students.hist(np.clip(theta, -4.2, 4.2), bins=bins, orientation="horizontal", color=PALE)
    students.invert_xaxis()
    students.set(title=f"{len(theta)} students", xlabel="students", ylabel="logits")
    items.hist(np.clip(b, -4.2, 4.2), bins=bins, orientation="horizontal", color=PLAIN)
    items.set(title=f"{len(b)} items", xlabel="items")
    return _image(figure, "Item map: difficulties beside abilities")


def test_information(a: Floats, b: Floats, c: Floats, theta: Floats) -> dg.MarkdownMetadataValue:
    """Information of the whole bank along ability, over the distribution of the students."""
    figure = _figure(5.5, 3.2)
    students = figure.subplots()
    students.hist(np.clip(theta, NODES[0], NODES[-1]), bins=np.arange(-6, 6.25, 0.25).tolist(), color=PALE)
    students.set(xlabel="ability, logits", ylabel="students", xlim=(-4.5, 4.5))
    information = students.twinx()
    slopes, guessing = a[:, None], c[:, None]
    total = item_information(slopes, guessing, slopes * (NODES - b[:, None])).sum(axis=0)
    information.plot(NODES, total, color=PLAIN)
    information.set(ylabel="information of all items", ylim=(0, None))
    return _image(figure, "Test information and the students")


def drift(moved: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Each anchor's change of difficulty with its 95 % interval, and its difficulties against each other.

    Args:
        moved: columns item_id, b (of the reference), d_b, se_d_b, flag.
    """
    figure = _figure(7.0, 3.6)
    changes, against = figure.subplots(1, 2)
    ordered = moved.sort_values(["d_b", "item_id"])
    colours = _colours(ordered["flag"])
    position, half = np.arange(len(ordered)), INTERVAL_95 * ordered["se_d_b"].fillna(0)
    changes.hlines(position, ordered["d_b"] - half, ordered["d_b"] + half, colors=colours, linewidth=1)
    changes.scatter(ordered["d_b"], position, c=colours, s=12)
    changes.axvline(0, color="black", linewidth=0.6)
    changes.set(title="change of b since the reference", xlabel="logits, 95 % interval", ylabel="anchors", yticks=[])
    against.scatter(ordered["b"], ordered["b"] + ordered["d_b"], c=colours, s=12)
    against.axline((0, 0), slope=1, color="black", linewidth=0.6)
    against.set(title="b, reference and this week", xlabel="reference", ylabel="this week, linked")
    return _image(figure, "Drift of the anchors")


def dif_forest(dif: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Mantel-Haenszel differences of the most different items with 95 % intervals; dotted lines bound A, B and C.

    Args:
        dif: columns item_id, attribute, focal, mh_d_dif, mh_se, flag; the most different first.
    """
    shown = dif.dropna(subset=["mh_d_dif"]).head(ROWS).iloc[::-1]
    figure = _figure(6.0, 1.2 + 0.2 * len(shown))
    axes = figure.subplots()
    position, half = np.arange(len(shown)), INTERVAL_95 * shown["mh_se"].fillna(0)
    colours = _colours(shown["flag"])
    axes.hlines(position, shown["mh_d_dif"] - half, shown["mh_d_dif"] + half, colors=colours, linewidth=1)
    axes.scatter(shown["mh_d_dif"], position, c=colours, s=12)
    axes.axvline(0, color="black", linewidth=0.6)
    for bound in (-1.5, -1.0, 1.0, 1.5):
        axes.axvline(bound, color="grey", linewidth=0.6, linestyle=":")
    labels = [f"{row.item_id} · {row.attribute}={row.focal}" for row in shown.itertuples()]
    axes.set_yticks(position, labels, fontsize=6)
    axes.set(xlabel="MH D-DIF, delta scale; left = harder for the group named")
    return _image(figure, "Differential item functioning")


def calibration(record: dict[str, dict[str, Any]]) -> dg.MarkdownMetadataValue:
    """What happened beside what was predicted, by tenths of the prediction.

    Args:
        record: of `models.track_record.track_record`.
    """
    figure = _figure(3.0 * len(record), 3.2)
    for axes, (horizon, of) in zip(np.atleast_1d(figure.subplots(1, len(record))), record.items(), strict=True):
        axes.axline((0, 0), slope=1, color="black", linewidth=0.6)
        axes.plot(of["bins"]["prediction"], of["bins"]["happened"], color=PLAIN, marker="o", markersize=4)
        slope = "slope not known yet" if of["slope"] is None else f"slope {of['slope']:.2f}, ICI {of['ici']:.3f}"
        axes.set(title=f"{horizon} days: {slope}", xlabel="predicted", xlim=(0, 1), ylim=(0, 1))
        axes.title.set_fontsize(9)
        axes.set_aspect("equal")
    figure.axes[0].set_ylabel("happened")
    return _image(figure, "Published risks and what happened")


def risks(rows: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """How many students have which risk, and the mean risk by idle days.

    Args:
        rows: columns horizon_days, risk, idle_days.
    """
    figure = _figure(7.0, 3.2)
    spread, by_idle = figure.subplots(1, 2)
    for horizon, some in rows.groupby("horizon_days"):
        spread.hist(some["risk"], bins=np.linspace(0, 1, 21).tolist(), histtype="step", label=f"{horizon} days")
        mean = some.groupby("idle_days")["risk"].mean()
        by_idle.plot(mean.index, mean, marker="o", markersize=3, label=f"{horizon} days")
    spread.set(xlabel="probability of 14 silent days", ylabel="students", yscale="symlog")
    by_idle.set(xlabel="idle days so far", ylabel="mean risk", ylim=(0, 1))
    by_idle.legend(fontsize=7)
    return _image(figure, "Risks of the students, and by idle days")


def caterpillar(slope: Floats, se: Floats) -> dg.MarkdownMetadataValue:
    """Students' growth per week with 90 % intervals, in ascending order; of many students an even share.

    Args:
        slope: logits per week, shape (students,).
        se: its standard error, shape (students,).
    """
    order = np.argsort(slope, kind="stable")
    shown = order[np.linspace(0, len(order) - 1, min(len(order), MOST_LINES)).round().astype(np.int64)]
    low, high = slope[shown] - INTERVAL_90 * se[shown], slope[shown] + INTERVAL_90 * se[shown]
    position = np.arange(len(shown))
    figure = _figure(6.0, 3.6)
    axes = figure.subplots()
    apart = (low > 0) | (high < 0)
    axes.vlines(position, low, high, colors=[PLAIN if each else PALE for each in apart], linewidth=0.8)
    axes.scatter(position, slope[shown], color="black", s=3)
    axes.axhline(0, color="black", linewidth=0.6)
    share = f"{len(shown)} of {len(slope)} students" if len(shown) < len(slope) else f"{len(slope)} students"
    axes.set(title=f"{share}; dark: the interval is apart from 0", ylabel="logits per week, 90 % interval", xticks=[])
    axes.title.set_fontsize(9)
    return _image(figure, "Growth of the students")


@dataclass(frozen=True)
class Trajectory:
    """One student's scores and line.

    Attributes:
        week, score, se: of the own-week scores.
        line: columns week, mu, sigma of the latent line.
        goal_week, target, p_goal: the goal, and the probability to reach it.
    """

    week: Floats
    score: Floats
    se: Floats
    line: pd.DataFrame
    goal_week: float
    target: float
    p_goal: float


def trajectories(students: list[Trajectory]) -> dg.MarkdownMetadataValue:
    """Own-week scores of some students, with their latent line and its 90 % band up to the goal."""
    figure = _figure(8.0, 2.4 * -(-len(students) // 3))
    grid = figure.subplots(-(-len(students) // 3), 3, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, one in zip(grid, students, strict=False):
        axes.errorbar(one.week, one.score, yerr=one.se, fmt="o", color=PLAIN, markersize=3, linewidth=0.8)
        axes.plot(one.line["week"], one.line["mu"], color="black", linewidth=1)
        half = INTERVAL_90 * one.line["sigma"]
        axes.fill_between(one.line["week"], one.line["mu"] - half, one.line["mu"] + half, color=PALE, alpha=0.6)
        axes.axvline(0, color="grey", linewidth=0.6, linestyle=":")
        axes.scatter([one.goal_week], [one.target], marker="*", color=STRIKING, s=40, zorder=3)
        axes.set_title(f"P = {one.p_goal:.2f}", fontsize=9)
    for axes in grid[len(students) :]:
        axes.set_visible(False)
    figure.supxlabel("weeks from as_of", fontsize=9)
    figure.supylabel("ability, logits", fontsize=9)
    return _image(figure, "Scores, lines and goals of some students")


def predictive_check(score: Floats, replicated: Floats) -> dg.MarkdownMetadataValue:
    """The distribution of the scores beside those of data drawn from the posterior.

    Args:
        score: logits, shape (n,).
        replicated: scores of new students in the same weeks, shape (draws, n).
    """
    figure = _figure(5.5, 3.2)
    axes = figure.subplots()
    low, high = np.quantile(np.concatenate([score, replicated.ravel()]), [0.001, 0.999])
    bins = np.linspace(low, high, 41)
    middle = (bins[:-1] + bins[1:]) / 2
    for draw in replicated:
        axes.plot(middle, np.histogram(draw, bins, density=True)[0], color=PALE, linewidth=0.6)
    axes.plot(middle, np.histogram(score, bins, density=True)[0], color=PLAIN, linewidth=2)
    axes.set(xlabel="own-week score, logits", ylabel="density", title=f"scores, and {len(replicated)} replications")
    axes.title.set_fontsize(9)
    return _image(figure, "Posterior predictive check")


@dataclass(frozen=True)
class Course:
    """A weekly series, where it is expected to go, and how its last week compares with what was expected of it.

    Attributes:
        title: what it is.
        values: of the weeks, shape (weeks,).
        ahead: columns expected, lower, upper, a row for each week to come.
        last: the same for the last week, from the weeks before it; None = it was not judged.
        flag: the last week is unusual.
        changes: of each week, whether the trend may change there, shape (weeks,).
    """

    title: str
    values: Floats
    ahead: pd.DataFrame
    last: dict[str, float] | None
    flag: bool
    changes: list[bool]


def courses(series: list[Course]) -> dg.MarkdownMetadataValue:
    """Weekly series with their forecasts and 90 % intervals; an unusual last week is marked."""
    rows = -(-len(series) // 3)
    figure = _figure(7.8, 1.7 * rows)
    grid = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes, one in zip(grid, series, strict=False):
        n = len(one.values)
        ago, ahead = np.arange(1 - n, 1), np.arange(1, len(one.ahead) + 1)
        axes.plot(ago, one.values, color=PLAIN, marker="o", markersize=2.5, linewidth=1)
        axes.plot(ahead, one.ahead["expected"], color="black", linewidth=1)
        axes.fill_between(ahead, one.ahead["lower"], one.ahead["upper"], color=PALE, alpha=0.6)
        if one.last is not None:
            axes.vlines(0, one.last["lower"], one.last["upper"], color="grey", linewidth=3, alpha=0.5)
        if one.flag:
            axes.scatter([0], one.values[-1:], color=STRIKING, s=30, zorder=3)
        for change in ago[one.changes]:
            axes.axvline(change, color="grey", linewidth=0.6, linestyle=":")
        axes.set_title(one.title, fontsize=8)
        axes.tick_params(labelsize=7)
    for axes in grid[len(series) :]:
        axes.set_visible(False)
    figure.supxlabel("weeks from this one; bar: what was expected of it, dotted: the trend may change", fontsize=8)
    return _image(figure, "Series and forecasts")


def profiles(labels: list[str], features: list[str], centers: Floats) -> dg.MarkdownMetadataValue:
    """Heat map of the segments' centres, in robust standard deviations from the students' median.

    Args:
        labels: of the segments.
        features: their names.
        centers: shape (segments, features).
    """
    figure = _figure(2.5 + 0.5 * len(features), 1.8 + 0.4 * len(labels))
    axes = figure.subplots()
    image = axes.imshow(centers, cmap="RdBu_r", vmin=-2.5, vmax=2.5, aspect="auto")
    axes.set_xticks(range(len(features)), features, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    for (row, column), value in np.ndenumerate(centers):
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=6)
    figure.colorbar(image, ax=axes, label="scaled")
    return _image(figure, "Profiles of the segments")


def map_of_students(points: Floats, segment: Ints, labels: list[str], explained: Floats) -> dg.MarkdownMetadataValue:
    """The students on the first two principal components of the scaled features, coloured by segment; of many a share.

    Args:
        points: shape (students, 2).
        segment: of each student, shape (students,).
        labels: of the segments.
        explained: share of the variance on each axis, shape (2,).
    """
    figure = _figure(5.5, 4.0)
    axes = figure.subplots()
    shown = np.linspace(0, len(points) - 1, min(len(points), MOST_DOTS)).astype(np.int64)
    points, segment = points[shown], segment[shown]
    for i, label in enumerate(labels):
        own = points[segment == i]
        axes.scatter(own[:, 0], own[:, 1], s=6, alpha=0.6, label=label)
    axes.set(xlabel=f"first component, {explained[0]:.0%}", ylabel=f"second component, {explained[1]:.0%}")
    axes.legend(fontsize=7)
    return _image(figure, "Map of the students")


def number_of_segments(curves: pd.DataFrame, chosen: int) -> dg.MarkdownMetadataValue:
    """Gap statistic, silhouette and BIC for each number of segments.

    Args:
        curves: indexed by k, columns gap, se, silhouette, bic; NaN where not defined.
        chosen: the number that was taken.
    """
    figure = _figure(8.0, 2.6)
    gap, silhouette, bic = figure.subplots(1, 3)
    gap.errorbar(curves.index, curves["gap"], yerr=curves["se"], color=PLAIN, marker="o", markersize=3, capsize=2)
    silhouette.plot(curves.index, curves["silhouette"], color=PLAIN, marker="o", markersize=3)
    bic.plot(curves.index, curves["bic"], color=PLAIN, marker="o", markersize=3)
    for axes, name in ((gap, "gap, 1 SE"), (silhouette, "silhouette"), (bic, "BIC")):
        axes.axvline(chosen, color="grey", linewidth=0.6, linestyle=":")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("segments", fontsize=8)
        axes.set_xticks(curves.index)
    return _image(figure, "How many segments")


def _colours(flag: "pd.Series[bool]") -> list[str]:
    return [STRIKING if each else PLAIN for each in flag]


def _figure(width: float, height: float) -> "Figure":
    # Not pyplot: no window system, no figure that somebody must close. And only here: the code location loads fast.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _image(figure: "Figure", title: str) -> dg.MarkdownMetadataValue:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})")
