# Drift: how far anchors have moved between two calibrations, apart from the scales' own difference.

DRIFT_Z <- 2.58 # two-sided 1 %
DRIFT_SIZE <- 0.25 # smaller differences do not matter, however certain
LARGE_DRIFT <- 0.5

#' Drift of the anchors' parameters
#'
#' Both sides are compared after the robust link, which the anchors that have drifted do not bend. An anchor
#' is flagged when the difference of its slope or of its difficulty is both certain (|z| > 2.58) and of a size
#' that matters (0.25 or more). Difficulties are compared at a common slope, unless the slope itself is
#' flagged, and both at a common guessing, see [standardise()]. Standard errors hold those of both
#' calibrations and of the link, and that the anchor took part in it.
#'
#' Standard errors of each item's own information suit best (`standard_errors = "block"` in [calibrate()]).
#' The whole matrix adds the error of the scale that all items of a calibration share and the link takes away
#' again: the test is somewhat too careful then, where most students answer each item.
#'
#' @inheritParams link
#' @param new,reference see [link()]; every anchor needs its standard errors (0 for what is known exactly).
#' @return list of
#'   * `model`, `n_anchors`;
#'   * `constants`, of the robust link and beside it plain Stocking-Lord's, columns as in [link()];
#'   * `items`, sorted by id in the C locale: `item_id`; `d_a`, `d_b`, `d_c`, linked new - reference;
#'     `se_d_a`, `se_d_b`; `z_a`, `z_b`; `d_square`, the squared Mahalanobis distance of the differences of a
#'     and b, with `p` from chi-square with 2 degrees of freedom; `flag`; `severity`: "none", and of those
#'     flagged "large" from 0.5 on, else "moderate". In a Rasch model `se_d_a` and `z_a` are `NA`, and `p` has
#'     1 degree of freedom.
#' @section Errors: those of [link()], and `unprocessable` when an anchor lacks a standard error.
drift <- function(new, reference, model = "2PL", min_anchors = 3L) {
  anchors <- common_items(new, reference, model, min_anchors)
  require_standard_errors(new, "new", anchors)
  require_standard_errors(reference, "reference", anchors)
  fits <- list(robust = link_robustly(anchors), "Stocking-Lord" = link_by_curves(anchors, "Stocking-Lord"))
  list(
    model = model, n_anchors = length(anchors$item_id), constants = constant_columns(fits, anchors),
    items = c(list(item_id = anchors$item_id), drift_columns(anchors, fits$robust))
  )
}

drift_columns <- function(anchors, fit) {
  differences <- parameter_differences(anchors, fit$constants)
  covariance <- linked_covariance(anchors, fit)
  standardised <- standardise(differences, covariance)
  d_a <- standardised$difference[, "a"]
  z_a <- standardised$z[, "a"]
  slope_moved <- has_moved(d_a, z_a)
  d_b <- ifelse(slope_moved, differences[, "b"], standardised$difference[, "b"])
  se_d_b <- ifelse(slope_moved, sqrt(pmax(covariance[, "b", "b"], SMALLEST_VARIANCE)), standardised$se[, "b"])

  distance <- squared_distance(standardised$z)
  flag <- slope_moved | has_moved(d_b, d_b / se_d_b)
  size <- pmax(abs(d_b), slope_moved * abs(d_a))
  slope_free <- function(values) if (anchors$model == "Rasch") NA_real_ * values else values
  list(
    d_a = d_a, d_b = d_b, d_c = differences[, "c"],
    se_d_a = slope_free(standardised$se[, "a"]), se_d_b = se_d_b, z_a = slope_free(z_a), z_b = d_b / se_d_b,
    d_square = distance, p = pchisq(distance, distance_df(anchors$model), lower.tail = FALSE),
    flag = flag, severity = ifelse(!flag, "none", ifelse(size < LARGE_DRIFT, "moderate", "large"))
  )
}

has_moved <- function(difference, z) abs(z) > DRIFT_Z & abs(difference) >= DRIFT_SIZE

require_standard_errors <- function(items, within, anchors) {
  items <- complete_columns(items)
  other <- !items$item_id %in% anchors$item_id
  for (name in c(if (anchors$model != "Rasch") "se_a", "se_b")) {
    known <- other | !is.na(items[[name]])
    require_rows(known, paste(within, name, sep = "."), "is needed to judge drift (0 when exact)")
  }
}

#' Read the fields of POST /irt/drift
#' @inheritParams read_linking
#' @return Named list of arguments for `drift()`.
read_drift <- function(fields, limits) {
  scalars <- c(model = "text", min_anchors = "whole")
  check_fields(fields, c("new", "reference"), names(scalars))
  c(read_parameters(fields, limits), read_scalars(fields, scalars))
}
