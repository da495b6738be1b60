"""Intake tables, and the tables of the path from attempts to weekly_kpi.

Revision ID: 0001
Revises:
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op
from seedtest_assets.tables import ANALYTICS, INTAKE, TENANT

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SCHEMA = postgresql.dialect().identifier_preparer.quote(ANALYTICS)

ITEM_PARAMS_CURRENT = f"""
CREATE VIEW {SCHEMA}.mirt_item_params_current AS
SELECT item.*
FROM {SCHEMA}.mirt_item_params AS item
WHERE item.run_id = (SELECT run_id FROM {SCHEMA}.mirt_fit_meta ORDER BY week_start DESC LIMIT 1)
"""

# What the readers of the earlier system query: its keys, on top of the table with proper columns.
OLD_READERS = """
CREATE VIEW public.weekly_kpi AS
SELECT
    user_id,
    week_start,
    jsonb_build_object(
        'I_t', i_t, 'E_t', e_t, 'R_t', r_t, 'A_t', a_t,
        'P', p_goal, 'P_lower', p_lower, 'P_upper', p_upper, 'sigma', sigma,
        'S', s_churn, 'churn_state', churn_state,
        'growth_slope', growth_slope,
        'anomaly_score', anomaly_score, 'anomaly_flag', anomaly_flag,
        'forecast_theta', forecast_theta,
        'segment_label', segment_label
    ) AS kpis,
    computed_at AS updated_at
