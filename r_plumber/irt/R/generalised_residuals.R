# Is an item's curve what the model says? Generalised residuals, and a score test built on them.
#
# Adaptive data are sparse and have no number-correct score to condition on. What the model does promise,
# whoever chose the items by the answers before: for any function r of ability, the sum over students of
# E(r(theta) (x - P(theta)) | all answers) has mean zero (Haberman, Sinharay and Chon 2013, Psychometrika 78).
# Abilities are not estimated, so there is no bias of short tests to correct.
#
# Take a student's posterior without the answer x in question. Its predicted chance is p, and
#
#   E(r (x - P) | all answers) = z (x - p)   with   z = E(r P (1 - P) | other answers) / (p (1 - p)),
#
# so that whatever r is, the answer is one binary residual x - p of variance p (1 - p) times a known
# regressor. Bends of the logit of P by functions r are tested as in a logistic regression: by Rao's score
# test, with the variance that the model gives. (The residuals' own squares estimate it badly: with 50
# answers they cost the level.)

#' Each answer's residual and regressors
#'
#' @param answers what [select_items()] returns.
#' @param posterior N x Q matrix.
#' @param items list of `a`, `d`, `c` of `answers$items`.
#' @param nodes abilities (length Q).
#' @param ratios list of functions r, each a J x Q matrix; see [score_ratios()].
#' @param counted logical over items: whether the posterior has seen the answers to the item.
#' @return list of `residual`, `variance` (length n) and `regressors` (n x K, named as `ratios`).
generalised_residuals <- function(answers, posterior, items, nodes, ratios,
                                  counted = rep(TRUE, length(answers$items))) {
  p <- lapply(log_probabilities(items, nodes), exp)
  curves <- c(p, lapply(ratios, function(ratio) ratio * p$right * p$wrong))
  tables <- lapply(p, function(outcome) {
    outcome[!counted, ] <- 1
    simplify2array(curves) / as.vector(pmax(outcome, .Machine$double.xmin)) # J x Q x K + 2
  })
  posterior <- t(posterior)
  integrals <- matrix(0, length(answers$item), length(curves))
  for (rows in split(seq_along(answers$item), list(answers$item, answers$correct), drop = TRUE)) {
    table <- tables[[2L - answers$correct[rows[1]]]][answers$item[rows[1]], , ]
    integrals[rows, ] <- crossprod(posterior[, answers$student[rows], drop = FALSE], table)
  }
  integrals <- integrals / (integrals[, 1] + integrals[, 2])
  variance <- pmax(integrals[, 1] * integrals[, 2], smallest_variance)
  regressors <- integrals[, -(1:2), drop = FALSE] / variance
  colnames(regressors) <- names(ratios)
  list(residual = answers$correct - integrals[, 1], variance = variance, regressors = regressors)
}

# An answer more certain than this says nothing, and must not divide by zero.
smallest_variance <- 1e-12

#' Score tests of bends of the items' curves
#'
#' An item's residuals are projected on the tested regressors after those of the parameters that have been
#' fitted, so that it does not matter whether these stand at the maximum or near it (Neyman's C(alpha)). A
#' regressor that the ones before it explain is dropped. Under the model the sum of squares S has mean K, its
#' degrees of freedom, and variance 2 K + k, where k comes from the fourth moments of the residuals: a few
#' unlikely answers make the tail heavy. S is therefore referred to the F distribution that has, scaled to
#' mean K, this variance.
#'
#' @param residuals what [generalised_residuals()] returns.
#' @param item each answer's item.
#' @param fitted,tested names of regressors.
#' @return list of `stat` (S), `df` (K), `p`, one entry for each item that was answered, in order; `NA` where
#'   no regressor is left to test.
score_tests <- function(residuals, item, fitted, tested) {
  tests <- lapply(split(seq_along(item), item), function(rows) score_test(residuals, rows, fitted, tested))
  as.list(data.table::rbindlist(tests))
}

score_test <- function(residuals, rows, fitted, tested) {
  sd <- sqrt(residuals$variance[rows])
  design <- sd * residuals$regressors[rows, c(fitted, tested), drop = FALSE]
  decomposed <- qr(design, tol = smallest_new_share)
  used <- seq_len(decomposed$rank)
  used <- used[decomposed$pivot[used] > length(fitted)]
  df <- length(used)
  if (df == 0L) return(list(stat = NA_real_, df = 0L, p = NA_real_))
  directions <- qr.Q(decomposed)[, used, drop = FALSE]
  stat <- sum(crossprod(directions, residuals$residual[rows] / sd)^2)
  excess <- sum((1 / sd^2 - 6) * rowSums(directions^2)^2)
  list(stat = stat, df = df, p = scaled_f_tail(stat, df, excess))
}

# Least part of a regressor's length that is not explained by the regressors before it.
smallest_new_share <- 0.03

# Tail of the scaled F distribution of mean df and variance 2 df + excess; chi-square when nothing is in
# excess.
scaled_f_tail <- function(stat, df, excess) {
  if (excess <= 0) return(pchisq(stat, df, lower.tail = FALSE))
  second <- 4 + 2 * df * (df + 2) / excess
  pf(stat / df * second / (second - 2), df, second, lower.tail = FALSE)
}

#' One step of Fisher scoring for intercept and slope of each item
#'
#' @param residuals what [generalised_residuals()] returns, with the regressors "d" and "a".
#' @param item each answer's item.
#' @return list of vectors, one entry for each item that was answered, in order: `d`, `a` (the step) and
#'   `dd`, `da`, `aa` (its covariance).
scoring_steps <- function(residuals, item) {
  of_d <- residuals$regressors[, "d"]
  of_a <- residuals$regressors[, "a"]
  sums <- rowsum(
    cbind(
      residuals$residual * cbind(d = of_d, a = of_a),
      residuals$variance * cbind(dd = of_d^2, da = of_d * of_a, aa = of_a^2)
    ),
    item, reorder = TRUE
  )
  sums <- as.list(as.data.frame(sums))
  determinant <- sums$dd * sums$aa - sums$da^2
  dd <- sums$aa / determinant
  da <- -sums$da / determinant
  aa <- sums$dd / determinant
  list(d = dd * sums$d + da * sums$a, a = da * sums$d + aa * sums$a, dd = dd, da = da, aa = aa)
}
