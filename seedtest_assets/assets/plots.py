"""Tables and pictures in the assets' metadata: what the UI shows of a week. Item ids and numbers, no student's key."""

import base64
import io
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pandas as pd

from seedtest_assets.models.irt import NODES, Floats, item_information

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 20
"""Longest table in an asset's metadata, and most items in a plot that names them."""
DOTS_PER_INCH = 80
INTERVAL_95 = 1.959963984540054
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
