"""Reports, and how a student is addressed.

Revision ID: 0006
Revises: 0005
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op
from seedtest_assets.tables import ANALYTICS, INTAKE

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "cohort_report_artifact",
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column("format", sa.Text(), nullable=False, comment="html or pdf"),
        sa.Column(
            "url",
            sa.Text(),
            nullable=False,
            comment="s3:// or file:// address; no public link, those are presigned when asked for",
        ),
        sa.Column("storage_key", sa.Text(), nullable=False, comment="key in the object store"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the file, hexadecimal"),
        sa.Column("bytes", sa.Integer(), nullable=False, comment="length of the file"),
        sa.Column("lang", sa.Text(), nullable=False, comment="en or ko"),
        sa.Column("renderer", sa.Text(), nullable=False, comment="what rendered it, with versions"),
        sa.Column(
            "template_version",
            sa.Text(),
            nullable=False,
            comment="digest of document, words, style and code that worded it",
        ),
        sa.Column(
            "input_hash",
            sa.Text(),
            nullable=False,
            comment="digest of all that it was made of: facts, template and renderer",
        ),
        sa.Column("generated_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="when it was rendered"),
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
        sa.PrimaryKeyConstraint("week_start", "format", name=op.f("pk_cohort_report_artifact")),
        schema=ANALYTICS,
        comment="The teacher's report on a week.",
    )
    op.create_table(
        "report_artifact",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column("format", sa.Text(), nullable=False, comment="html or pdf"),
        sa.Column(
            "url",
            sa.Text(),
            nullable=False,
            comment="s3:// or file:// address; no public link, those are presigned when asked for",
        ),
        sa.Column("storage_key", sa.Text(), nullable=False, comment="key in the object store"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="of the file, hexadecimal"),
        sa.Column("bytes", sa.Integer(), nullable=False, comment="length of the file"),
        sa.Column("lang", sa.Text(), nullable=False, comment="en or ko"),
        sa.Column("renderer", sa.Text(), nullable=False, comment="what rendered it, with versions"),
        sa.Column(
            "template_version",
            sa.Text(),
            nullable=False,
            comment="digest of document, words, style and code that worded it",
        ),
        sa.Column(
            "input_hash",
            sa.Text(),
            nullable=False,
            comment="digest of all that it was made of: facts, template and renderer",
        ),
        sa.Column("generated_at", postgresql.TIMESTAMP(timezone=True), nullable=False, comment="when it was rendered"),
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
        sa.PrimaryKeyConstraint("user_id", "week_start", "format", name=op.f("pk_report_artifact")),
        schema=ANALYTICS,
        comment="Each student's weekly report, where it is kept, and what it was made of.",
    )
    op.create_table(
        "report_failure",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="the student who has no report, or an older one"),
        sa.Column("week_start", sa.Date(), nullable=False, comment="Monday of the ISO week"),
        sa.Column("reason", sa.Text(), nullable=False, comment="what went wrong, without a word of the report"),
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
        sa.PrimaryKeyConstraint("user_id", "week_start", name=op.f("pk_report_failure")),
        schema=ANALYTICS,
        comment="Reports that could not be made. A row goes once the report is there.",
    )
    op.create_table(
        "student_profile",
        sa.Column("user_id", sa.UUID(), nullable=False, comment="attempt.student_id"),
        sa.Column(
            "display_name",
            sa.Text(),
            nullable=True,
            comment="how reports name the student, the student's own and the teacher's; it is printed nowhere else",
        ),
        sa.Column(
            "report_lang",
            sa.Text(),
            nullable=True,
            comment="language of the student's report, en or ko; NULL = REPORT_LANG",
        ),
        sa.CheckConstraint("report_lang in ('en', 'ko')", name=op.f("ck_student_profile_report_lang")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_student_profile")),
        schema=INTAKE,
        comment="How a student wants to be addressed. Optional, and all of it personal.",
    )


def downgrade() -> None:
    op.drop_table("student_profile", schema=INTAKE)
    op.drop_table("report_failure", schema=ANALYTICS)
    op.drop_table("report_artifact", schema=ANALYTICS)
    op.drop_table("cohort_report_artifact", schema=ANALYTICS)
