# The response model: probabilities, scores and priors of item parameters.
#
# Items are a list of three vectors of length J: slope `a`, intercept `d` and lower asymptote `c` (0 but in a
# 3PL); the logit is a * theta + d (D = 1), so that the difficulty is b = -d / a.

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
#' P(right) = c + (1 - c) / (1 + exp(-(a theta + d))). Computed on the log scale, where without guessing a
#' logit of 700 is as exact as one of 0, so that nothing has to be clipped.
#'
#' @param items list of `a`, `d`, `c` (length J).
#' @param nodes abilities (length Q).
#' @return list of `right`, `wrong`: J x Q matrices.
log_probabilities <- function(items, nodes) {
  logit <- outer(items$a, nodes) + items$d
  right <- plogis(logit, log.p = TRUE)
  wrong <- right - logit + log1p(-items$c)
  guessed <- items$c > 0
  if (any(guessed)) {
    c <- items$c[guessed]
    right[guessed, ] <- log(c + (1 - c) * exp(right[guessed, , drop = FALSE]))
  }
  list(right = right, wrong = wrong)
}

#' Scores of one answer, divided by its residual
#'
#' The derivative of an answer's log probability is (x - P) times this ratio, P' / (P (1 - P)). With the
#' logistic curve s it is s / P for d (1 without guessing), theta s / P for a and c / P for g = logit c.
#'
#' @inheritParams log_probabilities
#' @param free names of the parameters: "d", "a", "g".
#' @return list of J x Q matrices, named by `free`.
score_ratios <- function(items, nodes, free) {
  log_p <- log_probabilities(items, nodes)
  share_known <- exp(plogis(outer(items$a, nodes) + items$d, log.p = TRUE) - log_p$right)
  list(
    d = share_known, a = share_known * rep(nodes, each = length(items$a)), g = exp(log(items$c) - log_p$right)
  )[free]
}

#' Scores of one answer: derivatives of its log probability with respect to the free parameters
#'
#' @inheritParams score_ratios
#' @return list of `right`, `wrong`, each a list of J x Q matrices named by `free`.
answer_scores <- function(items, nodes, free) {
  p_right <- exp(log_probabilities(items, nodes)$right)
  ratios <- score_ratios(items, nodes, free)
  lapply(list(right = 1 - p_right, wrong = -p_right), function(residual) {
    lapply(ratios, function(ratio) residual * ratio)
  })
}

#' Log prior density of each item's parameters
#'
#' @param items list of `a`, `d`, `c`.
#' @param priors `NULL`, or a list with any of `a` (lognormal: `meanlog`, `sdlog`), `d` (normal: `mean`, `sd`)
#'   and `c` (normal, of logit c: `mean`, `sd`).
#' @return vector of length J; `-Inf` for a slope at or below zero under a lognormal prior.
log_prior <- function(items, priors) {
  density <- numeric(length(items$d))
  if (!is.null(priors$a)) {
    density <- density + dlnorm(items$a, priors$a$meanlog, priors$a$sdlog, log = TRUE)
  }
  if (!is.null(priors$d)) {
    density <- density + dnorm(items$d, priors$d$mean, priors$d$sd, log = TRUE)
  }
  if (!is.null(priors$c)) {
    density <- density + dnorm(qlogis(items$c), priors$c$mean, priors$c$sd, log = TRUE)
  }
  density
}

#' First and negative second derivatives of the log prior
#'
#' @inheritParams log_prior
#' @return list of `gradient` and `curvature`, each a list of `d`, `a` and `g` (vectors of length J, or 0
#'   without a prior). The curvature of a lognormal prior is negative far in its upper tail.
log_prior_derivatives <- function(items, priors) {
  gradient <- curvature <- list(d = 0, a = 0, g = 0)
  normal <- function(prior, value) {
    list(gradient = (prior$mean - value) / prior$sd^2, curvature = rep(1 / prior$sd^2, length(value)))
  }
  if (!is.null(priors$a)) {
    z <- (log(items$a) - priors$a$meanlog) / priors$a$sdlog^2
    gradient$a <- -(1 + z) / items$a
    curvature$a <- (1 / priors$a$sdlog^2 - 1 - z) / items$a^2
  }
  if (!is.null(priors$d)) {
    of_d <- normal(priors$d, items$d)
    gradient$d <- of_d$gradient
    curvature$d <- of_d$curvature
  }
  if (!is.null(priors$c)) {
    of_g <- normal(priors$c, qlogis(items$c))
    gradient$g <- of_g$gradient
    curvature$g <- of_g$curvature
  }
  list(gradient = gradient, curvature = curvature)
}

#' The free parameters of each model
#'
#' `d` intercept, `a` slope, `g` = logit c.
FREE_PARAMETERS <- list(Rasch = "d", `2PL` = c("d", "a"), `3PL` = c("d", "a", "g"))

#' Item parameters with a lower asymptote: 0 where none is given
#' @param items data frame of items.
with_guessing <- function(items) {
  if (is.null(items$c)) items$c <- rep(0, nrow(items))
  items
}