FROM analytics.weekly_kpi
"""


def upgrade() -> None:
    if not TENANT:  # a tenant's schema is there: it holds Alembic's own table
        op.execute("CREATE SCHEMA IF NOT EXISTS intake")
        op.execute("CREATE SCHEMA IF NOT EXISTS analytics")
    op.create_table(
        "features_topic_daily",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student"),
        sa.Column("topic_id", sa.Text(), nullable=False, comment="topic, or (none)"),
        sa.Column("date", sa.Date(), nullable=False, comment="local day"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="answers on that day"),
        sa.Column("correct", sa.Integer(), nullable=False, comment="of these correct"),
        sa.Column("accuracy", sa.Double(), nullable=False, comment="correct / attempts"),
        sa.Column("rt_median_ms", sa.Double(), nullable=True, comment="median response time of logged answers, ms"),
        sa.Column("rt_mean_ms", sa.Double(), nullable=True, comment="mean response time of logged answers, ms"),
        sa.Column("hints", sa.Integer(), nullable=True, comment="answers with a hint; NULL = hints not logged"),
        sa.Column(
            "theta_mean",
            sa.Double(),
            nullable=True,
            comment="topic ability after that day's answers, logits; NULL = no bank yet",
        ),
        sa.Column("theta_sd", sa.Double(), nullable=True, comment="posterior standard deviation of theta_mean"),
        sa.Column(
            "last_seen_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="the last answer of the day",
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
        sa.PrimaryKeyConstraint("user_id", "topic_id", "date", name=op.f("pk_features_topic_daily")),
        schema=ANALYTICS,
        comment="What a student did in a topic on a day, and how able in it afterwards.",
    )
    op.create_index(
        op.f("ix_features_topic_daily_date"),
        "features_topic_daily",
        ["date"],
        unique=False,
        schema=ANALYTICS,
    )
    op.create_table(
        "fit_attempt",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("week_start", sa.Date(), nullable=False),
        sa.Column("tried_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False, comment="the fit became a bank"),
        sa.Column(
            "diagnostics",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="what the fit reported",
        ),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it was not published"),
        sa.PrimaryKeyConstraint("asset", "week_start", "tried_at", name=op.f("pk_fit_attempt")),
        schema=ANALYTICS,
        comment="A log of every fit that was tried, published or not.",
    )
    op.create_table(
        "mirt_ability",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("theta", sa.Double(), nullable=False, comment="ability, logits, on the scale of the bank"),
        sa.Column("se", sa.Double(), nullable=False, comment="posterior standard deviation of theta"),
        sa.Column("n_responses", sa.Integer(), nullable=False, comment="first attempts in the look-back window"),
        sa.Column("method", sa.Text(), nullable=False, comment="EAP"),
        sa.Column("model", sa.Text(), nullable=False, comment="Rasch or 2PL"),
        sa.Column(
            "bank_run_id",
            sa.UUID(),
            nullable=False,
            comment="the calibration it was scored with; an older one when this week's failed",
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
        sa.PrimaryKeyConstraint("user_id", "week_start", name=op.f("pk_mirt_ability")),
        schema=ANALYTICS,
        comment="Ability over the look-back window: an average, good for level, not a growth response.",
    )
    op.create_table(
        "mirt_fit_meta",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="uuid5 of asset and week"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("model", sa.Text(), nullable=False, comment="Rasch or 2PL"),
        sa.Column(
            "model_spec",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="priors, quadrature, window, exclusions",
        ),
        sa.Column(
            "linking_constants",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="onto the reference scale; NULL = on this window's own N(0, 1) scale",
        ),
        sa.Column(
            "metrics",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="log_lik, n_students, n_items, n_responses, iterations, converged, …",
        ),
        sa.Column(
            "fitted_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the fit was written",
        ),
        sa.Column("dagster_run_id", sa.Text(), nullable=False, comment="the run that wrote it"),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_mirt_fit_meta")),
        sa.UniqueConstraint("week_start", name=op.f("uq_mirt_fit_meta_week_start")),
        schema=ANALYTICS,
        comment="One published calibration per week.",
    )
    op.create_table(
        "weekly_kpi",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("i_t", sa.Double(), nullable=True, comment="improvement"),
        sa.Column("e_t", sa.Double(), nullable=True, comment="efficiency"),
        sa.Column("r_t", sa.Double(), nullable=True, comment="recovery"),
        sa.Column("a_t", sa.Double(), nullable=True, comment="engagement"),
        sa.Column("p_goal", sa.Double(), nullable=True, comment="probability to reach the goal"),
        sa.Column("p_lower", sa.Double(), nullable=True, comment="5 % bound of p_goal"),
        sa.Column("p_upper", sa.Double(), nullable=True, comment="95 % bound of p_goal"),
        sa.Column("sigma", sa.Double(), nullable=True, comment="standard deviation of theta at the goal date"),
        sa.Column(
            "s_churn",
            sa.Double(),
            nullable=True,
            comment="probability of 14 days of silence within the horizon",
        ),
        sa.Column("churn_state", sa.Text(), nullable=True, comment="at_risk or lapsed"),
        sa.Column("growth_slope", sa.Double(), nullable=True, comment="logits per week"),
        sa.Column("anomaly_score", sa.Double(), nullable=True, comment="standard normal score of the week"),
        sa.Column("anomaly_flag", sa.Boolean(), nullable=True, comment="the week is unusual for this student"),
        sa.Column("forecast_theta", sa.Double(), nullable=True, comment="expected own-week theta of next week"),
        sa.Column("segment_label", sa.Text(), nullable=True, comment="the student's segment"),
        sa.Column(
            "provenance",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="method, n, interval and run_id of each number",
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
        sa.PrimaryKeyConstraint("user_id", "week_start", name=op.f("pk_weekly_kpi")),
        schema=ANALYTICS,
        comment="One row per student and week: what all models said.",
    )
    op.create_table(
        "weekly_metrics",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column(
            "i_t",
            sa.Double(),
            nullable=True,
            comment="improvement: posterior mean of theta(last 14 days) - theta(14 before), logits",
        ),
        sa.Column("i_t_se", sa.Double(), nullable=True, comment="posterior standard deviation of the improvement"),
        sa.Column(
            "i_t_method",
            sa.Text(),
            nullable=True,
            comment="theta, or accuracy (logits of proportions correct)",
        ),
        sa.Column(
            "e_t",
            sa.Double(),
            nullable=True,
            comment="efficiency: 1 - ratio of response times on correct answers, 28 days against 28",
        ),
        sa.Column("e_t_n", sa.Integer(), nullable=True, comment="timed correct answers used for e_t"),
        sa.Column("r_t", sa.Double(), nullable=True, comment="recovery: share of earlier errors now right, shrunk"),
        sa.Column("r_t_n", sa.Integer(), nullable=True, comment="earlier errors met again"),
        sa.Column("a_t", sa.Double(), nullable=True, comment="engagement over 28 days"),
        sa.Column("sessions", sa.Integer(), nullable=False, comment="sessions in 28 days"),
        sa.Column("active_days", sa.Integer(), nullable=False, comment="days with answers in this ISO week"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="answers in this ISO week"),
        sa.Column(
            "mean_gap_days",
            sa.Double(),
            nullable=True,
            comment="mean days between active days, gaps that end in the last 28 days",
        ),
        sa.Column(
            "idle_days",
            sa.Integer(),
            nullable=False,
            comment="whole local days without an answer before as_of",
        ),
        sa.Column(
            "hint_rate",
            sa.Double(),
            nullable=True,
            comment="share of answers with a hint in 28 days; NULL = not logged",
        ),
        sa.Column("dwell_s", sa.Double(), nullable=True, comment="mean seconds at work per session in 28 days"),
        sa.Column("theta", sa.Double(), nullable=True, comment="mirt_ability.theta of this week"),
        sa.Column("theta_se", sa.Double(), nullable=True, comment="its standard error"),
        sa.Column(
            "theta_week",
            sa.Double(),
            nullable=True,
            comment="weighted likelihood estimate from this ISO week's answers alone",
        ),
        sa.Column("theta_week_se", sa.Double(), nullable=True, comment="its standard error"),
        sa.Column(
            "theta_week_n",
            sa.Integer(),
            nullable=True,
            comment="answers of this ISO week on calibrated items",
        ),
        sa.Column("bank_run_id", sa.UUID(), nullable=True, comment="the calibration behind i_t and theta_week"),
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
        sa.PrimaryKeyConstraint("user_id", "week_start", name=op.f("pk_weekly_metrics")),
        schema=ANALYTICS,
        comment="Improvement, efficiency, recovery, engagement and their parts, per student and week.",
    )
    op.create_table(
        "attempt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "source",
            sa.Text(),
            nullable=False,
            comment="where the row came from: a file import, exam_results, …",
        ),
        sa.Column(
            "source_id",
            sa.Text(),
            nullable=False,
            comment="the row's identity there; importing it again changes nothing",
        ),
        sa.Column("student_id", sa.UUID(), nullable=False, comment="a text user id is mapped by md5"),
        sa.Column(
            "item_id",
            sa.BigInteger(),
            nullable=False,
            comment="a text id is mapped by the first 8 bytes of its md5; see item_key",
        ),
        sa.Column("correct", sa.Boolean(), nullable=False, comment="answered correctly"),
        sa.Column(
            "response_time_ms",
            sa.Integer(),
            nullable=True,
            comment="milliseconds to the answer; NULL = not logged",
        ),
        sa.Column("hint_used", sa.Boolean(), nullable=True, comment="a hint was taken; NULL = not logged"),
        sa.Column(
            "completed_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="when the answer was given",
        ),
        sa.Column(
            "started_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="when the question was shown",
        ),
        sa.Column(
            "attempt_no",
            sa.Integer(),
            nullable=False,
            comment="n-th attempt of the student on the item, by completed_at",
        ),
        sa.Column("session_id", sa.Text(), nullable=True, comment="NULL: sessions are derived by a 30-minute gap"),
        sa.Column("topic_id", sa.Text(), nullable=True, comment="topic of the question"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("source", "source_id", name=op.f("uq_attempt_source_source_id")),
        schema=INTAKE,
        comment="One row per answered question.",
    )
    op.create_index(op.f("ix_attempt_completed_at"), "attempt", ["completed_at"], unique=False, schema=INTAKE)
    op.create_index(
        op.f("ix_attempt_student_id_item_id"),
        "attempt",
        ["student_id", "item_id"],
        unique=False,
        schema=INTAKE,
    )
    op.create_table(
        "attempt_reject",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="as in attempt"),
        sa.Column("source_id", sa.Text(), nullable=False, comment="the row's or document's identity there"),
        sa.Column("reason", sa.Text(), nullable=False, comment="why it was refused"),
        sa.Column(
            "payload",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the row or document as it came",
        ),
        sa.Column(
            "seen_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was first refused",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt_reject")),
        sa.UniqueConstraint("source", "source_id", name=op.f("uq_attempt_reject_source_source_id")),
        schema=INTAKE,
        comment="What could not be taken in, with the reason. Nothing is dropped silently.",
    )
    op.create_table(
        "holiday",
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("date", "name", name=op.f("pk_holiday")),
        schema=INTAKE,
        comment="Days off.",
    )
    op.create_table(
        "intake_cursor",
        sa.Column("source", sa.Text(), nullable=False, comment="an incremental source"),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="keyset position: the last document's updated_at",
        ),
        sa.Column("id", sa.UUID(), nullable=False, comment="keyset position: the last document's id"),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_intake_cursor")),
        schema=INTAKE,
        comment="How far each incremental source has been read.",
    )
    op.create_table(
        "item_key",
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False, comment="the question's text id at its source"),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_item_key")),
        sa.UniqueConstraint("text", name=op.f("uq_item_key_text")),
        schema=INTAKE,
        comment="Text ids of questions whose item_id was derived from them.",
    )
    op.create_table(
        "learning_goal",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student: attempt.student_id"),
        sa.Column("topic_id", sa.Text(), nullable=True, comment="NULL = the overall goal"),
        sa.Column("target_theta", sa.Double(), nullable=False, comment="ability to reach, logits"),
        sa.Column("target_date", sa.Date(), nullable=True, comment="the day by which"),
        sa.Column("priority", sa.Integer(), server_default="1", nullable=False, comment="lower comes first"),
        sa.Column(
            "valid_from",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="a week uses the goals set before its as_of",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_learning_goal")),
        schema=INTAKE,
        comment="What a student aims at, overall or per topic.",
    )
    op.create_index(op.f("ix_learning_goal_user_id"), "learning_goal", ["user_id"], unique=False, schema=INTAKE)
    op.create_table(
        "student_attribute",
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False, comment="the group the student belongs to"),
        sa.PrimaryKeyConstraint("user_id", "name", name=op.f("pk_student_attribute")),
        schema=INTAKE,
        comment="Groups for DIF and fairness checks only; never a covariate of a model.",
    )
    op.create_table(
        "mirt_item_params",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="the calibration"),
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="attempt.item_id"),
        sa.Column("a", sa.Double(), nullable=False, comment="discrimination, per logit (D = 1)"),
        sa.Column("b", sa.Double(), nullable=False, comment="difficulty, logits"),
        sa.Column("c", sa.Double(), nullable=False, comment="lower asymptote; 0 unless the model is 3PL"),
        sa.Column("se_a", sa.Double(), nullable=True, comment="standard error of a"),
        sa.Column("se_b", sa.Double(), nullable=True, comment="standard error of b"),
        sa.Column("se_c", sa.Double(), nullable=True, comment="standard error of c"),
        sa.Column("n_responses", sa.Integer(), nullable=False, comment="answers the item was calibrated on"),
        sa.Column("is_anchor", sa.Boolean(), nullable=False, comment="held fixed at its reference value"),
        sa.Column("infit", sa.Double(), nullable=True, comment="information-weighted mean square"),
        sa.Column("outfit", sa.Double(), nullable=True, comment="unweighted mean square"),
        sa.Column("fit_stat", sa.Double(), nullable=True, comment="item fit chi-square"),
        sa.Column("fit_p", sa.Double(), nullable=True, comment="its p value"),
        sa.Column("rmsd", sa.Double(), nullable=True, comment="root mean square deviation from the model's curve"),
        sa.Column(
            "flag",
            sa.Text(),
            nullable=True,
            comment="what is wrong with the item; NULL = not judged or nothing",
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
            [f"{ANALYTICS}.mirt_fit_meta.run_id"],
            name=op.f("fk_mirt_item_params_run_id_mirt_fit_meta"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "item_id", name=op.f("pk_mirt_item_params")),
        schema=ANALYTICS,
        comment="Item parameters of each calibration, P(correct) = c + (1 - c) / (1 + exp(-a (theta - b))).",
    )
    op.execute(ITEM_PARAMS_CURRENT)
    if not TENANT:  # the earlier system knew one school
        op.execute(OLD_READERS)


def downgrade() -> None:
    if not TENANT:
        op.execute("DROP VIEW public.weekly_kpi")
    op.execute(f"DROP VIEW {SCHEMA}.mirt_item_params_current")
    op.drop_table("mirt_item_params", schema=ANALYTICS)
    op.drop_table("student_attribute", schema=INTAKE)
    op.drop_index(op.f("ix_learning_goal_user_id"), table_name="learning_goal", schema=INTAKE)
    op.drop_table("learning_goal", schema=INTAKE)
    op.drop_table("item_key", schema=INTAKE)
    op.drop_table("intake_cursor", schema=INTAKE)
    op.drop_table("holiday", schema=INTAKE)
    op.drop_table("attempt_reject", schema=INTAKE)
    op.drop_index(op.f("ix_attempt_student_id_item_id"), table_name="attempt", schema=INTAKE)
    op.drop_index(op.f("ix_attempt_completed_at"), table_name="attempt", schema=INTAKE)
    op.drop_table("attempt", schema=INTAKE)
    op.drop_table("weekly_metrics", schema=ANALYTICS)
    op.drop_table("weekly_kpi", schema=ANALYTICS)
    op.drop_table("mirt_fit_meta", schema=ANALYTICS)
    op.drop_table("mirt_ability", schema=ANALYTICS)
    op.drop_table("fit_attempt", schema=ANALYTICS)
    op.drop_index(op.f("ix_features_topic_daily_date"), table_name="features_topic_daily", schema=ANALYTICS)
    op.drop_table("features_topic_daily", schema=ANALYTICS)
    if not TENANT:
        op.execute("DROP SCHEMA analytics")
        op.execute("DROP SCHEMA intake")
