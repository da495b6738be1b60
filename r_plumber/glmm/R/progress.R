# The trend of students over weeks.

ENGINE <- "lme4"

#' Fit a trend over weeks, with an intercept and a slope of each student
#'
#' gaussian: score ~ week + (week | student) + (1 | topic), each row with weight 1 / se^2; with one topic or
#' none the topic's term is left out. binomial, on answers to items that are fixed: logit P(correct) =
#' a (theta - b), theta = intercept + week * slope. Both have the same intercept and slope, in the unit of
#' ability; week 0 is what an intercept speaks of.
#'
#' @param rows data frame of `student_id`, `week` (0 is as_of, earlier weeks are negative) and, gaussian:
#'   `score`, optionally `se` (its standard error) and `topic_id`; binomial: `correct`, `a`, `b`.
#' @param family "gaussian" or "binomial".
#' @param reml whether a gaussian fit maximises the restricted likelihood.
#' @param progress see [newton()].
#' @return list of
#'   * `engine`;
#'   * `fit_meta`: see [describe_fit()], and `n_students`, `n_topics` (`NULL` without topics), `n_weeks`;
#'   * `fixed_effects`: see [fixed_table()], terms "intercept" and "week"; `fixed_covariance`, their matrix;
#'   * `random`: `sd_intercept`, `sd_week`, their `correlation` (`NULL` when one is 0), `sd_topic` (`NULL`
#'     without), `residual` (sd; with standard errors, the factor they are multiplied by; binomial: `NULL`);
#'   * `metrics`: see [describe_variance()];
#'   * `students`, sorted: `student_id`, `intercept`, `week` (predicted deviation from the fixed effects),
#'     `se_intercept`, `se_week`, `covariance` (of their errors, given the fixed effects), `intercept_total`,
#'     `week_total` (fixed effect and deviation), `se_intercept_total`, `se_week_total`, `covariance_total`
#'     (of their errors, those of the fixed effects included); the variances are taken as known;
#'   * `topics`, sorted: `topic_id`, `effect`, `se` (given the fixed effects).
#' @section Errors: `unprocessable` when a value is impossible, there are fewer than 2 students or weeks, all
#'   scores or answers are equal, or lme4 says that the model cannot be fitted.
fit_progress <- function(rows, family = "gaussian", reml = TRUE, progress = function(state) NULL) {
  gaussian <- family == "gaussian"
  if (gaussian) check_scores(rows) else check_items_answered(rows)
  data <- progress_data(rows)
  has_topic <- !is.null(data$topic)
  n_topics <- if (!is.null(rows$topic_id)) length(unique(rows$topic_id))
  formula <- progress_formula(gaussian, has_topic)
  found <- fit_trend(formula, data, gaussian, reml, has_topic, progress)
  fit <- found$fit
  fixed <- fixed_table(fit, c("intercept", "week"), found$df)
  absorbed <- absorb(fit, "student")
  random <- random_sds(fit, has_topic)
  students <- predict_students(fit, absorbed)
  list(
    engine = ENGINE,
    fit_meta = c(
      describe_fit(found, family),
      list(n_students = nlevels(data$student), n_topics = n_topics, n_weeks = length(unique(data$week)))
    ),
    fixed_effects = fixed, fixed_covariance = fixed_covariance(fit), random = random,
    metrics = describe_variance(fit, data, random, students), students = students,
    topics = if (has_topic) predict_levels(fit, absorbed, "topic", "topic_id") else NO_TOPICS
  )
}

NO_TOPICS <- list(topic_id = character(), effect = numeric(), se = numeric())

#' Rows in an order of their own, with factors and weights
#'
#' Sums depend on the order of their terms in the last digits; the answer must not depend on that of the rows.
#'
#' @param rows see [fit_progress()].
#' @return data frame of `student`, `week`, and `score`, `weight`, perhaps `topic`, or `correct`, `a`, `b`.
progress_data <- function(rows) {
  data <- list(student = sorted_factor(rows$student_id))
  if (length(unique(rows$topic_id)) > 1L) data$topic <- sorted_factor(rows$topic_id)
  data <- c(data, as.list(rows)[intersect(c("week", "score", "correct", "a", "b"), names(rows))])
  if (!is.null(data$score)) data$weight <- if (is.null(rows$se)) rep(1, nrow(rows)) else 1 / rows$se^2
  data <- data.table::setDF(data)
  data[do.call(order, unname(data)), ]
}

sorted_factor <- function(ids) factor(ids, levels = sort(unique(ids), method = "radix"))

progress_formula <- function(gaussian, has_topic) {
  if (!gaussian) return(correct ~ 0 + a + a:week + offset(-a * b) + (0 + a + a:week | student))
  if (has_topic) score ~ week + (week | student) + (1 | topic) else score ~ week + (week | student)
}

SAMPLE <- 500L # students of whom a first fit says where to begin

#' Fit the trend, from where a fit of some students ends when there are many
#' @inheritParams fit_progress
#' @param formula,data the model.
#' @param gaussian,has_topic what it is.
#' @return see [fit_linear()].
fit_trend <- function(formula, data, gaussian, reml, has_topic, progress) {
  scale <- stats::sd(data$week)
  units <- c(1, 1 / scale, 1 / scale, if (has_topic) 1)
  fit <- function(data, start) {
    if (gaussian) {
      fit_linear(formula, data, reml, start, units, progress)
    } else {
      fit_logistic(formula, data, start, units, progress)
    }
  }
  start <- c(first_theta(mean(data$week), scale), if (has_topic) 1)
  step <- nlevels(data$student) %/% SAMPLE
  if (step > 1L) {
    some <- droplevels(data[as.integer(data$student) %% step == 0L, ])
    begun <- tryCatch(fit(some, start), unprocessable = function(refused) NULL)
    if (!is.null(begun)) start <- away_from_zero(begun$fit@theta, start)
  }
  fit(data, start)
}

