# Characteristic-curve links: A and B are the constants that bring the anchors' response curves together.
#
#   Haebara (1980, Japanese Psychological Research 22) compares the two curves of each anchor,
#   Stocking and Lord (1983, Applied Psychological Measurement 7) the two sums of all curves.
#
# Both average the squared difference over N(0, 1) on the reference scale, onto which the new items are put.
# Differences of curves, and their derivatives, are J x Q tables, anchors by nodes. All that sets the methods
# apart is the inner product of two such tables.

#' Each anchor's share of the inner product of two tables, by method
#'
#' `x` and `y` are J x Q tables, `weights` those of the nodes. The shares add up to the product.
SHARES <- list(
  Haebara = function(x, y, weights) as.vector((x * y) %*% weights),
  "Stocking-Lord" = function(x, y, weights) as.vector(x %*% (colSums(y) * weights))
)

curve_shares <- function(method) function(x, y) SHARES[[method]](x, y, CURVE_RULE$weights)

SMALLEST_A <- 1e-3 # keeps the search for A above zero

#' Link by characteristic curves
#'
#' Near the solution A and B are linear in the differences of the curves. The sensitivities, and what leaving
#' out an anchor changes, are those of that linear form: exact where the curves meet.
#'
#' @param anchors what [common_items()] returns.
#' @param method a name in `SHARES`.
#' @param weights how much each anchor's curves count (length J).
#' @return see `LINKS`.
link_by_curves <- function(anchors, method, weights = rep(1, length(anchors$item_id))) {
  constants <- curve_constants(anchors, method, weights)
  shares <- curve_shares(method)
  compared <- compare_curves(anchors, constants, weights)
  list(
    constants = constants,
    sensitivity = lapply(compared[c("new", "reference")], curve_sensitivity, compared$by_constant, shares),
    change_without_each = change_without_each(compared, shares),
    weights = weights
  )
}

#' The constants at which the curves differ least
#'
#' Least squares with the Gauss-Newton Hessian, from the mean/mean constants on.
#'
#' @inheritParams link_by_curves
#' @return vector of `A`, `B`.
curve_constants <- function(anchors, method, weights) {
  start <- link_by_means(anchors)$constants
  shares <- curve_shares(method)
  free <- free_constants(anchors$model)
  compare <- function(values) compare_curves(anchors, replace(start, free, values), weights)
  gram <- function(values) gram_matrix(compare(values)$by_constant, shares)
  minimum <- nlminb(
    start[free],
    objective = function(values) with(compare(values), sum(shares(difference, difference))),
    gradient = function(values) {
      with(compare(values), 2 * colSums(shares_of(by_constant, difference, shares)))
    },
    hessian = function(values) 2 * gram(values),
    lower = c(A = SMALLEST_A, B = -Inf)[free], control = list(rel.tol = 1e-15, x.tol = 1e-13)
  )
  if (rcond(gram(minimum$par)) < .Machine$double.eps) {
    stop(unprocessable("The anchors' curves are too flat around N(0, 1), or too alike, to be linked by."))
  }
  replace(start, free, minimum$par)
}

free_constants <- function(model) if (model == "Rasch") "B" else c("A", "B")

#' Differences of the anchors' curves, reference - new on the reference scale, and their derivatives
#'
#' @inheritParams link_by_curves
#' @param constants vector of `A`, `B`.
#' @return list of J x Q tables, all times the weights: `difference`, and its derivatives by the free
#'   constants (`by_constant`) and by the anchors' parameters `a`, `b`, `c` on both sides (`new`,
#'   `reference`).
compare_curves <- function(anchors, constants, weights) {
  A <- constants[["A"]]
  on_reference <- list(a = anchors$new$a / A, b = A * anchors$new$b + constants[["B"]], c = anchors$new$c)
  new <- response_curves(on_reference)
  reference <- response_curves(anchors$reference)
  weigh <- function(tables) lapply(tables, `*`, weights)
  by_constant <- list(A = new$a * anchors$new$a / A^2 - new$b * anchors$new$b, B = -new$b)
  list(
    difference = weights * (reference$p - new$p),
    by_constant = weigh(by_constant[free_constants(anchors$model)]),
    new = weigh(list(a = -new$a / A, b = -new$b * A, c = -new$c)),
    reference = weigh(reference[c("a", "b", "c")])
  )
}

