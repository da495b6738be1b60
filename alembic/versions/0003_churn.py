"""Churn: fits, risks and alerts.

Revision ID: 0003
Revises: 0002
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op
from seedtest_assets.tables import ANALYTICS

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "churn_alert",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student"),
        sa.Column(
            "crossed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="as_of at which the risk had crossed the threshold",
        ),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of that ISO week"),
        sa.Column("horizon_days", sa.Integer(), nullable=False, comment="of the risk"),
        sa.Column("risk", sa.Double(), nullable=False, comment="the risk then"),
        sa.Column("risk_lower", sa.Double(), nullable=False, comment="its 5 % bound"),
        sa.Column("risk_upper", sa.Double(), nullable=False, comment="its 95 % bound"),
        sa.Column("threshold", sa.Double(), nullable=False, comment="CHURN_ALERT_THRESHOLD then"),
        sa.Column(
            "cleared_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="as_of at which it was below again, or the student lapsed; NULL = above",
        ),
        sa.Column(
            "notified_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="when the webhook took it"
        ),
        sa.Column(
            "acknowledged_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="set by whoever cares for the student",
        ),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("user_id", "crossed_at", name=op.f("pk_churn_alert")),
        schema=ANALYTICS,
        comment="Students whose risk has crossed the threshold, once for each time it did.",
    )
    op.create_index(op.f("ix_churn_alert_notified_at"), "churn_alert", ["notified_at"], unique=False, schema=ANALYTICS)
    op.create_table(
        "survival_fit_meta",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="uuid5 of asset and week"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("engine", sa.Text(), nullable=False, comment="what fitted it: plumber or python"),
        sa.Column(
            "model", sa.Text(), nullable=False, comment="full, or recency: fitted by idle days alone at some horizon"
        ),
        sa.Column(
            "risk_model",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="for each horizon: design, coefficients, covariance; those of idle days alone",
        ),
        sa.Column(
            "cox",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="hazard of coming back: hazard ratios, concordance, test of proportionality",
        ),
        sa.Column(
            "brier",
            sa.Double(),
            nullable=True,
            comment="Brier score of the risks published for the KPI's horizon that are over by now",
        ),
        sa.Column("skill_over_recency", sa.Double(), nullable=True, comment="1 - brier / that of idle days alone"),
        sa.Column(
            "calibration",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="for each horizon how the risks that are over came true: slope, ICI, bins, …",
        ),
        sa.Column("n", sa.Integer(), nullable=False, comment="landmarks that the KPI's horizon was fitted on"),
        sa.Column("events", sa.Integer(), nullable=False, comment="of these followed by silence"),
        sa.Column("dagster_run_id", sa.Text(), nullable=False, comment="the run that wrote it"),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_survival_fit_meta")),
        sa.UniqueConstraint("week_start", name=op.f("uq_survival_fit_meta_week_start")),
        schema=ANALYTICS,
        comment="One published fit per week of the risk of falling silent for 14 days.",
    )
    op.create_table(
        "survival_risk",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="a student at risk; lapsed students have no row"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column("horizon_days", sa.Integer(), nullable=False, comment="7, 14 or 28"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("risk", sa.Double(), nullable=False, comment="probability of 14 silent days within the horizon"),
        sa.Column("risk_lower", sa.Double(), nullable=False, comment="5 % bound of the risk"),
        sa.Column("risk_upper", sa.Double(), nullable=False, comment="95 % bound of the risk"),
        sa.Column(
            "risk_recency",
            sa.Double(),
            nullable=True,
            comment="the risk by idle days alone: what the others have to be better than",
        ),
        sa.Column("idle_days", sa.Integer(), nullable=False, comment="days that count as idle before as_of"),
        sa.Column(
            "last_active",
            sa.Date(),
            nullable=False,
            comment="the last day with an answer: the beginning of the silence",
        ),
        sa.Column(
            "rank",
            sa.Integer(),
            nullable=True,
            comment="1 = highest risk of the horizon; NULL = rescored between two nightly runs",
        ),
        sa.Column("engine", sa.Text(), nullable=False, comment="what fitted the model: plumber or python"),
        sa.Column("model", sa.Text(), nullable=False, comment="full, or recency: by idle days alone"),
        sa.Column("trigger", sa.Text(), nullable=False, comment="schedule, or inactivity: rescored by the sensor"),
        sa.Column(
            "fit_run_id",
            sa.UUID(),
            nullable=False,
            comment="the fit it was predicted with; an older one when this week's failed",
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
        sa.PrimaryKeyConstraint("user_id", "week_start", "horizon_days", name=op.f("pk_survival_risk")),
        schema=ANALYTICS,
        comment="Each student's probability of falling silent, calibrated, with its interval.",
    )


def downgrade() -> None:
    op.drop_table("survival_risk", schema=ANALYTICS)
    op.drop_table("survival_fit_meta", schema=ANALYTICS)
    op.drop_index(op.f("ix_churn_alert_notified_at"), table_name="churn_alert", schema=ANALYTICS)
    op.drop_table("churn_alert", schema=ANALYTICS)
