# Calibration: marginal maximum likelihood (or maximum a posteriori) estimates of item parameters.

#' Calibrate items and score students
#'
#' Marginal maximum likelihood by the EM algorithm (Bock and Aitkin 1981, Psychometrika 46), accelerated by
#' SQUAREM. The cost of a cycle is proportional to the number of answers times the number of nodes: answers
#' that were never given cost nothing. With priors the objective is log-likelihood + log prior and the
#' estimates are its mode. P(correct) = c + (1 - c) / (1 + exp(-a (theta - b))) (Birnbaum 1968), D = 1.
#' Without a prior on it a slope may come out negative: such an item is easier for weaker students, most often
#' because its key is wrong.
#'
#' Items with fewer than `min_responses` answers, all right or all wrong are left out and listed. This is done
#' once: a student left without answers takes no answer from the remaining items.
#'
#' @param responses data frame with `student_id` and `item_id` (character) and `correct` (logical or 0/1; `NA`
#'   is dropped), or a list of functions that return such tables, each with all answers of its students: they
#'   are read one at a time, and what memory is needed beyond one does not grow with their number.
#' @param model "Rasch" (a = 1, latent sd estimated), "2PL" or "3PL" (latent distribution N(0, 1)).
#' @param priors `NULL` or a list with any of `a` (lognormal: `meanlog`, `sdlog`), `d` (normal: `mean`, `sd`)
#'   and `c` (normal, of logit c: `mean`, `sd`), for slopes, intercepts d = -ab and lower asymptotes. What a
#'   model has not is ignored. A 3PL without a prior of c rarely converges on a few hundred answers an item.
#' @param anchors `NULL` or a data frame of items (`item_id`, `a`, `b`, `c`) whose parameters are given and
#'   stay as they are; the latent mean and sd are then estimated.
#' @param groups `NULL` or a data frame of `student_id` and `group`: each group has its own normal latent
#'   distribution. The largest is the reference.
#' @param weights `NULL` or a data frame of `student_id` and `weight`: a student of weight 2 counts as two.
#' @param quadrature list of `n` equally spaced nodes from `min` to `max`. Their distance should not be above
#'   twice the smallest posterior sd of a student.
#' @param min_responses fewest answers an item may have.
#' @param repeated whether to "refuse" a second answer of a student to an item, or to "keep" it.
#' @param standard_errors "none"; "full" (the whole observed information matrix); "block" (item by item, the
#'   information shared between items left out, so slightly too small); "auto": "full" up to 1,000 items.
#' @param tolerance converged when an EM cycle changes no parameter (a, d, logit c, mean, log sd) by more.
#' @param max_iterations most EM cycles.
#' @param max_seconds most seconds for the EM cycles.
#' @param progress function called once per EM cycle with a list of `iteration`, `log_lik` (before the cycle)
#'   and `change` (largest change of a parameter).
#' @return A list of columns, sorted by id in the C locale:
#'   * `fit_meta`: `model`, `model_spec` (what was asked for, the method of `standard_errors` used, and
#'     `exclusions`: `item_id`, `reason`, `n_responses`), `linking_constants` (`NULL`: not linked) and
#'     `metrics` (`log_lik` without the prior, `n_students`, `n_items`, `n_anchors`, `n_responses`,
#'     `iterations`, `converged`, `stopped_by`, `reliability`; `latent_mean`, `latent_sd` and their standard
#'     errors, of the reference group; `groups`: `group`, `n_students`, `mean`, `sd`, `se_mean`, `se_sd`);
#'   * `item_params`: `item_id`, `a`, `b`, `c`, `se_a`, `se_b`, `se_c`, `cov_ab`, `cov_ac`, `cov_bc`,
#'     `n_responses`, `is_anchor`; a standard error or covariance is `NA` when its parameter is fixed, was not
#'     asked for, or the information matrix is not positive definite, which means that the estimates are no
#'     maximum;
#'   * `abilities`: `student_id`, `theta` (EAP), `se` (posterior sd), `n_responses`.
#' @section Errors: `unprocessable` when the specification is impossible, an answer is repeated, no anchor was
#'   answered, or too few items remain to identify the model, as is always so with a single student.
calibrate <- function(responses, model = "2PL", priors = NULL, anchors = NULL, groups = NULL, weights = NULL,
                      quadrature = list(n = 61L, min = -6, max = 6), min_responses = 1L, repeated = "refuse",
                      standard_errors = "auto", tolerance = 1e-5, max_iterations = 500L, max_seconds = Inf,
                      progress = function(state) NULL) {
  check_specification(
    model, priors, quadrature, min_responses, repeated, standard_errors, tolerance, max_iterations,
    max_seconds
  )
  check_anchors(anchors, model)
  check_groups(groups)
  check_weights(weights)
  anchors <- if (is.null(anchors)) no_anchors else with_guessing(anchors)
  sample <- gather_sample(responses, min_responses, repeated, anchors$item_id, groups, weights)
  check_identified(sample, model, anchors)

  priors <- priors[intersect(names(priors), c(d = "d", a = "a", g = "c")[FREE_PARAMETERS[[model]]])]
  if (standard_errors == "auto") standard_errors <- if (length(sample$items) <= 1000L) "full" else "block"
  nodes <- quadrature_nodes(quadrature)
  known <- known_parameters(sample, model, anchors)
  stopping <- list(tolerance = tolerance, max_iterations = max_iterations, max_seconds = max_seconds)
  fit <- maximise_marginal_posterior(sample, known, nodes, priors, stopping, progress)

  items <- items_at(fit$estimates, known)
  latent <- latent_at(fit$estimates, known)
  abilities <- score_sample(sample, items, latent, nodes)
  errors <- estimation_errors(standard_errors, sample, fit$estimates, known, nodes, priors)
  list(
    fit_meta = list(
      model = model,
      model_spec = list(
        priors = priors, quadrature = quadrature, min_responses = min_responses, repeated = repeated,
        standard_errors = standard_errors, tolerance = tolerance, max_iterations = max_iterations,
        exclusions = sample$exclusions
      ),
      linking_constants = NULL,
      metrics = list(
        log_lik = abilities$log_lik, n_students = sum(sample$n_students), n_items = length(sample$items),
        n_anchors = sum(!known$estimated), n_responses = sum(sample$n_responses),
        iterations = fit$iterations, converged = fit$stopped_by == "tolerance", stopped_by = fit$stopped_by,
        reliability = abilities$reliability,
        latent_mean = latent$mean[known$reference], latent_sd = latent$sd[known$reference],
        se_latent_mean = errors$latent$se_mean[known$reference],
        se_latent_sd = errors$latent$se_sd[known$reference],
        groups = c(list(group = sample$groups, n_students = sample$n_students), latent, errors$latent)
      )
    ),
    item_params = c(
      list(item_id = sample$items, a = items$a, b = -items$d / items$a, c = items$c),
      errors$items, list(n_responses = sample$n_responses, is_anchor = !known$estimated)
    ),
    abilities = abilities$columns
  )
}

