"""Growth: trends, the Bayesian fit, goals.

Revision ID: 0004
Revises: 0003
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op
from seedtest_assets.tables import ANALYTICS

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "growth_brms_meta",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="uuid5 of asset and week"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("engine", sa.Text(), nullable=False, comment="plumber (brms) or pymc"),
        sa.Column("formula", sa.Text(), nullable=False, comment="the model, as brms writes it"),
        sa.Column(
            "priors", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="the priors of its parameters"
        ),
        sa.Column(
            "posterior_summary",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="mean, sd, quantiles, rhat and ess of the six parameters",
        ),
        sa.Column(
            "diagnostics",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="rhat, ess_bulk, ess_tail, divergences, ebfmi; coverage of what was fitted",
        ),
        sa.Column("n", sa.Integer(), nullable=False, comment="own-week scores that it was fitted on"),
        sa.Column("n_students", sa.Integer(), nullable=False, comment="students among them"),
        sa.Column("dagster_run_id", sa.Text(), nullable=False, comment="the run that wrote it"),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_growth_brms_meta")),
        sa.UniqueConstraint("week_start", name=op.f("uq_growth_brms_meta_week_start")),
        schema=ANALYTICS,
        comment="One published Bayesian fit per week of score ~ week + (week|student) with known standard errors.",
    )
    op.create_table(
        "growth_glmm_meta",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="uuid5 of asset and week"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("engine", sa.Text(), nullable=False, comment="lme4"),
        sa.Column("formula", sa.Text(), nullable=False, comment="the model, as R writes it"),
        sa.Column(
            "fixed_effects",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the cohort's line: intercept (logits) and week (logits per week), se, interval",
        ),
        sa.Column(
            "random_effects",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="sds of students' intercepts and slopes, their correlation; topics; residual",
        ),
        sa.Column(
            "overall",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the six parameters of the same fit on scores of whole weeks: goals are predicted with it",
        ),
        sa.Column(
            "metrics",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="log_lik, aic, reliability of the students' slopes, …",
        ),
        sa.Column(
            "singular", sa.Boolean(), nullable=False, comment="a variance is estimated as 0, or a correlation as 1"
        ),
        sa.Column(
            "warnings",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="what lme4 said of convergence and singularity",
        ),
        sa.Column("n", sa.Integer(), nullable=False, comment="own-week topic scores that it was fitted on"),
        sa.Column("n_students", sa.Integer(), nullable=False, comment="students among them"),
        sa.Column("dagster_run_id", sa.Text(), nullable=False, comment="the run that wrote it"),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_growth_glmm_meta")),
        sa.UniqueConstraint("week_start", name=op.f("uq_growth_glmm_meta_week_start")),
        schema=ANALYTICS,
        comment="One published fit per week of score ~ week + (week|student) + (1|topic), week 0 = as_of.",
    )
    op.create_table(
        "growth_goal",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column("topic_id", sa.Text(), nullable=False, comment="the goal's topic; (overall) = ability as a whole"),
        sa.Column(
            "as_of",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="facts before this instant were used, none after",
        ),
        sa.Column("target_theta", sa.Double(), nullable=False, comment="ability to reach, logits"),
        sa.Column("target_date", sa.Date(), nullable=False, comment="the day by which"),
        sa.Column(
            "goal",
            sa.Text(),
            nullable=False,
            comment="learning_goal, or default: the student has set none that is not over",
        ),
        sa.Column(
            "p_goal", sa.Double(), nullable=False, comment="probability that ability has reached the target then"
        ),
        sa.Column(
            "p_lower",
            sa.Double(),
            nullable=True,
            comment="5 % quantile of p_goal over the posterior; NULL by the normal method",
        ),
        sa.Column("p_upper", sa.Double(), nullable=True, comment="95 % quantile; NULL by the normal method"),
        sa.Column("mu", sa.Double(), nullable=False, comment="expected ability then, logits"),
        sa.Column("sigma", sa.Double(), nullable=False, comment="standard deviation of ability then, logits"),
        sa.Column("n_scores", sa.Integer(), nullable=False, comment="own-week scores of the student that it rests on"),
        sa.Column(
            "method",
            sa.Text(),
            nullable=False,
            comment="posterior, or normal: the trend of lme4 as if its parameters were known",
        ),
        sa.Column("engine", sa.Text(), nullable=False, comment="plumber, pymc or lme4"),
        sa.Column("instead", sa.Text(), nullable=True, comment="why it is normal where the posterior was asked for"),
        sa.Column("fit_run_id", sa.UUID(), nullable=False, comment="the fit it was predicted with"),
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
        sa.PrimaryKeyConstraint("user_id", "week_start", "topic_id", name=op.f("pk_growth_goal")),
        schema=ANALYTICS,
        comment="Each student's probability to reach each goal, from the latent line at the goal's date.",
    )
    op.create_table(
        "growth_glmm_effect",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="the fit"),
        sa.Column("level", sa.Text(), nullable=False, comment="student or topic"),
        sa.Column("id", sa.Text(), nullable=False, comment="the student's key, or the topic"),
        sa.Column("term", sa.Text(), nullable=False, comment="intercept (logits) or week (logits per week)"),
        sa.Column("estimate", sa.Double(), nullable=False, comment="deviation from the cohort's line, shrunk"),
        sa.Column("se", sa.Double(), nullable=True, comment="its conditional standard error"),
        sa.Column(
            "total",
            sa.Double(),
            nullable=True,
            comment="the cohort's value plus the deviation: the student's own line; NULL for topics",
        ),
        sa.Column("total_se", sa.Double(), nullable=True, comment="its standard error, the cohort's included"),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            [f"{ANALYTICS}.growth_glmm_meta.run_id"],
            name=op.f("fk_growth_glmm_effect_run_id_growth_glmm_meta"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "level", "id", "term", name=op.f("pk_growth_glmm_effect")),
        schema=ANALYTICS,
        comment="How each student, and each topic, deviates from the cohort's line.",
    )
    op.alter_column(
        "weekly_kpi",
        "growth_slope",
        existing_type=sa.DOUBLE_PRECISION(precision=53),
        comment="growth of ability, logits per week",
        existing_comment="logits per week",
        existing_nullable=True,
        schema=ANALYTICS,
    )


def downgrade() -> None:
    op.alter_column(
        "weekly_kpi",
        "growth_slope",
        existing_type=sa.DOUBLE_PRECISION(precision=53),
        comment="logits per week",
        existing_comment="growth of ability, logits per week",
        existing_nullable=True,
        schema=ANALYTICS,
    )
    op.drop_table("growth_glmm_effect", schema=ANALYTICS)
    op.drop_table("growth_goal", schema=ANALYTICS)
    op.drop_table("growth_glmm_meta", schema=ANALYTICS)
    op.drop_table("growth_brms_meta", schema=ANALYTICS)
