# Linking: two calibrations that share items, each on a scale of its own, are put on one scale,
#
#   theta_reference = A theta_new + B,   a_reference = a_new / A,   b_reference = A b_new + B
#
# (Kolen and Brennan 2014, Test equating, scaling, and linking, chapter 6). The shared items are the anchors.
# Guessing c does not depend on the scale. In a Rasch model, whose unit is the logit, A = 1.

#' Link new item parameters to those of a reference by every method
#'
#' The standard errors of A and B say how the errors of the anchors' parameters pass into them (delta method).
#' Errors are taken to be independent between items: a calibration does not tell their covariances. What all
#' items of a calibration share is the error of its scale, which A and B bridge and which is no error of the
#' link. The linking error is what the choice of the anchors adds, see [linking_error()].
#'
#' @param new,reference data frames of `item_id` (character), `a`, `b`, `c` and, where they are known, `se_a`,
#'   `se_b`, `se_c`, `cov_ab`, `cov_ac`, `cov_bc`. Unknown covariances, and an unknown `se_c`, count as 0:
#'   those of a 3PL's c cost much of what can be known then. Items that only one of them has are left alone.
#' @param model "Rasch", "2PL" or "3PL".
#' @param method the method that will be used, named `chosen` in the result.
#' @param min_anchors fewest anchors.
#' @return list of
#'   * `model`, `n_anchors`, `chosen`;
#'   * `constants`, a row per method: `method`, `A`, `B`, `se_A`, `se_B` (`NA` when an anchor lacks its
#'     standard errors), `linking_error`, `n_anchors` (those that count). mean/sigma is `NA` where all anchors
#'     are equally hard;
#'   * `weights`: `item_id` (sorted in the C locale), `weight` in the robust link, 0 to 1;
#'   * `dropped`, the anchors of weight 0: `item_id`, `reason`, `difference_a`, `difference_b` (linked new -
#'     reference).
#' @section Errors: `unprocessable` when a parameter is impossible, an item is given twice, an anchor's slope
#'   is not above 0, or there are too few anchors.
link <- function(new, reference, model = "2PL", method = "robust", min_anchors = 3L) {
  require_one_of(method, names(LINKS), "method")
  anchors <- common_items(new, reference, model, min_anchors)
  fits <- lapply(LINKS, function(link_by) link_by(anchors))
  list(
    model = model, n_anchors = length(anchors$item_id), chosen = method,
    constants = constant_columns(fits, anchors),
    dropped = dropped_anchors(anchors, fits$robust),
    weights = list(item_id = anchors$item_id, weight = fits$robust$weights)
  )
}

#' The methods
#'
#' Each takes what [common_items()] returns and gives a list of `constants` (vector of `A`, `B`),
#' `sensitivity` (list of `new`, `reference`: J x 3 x 2 arrays, the derivatives of the constants by the
#' anchors' `a`, `b`, `c`), `change_without_each` (J x 2 matrix: what is added to the constants when an anchor
#' is left out) and `weights` (length J).
LINKS <- list(
  "mean/mean" = function(anchors) link_by_means(anchors),
  "mean/sigma" = function(anchors) link_by_sigmas(anchors),
  Haebara = function(anchors) link_by_curves(anchors, "Haebara"),
  "Stocking-Lord" = function(anchors) link_by_curves(anchors, "Stocking-Lord"),
  robust = function(anchors) link_robustly(anchors)
)

# A is the ratio of the mean slopes (Loyd and Hoover 1980, Journal of Educational Measurement 17).
link_by_means <- function(anchors) {
  if (anchors$model == "Rasch") return(match_mean_difficulty(anchors, 1))
  new <- anchors$new$a
  reference <- anchors$reference$a
  A <- mean(new) / mean(reference)
  match_mean_difficulty(
    anchors, A, means_without_each(new) / means_without_each(reference),
    by_new = cbind(a = rep(1 / sum(reference), length(new)), b = 0, c = 0),
    by_reference = cbind(a = rep(-A / sum(reference), length(new)), b = 0, c = 0)
  )
}

