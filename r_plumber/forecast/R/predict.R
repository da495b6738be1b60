# Risks with their intervals, from a fit's parameters alone.

TAIL <- 0.05 # probability left out on each side of an interval
DIGITS <- 8 # more than a fit can know; with all 15 the answer would be half as long again

#' Predict the risk of falling silent
#'
#' Exactly 0 where the silence needs more days than the horizon has. Between horizons, each fitted on its own,
#' risks and limits are made non-decreasing by their cumulative maximum.
#'
#' @param rows data frame of `student_id`, `idle`, `weekday`, optionally `due`, the covariates and
#'   `holidays_<h>` for each horizon, see [fit_survival()].
#' @param risk_model of [fit_survival()].
#' @return list of `risks` (columns `student_id`, `horizon`, `risk`, `risk_lower`, `risk_upper`: all rows at
#'   the shortest horizon, then all at the next), and `models` (columns `horizon`, `model`): "full", or
#'   "recency" where the whole model has no coefficients, or "none" where there are none at all and a risk
#'   that is not 0 is `NA`.
#' @section Errors: `unprocessable` when a row is impossible or the parameters fit no design.
predict_survival <- function(rows, risk_model) {
  check_at_risk(rows, "rows")
  check_risk_model(risk_model)
  risk_model <- risk_model[order(horizons_of(risk_model))]
  horizons <- horizons_of(risk_model)
  used <- lapply(risk_model, usable_parameters)
  by_horizon <- Map(function(model, parameters, horizon) {
    risk_at(rows_of_horizon(rows, horizon), can_happen(rows, horizon), model, parameters)
  }, risk_model, used, horizons)
  rising <- Reduce(
    function(shorter, longer) Map(function(x, y) pmax(x, y, na.rm = TRUE), shorter, longer), by_horizon,
    accumulate = TRUE
  )
  column <- function(name) signif(unlist(lapply(rising, `[[`, name), use.names = FALSE), DIGITS)
  list(
    risks = list(
      student_id = rep(rows$student_id, length(horizons)), horizon = rep(horizons, each = nrow(rows)),
      risk = column("risk"), risk_lower = column("lower"), risk_upper = column("upper")
    ),
    models = list(horizon = horizons, model = vapply(used, `[[`, "", "model"))
  )
}

horizons_of <- function(risk_model) vapply(risk_model, function(model) as.numeric(model$horizon), 0)

#' The whole model's parameters, or those of idle days alone, or none
#' @param model one horizon of a risk model.
usable_parameters <- function(model) {
  parts <- c("terms", "coefficients", "covariance")
  if (!is.null(model$coefficients)) return(c(list(model = "full"), model[parts]))
  if (!is.null(model$recency$coefficients)) return(c(list(model = "recency"), model$recency[parts]))
  list(model = "none")
}

#' Risk and limits at one horizon
#'
#' @param rows what [rows_of_horizon()] returns.
#' @param possible whether the event can happen there.
#' @param model one horizon of a risk model.
#' @param parameters what [usable_parameters()] returns.
#' @return list of `risk`, `lower`, `upper`.
risk_at <- function(rows, possible, model, parameters) {
  risk <- lower <- upper <- ifelse(possible, NA_real_, 0)
  if (parameters$model != "none") {
    for (at in row_chunks(rows$idle, which(possible))) {
      piece <- design_piece(rows[at, ], model, parameters$terms)
      logit <- drop(piece$x %*% (piece$map %*% parameters$coefficients))
      covariance <- piece$map %*% tcrossprod(parameters$covariance, piece$map)
      variance <- rowSums((piece$x %*% covariance) * piece$x)
      margin <- stats::qnorm(1 - TAIL) * sqrt(pmax(0, variance))
      risk[at] <- stats::plogis(logit)
      lower[at] <- stats::plogis(logit - margin)
      upper[at] <- stats::plogis(logit + margin)
    }
  }
  list(risk = risk, lower = lower, upper = upper)
}
