# Standard errors from the observed information (Louis 1982, Finding the observed information matrix when
# using the EM algorithm):
#
#   observed information = complete-data information - sum over students of Cov(score | answers)
#                          + negative second derivative of the log prior
#
# where the score of a student is the gradient of the joint log-likelihood of the answers and the ability. The
# parameters stand in the order d (J), a (J, when estimated), log sd (when estimated).

#' Standard errors of the estimates
#'
#' @param method "none", "full" or "block", see [calibrate()].
#' @param answers,outcomes the answers, indexed and as a matrix.
#' @param posterior N x Q posterior of the students at the estimates.
#' @param estimates list of `d` and either `a` or `log_sd`.
#' @param nodes abilities (length Q).
#' @param priors see [log_prior()].
#' @return list of `se_a`, `se_b` (length J) and `se_latent_sd`; `NA` where there is none. `se_b` follows from
#'   the covariance of a and d by the delta method, as `se_latent_sd` does from log sd.
estimation_errors <- function(method, answers, outcomes, posterior, estimates, nodes, priors) {
  unknown <- rep(NA_real_, length(answers$items))
  if (method == "none") {
    return(list(se_a = unknown, se_b = unknown, se_latent_sd = NA_real_))
  }
  counts <- expected_counts(outcomes, posterior)
  scores <- score_tables(estimates, nodes)
  complete <- complete_information(estimates, counts, posterior, nodes, priors)
  moments <- score_moments(scores, counts, posterior)
  covariance <- if (method == "full") {
    full_covariance(complete, missing_information(answers, posterior, scores, moments, nodes))
  } else {
    block_covariance(complete, missing_information_blocks(answers, posterior, scores, moments))
  }

  if (is.null(estimates$a)) {
    return(list(
      se_a = unknown, se_b = sqrt(covariance$dd),
      se_latent_sd = latent_at(estimates)$sd * sqrt(covariance$log_sd)
    ))
  }
  b <- -estimates$d / estimates$a
  variance <- covariance$dd + 2 * b * covariance$da + b^2 * covariance$aa
  list(se_a = sqrt(covariance$aa), se_b = sqrt(variance) / abs(estimates$a), se_latent_sd = NA_real_)
}

#' Scores of one answer and of an ability at each node, for the parameters that are estimated
#'
#' @inheritParams estimation_errors
#' @return list of `right`, `wrong` (each a list of J x Q matrices `d` and, when estimated, `a`) and `log_sd`
#'   (length Q, or `NULL`): z^2 - 1 with z = theta / sd.
score_tables <- function(estimates, nodes) {
  scores <- answer_scores(items_at(estimates), nodes)
  if (is.null(estimates$a)) scores <- lapply(scores, function(outcome) outcome["d"])
  if (!is.null(estimates$log_sd)) scores$log_sd <- (nodes / exp(estimates$log_sd))^2 - 1
  scores
}

#' Complete-data information, priors included
#'
#' @inheritParams estimation_errors
#' @param counts expected counts at the estimates.
#' @return list of vectors of length J `dd` and, for an estimated slope, `da`, `aa`; or the number `log_sd`.
complete_information <- function(estimates, counts, posterior, nodes, priors) {
  items <- items_at(estimates)
  complete <- complete_data_derivatives(items, counts, nodes)
  prior <- log_prior_derivatives(items, priors)$curvature
  information <- list(dd = complete$dd + prior$d)
  if (!is.null(estimates$a)) {
    information$da <- complete$da
    information$aa <- complete$aa + prior$a
  }
  if (!is.null(estimates$log_sd)) {
    information$log_sd <- 2 * sum(posterior %*% (nodes / exp(estimates$log_sd))^2)
  }
  information
}

#' Sum over students of the posterior mean of score times score, item by item
#'
#' It needs the expected counts only, not the answers.
#'
#' @param scores what [score_tables()] returns.
#' @param counts expected counts at the estimates.
#' @param posterior N x Q matrix.
#' @return like [complete_information()].
score_moments <- function(scores, counts, posterior) {
  moment <- function(x, y) {
    right <- counts$right * scores$right[[x]] * scores$right[[y]]
    wrong <- counts$wrong * scores$wrong[[x]] * scores$wrong[[y]]
    rowSums(right + wrong)
  }
  moments <- list(dd = moment("d", "d"))
  if (!is.null(scores$right$a)) {
    moments$da <- moment("d", "a")
    moments$aa <- moment("a", "a")
  }
  if (!is.null(scores$log_sd)) moments$log_sd <- sum(posterior %*% scores$log_sd^2)
  moments
}

#' Covariances of the estimates from the whole information matrix
#'
#' @param complete what [complete_information()] returns.
#' @param missing K x K matrix of [missing_information()].
#' @return like `complete`; all `NA` when the information is not positive definite.
full_covariance <- function(complete, missing) {
  d <- seq_along(complete$dd)
  a <- length(d) + d
  information <- diag(c(complete$dd, complete$aa, complete$log_sd)) - missing
  if (!is.null(complete$da)) {
    information[cbind(d, a)] <- information[cbind(d, a)] + complete$da
    information[cbind(a, d)] <- information[cbind(d, a)]
  }
  covariance <- tryCatch(
    chol2inv(chol(information)),
    error = function(not_positive_definite) matrix(NA_real_, nrow(information), ncol(information))
  )
  variances <- list(dd = diag(covariance)[d])
  if (!is.null(complete$da)) {
    variances$da <- covariance[cbind(d, a)]
    variances$aa <- diag(covariance)[a]
  }
  if (!is.null(complete$log_sd)) variances$log_sd <- covariance[nrow(covariance), ncol(covariance)]
  variances
}

#' Covariances of the estimates from each item's own block of the information matrix
#'
#' @param complete what [complete_information()] returns.
#' @param missing what [missing_information_blocks()] returns.
#' @return like `complete`; `NA` where a block is not positive definite.
block_covariance <- function(complete, missing) {
  information <- Map("-", complete, missing)
  positive <- function(x) ifelse(x > 0, x, NA)
  variances <- list(dd = 1 / positive(information$dd))
  if (!is.null(information$da)) {
    determinant <- positive(positive(information$dd) * information$aa - information$da^2)
    variances <- list(
      dd = information$aa / determinant, da = -information$da / determinant, aa = information$dd / determinant
    )
  }
  if (!is.null(information$log_sd)) variances$log_sd <- 1 / positive(information$log_sd)
  variances
}
