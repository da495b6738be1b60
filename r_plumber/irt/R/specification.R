# What cannot be estimated is refused before anything is computed. Types are the caller's affair; here it is
# asked whether the values make sense to the statistics.

#' Refuse an impossible specification
#' @param model,priors,quadrature,min_responses,repeated,standard_errors,tolerance,max_iterations,max_seconds
#'   see [calibrate()].
#' @section Errors: `unprocessable` naming the field.
check_specification <- function(model, priors, quadrature, min_responses, repeated, standard_errors,
                                tolerance, max_iterations, max_seconds) {
  require_one_of(model, names(FREE_PARAMETERS), "model")
  require_one_of(repeated, REPEATED, "repeated")
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
  unknown <- setdiff(names(priors), c("a", "d", "c"))
  require_value(length(unknown) == 0L, "priors", paste("has no parameter", toString(unknown)))
  check <- function(parameter, mean, sd) {
    prior <- priors[[parameter]]
    if (is.null(prior)) return()
    field <- function(name) sprintf("priors.%s.%s", parameter, name)
    require_value(is_number(prior[[mean]]), field(mean), "must be a number")
    require_value(is_number(prior[[sd]]) && prior[[sd]] > 0, field(sd), "must be above 0")
  }
  check("a", "meanlog", "sdlog")
  check("d", "mean", "sd")
  check("c", "mean", "sd")
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

#' Refuse item parameters that are impossible, or given twice
#' @param items data frame of `item_id`, `a`, `b` and, where there is guessing, `c`.
#' @param within its path in the request.
check_items <- function(items, within = "items") {
  field <- function(name) paste(within, name, sep = ".")
  require_rows(is.finite(items$a), field("a"), "must be a number")
  require_rows(is.finite(items$b), field("b"), "must be a number")
  if (!is.null(items$c)) {
    possible <- is.finite(items$c) & items$c >= 0 & items$c < 1
    require_rows(possible, field("c"), "must be at least 0 and below 1")
  }
  require_rows(!duplicated(items$item_id), field("item_id"), "is given twice")
}

#' Refuse anchors that the model cannot have
#'
#' A 3PL estimates logit c, where 0 does not exist: an item without guessing belongs to a 2PL bank.
#'
#' @param anchors,model see [calibrate()].
check_anchors <- function(anchors, model) {
  if (is.null(anchors)) return()
  check_items(anchors, "anchors")
  anchors <- with_guessing(anchors)
  require_rows(anchors$a > 0, "anchors.a", "must be above 0")
  if (model == "Rasch") require_rows(anchors$a == 1, "anchors.a", "must be 1 in a Rasch model")
  if (model == "3PL") {
    require_rows(anchors$c > 0, "anchors.c", "must be above 0 in a 3PL model")
  } else {
    require_rows(anchors$c == 0, "anchors.c", sprintf("must be 0 in a %s model", model))
  }
}

#' Refuse a student who is in two groups
#' @param groups see [calibrate()].
check_groups <- function(groups) {
  if (!is.null(groups)) require_rows(!duplicated(groups$student_id), "groups.student_id", "is given twice")
}

#' Refuse weights that count nobody
#' @param weights see [calibrate()].
check_weights <- function(weights) {
  if (is.null(weights)) return()
  require_rows(!duplicated(weights$student_id), "weights.student_id", "is given twice")
  require_rows(is.finite(weights$weight) & weights$weight > 0, "weights.weight", "must be above 0")
}

#' Refuse data from which the model cannot be identified
#'
#' k items have 2^k - 1 free pattern probabilities: a Rasch model of one item (2 parameters), a 2PL of two (4)
#' and a 3PL of three (9) have more parameters than that. Anchors bring parameters of their own, but must have
#' been met.
#'
#' @param sample what [gather_sample()] returns.
#' @param model,anchors see [calibrate()].
check_identified <- function(sample, model, anchors) {
  met <- sum(sample$items %in% anchors$item_id)
  require_value(
    nrow(anchors) == 0L || met > 0L, "anchors",
    sprintf("must overlap with the answers: none of the %d anchors was answered", nrow(anchors))
  )
  needed <- c(Rasch = 2L, `2PL` = 3L, `3PL` = 4L)[[model]]
  n_items <- length(sample$items)
  if (n_items < needed) {
    exclusions <- sample$exclusions
    reasons <- sprintf("item %s: %s", exclusions$item_id, exclusions$reason)
    stop(unprocessable(
      sprintf(
        paste(
          "A %s calibration needs at least %d items; %d are left after %d exclusions,",
          "answered by %d students."
        ),
        model, needed, n_items, length(exclusions$item_id), sum(sample$n_students)
      ),
      lapply(head(reasons, MAX_REPORTED), function(reason) field_error("responses.item_id", reason))
    ))
  }
}

require_one_of <- function(value, choices, field) {
  require_value(value %in% choices, field, paste("must be one of", toString(choices)))
}

is_number <- function(x) is.numeric(x) && length(x) == 1L && is.finite(x)
