# The robust link: that of Stocking and Lord, with weights that leave out the anchors whose parameters have
# drifted.
#
# An anchor is judged by its parameters and not by its curve: the sums of curves that Stocking and Lord
# compare can meet although anchors have drifted. Drift tends to one side, and what still counts of a drifted
# anchor shifts the scale. Weights therefore fall to zero over a short way, just beyond what errors of
# estimation explain.

#' Link robustly
#'
#' From the medians, which bear drift of almost half the anchors, to Stocking and Lord's constants under the
#' weights that follow from the anchors' differences at these very constants. The sensitivities, and what
#' leaving out an anchor changes, hold at these weights.
#'
#' @param anchors what [common_items()] returns.
#' @return see `LINKS`; beside it `z`, the anchors' standardised differences (J x 3, see [standardise()]).
link_robustly <- function(anchors) {
  covariance <- anchors$covariance
  if (is.null(covariance)) {
    covariance <- lapply(anchors[c("new", "reference")], unit_covariance, anchors$model)
  }
  deviations <- function(constants) {
    standardise(parameter_differences(anchors, constants), own_covariance(anchors, covariance, constants))$z
  }
  start <- match_medians(anchors)
  scatter <- squared_scatter(squared_distance(deviations(start)), anchors)
  weights <- settled_weights(anchors, start, function(constants) {
    anchor_weights(squared_distance(deviations(constants)) / scatter, anchors$model)
  })
  fit <- link_by_curves(anchors, "Stocking-Lord", weights)
  c(fit, list(z = deviations(fit$constants) / sqrt(scatter)))
}

#' The weights to which the constants lead that are found with them
#'
#' @param anchors what [common_items()] returns.
#' @param constants where to start.
#' @param weights_at function of constants that gives weights.
#' @return vector of length J.
settled_weights <- function(anchors, constants, weights_at) {
  weights <- weights_at(constants)
  step <- 1
  change <- c(A = 0, B = 0)
  for (reweighting in seq_len(MOST_REWEIGHTINGS)) {
    before <- list(constants = constants, change = change)
    constants <- curve_constants(anchors, "Stocking-Lord", weights)
    change <- constants - before$constants
    if (max(abs(change)) < 1e-7 * step) return(weights)
    to_and_fro <- sum(change * before$change) < 0
    step <- if (to_and_fro) step / 2 else min(1, 1.2 * step)
    weights <- weights + step * (weights_at(constants) - weights)
  }
  warning("The weights of the robust link have not settled.")
  weights
}

MOST_REWEIGHTINGS <- 200L

match_medians <- function(anchors) {
  A <- exp(median(log(anchors$new$a / anchors$reference$a)))
  c(A = A, B = median(anchors$reference$b - A * anchors$new$b))
}

#' Weights of anchors by their squared distances from no drift
#'
#' 1 within the inner 90 % of what errors of estimation do to an anchor, 0 in the outer 1 %, Tukey's biweight
#' between.
#'
#' @param distances squared distances.
#' @param model see [link()].
anchor_weights <- function(distances, model) {
  edges <- sqrt(qchisq(c(0.9, 0.99), distance_df(model)))
  beyond <- (sqrt(distances) - edges[1L]) / diff(edges)
  (1 - pmin(pmax(beyond, 0), 1)^2)^2
}

#' How much the anchors scatter, in units of what their errors of estimation let expect
#'
#' The median of the squared distances over the 60 % quantile of their distribution, where the median is when
#' a sixth of the anchors have drifted. Anchors do not scatter less than by their standard errors; only where
#' these are unknown, and distances have no unit, may the factor be below 1.
#'
#' @param distances squared distances.
#' @param anchors what [common_items()] returns.
squared_scatter <- function(distances, anchors) {
  least <- if (is.null(anchors$covariance)) SMALLEST_VARIANCE else 1
  max(least, median(distances) / qchisq(0.6, distance_df(anchors$model)))
}

#' Covariances of item parameters, up to a factor, where nobody tells them
#'
#' Inverse information of an answer by a student from N(0, 1), c known. A ten-thousandth of such an answer is
#' added, so that items far from all students have an inverse.
#'
#' @param items list of `a`, `b`, `c` (length J).
#' @param model see [link()].
#' @return J x 3 x 3 array.
unit_covariance <- function(items, model) {
  curves <- response_curves(items)
  moment <- function(power) as.vector((curves$information * curves$distance^power) %*% CURVE_RULE$weights)
  aa <- moment(2) + 1e-4
  ab <- -items$a * moment(1)
  bb <- items$a^2 * moment(0) + 1e-4
  covariance <- array(0, c(length(items$a), 3L, 3L))
  if (model == "Rasch") {
    covariance[, 2L, 2L] <- 1 / bb
    return(covariance)
  }
  determinant <- aa * bb - ab^2
  covariance[, 1L, 1L] <- bb / determinant
  covariance[, 1L, 2L] <- covariance[, 2L, 1L] <- -ab / determinant
  covariance[, 2L, 2L] <- aa / determinant
  covariance
}

#' The anchors to which the robust link gives no weight, and why
#'
#' @param anchors what [common_items()] returns.
#' @param robust what [link_robustly()] returns.
#' @return list of columns `item_id`, `reason`, `difference_a`, `difference_b`.
dropped_anchors <- function(anchors, robust) {
  out <- robust$weights == 0
  z <- abs(robust$z[out, , drop = FALSE])
  differences <- parameter_differences(anchors, robust$constants)[out, , drop = FALSE]
  list(
    item_id = anchors$item_id[out],
    reason = ifelse(
      z[, "a"] > z[, "b"],
      sprintf("the slope differs by %.1f standard errors", z[, "a"]),
      sprintf("the difficulty differs by %.1f standard errors", z[, "b"])
    ),
    difference_a = differences[, "a"], difference_b = differences[, "b"]
  )
}
