# The minimum of lme4's deviance. Its own optimisers use no derivatives and stop early when parameters differ
# much in what the data say of them, as thousands of students and two topics do.

CHANGE <- 0.03 # of the root of the deviance, by one step of a difference quotient
WIDEST <- 1e-3 # such a step where no curvature is known yet, in units of the parameter
# Squared length of Newton's next step, in standard errors, at which a fit has converged. As much of the
# deviance may be lost by a step: difference quotients are not exact.
ENOUGH <- 1e-6
FLAT <- 1e-6 # curvature relative to the parameters' own, below which a direction says nothing
MOST <- 100L # steps
OPTIMISER <- "Newton's method with central differences"

#' Newton's method as an optimiser of lme4
#'
#' Steps go downhill whatever the curvature's sign (Dauphin et al. 2014, saddle-free Newton), change no
#' parameter by more than half, and are halved until the deviance falls. It is even in the sign of each column
#' of a Cholesky factor, so no bound is needed: signs are put right at the end.
#'
#' @param units the size of each variance parameter (theta), to begin with.
#' @param progress function called with a list of `evaluations` (of the deviance) and `deviance`.
#' @param ask how to ask lme4's function for the deviance at a point.
#' @return A function for the `optimizer` of [lme4::optimizeLmer()] and [lme4::optimizeGlmer()]. What it
#'   returns has `derivs` too, the gradient and Hessian at the minimum; `conv` is 0 when Newton's next step
#'   would be short and no curvature is negative.
newton <- function(units, progress, ask = function(deviance, x) deviance(x)) {
  function(fn, par, lower, upper, control) {
    evaluations <- 0L
    deviance <- function(x) {
      evaluations <<- evaluations + 1L
      value <- ask(fn, x)
      progress(list(evaluations = evaluations, deviance = value))
      value
    }
    # parameters after the variances are coefficients, as in lme4
    errors <- sqrt(diag(environment(fn)$pp$unsc()))
    units <- c(units, errors[seq_len(length(par) - length(units))])
    at <- list(par = par, value = deviance(par))
    step <- WIDEST * units
    for (i in seq_len(MOST)) {
      derivs <- central_differences(deviance, at$par, step)
      step <- pmin(CHANGE / sqrt(pmax(diag(derivs$Hessian), 0)), WIDEST * units)
      next_step <- downhill(derivs)
      if (next_step$length < ENOUGH) break
      largest <- max(abs(next_step$move) / pmax(abs(at$par), units))
      reached <- go(deviance, at, next_step$move / max(1, 2 * largest))
      if (is.null(reached)) break
      at <- reached
    }
    signs <- column_signs(at$par, lower)
    list(
      par = at$par * signs, fval = at$value, feval = evaluations,
      derivs = list(gradient = derivs$gradient * signs, Hessian = derivs$Hessian * outer(signs, signs)),
      conv = if (next_step$length < ENOUGH && next_step$is_minimum) 0L else 1L,
      message = "the deviance has no minimum that could be found"
    )
  }
}

#' Newton's step, downhill in directions where the curvature is negative too
#' @param derivs what [central_differences()] returns.
#' @return list of `move`, its squared `length` in standard errors and `is_minimum`, whether no curvature is
#'   negative.
downhill <- function(derivs) {
  scale <- 1 / sqrt(pmax(abs(diag(derivs$Hessian)), .Machine$double.eps))
  directions <- eigen(derivs$Hessian * outer(scale, scale), symmetric = TRUE)
  along <- drop(crossprod(directions$vectors, derivs$gradient * scale))
  curvature <- pmax(abs(directions$values), FLAT)
  list(
    move = -scale * drop(directions$vectors %*% (along / curvature)), length = sum(along^2 / curvature),
    is_minimum = all(directions$values > -sqrt(FLAT))
  )
}

#' Take a step, or half of it, and so on, until the function falls
#' @param fn function of a vector.
#' @param from list of `par` and `value`.
#' @param move the step.
#' @return a list like `from`, or `NULL`.
go <- function(fn, from, move) {
  for (halvings in 0:20) {
    par <- from$par + move / 2^halvings
    value <- fn(par)
    if (value < from$value + ENOUGH) return(list(par = par, value = value))
  }
  NULL
}

#' Gradient and Hessian by central differences
#' @param fn function of a vector.
#' @param x where.
#' @param step size of the step in each direction.
#' @return list of `gradient` and `Hessian`, the names of lme4.
central_differences <- function(fn, x, step) {
  size <- length(x)
  steps <- diag(step, size)
  at <- function(i, j, sign) fn(x + steps[, i] + sign * steps[, j])
  here <- fn(x)
  up <- apply(steps, 2L, function(by) fn(x + by))
  down <- apply(steps, 2L, function(by) fn(x - by))
  hessian <- diag((up + down - 2 * here) / step^2, size)
  for (i in seq_len(size)) {
    for (j in seq_len(i - 1L)) {
      mixed <- at(i, j, 1) - at(i, j, -1) - fn(x - steps[, i] + steps[, j]) + fn(x - steps[, i] - steps[, j])
      hessian[i, j] <- hessian[j, i] <- mixed / (4 * step[i] * step[j])
    }
  }
  list(gradient = (up - down) / (2 * step), Hessian = hessian)
}

#' The sign of each parameter's column, where a column of a Cholesky factor begins with its diagonal
#' @param par theta, and coefficients after it.
#' @param lower bounds; 0 for diagonals.
column_signs <- function(par, lower) {
  is_theta <- seq_along(par) <= max(which(lower == 0))
  diagonal <- which(lower == 0)
  signs <- ifelse(par[diagonal] < 0, -1, 1)
  c(signs[cumsum(lower == 0)[is_theta]], rep(1, sum(!is_theta)))
}
