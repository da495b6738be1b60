# Differences of the anchors' parameters after a link, linked new - reference, on the reference scale. They
# stand in the order c, a, b, in which they are judged.

PARAMETER_ORDER <- c("c", "a", "b")

#' The differences
#' @param anchors what [common_items()] returns.
#' @param constants vector of `A`, `B`.
#' @return J x 3 matrix with columns `c`, `a`, `b`.
parameter_differences <- function(anchors, constants) {
  cbind(
    c = anchors$new$c - anchors$reference$c,
    a = anchors$new$a / constants[["A"]] - anchors$reference$a,
    b = constants[["A"]] * anchors$new$b + constants[["B"]] - anchors$reference$b
  )
}

#' Derivatives of the differences
#'
#' @inheritParams parameter_differences
#' @return for each of `c`, `a`, `b` a list of `new`, `reference` (J x 3: by the anchor's own `a`, `b`, `c`,
#'   with A and B held) and `constants` (J x 2: by A and B).
difference_derivatives <- function(anchors, constants) {
  A <- constants[["A"]]
  n <- length(anchors$item_id)
  derivatives <- function(new, reference, by_unit, by_origin) {
    list(
      new = matrix(new, n, 3L, byrow = TRUE), reference = matrix(reference, n, 3L, byrow = TRUE),
      constants = cbind(A = rep_len(by_unit, n), B = rep_len(by_origin, n))
    )
  }
  list(
    c = derivatives(c(0, 0, 1), c(0, 0, -1), 0, 0),
    a = derivatives(c(1 / A, 0, 0), c(-1, 0, 0), -anchors$new$a / A^2, 0),
    b = derivatives(c(0, A, 0), c(0, -1, 0), anchors$new$b, 1)
  )
}

#' Covariances of the differences, with the link known
#'
#' @inheritParams parameter_differences
#' @param covariance list of `new`, `reference`: J x 3 x 3 arrays over the parameters `a`, `b`, `c`.
#' @return J x 3 x 3 array over the differences `c`, `a`, `b`.
own_covariance <- function(anchors, covariance, constants) {
  derivatives <- difference_derivatives(anchors, constants)
  pairwise(anchors, function(k, l) {
    propagate(derivatives[[k]]$new, covariance$new, derivatives[[l]]$new) +
      propagate(derivatives[[k]]$reference, covariance$reference, derivatives[[l]]$reference)
  })
}

#' Covariances of the differences, with the link estimated
#'
#' An anchor's errors move A and B too, and so pass into its differences in two ways, with opposite signs;
#' those of the other anchors pass into them by A and B. An anchor without weight in the link has se^2 =
#' se_new^2 + se_reference^2 + se_link^2.
#'
#' @param anchors what [common_items()] returns, with standard errors.
#' @param fit what a method of `LINKS` returns.
#' @return like [own_covariance()].
linked_covariance <- function(anchors, fit) {
  derivatives <- difference_derivatives(anchors, fit$constants)
  through_link <- function(k, side) {
    slopes <- derivatives[[k]]$constants
    sensitivity <- fit$sensitivity[[side]]
    slopes[, "A"] * sensitivity[, , "A"] + slopes[, "B"] * sensitivity[, , "B"]
  }
  own <- function(k, l, side) {
    propagate(
      derivatives[[k]][[side]] + through_link(k, side), anchors$covariance[[side]],
      derivatives[[l]][[side]] + through_link(l, side)
    )
  }
  of_others <- function(k, l) {
    total <- 0
    for (i in c("A", "B")) {
      for (j in c("A", "B")) {
        shares <- covariance_shares(fit, anchors, i, j)
        slopes <- derivatives[[k]]$constants[, i] * derivatives[[l]]$constants[, j]
        total <- total + slopes * (sum(shares) - shares)
      }
    }
    total
  }
  pairwise(anchors, function(k, l) own(k, l, "new") + own(k, l, "reference") + of_others(k, l))
}

pairwise <- function(anchors, covariance) {
  values <- array(0, c(length(anchors$item_id), 3L, 3L), list(NULL, PARAMETER_ORDER, PARAMETER_ORDER))
  for (k in PARAMETER_ORDER) {
    for (l in PARAMETER_ORDER) values[, k, l] <- covariance(k, l)
  }
  values
}

#' Differences at equal values of the parameters before them, and in units of their errors
#'
#' The errors of c, a and b are correlated, those of a and b at high and low difficulties strongly. What the
#' difference of c tells about those of a and b, and that of a about that of b, is taken out of them, as
#' likelihood-ratio tests do by a common slope under both hypotheses (Thissen, Steinberg and Wainer 1993, in
#' Holland and Wainer, Differential item functioning). What remains is uncorrelated.
#'
#' @param differences J x 3 matrix of [parameter_differences()].
#' @param covariance J x 3 x 3 array of their covariances.
#' @return list of `difference`, `se`, `z`: J x 3 matrices.
standardise <- function(differences, covariance) {
  for (k in 1:2) {
    for (l in (k + 1L):3) {
      slope <- covariance[, l, k] / pmax(covariance[, k, k], SMALLEST_VARIANCE)
      differences[, l] <- differences[, l] - slope * differences[, k]
      covariance[, l, ] <- covariance[, l, ] - slope * covariance[, k, ]
    }
  }
  variance <- cbind(c = covariance[, 1L, 1L], a = covariance[, 2L, 2L], b = covariance[, 3L, 3L])
  se <- sqrt(pmax(variance, SMALLEST_VARIANCE))
  list(difference = differences, se = se, z = differences / se)
}

# What rounding leaves of the difference of two equal parameters.
SMALLEST_VARIANCE <- .Machine$double.eps

#' Squared Mahalanobis distances of a and b from no drift, at an equal c
#' @param z J x 3 matrix of [standardise()].
squared_distance <- function(z) z[, "a"]^2 + z[, "b"]^2

distance_df <- function(model) if (model == "Rasch") 1 else 2
