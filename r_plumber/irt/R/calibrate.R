# Calibration: marginal maximum likelihood (or maximum a posteriori) estimates of item parameters.

#' Calibrate items and score students
#'
#' Marginal maximum likelihood by the EM algorithm (Bock and Aitkin 1981, Psychometrika 46), accelerated by
#' SQUAREM. The cost of a cycle is proportional to the number of answers times the number of nodes: answers
#' that were never given cost nothing. With priors the objective is log-likelihood + log prior and the
#' estimates are its mode. The logit is a * (theta - b), D = 1. Without a prior on it a slope may come out
#' negative: such an item is easier for weaker students, most often because its key is wrong.
#'
#' Items with fewer than `min_responses` answers, all right or all wrong are left out and listed. This is done
#' once: a student left without answers takes no answer from the remaining items.
#'
#' @param responses data frame with `student_id` and `item_id` (character) and `correct` (logical or 0/1; `NA`
#'   is dropped).
#' @param model "Rasch" (a = 1, latent mean 0, latent sd estimated) or "2PL" (latent distribution N(0, 1)).
#' @param priors `NULL` or a list with `a` (lognormal: `meanlog`, `sdlog`), `d` (normal: `mean`, `sd`) or
#'   both, for slopes and intercepts d = -ab. A Rasch model has no slopes and ignores `a`.
#' @param quadrature list of `n` equally spaced nodes from `min` to `max`. Their distance should not be above
#'   twice the smallest posterior sd of a student.
#' @param min_responses fewest answers an item may have.
#' @param standard_errors "none"; "full" (the whole observed information matrix); "block" (item by item, the
#'   information shared between items left out, so slightly too small); "auto": "full" up to 1,000 items.
#' @param tolerance converged when an EM cycle changes no parameter (a, d, log sd) by more.
#' @param max_iterations most EM cycles.
#' @param max_seconds most seconds for the EM cycles.
#' @param progress function called once per EM cycle with a list of `iteration`, `log_lik` (before the cycle)
#'   and `change` (largest change of a parameter).
#' @return A list of columns, sorted by id in the C locale:
#'   * `fit_meta`: `model`, `model_spec` (what was asked for, the method of `standard_errors` used, and
#'     `exclusions`: `item_id`, `reason`, `n_responses`), `linking_constants` (`NULL`: not linked) and
#'     `metrics` (`log_lik` without the prior, `n_students`, `n_items`, `n_responses`, `iterations`,
#'     `converged`, `stopped_by`, `reliability`, `latent_mean`, `latent_sd`, `se_latent_sd`);
#'   * `item_params`: `item_id`, `a`, `b`, `c` (0), `se_a`, `se_b`, `n_responses`; a standard error is `NA`
#'     when its parameter is fixed, was not asked for, or the information matrix is not positive definite,
#'     which means that the estimates are no maximum;
#'   * `abilities`: `student_id`, `theta` (EAP), `se` (posterior sd), `n_responses`.
#' @section Errors: `unprocessable` when the specification is impossible, an answer is repeated, or too few
#'   items remain to identify the model (Rasch 2, 2PL 3), as is always so with a single student.
calibrate <- function(responses, model = "2PL", priors = NULL, quadrature = list(n = 61L, min = -6, max = 6),
                      min_responses = 1L, standard_errors = "auto", tolerance = 1e-5, max_iterations = 500L,
                      max_seconds = Inf, progress = function(state) NULL) {
  check_specification(
    model, priors, quadrature, min_responses, standard_errors, tolerance, max_iterations, max_seconds
  )
  answered <- index_responses(responses)
  exclusions <- excluded_items(answered, min_responses)
  answers <- select_items(answered, !answered$items %in% exclusions$item_id)
  check_identified(answers, model, exclusions)

  if (model == "Rasch") priors <- priors[setdiff(names(priors), "a")]
  if (standard_errors == "auto") standard_errors <- if (length(answers$items) <= 1000L) "full" else "block"
  nodes <- quadrature_nodes(quadrature)
  outcomes <- outcome_matrix(answers)
  stopping <- list(tolerance = tolerance, max_iterations = max_iterations, max_seconds = max_seconds)
  fit <- maximise_marginal_posterior(
    outcomes, starting_values(outcomes, model), nodes, priors, stopping, progress
  )

  items <- items_at(fit$estimates)
  latent <- latent_at(fit$estimates)
  expected <- posterior_distribution(outcomes, items, latent, nodes)
  abilities <- expected_abilities(expected$posterior, nodes)
  errors <- estimation_errors(
    standard_errors, answers, outcomes, expected$posterior, fit$estimates, nodes, priors
  )
  list(
    fit_meta = list(
      model = model,
      model_spec = list(
        priors = priors, quadrature = quadrature, min_responses = min_responses,
        standard_errors = standard_errors, tolerance = tolerance, max_iterations = max_iterations,
        exclusions = exclusions
      ),
      linking_constants = NULL,
      metrics = list(
        log_lik = expected$log_lik, n_students = length(answers$students), n_items = length(answers$items),
        n_responses = length(answers$correct), iterations = fit$iterations,
        converged = fit$stopped_by == "tolerance", stopped_by = fit$stopped_by,
        reliability = empirical_reliability(abilities),
        latent_mean = latent$mean, latent_sd = latent$sd, se_latent_sd = errors$se_latent_sd
      )
    ),
    item_params = list(
      item_id = answers$items, a = items$a, b = -items$d / items$a, c = numeric(length(items$a)),
      se_a = errors$se_a, se_b = errors$se_b, n_responses = tabulate(answers$item, length(answers$items))
    ),
    abilities = ability_columns(answers, abilities)
  )
}

