# The published risk: a logistic regression on landmarks for each horizon.

FEWEST <- 10L # events, rows without, students

#' Fit the risk of falling silent at each horizon
#'
#' A landmark is a day on which a student was looked at: idle for fewer than 14 days, with what was known
#' before that day. The event within h days is that the silence reaches 14 days. Where [can_happen()] says
#' that it cannot, rows have no part in the fit.
#'
#' @param landmarks data frame of `student_id`, `idle` (whole days, 0 to 13), `weekday` (1 is Monday),
#'   optionally `due` (days until the silence is over, where that is not 14 - `idle`), the covariates `a_t`,
#'   `e_t`, `r_t`, `mean_gap`, `session_rate` (`NA`: unknown), and for each horizon h `holidays_<h>` and
#'   `event_<h>` (0, 1, or `NA`: not known yet).
#' @param gaps data frame for [fit_return()], or `NULL`.
#' @param horizons days, some of 7, 14, 28.
#' @param prior_sd sds like `PRIOR_SD`.
#' @return list of `engine`, `risk_model` (for each horizon what [fit_horizon()] returns) and `cox` (what
#'   [fit_cox()] returns, or `NULL`).
#' @section Errors: `unprocessable` when a landmark or an outcome is impossible.
fit_survival <- function(landmarks, gaps = NULL, horizons = HORIZONS, prior_sd = PRIOR_SD) {
  check_horizons(horizons, "horizons")
  check_at_risk(landmarks, "landmarks")
  horizons <- sort(horizons)
  check_outcomes(landmarks, horizons)
  list(
    engine = ENGINE,
    risk_model = lapply(horizons, function(horizon) fit_horizon(landmarks, horizon, prior_sd)),
    cox = if (!is.null(gaps)) fit_cox(gaps)
  )
}

ENGINE <- "plumber"

# Sd of the coefficients' normal prior around 0. That of idle days is weak, but separated data keep a maximum;
# with the others', idle days speak alone where data are few. The intercept has none. `Inf`: no prior.
PRIOR_SD <- c(idle = 2.5, others = 0.1)

#' Fit the risk at one horizon
#'
#' The model of idle days alone is where the whole model starts, its baseline, and what is left when it fails.
#'
#' @inheritParams fit_survival
#' @param horizon days.
#' @param max_iterations of Newton's method.
#' @return list of `horizon`, `n`, `n_students`, `events`, `status` ("fitted", "too few events": fewer than 10
#'   events, rows without or students, or "not converged"), `iterations`, the parts of [describe_design()],
#'   `coefficients` and `covariance` (`NULL` unless fitted), and `recency`, a list of `terms`, `coefficients`,
#'   `covariance` of idle days alone. It is all that a prediction needs.
fit_horizon <- function(landmarks, horizon, prior_sd, max_iterations = 50L) {
  outcome <- landmarks[[paste0("event_", horizon)]]
  known <- which(!is.na(outcome) & can_happen(landmarks, horizon))
  rows <- rows_of_horizon(landmarks, horizon, known)
  y <- outcome[known]
  students <- unique(landmarks$student_id[known])
  summary <- list(
    horizon = horizon, n = length(known), n_students = length(students), events = sum(y)
  )
  if (min(sum(y), sum(1 - y), length(students)) < FEWEST) {
    return(record(summary, "too few events", iterations = 0L))
  }
  design <- describe_design(rows)
  student <- match(landmarks$student_id[known], students)
  chunks <- lapply(row_chunks(rows$idle), function(at) {
    c(design_piece(rows[at, ], design, design$terms), list(y = y[at], n = 1, student = student[at]))
  })
  kind <- ifelse(design$terms[-1L] %in% recency_terms(design), "idle", "others")
  precision <- stats::setNames(c(0, 1 / prior_sd[kind]^2), design$terms)

  recency <- fit_recency(chunks, precision[recency_terms(design)], max_iterations)
  start <- 0 * precision
  if (recency$converged) start[names(recency$coefficients)] <- recency$coefficients
  fit <- fit_logistic(chunks, precision, start, max_iterations)
  parameters <- function(fit) {
    if (!fit$converged) return(list(coefficients = NULL, covariance = NULL))
    of_prior <- precision[names(fit$coefficients)]
    covariance <- clustered_covariance(chunks, fit, length(students), of_prior)
    list(coefficients = fit$coefficients, covariance = covariance)
  }
  record(
    summary, if (fit$converged) "fitted" else "not converged", fit$iterations, design, parameters(fit),
    if (recency$converged) c(list(terms = recency_terms(design)), parameters(recency))
  )
}

#' The model of idle days alone, from how many rows and events each piece has
#' @inheritParams fit_logistic
#' @return what [fit_logistic()] returns.
fit_recency <- function(chunks, precision, max_iterations) {
  counts <- lapply(chunks, function(chunk) {
    map <- chunk$map["intercept", names(precision), drop = FALSE]
    list(x = matrix(1), map = map, y = sum(chunk$y), n = length(chunk$y))
  })
  fit_logistic(counts, precision, 0 * precision, max_iterations)
}

#' The columns that a horizon's design is made of
#' @param landmarks see [fit_survival()].
#' @param horizon days.
#' @param at positions of the rows.
rows_of_horizon <- function(landmarks, horizon, at = seq_len(nrow(landmarks))) {
  columns <- lapply(
    c(stats::setNames(nm = c("idle", "weekday", COVARIATES)), holidays = paste0("holidays_", horizon)),
    function(name) as.numeric(landmarks[[name]][at])
  )
  data.table::setDT(columns)[]
}

#' What is told of a horizon; vectors stay arrays at length one
record <- function(summary, status, iterations, design = NULL, parameters = NULL, recency = NULL) {
  array <- function(x) if (!is.null(x)) I(unname(x))
  of_design <- function(name) array(design[[name]])
  parts <- function(of) {
    covariance <- if (!is.null(of$covariance)) unname(of$covariance)
    list(coefficients = array(of$coefficients), covariance = covariance)
  }
  c(
    summary,
    list(
      status = status, iterations = iterations, idle_levels = of_design("idle_levels"),
      covariates = design$covariates, holidays = design$holidays, weekdays = of_design("weekdays"),
      terms = of_design("terms")
    ),
    parts(parameters),
    list(
      dropped = if (!is.null(design)) I(as.character(design$dropped)),
      recency = if (!is.null(recency)) c(list(terms = array(recency$terms)), parts(recency))
    )
  )
}
