"""Groups of students who practise alike, if there are any: segment_meta, segment_transition, user_segment."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets import plots
from seedtest_assets.assets.common import FRESH_TWICE_MONTHLY, asset_key, local_date, table_spec, weeks, window
from seedtest_assets.assets.weekly_metrics import weekly_metrics
from seedtest_assets.calendar import WEEK, WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.models.segment_features import TRANSFORMS, segment_features
from seedtest_assets.models.segment_labels import SegmentLabel, label_segments, transition
from seedtest_assets.models.segmentation import Segmentation, assign, segment
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.settings import settings

WITHOUT = {
    "no stable segments": "안정된 구분 없음",
    "too few students": "구분하기에 학생이 적음",
    "no features": "구분할 특징 없음",
}
"""A segmentation's status where there are no segments, and its Korean."""


@dataclass(frozen=True)
class Earlier:
    """The segmentations before this one.

    Attributes:
        named: the newest that has segments, and their names; None = none has.
        members: key of each student's segment in the newest, by user_id.
    """

    named: tuple[Segmentation, Sequence[SegmentLabel]] | None
    members: "pd.Series[str]"


def _spec(table: sa.Table, description: str) -> dg.AssetSpec:
    return table_spec(
        table,
        description,
        deps=[weekly_metrics, asset_key("features_topic_daily")],
        group="segments",
        code_version="1",
        skippable=False,
        freshness=FRESH_TWICE_MONTHLY,
        kinds={"python", "postgres"},
    )