#' Response curves and their derivatives by the items' parameters
#'
#' @param items list of `a`, `b`, `c` (length J).
#' @return list of J x Q tables: `p`; its derivatives `a`, `b`, `c`; `distance`, theta - b; `information` of
#'   an answer about the logit.
response_curves <- function(items) {
  distance <- outer(-items$b, CURVE_RULE$nodes, "+")
  logistic <- plogis(items$a * distance)
  p <- items$c + (1 - items$c) * logistic
  by_logit <- (1 - items$c) * logistic * (1 - logistic)
  list(
    p = p, a = by_logit * distance, b = -by_logit * items$a, c = 1 - logistic, distance = distance,
    information = by_logit * logistic / pmax(p, .Machine$double.xmin)
  )
}

# J x K: the items' shares of the products of each of K tables with one more.
shares_of <- function(tables, table, shares) vapply(tables, shares, table[, 1L], table)

gram_matrix <- function(tables, shares) {
  n <- length(tables)
  products <- vapply(tables, function(table) colSums(shares_of(tables, table, shares)), numeric(n))
  matrix(products, n)
}

#' Derivatives of A and B by the anchors' parameters on one side
#'
#' @param tables derivatives of the differences of the curves by `a`, `b`, `c`.
#' @param by_constant their derivatives by the free constants.
#' @param shares inner product, see `SHARES`.
#' @return J x 3 x 2 array: item, parameter, constant; 0 for a constant that is fixed.
curve_sensitivity <- function(tables, by_constant, shares) {
  inverse <- solve(gram_matrix(by_constant, shares))
  sensitivity <- array(0, c(nrow(tables$a), 3L, 2L), list(NULL, c("a", "b", "c"), c("A", "B")))
  for (parameter in names(tables)) {
    products <- vapply(by_constant, function(slope) shares(tables[[parameter]], slope), tables$a[, 1L])
    sensitivity[, parameter, names(by_constant)] <- -products %*% inverse
  }
  sensitivity
}

#' How much A and B change when an anchor is left out
#'
#' One Gauss-Newton step from the constants of all anchors; `NA` where the others do not determine them.
#'
#' @param compared what [compare_curves()] returns at those constants.
#' @inheritParams curve_sensitivity
#' @return J x 2 matrix; 0 for a constant that is fixed.
change_without_each <- function(compared, shares) {
  without_each <- function(x, y) { # the product of what is left of the two tables
    sum(shares(x, y)) - shares(x, y) - shares(y, x) + curve_shares("Haebara")(x, y)
  }
  slopes <- compared$by_constant
  gram <- lapply(slopes, function(x) lapply(slopes, without_each, x))
  gradient <- lapply(slopes, without_each, compared$difference)
  change <- matrix(0, nrow(compared$difference), 2L, dimnames = list(NULL, c("A", "B")))
  for (item in seq_len(nrow(change))) {
    of_item <- function(products) vapply(products, `[`, 0, item)
    left <- matrix(vapply(gram, of_item, numeric(length(slopes))), length(slopes))
    determined <- isTRUE(rcond(left) > .Machine$double.eps)
    change[item, names(slopes)] <- if (determined) -solve(left, of_item(gradient)) else NA
  }
  change
}

#' Gauss-Hermite rule for N(0, 1)
#'
#' From the Jacobi matrix of the Hermite polynomials (Golub and Welsch 1969, Mathematics of Computation 23):
#' the nodes are its eigenvalues, the weights the squared first components of its eigenvectors.
#'
#' @param n number of nodes.
#' @return list of `nodes`, `weights` (summing to one).
gauss_hermite <- function(n) {
  jacobi <- matrix(0, n, n)
  below <- cbind(seq_len(n - 1L) + 1L, seq_len(n - 1L))
  jacobi[below] <- jacobi[below[, 2:1]] <- sqrt(seq_len(n - 1L))
  rule <- eigen(jacobi, symmetric = TRUE)
  list(nodes = rule$values, weights = rule$vectors[1L, ]^2)
}

CURVE_RULE <- gauss_hermite(30L)
