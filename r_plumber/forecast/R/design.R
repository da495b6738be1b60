# The columns of the risk model, by name, in training and in prediction.

SILENCE <- 14 # whole days without activity that make an event
HORIZONS <- c(7, 14, 28)
COVARIATES <- c("a_t", "e_t", "r_t", "mean_gap", "session_rate")

#' Whether silence can become an event within a horizon
#'
#' A student who has been idle for some days needs the rest of the 14 first.
#'
#' @param rows data frame of `idle` and, where days off do not count as idle, `due`: days until the silence is
#'   over if it goes on. Otherwise that is 14 - `idle`.
#' @param horizon days.
can_happen <- function(rows, horizon) {
  due <- if (is.null(rows$due)) SILENCE - rows$idle else rows$due
  due <= horizon
}

#' What the columns are made with
#'
#' A constant column says nothing, and is left out.
#'
#' @param rows data frame of `idle`, `weekday`, the covariates (`NA` where unknown) and `holidays`.
#' @return list of `idle_levels`; `covariates`, for each that varies the `median`, `mean` and `sd` of its
#'   known values, and whether any is `missing`; `holidays`, its `mean` and `sd`, or `NULL`; `weekdays`, those
#'   that have a column; `terms`, the names of the columns in order; and `dropped`, what was left out.
describe_design <- function(rows) {
  weekdays <- sort(unique(rows$weekday))
  design <- list(
    idle_levels = sort(unique(rows$idle)),
    covariates = covariate_scales(rows),
    holidays = scale_of(rows$holidays),
    weekdays = if (length(weekdays) > 1L) setdiff(weekdays, 1) else numeric()
  )
  terms <- candidate_terms(design)
  flat <- if (identical(design$idle_levels, 7)) paste0(names(design$covariates), "_idle", recycle0 = TRUE)
  c(design, list(
    terms = setdiff(terms, flat),
    dropped = c(
      setdiff(COVARIATES, names(design$covariates)), flat,
      if (length(weekdays) == 1L && weekdays != 1) paste0("weekday_", weekdays),
      if (is.null(design$holidays)) "holidays"
    )
  ))
}

#' How each covariate that varies is standardised
#' @param rows data frame with the covariates.
covariate_scales <- function(rows) {
  of_covariate <- function(name) {
    missing <- is.na(rows[[name]])
    known <- rows[[name]][!missing]
    scale <- scale_of(known)
    if (!is.null(scale)) c(list(median = stats::median(known)), scale, list(missing = any(missing)))
  }
  Filter(Negate(is.null), sapply(COVARIATES, of_covariate, simplify = FALSE))
}

#' @param x a covariate.
#' @param scale its `median`, `mean` and `sd`.
standardise <- function(x, scale) {
  x[is.na(x)] <- scale$median
  (x - scale$mean) / scale$sd
}

#' Mean and population sd of a variable, or `NULL` when it does not vary
scale_of <- function(x) {
  if (length(x) == 0L || anyNA(x) || min(x) == max(x)) return(NULL)
  list(mean = mean(x), sd = sqrt(mean((x - mean(x))^2)))
}

#' The names of the columns that a design can have, in order
#' @param design list of `idle_levels`, `covariates`, `holidays`, `weekdays`, see [describe_design()].
candidate_terms <- function(design) {
  of_covariate <- function(name) {
    c(name, if (design$covariates[[name]]$missing) paste0(name, "_missing"), paste0(name, "_idle"))
  }
  c(
    recency_terms(design), unlist(lapply(names(design$covariates), of_covariate)),
    paste0("weekday_", design$weekdays, recycle0 = TRUE), if (!is.null(design$holidays)) "holidays"
  )
}

recency_terms <- function(design) c("intercept", paste0("idle_", design$idle_levels[-1L], recycle0 = TRUE))

#' Some rows of the design matrix, which have the same idle days
#'
#' Their columns are combinations of fewer: `x %*% map`. Sums over the rows are taken of those few.
#'
#' @param rows data frame, see [describe_design()].
#' @param design what [describe_design()] returns, from the fit that is to be used.
#' @param terms names of the columns.
#' @return list of `x`, a matrix with what idle days do not change, and `map`, with a column for each of
#'   `terms`.
design_piece <- function(rows, design, terms) {
  columns <- list(intercept = rep(1, nrow(rows)))
  for (name in names(design$covariates)) {
    scale <- design$covariates[[name]]
    columns[[name]] <- standardise(rows[[name]], scale)
    if (scale$missing) columns[[paste0(name, "_missing")]] <- as.numeric(is.na(rows[[name]]))
  }
  for (day in design$weekdays) columns[[paste0("weekday_", day)]] <- as.numeric(rows$weekday == day)
  if (!is.null(design$holidays)) {
    columns$holidays <- (rows$holidays - design$holidays$mean) / design$holidays$sd
  }
  list(x = do.call(cbind, columns), map = idle_map(rows$idle[1L], names(columns), design, terms))
}

#' The columns of the design matrix as combinations of those that idle days do not change
#'
#' Idle days that training has not seen count as the nearest that it has (of two, the fewer).
#'
#' @param idle a number of days.
#' @param unchanged names of the columns that it does not change.
#' @inheritParams design_piece
#' @return matrix with a row for each of `unchanged` and a column for each of `terms`.
idle_map <- function(idle, unchanged, design, terms) {
  level <- design$idle_levels[which.min(abs(design$idle_levels - idle))]
  map <- outer(unchanged, terms, `==`) + 0
  dimnames(map) <- list(unchanged, terms)
  map["intercept", terms == paste0("idle_", level)] <- 1
  for (name in names(design$covariates)) map[name, terms == paste0(name, "_idle")] <- (level - 7) / 7
  map
}

#' Positions of rows in pieces that have the same idle days
#'
#' They are worked on one at a time: no copy is ever as large as the whole.
#'
#' @param idle days of all rows.
#' @param at positions of those that are meant.
row_chunks <- function(idle, at = seq_along(idle)) {
  same_idle <- split(at, as.integer(idle[at])) # doubles would become text first
  pieces <- lapply(same_idle, function(rows) split(rows, (seq_along(rows) - 1L) %/% CHUNK_ROWS))
  unlist(unname(pieces), recursive = FALSE)
}

CHUNK_ROWS <- 50000L
