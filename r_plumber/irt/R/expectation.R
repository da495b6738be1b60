# The E-step of Bock and Aitkin (1981).

#' Posterior distribution of every student over the nodes
#'
#' @param outcomes N x 2J matrix of [outcome_matrix()].
#' @param items list of `a`, `d` (length J).
#' @param latent list of `mean`, `sd`.
#' @param nodes abilities (length Q).
#' @return list of `posterior` (N x Q, rows sum to one) and `log_lik`, the marginal log-likelihood.
posterior_distribution <- function(outcomes, items, latent, nodes) {
  log_p <- log_probabilities(items, nodes)
  joint <- as.matrix(outcomes %*% rbind(log_p$right, log_p$wrong))
  joint <- joint + rep(latent_log_weights(nodes, latent), each = nrow(joint))
  largest <- joint[cbind(seq_len(nrow(joint)), max.col(joint, "first"))]
  posterior <- exp(joint - largest)
  total <- rowSums(posterior)
  list(posterior = posterior / total, log_lik = sum(largest + log(total)))
}

#' Expected number of right and wrong answers to each item at each node
#'
#' @param outcomes N x 2J matrix of [outcome_matrix()].
#' @param posterior N x Q matrix.
#' @return list of `right`, `wrong`: J x Q matrices.
expected_counts <- function(outcomes, posterior) {
  counts <- as.matrix(Matrix::crossprod(outcomes, posterior))
  right <- seq_len(ncol(outcomes) / 2)
  list(right = counts[right, , drop = FALSE], wrong = counts[-right, , drop = FALSE])
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