# The free parameters: `d` always, `a` in a 2PL, `log_sd` in a Rasch model. What is absent is fixed.
starting_values <- function(outcomes, model) {
  n <- matrix(Matrix::colSums(outcomes), ncol = 2)
  d <- qlogis((n[, 1] + 0.5) / (rowSums(n) + 1))
  if (model == "Rasch") list(d = d, log_sd = 0) else list(d = d, a = rep(1, length(d)))
}

items_at <- function(estimates) {
  list(a = if (is.null(estimates$a)) rep(1, length(estimates$d)) else estimates$a, d = estimates$d)
}

latent_at <- function(estimates) {
  list(mean = 0, sd = if (is.null(estimates$log_sd)) 1 else exp(estimates$log_sd))
}

#' Mode of log-likelihood + log prior
#'
#' @param outcomes N x 2J matrix of [outcome_matrix()].
#' @param start list of starting values; which of `d`, `a`, `log_sd` it holds says what is estimated.
#' @param nodes abilities (length Q).
#' @param priors,progress see [calibrate()].
#' @param stopping see [squarem()].
#' @return list of `estimates` (like `start`), `iterations` and `stopped_by`.
maximise_marginal_posterior <- function(outcomes, start, nodes, priors, stopping, progress) {
  em <- function(parameters) {
    estimates <- utils::relist(parameters, start)
    items <- items_at(estimates)
    latent <- latent_at(estimates)
    log_prior <- sum(log_prior(items, priors))
    if (!is.finite(log_prior) || latent$sd < smallest_latent_sd) { # an extrapolation beyond what is possible
      return(list(parameters = parameters, objective = -Inf))
    }
    expected <- posterior_distribution(outcomes, items, latent, nodes)
    counts <- expected_counts(outcomes, expected$posterior)
    maximised <- maximise_items(items, counts, nodes, free_slope = !is.null(start$a), priors)
    estimates$d <- maximised$d
    if (!is.null(start$a)) estimates$a <- maximised$a
    if (!is.null(start$log_sd)) {
      estimates$log_sd <- log(max(sqrt(mean(expected$posterior %*% nodes^2)), smallest_latent_sd))
    }
    list(
      parameters = unlist(estimates, use.names = FALSE),
      objective = expected$log_lik + log_prior, log_lik = expected$log_lik
    )
  }
  fit <- squarem(
    unlist(start, use.names = FALSE), em, stopping,
    observe = function(cycle) progress(cycle[c("iteration", "log_lik", "change")])
  )
  list(
    estimates = utils::relist(fit$parameters, start), iterations = fit$iterations, stopped_by = fit$stopped_by
  )
}

# Answers that no ability explains drive the sd towards 0, where it has no logarithm.
smallest_latent_sd <- 0.01

#' Empirical reliability of EAP scores
#'
#' Variance of the scores over that plus the mean posterior variance: the share of the latent variance that
#' the scores carry.
#'
#' @param abilities list of `theta`, `se`.
empirical_reliability <- function(abilities) {
  explained <- var(abilities$theta)
  explained / (explained + mean(abilities$se^2))
}

ability_columns <- function(answers, abilities) {
  list(
    student_id = answers$students, theta = abilities$theta, se = abilities$se,
    n_responses = tabulate(answers$student, length(answers$students))
  )
}
