# How certain a link is.

#' Standard errors of A and B
#'
#' @param fit what a method of `LINKS` returns.
#' @param anchors what [common_items()] returns.
#' @return vector of `A`, `B`; `NA` without standard errors of the parameters.
constant_errors <- function(fit, anchors) {
  if (is.null(anchors$covariance)) return(c(A = NA_real_, B = NA_real_))
  variance <- function(constant) sum(covariance_shares(fit, anchors, constant, constant))
  sqrt(vapply(c(A = "A", B = "B"), variance, 0))
}

#' What each anchor adds to the covariance of two constants
#' @inheritParams constant_errors
#' @param k,l "A" or "B".
#' @return vector of length J.
covariance_shares <- function(fit, anchors, k, l) {
  of_side <- function(side) {
    sensitivity <- fit$sensitivity[[side]]
    propagate(sensitivity[, , k], anchors$covariance[[side]], sensitivity[, , l])
  }
  of_side("new") + of_side("reference")
}

#' Covariance of two linear functions of each item's parameters
#' @param x,y J x 3 matrices: coefficients of the two functions.
#' @param covariance J x 3 x 3 array.
#' @return vector of length J.
propagate <- function(x, covariance, y) {
  products <- x[, rep(1:3, 3L), drop = FALSE] * y[, rep(1:3, each = 3L), drop = FALSE]
  rowSums(products * matrix(covariance, nrow(x)))
}

#' Linking error: how much the choice of the anchors matters
#'
#' Jackknife over the anchors (Monseur and Berezner 2007, Journal of Applied Measurement 8) of B, which is
#' where a new calibration with latent mean 0 has its mean on the reference scale. It holds whatever makes
#' anchors disagree, drift included; the standard error of B holds the errors of their parameters only.
#'
#' @inheritParams constant_errors
#' @return number.
linking_error <- function(fit) {
  change <- fit$change_without_each[fit$weights > 0, "B"]
  n <- length(change)
  sqrt((n - 1) / n * sum((change - mean(change))^2))
}