@dg.multi_asset(
    name="segments",
    specs=[
        _spec(
            tables.segment_meta,
            "One segmentation of the students with four weeks of metrics or more, by k-means or a Gaussian mixture. "
            "Segments are published if the gap statistic prefers them to one, neighbours are apart, and each comes "
            "back in bootstrap samples; otherwise there are none, which is a result.",
        ),
        _spec(tables.segment_transition, "Where the students of each segment of the run before are now."),
        _spec(
            tables.user_segment,
            "The segment of each student with metrics in the look-back; those too new to be fitted on are assigned "
            "with the stored centres and scaling. Names are made from the profiles, and kept from run to run.",
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "segments_are_stable",
            asset=asset_key(tables.segment_meta.name),
            description="Each segment comes back in bootstrap samples with a Jaccard similarity of .75 or more, and "
            "there are some.",
        )
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    can_subset=False,
)
def segments(context: AssetExecutionContext, database: Database) -> Iterator[Any]:
    """Group the students by their metrics of the look-back's whole weeks."""
    (week,) = weeks(context)
    metrics = database.frame(_metrics(week, settings().cluster_lookback_weeks))
    fitted, everybody = segment_features(metrics), segment_features(metrics, least_weeks=1)
    context.log.info(f"grouping {len(fitted)} students of {len(everybody)} by {settings().cluster_method}")
    number = settings().cluster_n_clusters
    found = segment(
        fitted,
        TRANSFORMS,
        method=settings().cluster_method,
        k=None if number == "auto" else number,
        seed=week.start.toordinal(),
    )
    earlier = _earlier(database, week)
    names = _names(found, earlier)
    members = _members(week, found, names, everybody, fitted.index)
    moves = _moves(week, earlier, members)
    meta = _meta_row(context, week, found, names)
    contents = {tables.segment_meta: meta, tables.segment_transition: moves, tables.user_segment: members}
    if not len(everybody):  # of nobody there is nothing to say
        contents = {table: rows.head(0) for table, rows in contents.items()}
    written = database.replace(
        *(Rows(table, rows, window(table, week)) for table, rows in contents.items()), week_start=week.start
    )
    told = {
        "segment_meta": _fit_metadata(found, names, fitted),
        "segment_transition": {"moves": plots.table(moves.drop(columns="run_id"))},
        "user_segment": {"students": plots.table(members["segment_label"].value_counts().reset_index())},
    }
    for table in contents:
        yield dg.MaterializeResult(
            asset_key=asset_key(table.name),
            metadata={"dagster/partition_row_count": written[table.name], **told[table.name]},
        )
    yield _stable_check(found)


def newest_members(week: Week, *, earlier: bool = False) -> sa.Select[*tuple[Any, ...]]:
    """Rows of user_segment of the newest segmentation of this week or before it (strictly before with `earlier`)."""
    user = tables.user_segment
    until = user.c.week_start < week.start if earlier else user.c.week_start <= week.start
    newest = sa.select(sa.func.max(user.c.week_start)).where(until).scalar_subquery()
    return sa.select(user).where(user.c.week_start == newest)


def _metrics(week: Week, lookback: int) -> sa.Select[*tuple[Any, ...]]:
    """Weekly metrics of whole weeks, with each week's accuracy and response time."""
    m, f = tables.weekly_metrics.c, tables.features_topic_daily.c
    first = week.start - (lookback - 1) * WEEK
    timed = f.attempts * sa.case((f.rt_median_ms.is_not(None), 1))
    time = sa.cast(f.rt_median_ms, sa.Numeric)  # exact: a sum of floats depends on the order of its terms
    daily = (
        sa.select(
            f.user_id,
            sa.cast(sa.func.date_trunc("week", f.date), sa.Date).label("week_start"),
            (sa.cast(sa.func.sum(f.correct), sa.Double) / sa.func.sum(f.attempts)).label("accuracy"),
            sa.cast(sa.func.sum(time * f.attempts) / sa.func.sum(timed) / 1000, sa.Double).label("rt_median_s"),
        )
        .where(f.date >= first, f.date < week.end)
        .group_by(f.user_id, sa.text("2"))
        .subquery()
        .c
    )
    columns = (m.active_days, m.attempts, m.mean_gap_days, m.hint_rate, m.dwell_s, m.i_t, m.e_t, m.r_t)
    return (
        sa.select(m.user_id, m.week_start, *columns, daily.accuracy, daily.rt_median_s)
        .select_from(
            tables.weekly_metrics.outerjoin(
                daily.user_id.table, (daily.user_id == m.user_id) & (daily.week_start == m.week_start)
            )
        )
        .where(
            m.week_start.between(first, week.start),
            local_date(m.as_of, week) == m.week_start + WEEK.days,
            m.as_of <= week.as_of,
        )
    )


def _earlier(database: Database, week: Week) -> Earlier:
    meta, before = tables.segment_meta.c, newest_members(week, earlier=True).subquery().c
    members = database.frame(sa.select(before.user_id, before.segment))
    named = database.rows(
        sa.select(meta.model, meta.labels)
        .where(meta.week_start < week.start, meta.k > 1)
        .order_by(meta.week_start.desc())
        .limit(1)
    )
    return Earlier(
        (Segmentation.from_json(named[0].model), [_label(name) for name in named[0].labels]) if named else None,
        members.astype(str).set_index("user_id")["segment"],
    )


def _label(stored: dict[str, Any]) -> SegmentLabel:
    return SegmentLabel(**{name: stored[name] for name in SegmentLabel.__dataclass_fields__})


def _names(found: Segmentation, earlier: Earlier) -> Sequence[SegmentLabel]:
    """A name for each segment; where there are none, why."""
    if found.k == 1:
        english = found.status if found.status in WITHOUT else "one segment"
        return [SegmentLabel(0, tables.UNSEGMENTED, WITHOUT.get(english, "하나의 집단"), english.capitalize(), {})]
    return label_segments(found, earlier.named)


def _members(
    week: Week, found: Segmentation, names: Sequence[SegmentLabel], students: pd.DataFrame, fitted: "pd.Index[str]"
) -> pd.DataFrame:
    """Rows of user_segment: of whoever something is known of."""
    assigned = assign(found, students).dropna(subset=["segment"])
    name = pd.DataFrame([asdict(each) for each in names]).set_index("segment").loc[assigned["segment"]]
    known = students.loc[assigned.index]
    return pd.DataFrame(
        {
            "user_id": assigned.index.to_numpy(),
            "week_start": week.start,
            "as_of": week.as_of,
            "segment": name["key"].to_numpy(),
            "segment_label": name["en"].to_numpy(),
            "segment_label_ko": name["ko"].to_numpy(),
            "probability": assigned["probability"].to_numpy(dtype=float),
            "fitted": assigned.index.isin(fitted),
            "features_snapshot": [{k: v for k, v in row.items() if pd.notna(v)} for row in known.to_dict("records")],
            "fit_run_id": str(run_id(tables.segment_meta.name, week.start)),
            "run_id": str(run_id(tables.user_segment.name, week.start)),
        }
    )


def _moves(week: Week, earlier: Earlier, members: pd.DataFrame) -> pd.DataFrame:
    """Rows of segment_transition; none without a run before."""
    now = members.set_index("user_id")["segment"]
    moves = transition(earlier.members, now) if len(earlier.members) else transition(now[:0], now[:0])
    return pd.DataFrame(
        {
            "from_segment": moves["previous"].fillna(tables.NO_SEGMENT),
            "to_segment": moves["current"].fillna(tables.NO_SEGMENT),
            "n": moves["students"],
            "share": moves["share"],
            "run_id": str(run_id(tables.segment_meta.name, week.start)),
        }
    )


def _meta_row(
    context: AssetExecutionContext, week: Week, found: Segmentation, names: Sequence[SegmentLabel]
) -> pd.DataFrame:
    curves, model = _curves(found), found.to_json()

    def by_k(*columns: str) -> dict[str, Any]:
        known = curves[list(columns)].astype(object).where(curves[list(columns)].notna(), None)
        return {"k": curves.index.tolist(), **{name: known[name].tolist() for name in columns}}

    row = {
        "run_id": str(run_id(tables.segment_meta.name, week.start)),
        "week_start": week.start,
        "as_of": week.as_of,
        "method": found.method,
        "k": found.k,
        "status": found.status,
        "reason": found.reason or None,
        "silhouette": by_k("silhouette"),
        "gap": by_k("gap", "se") | {"by_gap_alone": found.gap_k},
        "bic": by_k("bic"),
        "stability": model["stability"] or [],
        "centers": found.natural_centers.to_dict("list"),
        "labels": [asdict(name) for name in names],
        "model": model,
        "n_students": found.n,
        "dagster_run_id": context.run.run_id,
    }
    return pd.DataFrame([row])


def _curves(found: Segmentation) -> pd.DataFrame:
    if found.curves is None:
        return pd.DataFrame(columns=["gap", "se", "silhouette", "bic", "separation", "stability"], dtype=float)
    return found.curves.set_index("k")


def _fit_metadata(found: Segmentation, names: Sequence[SegmentLabel], students: pd.DataFrame) -> dict[str, Any]:
    stability = np.full(found.k, np.nan) if found.stability is None else found.stability
    labels = [name.en for name in names]
    told: dict[str, Any] = {
        "method": found.method,
        "status": found.status,
        "reason": found.reason,
        "segments": plots.table(
            pd.DataFrame({"label": labels, "label_ko": [n.ko for n in names], "share": found.weights}).assign(
                jaccard=stability
            )
        ),
        "left_out": found.left_out,
    }
    if found.features:
        told["profiles"] = plots.profiles(labels, list(found.features), found.centers)
    if found.curves is None:
        return told
    from sklearn.decomposition import PCA

    # 0 is the median: a student of whom a feature is not known is drawn as an average one.
    scaled = np.nan_to_num(found.scaled(students))
    pca = PCA(n_components=min(2, scaled.shape[1])).fit(scaled)
    if pca.n_components_ == 2:
        place = assign(found, students)["segment"].fillna(-1).to_numpy(dtype=np.int64)
        points, share = pca.transform(scaled), pca.explained_variance_ratio_
        told["map"] = plots.map_of_students(points, place, labels, share)
    told["number"] = plots.number_of_segments(_curves(found), found.k)
    return told


def _stable_check(found: Segmentation) -> dg.AssetCheckResult:
    stability = None if found.stability is None else float(found.stability.min())
    return dg.AssetCheckResult(
        check_name="segments_are_stable",
        asset_key=asset_key("segment_meta"),
        passed=found.status == "segments",
        severity=dg.AssetCheckSeverity.WARN,
        description=None if found.status == "segments" else f"{found.status}: {found.reason}",
        metadata={"students": found.n, "segments": found.k}
        | ({} if stability is None else {"smallest_jaccard": stability}),
    )
