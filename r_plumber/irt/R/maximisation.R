# The M-step: parameters at the maximum of the expected log posterior, all items at once.

#' Expected complete-data log posterior of each item
#'
#' @param items list of `a`, `d`, `c` (length J).
#' @param counts list of `right`, `wrong` (J x Q) from [expected_counts()].
#' @param nodes abilities (length Q).
#' @param priors see [log_prior()].
#' @return vector of length J.
expected_log_posterior <- function(items, counts, nodes, priors) {
  log_p <- log_probabilities(items, nodes)
  rowSums(counts$right * log_p$right + counts$wrong * log_p$wrong) + log_prior(items, priors)
}

#' One Fisher-scoring step of every item
#'
#' A concave stretch of the prior counts towards the information; a convex one would turn the step downhill
#' and is left out.
#'
#' @inheritParams expected_log_posterior
#' @param free names of the free parameters, see [score_ratios()].
#' @return J x K matrix: the step of each item's free parameters.
scoring_step <- function(items, counts, nodes, free, priors) {
  p_right <- exp(log_probabilities(items, nodes)$right)
  ratios <- score_ratios(items, nodes, free)
  n <- counts$right + counts$wrong
  residual <- counts$right - n * p_right
  variance <- n * p_right * (1 - p_right)
  prior <- log_prior_derivatives(items, priors)
  gradient <- vapply(free, function(k) rowSums(residual * ratios[[k]]) + prior$gradient[[k]], items$d)
  information <- array(0, c(length(items$d), length(free), length(free)))
  for (k in seq_along(free)) {
    weighted <- variance * ratios[[k]]
    for (l in seq_len(k)) {
      information[, k, l] <- information[, l, k] <- rowSums(weighted * ratios[[l]])
    }
    information[, k, k] <- information[, k, k] + pmax(prior$curvature[[free[k]]], 0)
  }
  solve_each(information, matrix(gradient, ncol = length(free)))
}

#' Solve one small symmetric system for every item
#'
#' Gaussian elimination, all items at once; a positive definite matrix needs no pivoting.
#'
#' @param m J x K x K array.
#' @param v J x K matrix.
#' @return J x K matrix x with m[j, , ] x[j, ] = v[j, ]; `NaN` or infinite where a pivot is zero, `NA` where
#'   one is negative: the matrix is not positive definite.
solve_each <- function(m, v) {
  size <- ncol(v)
  for (k in seq_len(size)) {
    v[which(m[, k, k] < 0), ] <- NA
    for (l in seq_len(size)[seq_len(size) > k]) {
      factor <- m[, l, k] / m[, k, k]
      m[, l, ] <- m[, l, ] - factor * m[, k, ]
      v[, l] <- v[, l] - factor * v[, k]
    }
  }
  for (k in rev(seq_len(size))) {
    for (l in seq_len(size)[seq_len(size) > k]) v[, k] <- v[, k] - m[, k, l] * v[, l]
    v[, k] <- v[, k] / m[, k, k]
  }
  v
}

#' Items whose free parameters have moved
#'
#' @param items list of `a`, `d`, `c`.
#' @param step J x K matrix.
#' @param free names of its columns.
moved_items <- function(items, step, free) {
  items$d <- items$d + step[, match("d", free)]
  if ("a" %in% free) items$a <- items$a + step[, match("a", free)]
  if ("g" %in% free) items$c <- plogis(qlogis(items$c) + step[, match("g", free)])
  items
}

#' Maximise the expected log posterior of every item
#'
#' Fisher scoring with a step length of its own for each item: no parameter moves by more than one, since a
#' full step is wild where the curves are flat, and the step is shortened until the item's expected log
#' posterior does not fall; it is zero when no length helps. Two steps per E-step are enough, since the counts
#' change with the next E-step anyway (Lange 1995, A gradient algorithm locally equivalent to the EM
#' algorithm).
#'
#' @inheritParams scoring_step
#' @param steps number of scoring steps.
#' @return list of `a`, `d`, `c`.
maximise_items <- function(items, counts, nodes, free, priors, steps = 2L) {
  objective <- expected_log_posterior(items, counts, nodes, priors)
  for (iteration in seq_len(steps)) {
    step <- scoring_step(items, counts, nodes, free, priors)
    step[!is.finite(rowSums(step)), ] <- 0 # nothing is known of the item's curve where its students are
    step <- step / pmax(1, apply(abs(step), 1, max))
    waiting <- rep(TRUE, length(objective))
    for (fraction in c(1, 1 / 4, 1 / 16, 1 / 64)) {
      moved <- moved_items(items, fraction * step, free)
      reached <- expected_log_posterior(moved, counts, nodes, priors)
      better <- which(waiting & reached >= objective - rounding * abs(objective))
      for (name in names(items)) items[[name]][better] <- moved[[name]][better]
      objective[better] <- reached[better]
      waiting[better] <- FALSE
      if (!any(waiting)) break
    }
  }
  items
}

# At the maximum a step changes the objective by less than a double can show.
rounding <- 1e-13

#' Normal distributions of the groups at the maximum of the expected log-likelihood
#'
#' @param mass weight of each group's students at each node (G x Q).
#' @param nodes abilities (length Q).
#' @param latent the values that are fixed; `NA` where one is estimated.
#' @return list of `mean`, `sd` (length G).
maximise_latent <- function(mass, nodes, latent) {
  n <- rowSums(mass)
  mean <- ifelse(is.na(latent$mean), drop(mass %*% nodes) / n, latent$mean)
  variance <- rowSums(mass * outer(-mean, nodes, "+")^2) / n
  list(mean = mean, sd = ifelse(is.na(latent$sd), pmax(sqrt(variance), smallest_latent_sd), latent$sd))
}

# Answers that no ability explains drive the sd towards 0, where it has no logarithm.
smallest_latent_sd <- 0.01
