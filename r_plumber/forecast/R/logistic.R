# Logistic regression with a normal prior, in pieces, and its covariance when a student has many rows.

#' Log posterior with its derivatives
#'
#' @param chunks list of pieces of the data, each a list of the matrices `x` and `map` (of [design_piece()]:
#'   coefficients belong to the columns of `x %*% map`), `y` (number of events) and `n` (number of trials) by
#'   row.
#' @param coefficients where.
#' @param precision 1 / variance of each coefficient's normal prior around 0; 0: no prior.
#' @return list of `value` (up to a constant), `gradient` and `information`, the negative second derivative.
log_posterior <- function(chunks, coefficients, precision) {
  value <- -sum(precision * coefficients^2) / 2
  gradient <- -precision * coefficients
  information <- diag(precision, length(precision))
  for (chunk in chunks) {
    logit <- drop(chunk$x %*% (chunk$map %*% coefficients))
    p <- stats::plogis(logit)
    value <- value + sum(chunk$y * logit + chunk$n * stats::plogis(-logit, log.p = TRUE))
    gradient <- gradient + drop(crossprod(chunk$map, crossprod(chunk$x, chunk$y - chunk$n * p)))
    of_x <- crossprod(chunk$x * sqrt(chunk$n * p * (1 - p)))
    information <- information + crossprod(chunk$map, of_x %*% chunk$map)
  }
  list(value = value, gradient = gradient, information = information)
}

#' Maximise the log posterior
#'
#' Newton's method, its step halved while the log posterior falls. Near the maximum what is left to go is
#' about the square of the last step: after one of 1e-5, some 1e-10.
#'
#' @inheritParams log_posterior
#' @param start coefficients to start from.
#' @param max_iterations largest number of steps.
#' @param tolerance largest change of a coefficient in the last step.
#' @return list of `coefficients`, `information`, `iterations` and `converged`. Without a prior there may be
#'   no maximum: `converged` is then `FALSE`.
fit_logistic <- function(chunks, precision, start, max_iterations = 50L, tolerance = 1e-5) {
  coefficients <- start
  at <- log_posterior(chunks, coefficients, precision)
  iterations <- 0L
  converged <- FALSE
  while (!converged && iterations < max_iterations && rcond(at$information) > .Machine$double.eps) {
    step <- solve(at$information, at$gradient)
    reached <- log_posterior(chunks, coefficients + step, precision)
    while (reached$value < at$value - rounding * abs(at$value) && max(abs(step)) > tolerance) {
      step <- step / 2
      reached <- log_posterior(chunks, coefficients + step, precision)
    }
    coefficients <- coefficients + step
    at <- reached
    iterations <- iterations + 1L
    converged <- max(abs(step)) < tolerance
  }
  list(
    coefficients = coefficients, information = at$information, iterations = iterations, converged = converged
  )
}

# At the maximum a step changes the log posterior by less than a double can show.
rounding <- 1e-13

#' Covariance of coefficients when the rows of a student depend on each other
#'
#' The sandwich: inverse information, the students' summed scores squared, inverse information, with G / (G -
#' 1) for G students (Liang and Zeger 1986). The prior is in the information, which pulls estimates towards 0;
#' its precision among the scores stands for that bias, squared and averaged over the prior. When rows do not
#' depend on each other, this is the posterior covariance.
#'
#' @param chunks see [log_posterior()]; here with `student`, positions from 1.
#' @param fit what [fit_logistic()] returns; its coefficients may be those of some of the columns.
#' @param n_students number of students.
#' @inheritParams log_posterior
#' @return matrix.
clustered_covariance <- function(chunks, fit, n_students, precision) {
  terms <- names(fit$coefficients)
  scores <- matrix(0, n_students, length(terms))
  for (chunk in chunks) {
    map <- chunk$map[, terms, drop = FALSE]
    p <- stats::plogis(drop(chunk$x %*% (map %*% fit$coefficients)))
    of_student <- rowsum(chunk$x * (chunk$y - chunk$n * p), chunk$student, reorder = FALSE)
    at <- unique(chunk$student) # the order of rowsum()'s rows
    scores[at, ] <- scores[at, ] + of_student %*% map
  }
  bread <- solve(fit$information)
  meat <- crossprod(scores) * n_students / (n_students - 1) + diag(precision, length(precision))
  covariance <- bread %*% meat %*% bread
  (covariance + t(covariance)) / 2
}
