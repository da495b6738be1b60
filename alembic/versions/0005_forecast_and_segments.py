"""Forecasts, anomalies, segments.

Revision ID: 0005
Revises: 0004
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op
from seedtest_assets.tables import ANALYTICS

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "anomalies",
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week that is judged"),
        sa.Column("scope", sa.Text(), nullable=False, comment="whose series: cohort, topic, segment, user"),
        sa.Column("scope_id", sa.Text(), nullable=False, comment="the topic, segment or student; cohort: all"),
        sa.Column("metric", sa.Text(), nullable=False, comment="theta_week, attempts, sessions, accuracy, i_t"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("value", sa.Double(), nullable=False, comment="what was observed in the week"),
        sa.Column(
            "expected",
            sa.Double(),
            nullable=True,
            comment="what the weeks before it let expect; NULL = too few of them",
        ),
        sa.Column("lower", sa.Double(), nullable=True, comment="5 % limit of what was to be expected"),
        sa.Column("upper", sa.Double(), nullable=True, comment="95 % limit"),
        sa.Column(
            "score",
            sa.Double(),
            nullable=True,
            comment="standard normal score of the value in the predictive distribution",
        ),
        sa.Column(
            "q",
            sa.Double(),
            nullable=True,
            comment="Benjamini-Hochberg false-discovery rate over the students of the week; NULL for series",
        ),
        sa.Column("flag", sa.Boolean(), nullable=True, comment="unusual; NULL = there is no score"),
        sa.Column(
            "method",
            sa.Text(),
            nullable=False,
            comment="eb_student (empirical Bayes), or one_step by the engine that forecasts the series",
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="why there is no score"),
        sa.Column(
            "run_id",
            sa.UUID(),
            nullable=False,
            comment="uuid5 of asset and week: the same for every rerun of the same window",
        ),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("week_start", "scope", "scope_id", "metric", name=op.f("pk_anomalies")),
        schema=ANALYTICS,
        comment="Each closed week of each series, and of each student, beside what was to be expected.",
    )
    op.create_table(
        "prophet_fit_meta",
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the last ISO week of the series"),
        sa.Column("scope", sa.Text(), nullable=False, comment="whose series: cohort, topic, segment"),
        sa.Column("scope_id", sa.Text(), nullable=False, comment="the topic, segment or student; cohort: all"),
        sa.Column("metric", sa.Text(), nullable=False, comment="theta_week, attempts, sessions, accuracy, i_t"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column(
            "engine",
            sa.Text(),
            nullable=False,
            comment="what the forecast is by: prophet, autoets, naive or seasonal_naive",
        ),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=False,
            comment="why that one: it won the backtest, was asked for, or another was away",
        ),
        sa.Column("n", sa.Integer(), nullable=False, comment="known weeks of the series"),
        sa.Column(
            "changepoints",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="prophet's: week, change of the weekly slope; NULL = prophet has not fitted it",
        ),
        sa.Column(
            "holidays",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="weeks with days off that prophet was told of",
        ),
        sa.Column("history", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="weeks and their values"),
        sa.Column(
            "forecast",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="weeks ahead: expected, lower, upper (90 %, widened so many times as the backtest asks)",
        ),
        sa.Column(
            "backtest",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="by engine: mase, coverage of its own 90 % interval, n; pooled over scope and metric",
        ),
        sa.Column(
            "run_id",
            sa.UUID(),
            nullable=False,
            comment="uuid5 of asset and week: the same for every rerun of the same window",
        ),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("week_start", "scope", "scope_id", "metric", name=op.f("pk_prophet_fit_meta")),
        schema=ANALYTICS,
        comment="One forecast per weekly series of the cohort, a topic or a segment.",
    )
    op.create_table(
        "segment_meta",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="uuid5 of asset and week"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("method", sa.Text(), nullable=False, comment="kmeans or gmm"),
        sa.Column("k", sa.Integer(), nullable=False, comment="number of segments; 1 = none"),
        sa.Column("status", sa.Text(), nullable=False, comment="segments; or no stable segments, too few students, …"),
        sa.Column("reason", sa.Text(), nullable=True, comment="what a status other than segments comes from"),
        sa.Column(
            "silhouette", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="mean silhouette for each k"
        ),
        sa.Column(
            "gap",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="gap statistic and its standard error for each k",
        ),
        sa.Column(
            "bic",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Bayesian information criterion for each k",
        ),
        sa.Column(
            "stability",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="bootstrap Jaccard similarity of each segment",
        ),
        sa.Column(
            "centers",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="centre of each segment, in the features' units",
        ),
        sa.Column(
            "labels",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="key, Korean and English label, share and profile of each segment",
        ),
        sa.Column(
            "model",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="features, scaling and parameters: all that assigns a student",
        ),
        sa.Column("n_students", sa.Integer(), nullable=False, comment="students that it was fitted on"),
        sa.Column("dagster_run_id", sa.Text(), nullable=False, comment="the run that wrote it"),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_segment_meta")),
        sa.UniqueConstraint("week_start", name=op.f("uq_segment_meta_week_start")),
        schema=ANALYTICS,
        comment="One segmentation of the students per run.",
    )
    op.create_table(
        "theta_forecast",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the last ISO week that is known"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("expected", sa.Double(), nullable=False, comment="expected own-week theta of the next week, logits"),
        sa.Column("lower", sa.Double(), nullable=True, comment="5 % limit"),
        sa.Column("upper", sa.Double(), nullable=True, comment="95 % limit"),
        sa.Column("n_weeks", sa.Integer(), nullable=False, comment="own-week scores of the student that it rests on"),
        sa.Column(
            "run_id",
            sa.UUID(),
            nullable=False,
            comment="uuid5 of asset and week: the same for every rerun of the same window",
        ),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("user_id", "week_start", name=op.f("pk_theta_forecast")),
        schema=ANALYTICS,
        comment="Next week's own-week theta: each student's level in a robust local-level model, shrunk to the cohort.",
    )
    op.create_table(
        "user_segment",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week of the segmentation"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column(
            "segment",
            sa.Text(),
            nullable=False,
            comment="the segment's key; unsegmented = there are no stable segments",
        ),
        sa.Column("segment_label", sa.Text(), nullable=False, comment="its English label"),
        sa.Column("segment_label_ko", sa.Text(), nullable=False, comment="its Korean label"),
        sa.Column(
            "probability",
            sa.Double(),
            nullable=True,
            comment="of belonging to it rather than to another; 1 where there is but one",
        ),
        sa.Column(
            "fitted",
            sa.Boolean(),
            nullable=False,
            comment="false: too new to be fitted on, assigned with the stored centres and scaling",
        ),
        sa.Column(
            "features_snapshot",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the student's features",
        ),
        sa.Column("fit_run_id", sa.UUID(), nullable=False, comment="the segmentation"),
        sa.Column(
            "run_id",
            sa.UUID(),
            nullable=False,
            comment="uuid5 of asset and week: the same for every rerun of the same window",
        ),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("user_id", "week_start", name=op.f("pk_user_segment")),
        schema=ANALYTICS,
        comment="The segment of each student.",
    )
    op.create_table(
        "segment_transition",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="the segmentation"),
        sa.Column("from_segment", sa.Text(), nullable=False, comment="key in the run before; (none): not in it"),
        sa.Column("to_segment", sa.Text(), nullable=False, comment="key in this one; (none): not in it"),
        sa.Column("n", sa.Integer(), nullable=False, comment="students"),
        sa.Column(
            "share",
            sa.Double(),
            nullable=True,
            comment="of the students who were in from_segment; NULL for those who were in (none)",
        ),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            [f"{ANALYTICS}.segment_meta.run_id"],
            name=op.f("fk_segment_transition_run_id_segment_meta"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "from_segment", "to_segment", name=op.f("pk_segment_transition")),
        schema=ANALYTICS,
        comment="Where the students of each segment of the segmentation before are now.",
    )
    op.alter_column(
        "weekly_kpi",
        "anomaly_score",
        existing_type=sa.DOUBLE_PRECISION(precision=53),
        comment="standard normal score of the week's own theta",
        existing_comment="standard normal score of the week",
        existing_nullable=True,
        schema=ANALYTICS,
    )
    op.alter_column(
        "weekly_kpi",
        "anomaly_flag",
        existing_type=sa.BOOLEAN(),
        comment="the week's own theta is unusual for this student",
        existing_comment="the week is unusual for this student",
        existing_nullable=True,
        schema=ANALYTICS,
    )


def downgrade() -> None:
    op.alter_column(
        "weekly_kpi",
        "anomaly_flag",
        existing_type=sa.BOOLEAN(),
        comment="the week is unusual for this student",
        existing_comment="the week's own theta is unusual for this student",
        existing_nullable=True,
        schema=ANALYTICS,
    )
    op.alter_column(
        "weekly_kpi",
        "anomaly_score",
        existing_type=sa.DOUBLE_PRECISION(precision=53),
        comment="standard normal score of the week",
        existing_comment="standard normal score of the week's own theta",
        existing_nullable=True,
        schema=ANALYTICS,
    )
    op.drop_table("segment_transition", schema=ANALYTICS)
    op.drop_table("user_segment", schema=ANALYTICS)
    op.drop_table("theta_forecast", schema=ANALYTICS)
    op.drop_table("segment_meta", schema=ANALYTICS)
    op.drop_table("prophet_fit_meta", schema=ANALYTICS)
    op.drop_table("anomalies", schema=ANALYTICS)