#' Theta of random effects that, where weeks are centred and scaled, have residual sd and no correlation
#' @param centre,scale mean and sd of the weeks.
first_theta <- function(centre, scale) {
  sd_intercept <- sqrt(1 + centre^2 / scale^2)
  c(sd_intercept, -centre / scale^2 / sd_intercept, 1 / scale / sd_intercept)
}

#' Standard deviations and correlation of the random effects
#'
#' An sd that lme4 takes for 0 has no correlation with anything.
#'
#' @param fit a merMod.
#' @param has_topic whether there are topics in it.
#' @return list, see [fit_progress()].
random_sds <- function(fit, has_topic) {
  variances <- lme4::VarCorr(fit)
  student <- attr(variances$student, "stddev")
  correlation <- attr(variances$student, "correlation")[2, 1]
  is_zero <- min(student) < stats::sigma(fit) * SINGULAR
  list(
    sd_intercept = student[[1]], sd_week = student[[2]], correlation = if (!is_zero) correlation,
    sd_topic = if (has_topic) attr(variances$topic, "stddev")[[1]],
    residual = if (lme4::isLMM(fit)) stats::sigma(fit)
  )
}

SINGULAR <- 1e-4 # an sd below this many residual sds is 0 for lme4

#' Predicted effects of students, and their errors
#'
#' @param fit a merMod of [fit_trend()].
#' @param absorbed what [absorb()] returns for students.
#' @return columns, see [fit_progress()].
predict_students <- function(fit, absorbed) {
  deviations <- matrix(lme4::getME(fit, "b")[absorbed$positions], nrow = 2L)
  total <- deviations + lme4::fixef(fit)
  given_fixed <- trend_errors(fit, absorbed, fixed = FALSE)
  with_fixed <- trend_errors(fit, absorbed, fixed = TRUE)
  list(
    student_id = levels(fit@flist$student),
    intercept = deviations[1, ], se_intercept = sqrt(given_fixed$intercept), week = deviations[2, ],
    se_week = sqrt(given_fixed$week), covariance = given_fixed$covariance,
    intercept_total = total[1, ], se_intercept_total = sqrt(with_fixed$intercept), week_total = total[2, ],
    se_week_total = sqrt(with_fixed$week), covariance_total = with_fixed$covariance
  )
}

#' Variances and covariance of the errors of each student's intercept and slope
#' @inheritParams predict_students
#' @param fixed whether of the totals, with the error of the fixed effects.
#' @return list of `intercept`, `week` and `covariance`, a number for each student.
trend_errors <- function(fit, absorbed, fixed) {
  pull <- absorbed$pull
  size <- length(absorbed$others)
  intercepts <- seq.int(1L, nrow(pull), 2L)
  rows <- list(pull[intercepts, , drop = FALSE], pull[intercepts + 1L, , drop = FALSE])
  if (fixed) {
    for (i in 1:2) rows[[i]][, size + i] <- rows[[i]][, size + i] - 1
  } else {
    rows <- lapply(rows, function(of) of[, seq_len(size), drop = FALSE])
  }
  between <- if (fixed) absorbed$whole else absorbed$rest
  own <- function(i, j) absorbed$own[cbind(intercepts + i - 1L, intercepts + j - 1L)]
  error <- function(i, j) stats::sigma(fit)^2 * (own(i, j) + quadratic(rows[[i]], between, rows[[j]]))
  list(intercept = error(1, 1), week = error(2, 2), covariance = error(1, 2))
}

#' How much of the variance is whose
#'
#' @param fit a merMod.
#' @param data what it was fitted on.
#' @param random see [random_sds()].
#' @param students see [predict_students()].
#' @return list of `reliability_intercept` and `reliability_week` (1 - mean error variance / variance; `NULL`
#'   when that is 0), and for gaussian fits `icc` (the students' share of the variance at week 0),
#'   `r2_marginal` and `r2_conditional` (the shares of the fixed effects, and of fixed and random effects,
#'   over the rows: Johnson 2014, Methods in Ecology and Evolution 5, 944-946); otherwise `NULL`.
describe_variance <- function(fit, data, random, students) {
  reliability <- function(error, sd) if (sd >= stats::sigma(fit) * SINGULAR) 1 - mean(error^2) / sd^2
  metrics <- list(
    reliability_intercept = reliability(students$se_intercept, random$sd_intercept),
    reliability_week = reliability(students$se_week, random$sd_week),
    icc = NULL, r2_marginal = NULL, r2_conditional = NULL
  )
  if (!lme4::isLMM(fit)) return(metrics)
  topic <- if (is.null(random$sd_topic)) 0 else random$sd_topic^2
  residual <- random$residual^2 * mean(1 / data$weight)
  slopes <- lme4::VarCorr(fit)$student
  student <- slopes[1, 1] + 2 * slopes[1, 2] * mean(data$week) + slopes[2, 2] * mean(data$week^2)
  fixed <- stats::var(data$week * lme4::fixef(fit)[[2]])
  all <- fixed + student + topic + residual
  metrics$icc <- slopes[1, 1] / (slopes[1, 1] + topic + residual)
  metrics$r2_marginal <- fixed / all
  metrics$r2_conditional <- (fixed + student + topic) / all
  metrics
}
