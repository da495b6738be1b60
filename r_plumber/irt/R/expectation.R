# The E-step of Bock and Aitkin (1981).

#' Posterior distribution of every student over the nodes
#'
#' @param outcomes N x 2J matrix of [outcome_matrix()].
#' @param items list of `a`, `d`, `c` (length J).
#' @param latent list of `mean`, `sd`, one of each for every group.
#' @param nodes abilities (length Q).
#' @param group each student's group (position in `latent`).
#' @return list of `posterior` (N x Q, rows sum to one) and `log_lik`, each student's marginal log-likelihood.
posterior_distribution <- function(outcomes, items, latent, nodes, group = rep(1L, nrow(outcomes))) {
  log_p <- log_probabilities(items, nodes)
  joint <- as.matrix(outcomes %*% rbind(log_p$right, log_p$wrong))
  log_weights <- mapply(
    function(mean, sd) latent_log_weights(nodes, list(mean = mean, sd = sd)), latent$mean, latent$sd
  )
  joint <- joint + t(log_weights)[group, , drop = FALSE]
  largest <- joint[cbind(seq_len(nrow(joint)), max.col(joint, "first"))]
  posterior <- exp(joint - largest)
  total <- rowSums(posterior)
  list(posterior = posterior / total, log_lik = largest + log(total))
}

#' Expected number of right and wrong answers to each item at each node
#'
#' @param outcomes N x 2J matrix of [outcome_matrix()].
#' @param posterior N x Q matrix, times the students' weights where they have any.
#' @return list of `right`, `wrong`: J x Q matrices.
expected_counts <- function(outcomes, posterior) {
  counts <- as.matrix(Matrix::crossprod(outcomes, posterior))
  right <- seq_len(ncol(outcomes) / 2)
  list(right = counts[right, , drop = FALSE], wrong = counts[-right, , drop = FALSE])
}

#' What the M-step needs to know of all students
#'
#' Students come in chunks, and only one chunk's posteriors are in memory at a time.
#'
#' @param sample what [gather_sample()] returns.
#' @param items list of `a`, `d`, `c` (length J).
#' @param latent list of `mean`, `sd` (length G).
#' @param nodes abilities (length Q).
#' @return list of `log_lik` (weighted sum), `counts` (see [expected_counts()]) and `mass`, the weight of each
#'   group's students at each node (G x Q).
expectation <- function(sample, items, latent, nodes) {
  log_lik <- 0
  counts <- list(right = 0, wrong = 0)
  mass <- matrix(0, length(latent$mean), length(nodes))
  for (stored in sample$chunks) {
    chunk <- restored(stored)
    expected <- posterior_distribution(chunk$outcomes, items, latent, nodes, chunk$group)
    weighted <- chunk$weight * expected$posterior
    log_lik <- log_lik + sum(chunk$weight * expected$log_lik)
    counts <- Map(`+`, counts, expected_counts(chunk$outcomes, weighted))
    of_groups <- rowsum(weighted, chunk$group)
    present <- as.integer(rownames(of_groups))
    mass[present, ] <- mass[present, , drop = FALSE] + of_groups
  }
  list(log_lik = log_lik, counts = counts, mass = mass)
}

#' Expected a posteriori abilities
#'
#' @param posterior N x Q matrix.
#' @param nodes abilities (length Q).
#' @return list of `theta` (posterior means) and `se` (posterior standard deviations), length N.
expected_abilities <- function(posterior, nodes) {
  theta <- as.vector(posterior %*% nodes)
  deviation <- outer(-theta, nodes, "+")
  list(theta = theta, se = sqrt(rowSums(posterior * deviation^2)))
}
