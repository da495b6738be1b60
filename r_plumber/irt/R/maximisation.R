# The M-step: each item's parameters at the maximum of the expected log posterior, all items at once.

#' Expected complete-data log posterior of each item
#'
#' @param items list of `a`, `d` (length J).
#' @param counts list of `right`, `wrong` (J x Q) from [expected_counts()].
#' @param nodes abilities (length Q).
#' @param priors see [log_prior()].
#' @return vector of length J.
expected_log_posterior <- function(items, counts, nodes, priors) {
  log_p <- log_probabilities(items, nodes)
  rowSums(counts$right * log_p$right + counts$wrong * log_p$wrong) + log_prior(items, priors)
}

#' Gradient and information of the expected complete-data log-likelihood
#'
#' For a logit model the expected and the observed complete-data information are the same matrix.
#'
#' @inheritParams expected_log_posterior
#' @return list of vectors of length J: `d`, `a` (gradient), `dd`, `da`, `aa` (information).
complete_data_derivatives <- function(items, counts, nodes) {
  p_right <- exp(log_probabilities(items, nodes)$right)
  n <- counts$right + counts$wrong
  gradient <- (counts$right - n * p_right) %*% cbind(1, nodes)
  information <- (n * p_right * (1 - p_right)) %*% cbind(1, nodes, nodes^2)
  list(
    d = gradient[, 1], a = gradient[, 2],
    dd = information[, 1], da = information[, 2], aa = information[, 3]
  )
}

#' One Fisher-scoring step of every item
#'
#' Solves the 1 x 1 (Rasch) or 2 x 2 (2PL) system of each item in closed form. A concave stretch of the prior
#' counts towards the information; a convex one would turn the step downhill and is left out.
#'
#' @inheritParams expected_log_posterior
#' @param free_slope `FALSE` holds `a` (Rasch).
#' @return list of `a`, `d`: the step of each item.
scoring_step <- function(items, counts, nodes, free_slope, priors) {
  complete <- complete_data_derivatives(items, counts, nodes)
  prior <- log_prior_derivatives(items, priors)
  gradient_d <- complete$d + prior$gradient$d
  dd <- complete$dd + pmax(prior$curvature$d, 0)
  if (!free_slope) {
    return(list(a = numeric(length(dd)), d = gradient_d / dd))
  }
  gradient_a <- complete$a + prior$gradient$a
  aa <- complete$aa + pmax(prior$curvature$a, 0)
  determinant <- aa * dd - complete$da^2
  list(
    a = (dd * gradient_a - complete$da * gradient_d) / determinant,
    d = (aa * gradient_d - complete$da * gradient_a) / determinant
  )
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
#' @return list of `a`, `d`.
maximise_items <- function(items, counts, nodes, free_slope, priors, steps = 2L) {
  objective <- expected_log_posterior(items, counts, nodes, priors)
  for (iteration in seq_len(steps)) {
    step <- scoring_step(items, counts, nodes, free_slope, priors)
    longest <- pmax(1, abs(step$a), abs(step$d))
    waiting <- rep(TRUE, length(objective))
    for (fraction in c(1, 1 / 4, 1 / 16, 1 / 64)) {
      moved <- list(a = items$a + fraction * step$a / longest, d = items$d + fraction * step$d / longest)
      reached <- expected_log_posterior(moved, counts, nodes, priors)
      better <- which(waiting & reached >= objective - rounding * abs(objective))
      items$a[better] <- moved$a[better]
      items$d[better] <- moved$d[better]
      objective[better] <- reached[better]
      waiting[better] <- FALSE
      if (!any(waiting)) break
    }
  }
  items
}

# At the maximum a step changes the objective by less than a double can show.
rounding <- 1e-13
