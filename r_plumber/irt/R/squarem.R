# Acceleration of EM by squared extrapolation.

#' Fixed point of an EM map, accelerated
#'
#' SQUAREM with step length S3 (Varadhan and Roland 2008, Simple and globally convergent methods for
#' accelerating the convergence of any EM algorithm): two EM cycles from x give x1 and x2, r = x1 - x and v =
#' (x2 - x1) - r; the next point is one EM cycle from x - 2 alpha r + alpha^2 v with alpha = -|r| / |v|. When
#' the objective there is below that of x1, x2 is kept instead, so that the objective never falls.
#'
#' @param start numeric vector of parameters.
#' @param em function of a parameter vector that returns a list with `parameters`, the vector after one EM
#'   cycle, and `objective`, the objective at the vector given (`-Inf` where it is undefined).
#' @param stopping list of `tolerance` (the fixed point is reached when one EM cycle changes no parameter by
#'   more), `max_iterations` (most EM cycles) and `max_seconds` (most elapsed time, looked at after a cycle).
#' @param observe function called after every cycle from a point where the objective is defined, with what
#'   `em` returned, `iteration` and `change` added.
#' @return list of `parameters`, `iterations` (EM cycles) and `stopped_by`: "tolerance", "max_iterations" or
#'   "max_seconds".
squarem <- function(start, em, stopping, observe) {
  began <- proc.time()[["elapsed"]]
  iterations <- 0L
  cycle <- function(parameters) {
    iterations <<- iterations + 1L
    after <- em(parameters)
    after$iteration <- iterations
    after$change <- max(abs(after$parameters - parameters))
    if (is.finite(after$objective)) observe(after)
    after
  }
  reason_to_stop <- function(after) {
    if (after$change < stopping$tolerance) {
      return("tolerance")
    }
    if (iterations >= stopping$max_iterations) {
      return("max_iterations")
    }
    if (proc.time()[["elapsed"]] - began > stopping$max_seconds) "max_seconds"
  }

  parameters <- start
  repeat {
    first <- latest <- cycle(parameters)
    stopped_by <- reason_to_stop(latest)
    if (!is.null(stopped_by)) break
    second <- latest <- cycle(first$parameters)
    stopped_by <- reason_to_stop(latest)
    if (!is.null(stopped_by)) break

    r <- first$parameters - parameters
    v <- second$parameters - first$parameters - r
    alpha <- -min(max(sqrt(sum(r^2) / sum(v^2)), 1), longest_step)
    jumped <- cycle(parameters - 2 * alpha * r + alpha^2 * v)
    if (isTRUE(jumped$objective >= second$objective)) latest <- jumped
    stopped_by <- reason_to_stop(latest)
    if (!is.null(stopped_by)) break
    parameters <- latest$parameters
  }
  list(parameters = latest$parameters, iterations = iterations, stopped_by = stopped_by)
}

# Longer jumps are nearly always refused, and a refused jump costs a cycle.
longest_step <- 32