# A is the ratio of the standard deviations of the difficulties (Marco 1977, Journal of Educational
# Measurement 14).
link_by_sigmas <- function(anchors) {
  if (anchors$model == "Rasch") return(match_mean_difficulty(anchors, 1))
  new <- anchors$new$b - mean(anchors$new$b)
  reference <- anchors$reference$b - mean(anchors$reference$b)
  A <- sqrt(sum(reference^2) / sum(new^2))
  if (!(is.finite(A) && A > 0)) A <- NA_real_
  without_each <- function(x) pmax(sum(x^2) - x^2 * length(x) / (length(x) - 1), 0)
  match_mean_difficulty(
    anchors, A, sqrt(without_each(reference) / without_each(new)),
    by_new = cbind(a = 0, b = -A * new / sum(new^2), c = 0),
    by_reference = cbind(a = 0, b = A * reference / sum(reference^2), c = 0)
  )
}

#' Complete a link whose A is known: B makes the mean difficulties of the anchors equal
#'
#' @param anchors what [common_items()] returns.
#' @param A,without_each the constant, and what it is without each anchor.
#' @param by_new,by_reference J x 3 matrices: derivatives of A by the anchors' `a`, `b`, `c`.
#' @return see `LINKS`.
match_mean_difficulty <- function(anchors, A, without_each = A, by_new = 0, by_reference = 0) {
  new <- anchors$new$b
  reference <- anchors$reference$b
  B <- mean(reference) - A * mean(new)
  constants_without_each <- cbind(
    A = without_each, B = means_without_each(reference) - without_each * means_without_each(new)
  )
  sensitivity <- function(through_unit, through_mean) {
    derivatives <- array(0, c(length(new), 3L, 2L), list(NULL, c("a", "b", "c"), c("A", "B")))
    derivatives[, , "A"] <- through_unit
    derivatives[, , "B"] <- -mean(new) * through_unit
    derivatives[, "b", "B"] <- derivatives[, "b", "B"] + through_mean / length(new)
    derivatives
  }
  list(
    constants = c(A = A, B = B),
    sensitivity = list(new = sensitivity(by_new, -A), reference = sensitivity(by_reference, 1)),
    change_without_each = sweep(constants_without_each, 2L, c(A, B)),
    weights = rep(1, length(new))
  )
}

means_without_each <- function(x) (sum(x) - x) / (length(x) - 1)

constant_columns <- function(fits, anchors) {
  constants <- vapply(fits, `[[`, c(A = 0, B = 0), "constants")
  errors <- vapply(fits, constant_errors, c(A = 0, B = 0), anchors)
  columns <- list(
    method = names(fits), A = constants["A", ], B = constants["B", ],
    se_A = errors["A", ], se_B = errors["B", ],
    linking_error = vapply(fits, linking_error, 0),
    n_anchors = vapply(fits, function(fit) sum(fit$weights > 0), 0L)
  )
  lapply(columns, unname)
}

#' The items of both calibrations
#'
#' @inheritParams link
#' @return list of `item_id` (sorted in the C locale), `model`, `new` and `reference` (lists of `a`, `b`,
#'   `c`), and `covariance`: list of `new`, `reference`, each a J x 3 x 3 array, or `NULL` when an anchor
#'   lacks a standard error.
common_items <- function(new, reference, model, min_anchors) {
  require_one_of(model, c("Rasch", "2PL", "3PL"), "model")
  require_value(
    is_number(min_anchors) && min_anchors == round(min_anchors) && min_anchors >= 2,
    "min_anchors", "must be a whole number of at least 2"
  )
  tables <- Map(complete_columns, list(new = new, reference = reference))
  item_id <- sort(intersect(new$item_id, reference$item_id), method = "radix")
  for (side in names(tables)) check_linkable(tables[[side]], side, model, item_id)
  require_value(
    length(item_id) >= min_anchors, "reference.item_id",
    sprintf(
      "has %d of the %d items of new among its %d; a link needs %.0f",
      length(item_id), nrow(new), nrow(reference), min_anchors
    )
  )
  tables <- lapply(tables, function(items) items[match(item_id, items$item_id), ])
  covariance <- lapply(tables, parameter_covariance, model)
  c(
    list(item_id = item_id, model = model),
    lapply(tables, function(items) as.list(items[c("a", "b", "c")])),
    list(covariance = if (!anyNA(covariance, recursive = TRUE)) covariance)
  )
}