no_anchors <- data.frame(item_id = character(), a = numeric(), b = numeric(), c = numeric())

#' Mode of log-likelihood + log prior
#'
#' @param sample what [gather_sample()] returns.
#' @param known what [known_parameters()] returns.
#' @param nodes abilities (length Q).
#' @param priors,progress see [calibrate()].
#' @param stopping see [squarem()].
#' @return list of `estimates` (see parameters.R), `iterations` and `stopped_by`.
maximise_marginal_posterior <- function(sample, known, nodes, priors, stopping, progress) {
  start <- starting_values(sample, known, priors)
  free <- known$estimated
  em <- function(parameters) {
    estimates <- utils::relist(parameters, start)
    items <- items_at(estimates, known)
    latent <- latent_at(estimates, known)
    log_prior <- sum(log_prior(at_items(items, free), priors))
    if (!is.finite(log_prior) || any(latent$sd < smallest_latent_sd)) { # extrapolated beyond what is possible
      return(list(parameters = parameters, objective = -Inf))
    }
    expected <- expectation(sample, items, latent, nodes)
    counts <- lapply(expected$counts, function(table) table[free, , drop = FALSE])
    maximised <- maximise_items(at_items(items, free), counts, nodes, known$free, priors)
    for (name in names(items)) items[[name]][free] <- maximised[[name]]
    latent <- maximise_latent(expected$mass, nodes, known$latent)
    list(
      parameters = unlist(estimates_of(items, latent, known), use.names = FALSE),
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

#' Abilities of a calibration's own students
#'
#' Reliability is empirical: the variance of the scores over that plus the mean posterior variance, the share
#' of the latent variance that the scores carry.
#'
#' @inheritParams expectation
#' @return list of `columns` (`student_id`, `theta`, `se`, `n_responses`), `reliability` and `log_lik`.
score_sample <- function(sample, items, latent, nodes) {
  scored <- lapply(sample$chunks, function(stored) {
    chunk <- restored(stored)
    expected <- posterior_distribution(chunk$outcomes, items, latent, nodes, chunk$group)
    data.frame(
      student_id = chunk$students, expected_abilities(expected$posterior, nodes),
      n_responses = as.integer(Matrix::rowSums(chunk$outcomes)), weight = chunk$weight,
      log_lik = expected$log_lik
    )
  })
  scored <- as.data.frame(data.table::rbindlist(scored))
  scored <- scored[order(scored$student_id, method = "radix"), ]
  weight <- scored$weight / sum(scored$weight)
  explained <- sum(weight * (scored$theta - sum(weight * scored$theta))^2)
  list(
    columns = as.list(scored[c("student_id", "theta", "se", "n_responses")]),
    reliability = explained / (explained + sum(weight * scored$se^2)),
    log_lik = sum(scored$weight * scored$log_lik)
  )
}
