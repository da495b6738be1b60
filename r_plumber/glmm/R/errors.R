# Errors of predicted random effects. Henderson's (1975) mixed model equations have one large block, of the
# factor with most levels, that is a small matrix for each level; what is left of the others and the fixed
# effects when that block is absorbed is solved whole.

CELLS <- 5e6 # of a dense matrix, made at once

#' Absorb one factor of the mixed model equations
#'
#' @param fit a merMod.
#' @param factor name of the grouping factor to absorb: most often the one with most levels.
#' @return list, in the unit of the residual variance: `own` (the variance of the factor's effects if all
#'   others were known; sparse), `pull` (minus what an error of each other effect, before its `unit`, and of
#'   each fixed effect does to them), `rest` (the variance of the others, given the fixed effects), `whole`
#'   (that of the others and the fixed effects), `unit` (their sds), `others` (positions of the others'
#'   effects among all) and `positions` (those of the factor's).
#' @source Henderson (1975), Biometrics 31, 423-447, in the terms of Bates et al. (2015), Journal of
#'   Statistical Software 67(1).
absorb <- function(fit, factor) {
  positions <- effects_of(fit, factor)
  weighted <- fit@pp$LamtUt # effects of variance 1, by row; a column for each row of the data
  others <- setdiff(seq_len(nrow(weighted)), positions)
  lambda <- Matrix::t(lme4::getME(fit, "Lambdat"))
  edge <- rbind(weighted[others, , drop = FALSE], Matrix::Matrix(t(fit@pp$V), sparse = TRUE))
  own <- Matrix::tcrossprod(weighted[positions, , drop = FALSE])
  own <- Matrix::solve(Matrix::forceSymmetric(own + Matrix::Diagonal(nrow(own))), sparse = TRUE)
  shared <- Matrix::tcrossprod(weighted[positions, , drop = FALSE], edge)
  pull <- own %*% shared
  of_edge <- as.matrix(Matrix::tcrossprod(edge)) - as.matrix(Matrix::crossprod(shared, pull))
  size <- length(others)
  diag(of_edge)[seq_len(size)] <- diag(of_edge)[seq_len(size)] + 1
  inside <- lambda[positions, positions, drop = FALSE]
  of_others <- Matrix::diag(lambda)[others]
  unit <- c(of_others, rep(1, nrow(edge) - size))
  whole <- chol2inv(chol(of_edge))
  rest <- if (size) chol2inv(chol(of_edge[seq_len(size), seq_len(size)])) else matrix(0, 0L, 0L)
  list(
    own = inside %*% own %*% Matrix::t(inside), pull = inside %*% pull, rest = rest, whole = whole,
    unit = unit, others = others, positions = positions
  )
}

#' Where a factor's effects stand among all
#' @inheritParams absorb
effects_of <- function(fit, factor) {
  at <- match(factor, names(fit@cnms))
  seq.int(fit@Gp[at] + 1L, fit@Gp[at + 1L])
}

#' Rows of one matrix times those of another, with a matrix between: diag(left %*% between %*% t(right))
quadratic <- function(left, between, right = left) {
  rows <- seq_len(nrow(left))
  if (ncol(left) == 0L) return(0 * rows)
  parts <- split(rows, (rows - 1L) %/% max(1, CELLS %/% ncol(left)))
  unlist(lapply(parts, function(at) {
    Matrix::rowSums((left[at, , drop = FALSE] %*% between) * right[at, , drop = FALSE])
  }), use.names = FALSE)
}
