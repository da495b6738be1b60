# What the statistics cannot be done on is refused before anything is computed. Types are the caller's affair;
# here it is asked whether the values make sense.

#' Refuse horizons that are not published
#' @param horizons numbers.
#' @param field their path in the request.
check_horizons <- function(horizons, field) {
  require_value(length(horizons) > 0L, field, "must name at least one")
  require_rows(horizons %in% HORIZONS, field, paste("must be one of", toString(HORIZONS)))
  require_rows(!duplicated(horizons), field, "is given twice")
}

#' Refuse landmarks that no student can be at
#' @param rows data frame with `idle`, `weekday` and perhaps `due`.
#' @param within its path in the request.
check_at_risk <- function(rows, within) {
  field <- function(name) paste(within, name, sep = ".")
  last <- SILENCE - 1
  require_rows(rows$idle %in% 0:last, field("idle"), sprintf("must be a whole number from 0 to %d", last))
  require_rows(rows$weekday %in% 1:7, field("weekday"), "must be a whole number from 1 (Monday) to 7")
  if (is.null(rows$due)) return()
  require_rows(
    rows$due >= SILENCE - rows$idle & rows$due == round(rows$due), field("due"),
    sprintf("must be a whole number of at least %d - idle", SILENCE)
  )
}

#' Refuse outcomes that contradict the definition of the event
#'
#' Silence becomes an event when it is 14 days long, not before; and what has happened within a horizon has
#' happened within every longer one.
#'
#' @param landmarks,horizons see [fit_survival()].
check_outcomes <- function(landmarks, horizons) {
  for (i in seq_along(horizons)) {
    field <- paste0("event_", horizons[i])
    happened <- landmarks[[field]] %in% 1
    require_rows(
      !happened | can_happen(landmarks, horizons[i]), paste0("landmarks.", field),
      sprintf("cannot be 1 where the silence needs more than %d days to become %d", horizons[i], SILENCE)
    )
    if (i == 1L) next
    shorter <- paste0("event_", horizons[i - 1L])
    require_rows(
      !(landmarks[[shorter]] %in% 1 & landmarks[[field]] %in% 0), paste0("landmarks.", field),
      sprintf("cannot be 0 where %s is 1", shorter)
    )
  }
}

#' Refuse gaps that are none
#' @param gaps see [fit_return()].
check_gaps <- function(gaps) {
  require_rows(gaps$start >= 0, "gaps.start", "must be at least 0")
  require_rows(gaps$stop > gaps$start, "gaps.stop", "must be above start")
  require_rows(!is.na(gaps$returned), "gaps.returned", "must be 0 or 1")
}

#' Refuse parameters that no fit has
#' @param risk_model see [predict_survival()].
check_risk_model <- function(risk_model) {
  check_horizons(horizons_of(risk_model), "risk_model.horizon")
  Map(function(model, within) {
    if (is.null(model$coefficients) && is.null(model$recency$coefficients)) return()
    check_scales(model, within)
    check_parameters(model, candidate_terms(model), within)
    check_parameters(model$recency, recency_terms(model), field_path(within, "recency"))
  }, risk_model, sprintf("risk_model[%d]", seq_along(risk_model)))
}

check_scales <- function(model, within) {
  field <- function(name) field_path(within, name)
  require_value(all(model$idle_levels %in% 0:(SILENCE - 1)), field("idle_levels"), "must be from 0 to 13")
  require_value(length(model$idle_levels) > 0L, field("idle_levels"), "must name at least one")
  for (name in names(model$covariates)) {
    path <- field(sprintf("covariates.%s.sd", name))
    require_value(model$covariates[[name]]$sd > 0, path, "must be above 0")
  }
  require_value(is.null(model$holidays) || model$holidays$sd > 0, field("holidays.sd"), "must be above 0")
}

check_parameters <- function(parameters, known, within) {
  if (is.null(parameters$coefficients)) return()
  field <- function(name) field_path(within, name)
  terms <- parameters$terms
  size <- length(terms)
  require_rows(terms %in% known, field("terms"), "is no term of the design beside it")
  require_rows(!duplicated(terms), field("terms"), "is given twice")
  require_value(
    length(parameters$coefficients) == size, field("coefficients"),
    sprintf("must have one number for each of the %d terms", size)
  )
  require_value(
    identical(dim(parameters$covariance), c(size, size)), field("covariance"),
    sprintf("must be %d rows of %d numbers", size, size)
  )
  require_rows(diag(parameters$covariance) >= 0, field("covariance"), "must have no negative variance")
}
