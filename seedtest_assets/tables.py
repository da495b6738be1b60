"""Every table once: for Alembic, for the writers, for the checks and for the column schema in the UI.

Two schemas: `intake` holds facts, `analytics` what is derived from them; a tenant (SEEDTEST_TENANT) has both in one of
its own. A column's `comment` is its meaning (it reaches PostgreSQL and the Dagster UI); `info["range"]` is the closed
interval its values must lie in, which the integrity checks enforce. Unknown is NULL, never 0.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from seedtest_assets.settings import settings

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
TENANT = settings().seedtest_tenant
INTAKE, ANALYTICS, PUBLIC = (TENANT, TENANT, TENANT) if TENANT else ("intake", "analytics", "public")
"""Where facts are, what is derived from them, and what the application shows: of a tenant all in its own schema."""
SCHEMAS = {INTAKE, ANALYTICS}
NO_TOPIC = "(none)"
"""The topic of answers whose question carries none."""
OVERALL = "(overall)"
"""In place of a topic where a goal is about ability as a whole."""

UNSEGMENTED = "unsegmented"
"""In place of a segment where the students fall into none that is stable."""

NO_SEGMENT = "(none)"
"""In place of the segment of a student who has none in a run: too new, or gone."""

metadata = sa.MetaData(naming_convention=NAMING)


def _required(name: str, kind: sa.types.TypeEngine[Any], comment: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, comment=comment, **options)


def _optional(name: str, kind: sa.types.TypeEngine[Any], comment: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True, comment=comment, **options)


def _number(name: str, comment: str, low: float | None = None, high: float | None = None) -> sa.Column[Any]:
    return _optional(name, sa.Double(), comment, info={"range": (low, high)})


def _count(name: str, comment: str, *, required: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer(), nullable=not required, comment=comment, info={"range": (0, None)})


def _instant() -> TIMESTAMP:
    return TIMESTAMP(timezone=True)


def _origin() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return (
        _required("run_id", UUID(), "uuid5 of asset and week: the same for every rerun of the same window"),
        _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    )


def _user() -> sa.Column[Any]:
    return _required("user_id", UUID(), "the student: attempt.student_id")


def _part_of(fit: str, comment: str) -> sa.Column[Any]:
    parent = sa.ForeignKey(f"{ANALYTICS}.{fit}.run_id", ondelete="CASCADE")
    return sa.Column("run_id", UUID(), parent, primary_key=True, comment=comment)


def _fit(name: str, comment: str, *tables: str, required: bool = True) -> sa.Column[Any]:
    """The fit that a row was made with, of this week or before, in one of these tables.

    No foreign key: replacing a week's fit must not take along what was made with it. The integrity checks look.
    """
    return sa.Column(name, UUID(), nullable=not required, comment=comment, info={"fits": tables})


def _fit_of_week() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("run_id", UUID(), primary_key=True, comment="uuid5 of asset and week"),
        _required("week_start", sa.Date(), "Monday of the ISO week", unique=True),
        _as_of(),
    )


def _series(*more: str) -> tuple[sa.Column[Any], ...]:
    scopes = ", ".join(("cohort", "topic", "segment", *more))
    return (
        sa.Column("scope", sa.Text(), primary_key=True, comment=f"whose series: {scopes}"),
        sa.Column("scope_id", sa.Text(), primary_key=True, comment="the topic, segment or student; cohort: all"),
        sa.Column("metric", sa.Text(), primary_key=True, comment="theta_week, attempts, sessions, accuracy, i_t"),
    )


def _dagster_run() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return (
        _required("dagster_run_id", sa.Text(), "the run that wrote it"),
        _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    )


def _report() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the ISO week"),
        sa.Column("format", sa.Text(), primary_key=True, comment="html or pdf"),
        _required("url", sa.Text(), "s3:// or file:// address; no public link, those are presigned when asked for"),
        _required("storage_key", sa.Text(), "key in the object store"),
        _required("sha256", sa.Text(), "of the file, hexadecimal"),
        _count("bytes", "length of the file"),
        _required("lang", sa.Text(), "en or ko"),
        _required("renderer", sa.Text(), "what rendered it, with versions"),
        _required("template_version", sa.Text(), "digest of document, words, style and code that worded it"),
        _required("input_hash", sa.Text(), "digest of all that it was made of: facts, template and renderer"),
        _required("generated_at", _instant(), "when it was rendered"),
        *_origin(),
    )


def _as_of() -> sa.Column[Any]:
    return _required("as_of", _instant(), "facts before this instant were used, none after")


# -- intake: facts -------------------------------------------------------------------------------------------

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
    _required("source", sa.Text(), "where the row came from: a file import, exam_results, …"),
    _required("source_id", sa.Text(), "the row's identity there; importing it again changes nothing"),
    _required("student_id", UUID(), "a text user id is mapped by md5"),
    _required("item_id", sa.BigInteger(), "a text id is mapped by the first 8 bytes of its md5; see item_key"),
    _required("correct", sa.Boolean(), "answered correctly"),
    _optional("response_time_ms", sa.Integer(), "milliseconds to the answer; NULL = not logged"),
    _optional("hint_used", sa.Boolean(), "a hint was taken; NULL = not logged"),
    _required("completed_at", _instant(), "when the answer was given"),
    _optional("started_at", _instant(), "when the question was shown"),
    _required("attempt_no", sa.Integer(), "n-th attempt of the student on the item, by completed_at"),
    _optional("session_id", sa.Text(), "NULL: sessions are derived by a 30-minute gap"),
    _optional("topic_id", sa.Text(), "topic of the question"),
    sa.UniqueConstraint("source", "source_id"),
    sa.Index(None, "completed_at"),
    sa.Index(None, "student_id", "item_id"),
    schema=INTAKE,
    comment="One row per answered question.",
)

attempt_reject = sa.Table(
    "attempt_reject",
    metadata,
    sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
    _required("source", sa.Text(), "as in attempt"),
    _required("source_id", sa.Text(), "the row's or document's identity there"),
    _required("reason", sa.Text(), "why it was refused"),
    _required("payload", JSONB(), "the row or document as it came"),
    _required("seen_at", _instant(), "when it was first refused", server_default=sa.func.now()),
    sa.UniqueConstraint("source", "source_id"),
    schema=INTAKE,
    comment="What could not be taken in, with the reason. Nothing is dropped silently.",
)

item_key = sa.Table(
    "item_key",
    metadata,
    sa.Column("item_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    _required("text", sa.Text(), "the question's text id at its source", unique=True),
    schema=INTAKE,
    comment="Text ids of questions whose item_id was derived from them.",
)

intake_cursor = sa.Table(
    "intake_cursor",
    metadata,
    sa.Column("source", sa.Text(), primary_key=True, comment="an incremental source"),
    _required("updated_at", _instant(), "keyset position: the last document's updated_at"),
    _required("id", UUID(), "keyset position: the last document's id"),
    schema=INTAKE,
    comment="How far each incremental source has been read.",
)

learning_goal = sa.Table(
    "learning_goal",
    metadata,
    sa.Column("id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
    _user(),
    _optional("topic_id", sa.Text(), "NULL = the overall goal"),
    _required("target_theta", sa.Double(), "ability to reach, logits"),
    _optional("target_date", sa.Date(), "the day by which"),
    _required("priority", sa.Integer(), "lower comes first", server_default="1"),
    _required("valid_from", _instant(), "a week uses the goals set before its as_of"),
    sa.Index(None, "user_id"),
    schema=INTAKE,
    comment="What a student aims at, overall or per topic.",
)

student_attribute = sa.Table(
    "student_attribute",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True),
    sa.Column("name", sa.Text(), primary_key=True),
    _required("value", sa.Text(), "the group the student belongs to"),
    schema=INTAKE,
    comment="Groups for DIF and fairness checks only; never a covariate of a model.",
)

student_profile = sa.Table(
    "student_profile",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="attempt.student_id"),
    _optional(
        "display_name",
        sa.Text(),
        "how reports name the student, the student's own and the teacher's; it is printed nowhere else",
    ),
    _optional("report_lang", sa.Text(), "language of the student's report, en or ko; NULL = REPORT_LANG"),
    sa.CheckConstraint("report_lang in ('en', 'ko')", name="report_lang"),
    schema=INTAKE,
    comment="How a student wants to be addressed. Optional, and all of it personal.",
)

holiday = sa.Table(
    "holiday",
    metadata,
    sa.Column("date", sa.Date(), primary_key=True),
    sa.Column("name", sa.Text(), primary_key=True),
    schema=INTAKE,
    comment="Days off.",
)

# -- analytics: what is derived ------------------------------------------------------------------------------

fit_attempt = sa.Table(
    "fit_attempt",
    metadata,
    sa.Column("asset", sa.Text(), primary_key=True),
    sa.Column("week_start", sa.Date(), primary_key=True),
    sa.Column("tried_at", _instant(), primary_key=True, server_default=sa.func.now()),
    _required("published", sa.Boolean(), "the fit became a bank"),
    _required("diagnostics", JSONB(), "what the fit reported"),
    _optional("reason", sa.Text(), "why it was not published"),
    schema=ANALYTICS,
    comment="A log of every fit that was tried, published or not.",
)

mirt_fit_meta = sa.Table(
    "mirt_fit_meta",
    metadata,
    *_fit_of_week(),
    _required("model", sa.Text(), "Rasch, 2PL or 3PL"),
    _required("model_spec", JSONB(), "priors, quadrature, window, exclusions"),
    _optional("linking_constants", JSONB(), "onto the reference scale; NULL = on this window's own scale, of mean 0"),
    _required("metrics", JSONB(), "log_lik, n_students, n_items, n_responses, iterations, converged, …"),
    _required("fitted_at", _instant(), "when the fit was written", server_default=sa.func.now()),
    *_dagster_run(),
    schema=ANALYTICS,
    comment="One published calibration per week.",
)

mirt_item_params = sa.Table(
    "mirt_item_params",
    metadata,
    _part_of("mirt_fit_meta", "the calibration"),
    sa.Column("item_id", sa.BigInteger(), primary_key=True, autoincrement=False, comment="attempt.item_id"),
    _required("a", sa.Double(), "discrimination, per logit (D = 1)", info={"range": (0, 20)}),
    _required("b", sa.Double(), "difficulty, logits", info={"range": (-50, 50)}),
    _required("c", sa.Double(), "lower asymptote; 0 unless the model is 3PL", info={"range": (0, 1)}),
    _number("se_a", "standard error of a", 0),
    _number("se_b", "standard error of b", 0),
    _number("se_c", "standard error of c", 0),
    _number("cov_ab", "covariance of the estimates of a and b"),
    _count("n_responses", "answers the item was calibrated on"),
    _required("is_anchor", sa.Boolean(), "held fixed at its reference value"),
    _number("infit", "information-weighted mean square", 0),
    _number("outfit", "unweighted mean square", 0),
    _number("fit_stat", "item fit chi-square", 0),
    _number("fit_p", "its p value", 0, 1),
    _number("rmsd", "root mean square deviation from the model's curve", 0, 1),
    _optional("flag", sa.Text(), "what is wrong with the item; NULL = not judged or nothing"),
    _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    schema=ANALYTICS,
    comment="Item parameters of each calibration, P(correct) = c + (1 - c) / (1 + exp(-a (theta - b))).",
)

mirt_ability = sa.Table(
    "mirt_ability",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student"),
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the ISO week"),
    _as_of(),
    _required("theta", sa.Double(), "ability, logits, on the scale of the bank", info={"range": (-12, 12)}),
    _required("se", sa.Double(), "posterior standard deviation of theta", info={"range": (0, 12)}),
    _count("n_responses", "answers in the look-back window that it rests on"),
    _required("method", sa.Text(), "EAP"),
    _required("model", sa.Text(), "Rasch, 2PL or 3PL"),
    _number("lz_star", "person fit, standard normal under the model; far below 0 = answers that do not fit"),
    _fit("bank_run_id", "the calibration it was scored with; an older one when this week's failed", "mirt_fit_meta"),
    *_origin(),
    schema=ANALYTICS,
    comment="Ability over the look-back window: an average, good for level, not a growth response.",
)

item_anchor = sa.Table(
    "item_anchor",
    metadata,
    sa.Column("item_id", sa.BigInteger(), primary_key=True, autoincrement=False, comment="attempt.item_id"),
    sa.Column("valid_from", _instant(), primary_key=True, comment="weeks with as_of from here on are linked to it"),
    _required("a", sa.Double(), "discrimination on the reference scale", info={"range": (0, 20)}),
    _required("b", sa.Double(), "difficulty on the reference scale", info={"range": (-50, 50)}),
    _required("c", sa.Double(), "lower asymptote", info={"range": (0, 1)}),
    _number("se_a", "standard error of a", 0),
    _number("se_b", "standard error of b", 0),
    _number("cov_ab", "covariance of the estimates of a and b"),
    _required("model", sa.Text(), "Rasch, 2PL or 3PL"),
    _required("bank", UUID(), "the calibration it was taken from"),
    _optional("valid_to", _instant(), "weeks with as_of from here on are not; NULL = in force"),
    _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    schema=ANALYTICS,
    comment="The reference scale: items with the parameters to which every week is linked. Set once, by rule.",
)

item_drift = sa.Table(
    "item_drift",
    metadata,
    _part_of("mirt_fit_meta", "the calibration"),
    sa.Column("item_id", sa.BigInteger(), primary_key=True, autoincrement=False, comment="an anchor"),
    _number("d_a", "a of the week, linked, less that of the reference"),
    _number("d_b", "b of the week, linked, less that of the reference, logits"),
    _number("d_c", "c of the week less that of the reference", -1, 1),
    _number("se_d_a", "standard error of d_a, the link's included", 0),
    _number("se_d_b", "standard error of d_b, the link's included", 0),
    _number("z_a", "d_a in standard errors"),
    _number("z", "d_b in standard errors"),
    _number("d_square", "both differences together, chi-square of two degrees of freedom (Rasch: one)", 0),
    _number("p", "its p value", 0, 1),
    _required("flag", sa.Boolean(), "drifted: significant and large enough to matter"),
    _required("severity", sa.Text(), "none, moderate or large"),
    _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    schema=ANALYTICS,
    comment="How far each anchor has moved from its reference parameters, after a link that drift does not bend.",
)

item_dif = sa.Table(
    "item_dif",
    metadata,
    _part_of("mirt_fit_meta", "the calibration"),
    sa.Column("item_id", sa.BigInteger(), primary_key=True, autoincrement=False, comment="attempt.item_id"),
    sa.Column("attribute", sa.Text(), primary_key=True, comment="student_attribute.name"),
    sa.Column("focal", sa.Text(), primary_key=True, comment="the group that is compared"),
    _required("reference", sa.Text(), "the group it is compared with: the largest"),
    _count("n_reference", "answers of the reference group"),
    _count("n_focal", "answers of the focal group"),
    _number("mh_d_dif", "Mantel-Haenszel difference on the delta scale; negative = harder for the focal group"),
    _number("mh_se", "its standard error", 0),
    _number("mh_p", "p value of the Mantel-Haenszel chi-square", 0, 1),
    _number("mh_q", "Benjamini-Hochberg q value over the items of the comparison", 0, 1),
    _optional("ets_class", sa.Text(), "A negligible, B moderate, C large"),
    _number("lr_uniform", "logistic regression: focal - reference, logits, at the focal students' mean ability"),
    _number("lr_nonuniform", "logistic regression: difference of the slopes"),
    _number("lr_chi2", "score test of both", 0),
    _count("lr_df", "its degrees of freedom", required=False),
    _number("lr_p", "its p value", 0, 1),
    _number("lr_q", "Benjamini-Hochberg q value over the items of the comparison", 0, 1),
    _number("lr_effect", "absolute difference of the groups' logits, mean over the focal students", 0),
    _required("flag", sa.Boolean(), "significant and large enough to matter"),
    _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    schema=ANALYTICS,
    comment="Differential item functioning: items that are harder for a group than for equally able others.",
)

bank_health = sa.Table(
    "bank_health",
    metadata,
    _part_of("mirt_fit_meta", "the calibration"),
    _count("n_items", "items of the calibration"),
    _count("n_known", "items ever answered before as_of"),
    _number("never_used_share", "share of the known items without an answer in the look-back window", 0, 1),
    _number("max_exposure", "largest share of the window's students that met one item", 0, 1),
    _number("mean_exposure", "mean share of the window's students that met a used item", 0, 1),
    _number("effective_size", "1 / sum of squared shares of the answers: items, if all were used alike", 0),
    _number("information_p10", "information of a calibrated item, mean, at the 10 % quantile of ability", 0),
    _number("information_p50", "at the median of ability", 0),
    _number("information_p90", "at the 90 % quantile of ability", 0),
    _number("share_well_measured", "share of the students whose standard error is at most 0.5", 0, 1),
    _required("details", JSONB(), "deciles of exposure; items and students by difficulty band"),
    _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    schema=ANALYTICS,
    comment="Whether the item bank serves its students: how it is used, and how well it measures where they are.",
)

features_topic_daily = sa.Table(
    "features_topic_daily",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student"),
    sa.Column("topic_id", sa.Text(), primary_key=True, comment=f"topic, or {NO_TOPIC}"),
    sa.Column("date", sa.Date(), primary_key=True, comment="local day"),
    _count("attempts", "answers on that day"),
    _count("correct", "of these correct"),
    _required("accuracy", sa.Double(), "correct / attempts", info={"range": (0, 1)}),
    _number("rt_median_ms", "median response time of logged answers, ms", 0),
    _number("rt_mean_ms", "mean response time of logged answers, ms", 0),
    _count("hints", "answers with a hint; NULL = hints not logged", required=False),
    _number("theta_mean", "topic ability after that day's answers, logits; NULL = no bank yet", -8, 8),
    _number("theta_sd", "posterior standard deviation of theta_mean", 0, 8),
    _required("last_seen_at", _instant(), "the last answer of the day"),
    *_origin(),
    sa.Index(None, "date"),
    schema=ANALYTICS,
    comment="What a student did in a topic on a day, and how able in it afterwards.",
)

weekly_metrics = sa.Table(
    "weekly_metrics",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student"),
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the ISO week"),
    _as_of(),
    _number("i_t", "improvement: posterior mean of theta(last 14 days) - theta(14 before), logits", -1, 1),
    _number("i_t_se", "posterior standard deviation of the improvement", 0),
    _optional("i_t_method", sa.Text(), "theta, or accuracy (logits of proportions correct)"),
    _number("e_t", "efficiency: 1 - ratio of response times on correct answers, 28 days against 28", -1, 1),
    _count("e_t_n", "timed correct answers used for e_t", required=False),
    _number("r_t", "recovery: share of earlier errors now right, shrunk", 0, 1),
    _count("r_t_n", "earlier errors met again", required=False),
    _number("a_t", "engagement over 28 days", 0, 1),
    _count("sessions", "sessions in 28 days"),
    _count("active_days", "days with answers in this ISO week"),
    _count("attempts", "answers in this ISO week"),
    _number("mean_gap_days", "mean days between active days, gaps that end in the last 28 days", 1),
    _count("idle_days", "whole local days without an answer before as_of"),
    _number("hint_rate", "share of answers with a hint in 28 days; NULL = not logged", 0, 1),
    _number("dwell_s", "mean seconds at work per session in 28 days", 0),
    _number("theta", "mirt_ability.theta of this week", -12, 12),
    _number("theta_se", "its standard error", 0, 12),
    _number("theta_week", "weighted likelihood estimate from this ISO week's answers alone", -20, 20),
    _number("theta_week_se", "its standard error", 0),
    _count("theta_week_n", "answers of this ISO week on calibrated items", required=False),
    _fit("bank_run_id", "the calibration behind i_t and theta_week", "mirt_fit_meta", required=False),
    *_origin(),
    schema=ANALYTICS,
    comment="Improvement, efficiency, recovery, engagement and their parts, per student and week.",
)

survival_fit_meta = sa.Table(
    "survival_fit_meta",
    metadata,
    *_fit_of_week(),
    _required("engine", sa.Text(), "what fitted it: plumber or python"),
    _required("model", sa.Text(), "full, or recency: fitted by idle days alone at some horizon"),
    _required("risk_model", JSONB(), "for each horizon: design, coefficients, covariance; those of idle days alone"),
    _required("cox", JSONB(), "hazard of coming back: hazard ratios, concordance, test of proportionality"),
    _number("brier", "Brier score of the risks published for the KPI's horizon that are over by now", 0, 1),
    _number("skill_over_recency", "1 - brier / that of idle days alone", None, 1),
    _required("calibration", JSONB(), "for each horizon how the risks that are over came true: slope, ICI, bins, …"),
    _count("n", "landmarks that the KPI's horizon was fitted on"),
    _count("events", "of these followed by silence"),
    *_dagster_run(),
    schema=ANALYTICS,
    comment="One published fit per week of the risk of falling silent for 14 days.",
)

survival_risk = sa.Table(
    "survival_risk",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="a student at risk; lapsed students have no row"),
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the ISO week"),
    sa.Column("horizon_days", sa.Integer(), primary_key=True, comment="7, 14 or 28", info={"range": (1, None)}),
    _as_of(),
    _required("risk", sa.Double(), "probability of 14 silent days within the horizon", info={"range": (0, 1)}),
    _required("risk_lower", sa.Double(), "5 % bound of the risk", info={"range": (0, 1)}),
    _required("risk_upper", sa.Double(), "95 % bound of the risk", info={"range": (0, 1)}),
    _number("risk_recency", "the risk by idle days alone: what the others have to be better than", 0, 1),
    _count("idle_days", "days that count as idle before as_of"),
    _required("last_active", sa.Date(), "the last day with an answer: the beginning of the silence"),
    _count("rank", "1 = highest risk of the horizon; NULL = rescored between two nightly runs", required=False),
    _required("engine", sa.Text(), "what fitted the model: plumber or python"),
    _required("model", sa.Text(), "full, or recency: by idle days alone"),
    _required("trigger", sa.Text(), "schedule, or inactivity: rescored by the sensor"),
    _fit("fit_run_id", "the fit it was predicted with; an older one when this week's failed", "survival_fit_meta"),
    *_origin(),
    schema=ANALYTICS,
    comment="Each student's probability of falling silent, calibrated, with its interval.",
)

churn_alert = sa.Table(
    "churn_alert",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student"),
    sa.Column("crossed_at", _instant(), primary_key=True, comment="as_of at which the risk had crossed the threshold"),
    _required("week_start", sa.Date(), "Monday of that ISO week"),
    _required("horizon_days", sa.Integer(), "of the risk", info={"range": (1, None)}),
    _required("risk", sa.Double(), "the risk then", info={"range": (0, 1)}),
    _required("risk_lower", sa.Double(), "its 5 % bound", info={"range": (0, 1)}),
    _required("risk_upper", sa.Double(), "its 95 % bound", info={"range": (0, 1)}),
    _required("threshold", sa.Double(), "CHURN_ALERT_THRESHOLD then", info={"range": (0, 1)}),
    _optional("cleared_at", _instant(), "as_of at which it was below again, or the student lapsed; NULL = above"),
    _optional("notified_at", _instant(), "when the webhook took it"),
    _optional("acknowledged_at", _instant(), "set by whoever cares for the student"),
    _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    sa.Index(None, "notified_at"),
    schema=ANALYTICS,
    comment="Students whose risk has crossed the threshold, once for each time it did.",
)

growth_glmm_meta = sa.Table(
    "growth_glmm_meta",
    metadata,
    *_fit_of_week(),
    _required("engine", sa.Text(), "lme4"),
    _required("formula", sa.Text(), "the model, as R writes it"),
    _required(
        "fixed_effects", JSONB(), "the cohort's line: intercept (logits) and week (logits per week), se, interval"
    ),
    _required("random_effects", JSONB(), "sds of students' intercepts and slopes, their correlation; topics; residual"),
    _required(
        "overall", JSONB(), "the six parameters of the same fit on scores of whole weeks: goals are predicted with it"
    ),
    _required("metrics", JSONB(), "log_lik, aic, reliability of the students' slopes, …"),
    _required("singular", sa.Boolean(), "a variance is estimated as 0, or a correlation as 1"),
    _required("warnings", JSONB(), "what lme4 said of convergence and singularity"),
    _count("n", "own-week topic scores that it was fitted on"),
    _count("n_students", "students among them"),
    *_dagster_run(),
    schema=ANALYTICS,
    comment="One published fit per week of score ~ week + (week|student) + (1|topic), week 0 = as_of.",
)

growth_glmm_effect = sa.Table(
    "growth_glmm_effect",
    metadata,
    _part_of("growth_glmm_meta", "the fit"),
    sa.Column("level", sa.Text(), primary_key=True, comment="student or topic"),
    sa.Column("id", sa.Text(), primary_key=True, comment="the student's key, or the topic"),
    sa.Column("term", sa.Text(), primary_key=True, comment="intercept (logits) or week (logits per week)"),
    _required("estimate", sa.Double(), "deviation from the cohort's line, shrunk"),
    _number("se", "its conditional standard error", 0),
    _number("total", "the cohort's value plus the deviation: the student's own line; NULL for topics"),
    _number("total_se", "its standard error, the cohort's included", 0),
    _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    schema=ANALYTICS,
    comment="How each student, and each topic, deviates from the cohort's line.",
)

growth_brms_meta = sa.Table(
    "growth_brms_meta",
    metadata,
    *_fit_of_week(),
    _required("engine", sa.Text(), "plumber (brms) or pymc"),
    _required("formula", sa.Text(), "the model, as brms writes it"),
    _required("priors", JSONB(), "the priors of its parameters"),
    _required("posterior_summary", JSONB(), "mean, sd, quantiles, rhat and ess of the six parameters"),
    _required("diagnostics", JSONB(), "rhat, ess_bulk, ess_tail, divergences, ebfmi; coverage of what was fitted"),
    _count("n", "own-week scores that it was fitted on"),
    _count("n_students", "students among them"),
    *_dagster_run(),
    schema=ANALYTICS,
    comment="One published Bayesian fit per week of score ~ week + (week|student) with known standard errors.",
)

growth_goal = sa.Table(
    "growth_goal",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student"),
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the ISO week"),
    sa.Column("topic_id", sa.Text(), primary_key=True, comment=f"the goal's topic; {OVERALL} = ability as a whole"),
    _as_of(),
    _required("target_theta", sa.Double(), "ability to reach, logits"),
    _required("target_date", sa.Date(), "the day by which"),
    _required("goal", sa.Text(), "learning_goal, or default: the student has set none that is not over"),
    _required("p_goal", sa.Double(), "probability that ability has reached the target then", info={"range": (0, 1)}),
    _number("p_lower", "5 % quantile of p_goal over the posterior; NULL by the normal method", 0, 1),
    _number("p_upper", "95 % quantile; NULL by the normal method", 0, 1),
    _required("mu", sa.Double(), "expected ability then, logits"),
    _required("sigma", sa.Double(), "standard deviation of ability then, logits", info={"range": (0, None)}),
    _count("n_scores", "own-week scores of the student that it rests on"),
    _required("method", sa.Text(), "posterior, or normal: the trend of lme4 as if its parameters were known"),
    _required("engine", sa.Text(), "plumber, pymc or lme4"),
    _optional("instead", sa.Text(), "why it is normal where the posterior was asked for"),
    _fit("fit_run_id", "the fit it was predicted with", "growth_brms_meta", "growth_glmm_meta"),
    *_origin(),
    schema=ANALYTICS,
    comment="Each student's probability to reach each goal, from the latent line at the goal's date.",
)

prophet_fit_meta = sa.Table(
    "prophet_fit_meta",
    metadata,
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the last ISO week of the series"),
    *_series(),
    _as_of(),
    _required("engine", sa.Text(), "what the forecast is by: prophet, autoets, naive or seasonal_naive"),
    _required("reason", sa.Text(), "why that one: it won the backtest, was asked for, or another was away"),
    _count("n", "known weeks of the series"),
    _optional("changepoints", JSONB(), "prophet's: week, change of the weekly slope; NULL = prophet has not fitted it"),
    _required("holidays", JSONB(), "weeks with days off that prophet was told of"),
    _required("history", JSONB(), "weeks and their values"),
    _required(
        "forecast", JSONB(), "weeks ahead: expected, lower, upper (90 %, widened so many times as the backtest asks)"
    ),
    _required(
        "backtest", JSONB(), "by engine: mase, coverage of its own 90 % interval, n; pooled over scope and metric"
    ),
    *_origin(),
    schema=ANALYTICS,
    comment="One forecast per weekly series of the cohort, a topic or a segment.",
)

anomalies = sa.Table(
    "anomalies",
    metadata,
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the ISO week that is judged"),
    *_series("user"),
    _as_of(),
    _required("value", sa.Double(), "what was observed in the week"),
    _number("expected", "what the weeks before it let expect; NULL = too few of them"),
    _number("lower", "5 % limit of what was to be expected"),
    _number("upper", "95 % limit"),
    _number("score", "standard normal score of the value in the predictive distribution"),
    _number("q", "Benjamini-Hochberg false-discovery rate over the students of the week; NULL for series", 0, 1),
    _optional("flag", sa.Boolean(), "unusual; NULL = there is no score"),
    _required("method", sa.Text(), "eb_student (empirical Bayes), or one_step by the engine that forecasts the series"),
    _optional("reason", sa.Text(), "why there is no score"),
    *_origin(),
    schema=ANALYTICS,
    comment="Each closed week of each series, and of each student, beside what was to be expected.",
)

theta_forecast = sa.Table(
    "theta_forecast",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student"),
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the last ISO week that is known"),
    _as_of(),
    _required("expected", sa.Double(), "expected own-week theta of the next week, logits", info={"range": (-20, 20)}),
    _number("lower", "5 % limit", -40, 40),
    _number("upper", "95 % limit", -40, 40),
    _count("n_weeks", "own-week scores of the student that it rests on"),
    *_origin(),
    schema=ANALYTICS,
    comment="Next week's own-week theta: each student's level in a robust local-level model, shrunk to the cohort.",
)

segment_meta = sa.Table(
    "segment_meta",
    metadata,
    *_fit_of_week(),
    _required("method", sa.Text(), "kmeans or gmm"),
    _required("k", sa.Integer(), "number of segments; 1 = none", info={"range": (1, None)}),
    _required("status", sa.Text(), "segments; or no stable segments, too few students, …"),
    _optional("reason", sa.Text(), "what a status other than segments comes from"),
    _required("silhouette", JSONB(), "mean silhouette for each k"),
    _required("gap", JSONB(), "gap statistic and its standard error for each k"),
    _required("bic", JSONB(), "Bayesian information criterion for each k"),
    _required("stability", JSONB(), "bootstrap Jaccard similarity of each segment"),
    _required("centers", JSONB(), "centre of each segment, in the features' units"),
    _required("labels", JSONB(), "key, Korean and English label, share and profile of each segment"),
    _required("model", JSONB(), "features, scaling and parameters: all that assigns a student"),
    _count("n_students", "students that it was fitted on"),
    *_dagster_run(),
    schema=ANALYTICS,
    comment="One segmentation of the students per run.",
)

user_segment = sa.Table(
    "user_segment",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student"),
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the ISO week of the segmentation"),
    _as_of(),
    _required("segment", sa.Text(), f"the segment's key; {UNSEGMENTED} = there are no stable segments"),
    _required("segment_label", sa.Text(), "its English label"),
    _required("segment_label_ko", sa.Text(), "its Korean label"),
    _number("probability", "of belonging to it rather than to another; 1 where there is but one", 0, 1),
    _required("fitted", sa.Boolean(), "false: too new to be fitted on, assigned with the stored centres and scaling"),
    _required("features_snapshot", JSONB(), "the student's features"),
    _fit("fit_run_id", "the segmentation", "segment_meta"),
    *_origin(),
    schema=ANALYTICS,
    comment="The segment of each student.",
)

segment_transition = sa.Table(
    "segment_transition",
    metadata,
    _part_of("segment_meta", "the segmentation"),
    sa.Column("from_segment", sa.Text(), primary_key=True, comment=f"key in the run before; {NO_SEGMENT}: not in it"),
    sa.Column("to_segment", sa.Text(), primary_key=True, comment=f"key in this one; {NO_SEGMENT}: not in it"),
    _count("n", "students"),
    _number("share", f"of the students who were in from_segment; NULL for those who were in {NO_SEGMENT}", 0, 1),
    _required("computed_at", _instant(), "when the row was written", server_default=sa.func.now()),
    schema=ANALYTICS,
    comment="Where the students of each segment of the segmentation before are now.",
)

weekly_kpi = sa.Table(
    "weekly_kpi",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student"),
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the ISO week"),
    _as_of(),
    _number("i_t", "improvement", -1, 1),
    _number("e_t", "efficiency", -1, 1),
    _number("r_t", "recovery", 0, 1),
    _number("a_t", "engagement", 0, 1),
    _number("p_goal", "probability to reach the goal", 0, 1),
    _number("p_lower", "5 % bound of p_goal", 0, 1),
    _number("p_upper", "95 % bound of p_goal", 0, 1),
    _number("sigma", "standard deviation of theta at the goal date", 0),
    _number("s_churn", "probability of 14 days of silence within the horizon", 0, 1),
    _optional("churn_state", sa.Text(), "at_risk or lapsed"),
    _number("growth_slope", "growth of ability, logits per week"),
    _number("anomaly_score", "standard normal score of the week's own theta"),
    _optional("anomaly_flag", sa.Boolean(), "the week's own theta is unusual for this student"),
    _number("forecast_theta", "expected own-week theta of next week", -20, 20),
    _optional("segment_label", sa.Text(), "the student's segment"),
    _required("provenance", JSONB(), "method, n, interval and run_id of each number"),
    *_origin(),
    schema=ANALYTICS,
    comment="One row per student and week: what all models said.",
)

report_artifact = sa.Table(
    "report_artifact",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student"),
    *_report(),
    schema=ANALYTICS,
    comment="Each student's weekly report, where it is kept, and what it was made of.",
)

cohort_report_artifact = sa.Table(
    "cohort_report_artifact",
    metadata,
    *_report(),
    schema=ANALYTICS,
    comment="The teacher's report on a week.",
)

report_failure = sa.Table(
    "report_failure",
    metadata,
    sa.Column("user_id", UUID(), primary_key=True, comment="the student who has no report, or an older one"),
    sa.Column("week_start", sa.Date(), primary_key=True, comment="Monday of the ISO week"),
    _required("reason", sa.Text(), "what went wrong, without a word of the report"),
    *_origin(),
    schema=ANALYTICS,
    comment="Reports that could not be made. A row goes once the report is there.",
)

# The application's own table, read in place; not ours to migrate.
exam_results = sa.Table(
    "exam_results",
    sa.MetaData(),
    sa.Column("id", UUID(), primary_key=True),
    sa.Column("session_id", sa.Text(), unique=True),
    sa.Column("user_id", sa.Text()),
    sa.Column("exam_id", sa.Integer()),
    sa.Column("org_id", sa.Integer()),
    sa.Column("status", sa.Text()),
    sa.Column("result_json", JSONB()),
    sa.Column("created_at", _instant()),
    sa.Column("updated_at", _instant()),
    schema=PUBLIC,
)


def attempt_relation() -> sa.TableClause:
    """The relation of answered questions: SEEDTEST_ATTEMPT_RELATION, or `attempt`. It has the contract's columns."""
    schema, name = (settings().seedtest_attempt_relation or attempt.fullname).split(".")
    columns = (
        sa.column(column.name, column.type) for column in attempt.c if column.name not in {"source", "source_id"}
    )
    return sa.table(name, *columns, schema=schema)
