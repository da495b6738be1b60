"""The reference scale, and how the item bank holds up.

Revision ID: 0002
Revises: 0001
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op
from seedtest_assets.tables import ANALYTICS

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SCHEMA = postgresql.dialect().identifier_preparer.quote(ANALYTICS)

ITEM_PARAMS_CURRENT = f"""
CREATE VIEW {SCHEMA}.mirt_item_params_current AS
SELECT item.*
FROM {SCHEMA}.mirt_item_params AS item
WHERE item.run_id = (SELECT run_id FROM {SCHEMA}.mirt_fit_meta ORDER BY week_start DESC LIMIT 1)
"""


def upgrade() -> None:
    op.execute(f"DROP VIEW {SCHEMA}.mirt_item_params_current")  # it has the columns that the table had then
    op.create_table(
        "item_anchor",
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="attempt.item_id"),
        sa.Column(
            "valid_from",
            postgresql.TIMESTAMP(timezone=True),
            nullable=False,
            comment="weeks with as_of from here on are linked to it",
        ),
        sa.Column("a", sa.Double(), nullable=False, comment="discrimination on the reference scale"),
        sa.Column("b", sa.Double(), nullable=False, comment="difficulty on the reference scale"),
        sa.Column("c", sa.Double(), nullable=False, comment="lower asymptote"),
        sa.Column("se_a", sa.Double(), nullable=True, comment="standard error of a"),
        sa.Column("se_b", sa.Double(), nullable=True, comment="standard error of b"),
        sa.Column("cov_ab", sa.Double(), nullable=True, comment="covariance of the estimates of a and b"),
        sa.Column("model", sa.Text(), nullable=False, comment="Rasch, 2PL or 3PL"),
        sa.Column("bank", sa.UUID(), nullable=False, comment="the calibration it was taken from"),
        sa.Column(
            "valid_to",
            postgresql.TIMESTAMP(timezone=True),
            nullable=True,
            comment="weeks with as_of from here on are not; NULL = in force",
        ),
        sa.Column(
            "computed_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was written",
        ),
        sa.PrimaryKeyConstraint("item_id", "valid_from", name=op.f("pk_item_anchor")),
        schema=ANALYTICS,
        comment="The reference scale: items with the parameters to which every week is linked. Set once, by rule.",
    )
    op.create_table(
        "bank_health",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="the calibration"),
        sa.Column("n_items", sa.Integer(), nullable=False, comment="items of the calibration"),
        sa.Column("n_known", sa.Integer(), nullable=False, comment="items ever answered before as_of"),
        sa.Column(
            "never_used_share",
            sa.Double(),
            nullable=True,
            comment="share of the known items without an answer in the look-back window",
        ),
        sa.Column(
            "max_exposure",
            sa.Double(),
            nullable=True,
            comment="largest share of the window's students that met one item",
        ),
        sa.Column(
            "mean_exposure",
            sa.Double(),
            nullable=True,
            comment="mean share of the window's students that met a used item",
        ),
        sa.Column(
            "effective_size",
            sa.Double(),
            nullable=True,
            comment="1 / sum of squared shares of the answers: items, if all were used alike",
        ),
        sa.Column(
            "information_p10",
            sa.Double(),
            nullable=True,
            comment="information of a calibrated item, mean, at the 10 % quantile of ability",
        ),
        sa.Column("information_p50", sa.Double(), nullable=True, comment="at the median of ability"),
        sa.Column("information_p90", sa.Double(), nullable=True, comment="at the 90 % quantile of ability"),
        sa.Column(
            "share_well_measured",
            sa.Double(),
            nullable=True,
            comment="share of the students whose standard error is at most 0.5",
        ),
        sa.Column(
            "details",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="deciles of exposure; items and students by difficulty band",
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
            name=op.f("fk_bank_health_run_id_mirt_fit_meta"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_bank_health")),
        schema=ANALYTICS,
        comment="Whether the item bank serves its students: how it is used, and how well it measures where they are.",
    )
    op.create_table(
        "item_dif",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="the calibration"),
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="attempt.item_id"),
        sa.Column("attribute", sa.Text(), nullable=False, comment="student_attribute.name"),
        sa.Column("focal", sa.Text(), nullable=False, comment="the group that is compared"),
        sa.Column("reference", sa.Text(), nullable=False, comment="the group it is compared with: the largest"),
        sa.Column("n_reference", sa.Integer(), nullable=False, comment="answers of the reference group"),
        sa.Column("n_focal", sa.Integer(), nullable=False, comment="answers of the focal group"),
        sa.Column(
            "mh_d_dif",
            sa.Double(),
            nullable=True,
            comment="Mantel-Haenszel difference on the delta scale; negative = harder for the focal group",
        ),
        sa.Column("mh_se", sa.Double(), nullable=True, comment="its standard error"),
        sa.Column("mh_p", sa.Double(), nullable=True, comment="p value of the Mantel-Haenszel chi-square"),
        sa.Column(
            "mh_q", sa.Double(), nullable=True, comment="Benjamini-Hochberg q value over the items of the comparison"
        ),
        sa.Column("ets_class", sa.Text(), nullable=True, comment="A negligible, B moderate, C large"),
        sa.Column(
            "lr_uniform",
            sa.Double(),
            nullable=True,
            comment="logistic regression: focal - reference, logits, at the focal students' mean ability",
        ),
        sa.Column("lr_nonuniform", sa.Double(), nullable=True, comment="logistic regression: difference of the slopes"),
        sa.Column("lr_chi2", sa.Double(), nullable=True, comment="score test of both"),
        sa.Column("lr_df", sa.Integer(), nullable=True, comment="its degrees of freedom"),
        sa.Column("lr_p", sa.Double(), nullable=True, comment="its p value"),
        sa.Column(
            "lr_q", sa.Double(), nullable=True, comment="Benjamini-Hochberg q value over the items of the comparison"
        ),
        sa.Column(
            "lr_effect",
            sa.Double(),
            nullable=True,
            comment="absolute difference of the groups' logits, mean over the focal students",
        ),
        sa.Column("flag", sa.Boolean(), nullable=False, comment="significant and large enough to matter"),
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
            name=op.f("fk_item_dif_run_id_mirt_fit_meta"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "item_id", "attribute", "focal", name=op.f("pk_item_dif")),
        schema=ANALYTICS,
        comment="Differential item functioning: items that are harder for a group than for equally able others.",
    )
    op.create_table(
        "item_drift",
        sa.Column("run_id", sa.UUID(), nullable=False, comment="the calibration"),
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="an anchor"),
        sa.Column("d_a", sa.Double(), nullable=True, comment="a of the week, linked, less that of the reference"),
        sa.Column(
            "d_b", sa.Double(), nullable=True, comment="b of the week, linked, less that of the reference, logits"
        ),
        sa.Column("d_c", sa.Double(), nullable=True, comment="c of the week less that of the reference"),
        sa.Column("se_d_a", sa.Double(), nullable=True, comment="standard error of d_a, the link's included"),
        sa.Column("se_d_b", sa.Double(), nullable=True, comment="standard error of d_b, the link's included"),
        sa.Column("z_a", sa.Double(), nullable=True, comment="d_a in standard errors"),
        sa.Column("z", sa.Double(), nullable=True, comment="d_b in standard errors"),
        sa.Column(
            "d_square",
            sa.Double(),
            nullable=True,
            comment="both differences together, chi-square of two degrees of freedom (Rasch: one)",
        ),
        sa.Column("p", sa.Double(), nullable=True, comment="its p value"),
        sa.Column("flag", sa.Boolean(), nullable=False, comment="drifted: significant and large enough to matter"),
        sa.Column("severity", sa.Text(), nullable=False, comment="none, moderate or large"),
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
            name=op.f("fk_item_drift_run_id_mirt_fit_meta"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "item_id", name=op.f("pk_item_drift")),
        schema=ANALYTICS,
        comment="How far each anchor has moved from its reference parameters, after a link that drift does not bend.",
    )
    op.add_column(
        "mirt_ability",
        sa.Column(
            "lz_star",
            sa.Double(),
            nullable=True,
            comment="person fit, standard normal under the model; far below 0 = answers that do not fit",
        ),
        schema=ANALYTICS,
    )
    op.alter_column(
        "mirt_ability",
        "n_responses",
        existing_type=sa.INTEGER(),
        comment="answers in the look-back window that it rests on",
        existing_comment="first attempts in the look-back window",
        existing_nullable=False,
        schema=ANALYTICS,
    )
    op.alter_column(
        "mirt_ability",
        "model",
        existing_type=sa.TEXT(),
        comment="Rasch, 2PL or 3PL",
        existing_comment="Rasch or 2PL",
        existing_nullable=False,
        schema=ANALYTICS,
    )
    op.alter_column(
        "mirt_fit_meta",
        "model",
        existing_type=sa.TEXT(),
        comment="Rasch, 2PL or 3PL",
        existing_comment="Rasch or 2PL",
        existing_nullable=False,
        schema=ANALYTICS,
    )
    op.alter_column(
        "mirt_fit_meta",
        "linking_constants",
        existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="onto the reference scale; NULL = on this window's own scale, of mean 0",
        existing_comment="onto the reference scale; NULL = on this window's own N(0, 1) scale",
        existing_nullable=True,
        schema=ANALYTICS,
    )
    op.add_column(
        "mirt_item_params",
        sa.Column("cov_ab", sa.Double(), nullable=True, comment="covariance of the estimates of a and b"),
        schema=ANALYTICS,
    )
    op.execute(ITEM_PARAMS_CURRENT)


def downgrade() -> None:
    op.execute(f"DROP VIEW {SCHEMA}.mirt_item_params_current")
    op.drop_column("mirt_item_params", "cov_ab", schema=ANALYTICS)
    op.alter_column(
        "mirt_fit_meta",
        "linking_constants",
        existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="onto the reference scale; NULL = on this window's own N(0, 1) scale",
        existing_comment="onto the reference scale; NULL = on this window's own scale, of mean 0",
        existing_nullable=True,
        schema=ANALYTICS,
    )
    op.alter_column(
        "mirt_fit_meta",
        "model",
        existing_type=sa.TEXT(),
        comment="Rasch or 2PL",
        existing_comment="Rasch, 2PL or 3PL",
        existing_nullable=False,
        schema=ANALYTICS,
    )
    op.alter_column(
        "mirt_ability",
        "model",
        existing_type=sa.TEXT(),
        comment="Rasch or 2PL",
        existing_comment="Rasch, 2PL or 3PL",
        existing_nullable=False,
        schema=ANALYTICS,
    )
    op.alter_column(
        "mirt_ability",
        "n_responses",
        existing_type=sa.INTEGER(),
        comment="first attempts in the look-back window",
        existing_comment="answers in the look-back window that it rests on",
        existing_nullable=False,
        schema=ANALYTICS,
    )
    op.drop_column("mirt_ability", "lz_star", schema=ANALYTICS)
    op.drop_table("item_drift", schema=ANALYTICS)
    op.drop_table("item_dif", schema=ANALYTICS)
    op.drop_table("bank_health", schema=ANALYTICS)
    op.drop_table("item_anchor", schema=ANALYTICS)
    op.execute(ITEM_PARAMS_CURRENT)
