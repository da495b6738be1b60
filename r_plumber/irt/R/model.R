# The response model: probabilities, scores and priors of item parameters.
#
# Items are a list of two vectors of length J, slope `a` and intercept `d`; the logit is a * theta + d (D =
# 1), so that the difficulty is b = -d / a.

#' Quadrature nodes
#' @param quadrature list of `n`, `min`, `max`.
#' @return `n` equally spaced abilities.
quadrature_nodes <- function(quadrature) {
  seq(quadrature$min, quadrature$max, length.out = quadrature$n)
}

#' Log weights of a normal latent distribution on the nodes, summing to one
#' @param nodes abilities.
#' @param latent list of `mean`, `sd`.
latent_log_weights <- function(nodes, latent) {
  log_density <- dnorm(nodes, latent$mean, latent$sd, log = TRUE)
  log_density - log(sum(exp(log_density)))
}

#' Log probabilities of both outcomes
#'
#' Computed on the log scale, where a logit of 700 is as exact as one of 0, so that nothing has to be clipped.
#'
#' @param items list of `a`, `d` (length J).
#' @param nodes abilities (length Q).
#' @return list of `right`, `wrong`: J x Q matrices.
log_probabilities <- function(items, nodes) {
  logit <- outer(items$a, nodes) + items$d
  right <- plogis(logit, log.p = TRUE)
  list(right = right, wrong = right - logit)
}

#' Scores of one answer: derivatives of its log probability with respect to d and a
#'
#' @inheritParams log_probabilities
#' @return list of `right`, `wrong`, each a list of J x Q matrices `d` and `a`.
answer_scores <- function(items, nodes) {
  p_right <- exp(log_probabilities(items, nodes)$right)
  lapply(list(right = 1 - p_right, wrong = -p_right), function(residual) {
    list(d = residual, a = residual * rep(nodes, each = nrow(residual)))
  })
}

#' Log prior density of each item's parameters
#'
#' @param items list of `a`, `d`.
#' @param priors `NULL`, or a list with `a` (lognormal: `meanlog`, `sdlog`), `d` (normal: `mean`, `sd`) or
#'   both.
#' @return vector of length J; `-Inf` for a slope at or below zero under a lognormal prior.
log_prior <- function(items, priors) {
  density <- numeric(length(items$d))
  if (!is.null(priors$a)) {
    density <- density + dlnorm(items$a, priors$a$meanlog, priors$a$sdlog, log = TRUE)
  }
  if (!is.null(priors$d)) {
    density <- density + dnorm(items$d, priors$d$mean, priors$d$sd, log = TRUE)
  }
  density
}

#' First and negative second derivatives of the log prior
#'
#' @inheritParams log_prior
#' @return list of `gradient` and `curvature`, each a list of `d` and `a` (vectors of length J, or 0 without a
#'   prior). The curvature of a lognormal prior is negative far in its upper tail.
log_prior_derivatives <- function(items, priors) {
  gradient <- curvature <- list(d = 0, a = 0)
  if (!is.null(priors$a)) {
    z <- (log(items$a) - priors$a$meanlog) / priors$a$sdlog^2
    gradient$a <- -(1 + z) / items$a
    curvature$a <- (1 / priors$a$sdlog^2 - 1 - z) / items$a^2
  }
  if (!is.null(priors$d)) {
    gradient$d <- (priors$d$mean - items$d) / priors$d$sd^2
    curvature$d <- rep(1 / priors$d$sd^2, length(items$d))
  }
  list(gradient = gradient, curvature = curvature)
}