UNCERTAINTY <- c("se_a", "se_b", "se_c", "cov_ab", "cov_ac", "cov_bc")

complete_columns <- function(items) {
  items <- as.data.frame(items)
  absent <- setdiff(c("c", UNCERTAINTY), names(items))
  items[absent] <- rep(list(rep(NA_real_, nrow(items))), length(absent))
  items$c[is.na(items$c)] <- 0
  items
}

#' Refuse item parameters that cannot be linked
#'
#' What only an anchor must fulfil is asked of the anchors only: a bank may hold an item that fits nobody.
#'
#' @param items data frame of [complete_columns()].
#' @param within its path in the request.
#' @param model see [link()].
#' @param anchors ids of the common items.
check_linkable <- function(items, within, model, anchors) {
  check_items(items, within)
  require_of_anchors <- function(valid, name, message) {
    other <- !items$item_id %in% anchors
    require_rows(other | is.na(valid) | valid, paste(within, name, sep = "."), message)
  }
  require_of_anchors(items$a > 0, "a", "must be above 0")
  if (model == "Rasch") require_of_anchors(items$a == 1, "a", "must be 1 in a Rasch model")
  if (model != "3PL") require_of_anchors(items$c == 0, "c", sprintf("must be 0 in a %s model", model))
  for (name in c("se_a", "se_b", "se_c")) require_of_anchors(items[[name]] >= 0, name, "must be at least 0")
  correlations <- list()
  for (pair in c("ab", "ac", "bc")) {
    name <- paste0("cov_", pair)
    se <- items[paste0("se_", strsplit(pair, "")[[1L]])]
    correlation <- items[[name]] / (se[[1L]] * se[[2L]])
    possible <- abs(correlation) < 1 + 1e-9
    require_of_anchors(possible, name, "must not exceed the product of the standard errors")
    correlations[[pair]] <- zero_where_unknown(correlation)
  }
  determinant <- with(correlations, 1 + 2 * ab * ac * bc - ab^2 - ac^2 - bc^2)
  require_of_anchors(determinant > -1e-9, "cov_bc", "must be possible beside the other covariances")
}

zero_where_unknown <- function(values) ifelse(is.na(values), 0, values)

#' Covariance of each item's parameters
#'
#' @param items data frame of [complete_columns()].
#' @param model see [link()].
#' @return J x 3 x 3 array over `a`, `b`, `c`; 0 for what the model fixes.
parameter_covariance <- function(items, model) {
  covariance <- array(0, c(nrow(items), 3L, 3L))
  covariance[, 2L, 2L] <- items$se_b^2
  if (model == "Rasch") return(covariance)
  covariance[, 1L, 1L] <- items$se_a^2
  covariance[, 1L, 2L] <- covariance[, 2L, 1L] <- zero_where_unknown(items$cov_ab)
  if (model == "2PL") return(covariance)
  covariance[, 3L, 3L] <- zero_where_unknown(items$se_c^2)
  covariance[, 1L, 3L] <- covariance[, 3L, 1L] <- zero_where_unknown(items$cov_ac)
  covariance[, 2L, 3L] <- covariance[, 3L, 2L] <- zero_where_unknown(items$cov_bc)
  covariance
}

#' Read the fields of POST /irt/link
#'
#' @param fields Named list, see `read_body()`: `new`, `reference` and optionally the other arguments of
#'   `link()`.
#' @param limits The service's limits.
#' @return Named list of arguments for `link()`.
read_linking <- function(fields, limits) {
  scalars <- c(model = "text", method = "text", min_anchors = "whole")
  check_fields(fields, c("new", "reference"), names(scalars))
  c(read_parameters(fields, limits), read_scalars(fields, scalars))
}

# Item parameters of both calibrations, with what is known of their uncertainty.
read_parameters <- function(fields, limits) {
  uncertainty <- stats::setNames(rep("number or null", length(UNCERTAINTY)), UNCERTAINTY)
  lapply(stats::setNames(nm = c("new", "reference")), function(side) {
    read_table(fields[[side]], side, ITEM_COLUMNS, limits$max_rows, optional = c(c = "number", uncertainty))
  })
}
