# What cannot be estimated is refused before anything is computed. Types are the caller's affair; here it is
# asked whether the values make sense to the statistics.

#' Refuse an impossible specification
#' @param model,priors,quadrature,min_responses,standard_errors,tolerance,max_iterations,max_seconds see
#'   [calibrate()].
#' @section Errors: `unprocessable` naming the field.
check_specification <- function(model, priors, quadrature, min_responses, standard_errors, tolerance,
                                max_iterations, max_seconds) {
  require_one_of(model, c("Rasch", "2PL"), "model")
  require_one_of(standard_errors, c("none", "full", "block", "auto"), "standard_errors")
  check_quadrature(quadrature)
  check_priors(priors)
  require_value(is_number(min_responses) && min_responses >= 1, "min_responses", "must be at least 1")
  require_value(is_number(tolerance) && tolerance > 0, "tolerance", "must be above 0")
  require_value(is_number(max_iterations) && max_iterations >= 1, "max_iterations", "must be at least 1")
  require_value(max_seconds > 0, "max_seconds", "must be above 0")
}

#' Refuse priors that are no distributions
#' @param priors see [log_prior()].
check_priors <- function(priors) {
  unknown <- setdiff(names(priors), c("a", "d"))
  require_value(length(unknown) == 0L, "priors", paste("has no parameter", toString(unknown)))
  if (!is.null(priors$a)) {
    require_value(is_number(priors$a$meanlog), "priors.a.meanlog", "must be a number")
    require_value(is_number(priors$a$sdlog) && priors$a$sdlog > 0, "priors.a.sdlog", "must be above 0")
  }
  if (!is.null(priors$d)) {
    require_value(is_number(priors$d$mean), "priors.d.mean", "must be a number")
    require_value(is_number(priors$d$sd) && priors$d$sd > 0, "priors.d.sd", "must be above 0")
  }
}

#' Refuse a grid that cannot carry a distribution
#' @param quadrature list of `n`, `min`, `max`.
check_quadrature <- function(quadrature) {
  n <- quadrature$n
  require_value(
    is_number(n) && n == round(n) && n >= 11 && n <= 1001,
    "quadrature.n", "must be a whole number from 11 to 1001"
  )
  require_value(
    is_number(quadrature$min) && is_number(quadrature$max) && quadrature$min < quadrature$max,
    "quadrature", "must have min below max"
  )
}

#' Refuse a latent distribution without spread
#' @param latent list of `mean`, `sd`.
check_latent <- function(latent) {
  require_value(is_number(latent$mean), "latent.mean", "must be a number")
  require_value(is_number(latent$sd) && latent$sd > 0, "latent.sd", "must be above 0")
}

#' Refuse item parameters that are not finite, or given twice
#' @param items data frame of `item_id`, `a`, `b`.
check_items <- function(items) {
  require_rows(is.finite(items$a), "items.a", "must be a number")
  require_rows(is.finite(items$b), "items.b", "must be a number")
  require_rows(!duplicated(items$item_id), "items.item_id", "is given twice")
}

#' Refuse data from which the model cannot be identified
#'
#' k items have 2^k - 1 free pattern probabilities: a Rasch model of one item (2 parameters) and a 2PL of two
#' (4 parameters) have more parameters than that.
#'
#' @param answers what remains after [excluded_items()].
#' @param model "Rasch" or "2PL".
#' @param exclusions what [excluded_items()] returned.
check_identified <- function(answers, model, exclusions) {
  needed <- c(Rasch = 2L, `2PL` = 3L)[[model]]
  n_items <- length(answers$items)
  if (n_items < needed) {
    reasons <- sprintf("item %s: %s", exclusions$item_id, exclusions$reason)
    stop(unprocessable(
      sprintf(
        "A %s calibration needs at least %d items; %d are left after %d exclusions, answered by %d students.",
        model, needed, n_items, length(exclusions$item_id), length(answers$students)
      ),
      lapply(head(reasons, MAX_REPORTED), function(reason) field_error("responses.item_id", reason))
    ))
  }
}

require_value <- function(valid, field, message) {
  if (!valid) stop(unprocessable(sprintf("%s %s.", field, message), list(field_error(field, message))))
}

require_rows <- function(valid, field, message) {
  if (!all(valid)) {
    rows <- head(which(!valid), MAX_REPORTED)
    stop(unprocessable(
      sprintf("%s %s.", field, message), lapply(rows, function(row) field_error(field, message, row))
    ))
  }
}

require_one_of <- function(value, choices, field) {
  require_value(value %in% choices, field, paste("must be one of", toString(choices)))
}

is_number <- function(x) is.numeric(x) && length(x) == 1L && is.finite(x)
