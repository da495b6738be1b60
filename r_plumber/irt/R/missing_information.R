# What is lost by not seeing the abilities: the sum over students of Cov(score | answers), the second term of
# Louis' (1982) information. Scores and parameters are those of standard_errors.R.

#' Integrals of the students' scores against functions of ability
#'
#' @param answers the indexed answers.
#' @param functions Q x N: one function (already times the quadrature weight) for each student.
#' @param scores what [score_tables()] returns.
#' @return N x K sparse matrix, K parameters; an entry for each estimated parameter of each item the student
#'   answered, and for log sd.
integrate_scores <- function(answers, functions, scores) {
  n_parameters <- length(scores$right)
  tables <- simplify2array(c(scores$right, scores$wrong)) # J x Q x (outcome, parameter)
  values <- matrix(0, length(answers$item), n_parameters)
  for (rows in split(seq_along(answers$item), answers$item)) {
    table <- tables[answers$item[rows[1]], , ]
    integrals <- crossprod(functions[, answers$student[rows], drop = FALSE], table)
    right <- answers$correct[rows] == 1L
    values[rows, ] <- integrals[, n_parameters + seq_len(n_parameters)]
    values[rows[right], ] <- integrals[right, seq_len(n_parameters)]
  }
  n_items <- length(answers$items)
  columns <- outer(answers$item, (seq_len(n_parameters) - 1L) * n_items, "+")
  students <- rep(answers$student, n_parameters)
  if (!is.null(scores$log_sd)) {
    n_students <- length(answers$students)
    values <- c(values, scores$log_sd %*% functions)
    columns <- c(columns, rep(n_items * n_parameters + 1L, n_students))
    students <- c(students, seq_len(n_students))
  }
  Matrix::sparseMatrix(i = students, j = as.vector(columns), x = as.vector(values))
}

#' Sum over students of the posterior covariance of their scores, item by item
#'
#' Covariance = mean of the product (known from the counts) - product of the means (one pass over the
#' answers).
#'
#' @inheritParams integrate_scores
#' @param posterior N x Q matrix.
#' @param moments what [score_moments()] returns.
#' @return like `moments`.
missing_information_blocks <- function(answers, posterior, scores, moments) {
  means <- integrate_scores(answers, t(posterior), scores)
  d <- seq_along(answers$items)
  missing <- list(dd = moments$dd - Matrix::colSums(means[, d, drop = FALSE]^2))
  if (!is.null(moments$aa)) {
    a <- length(d) + d
    missing$da <- moments$da - Matrix::colSums(means[, d, drop = FALSE] * means[, a, drop = FALSE])
    missing$aa <- moments$aa - Matrix::colSums(means[, a, drop = FALSE]^2)
  }
  if (!is.null(moments$log_sd)) missing$log_sd <- moments$log_sd - sum(means[, ncol(means)]^2)
  missing
}

#' Sum over students of the posterior covariance of their scores, all parameters with all
#'
#' Node by node this would take one K x K crossproduct for each of the Q nodes. A score is a smooth function
#' of ability, so it is expanded instead in the polynomials p_0 = 1, p_1, p_2, ... that are orthonormal under
#' the student's own posterior. By Parseval
#'
#'   Cov(s_j, s_k | answers) = sum over l >= 1 of E(s_j p_l | answers) E(s_k p_l | answers),
#'
#' a handful of crossproducts. The squares of all terms, l = 0 included, add up to the second moments, which
#' the counts give exactly; the expansion stops when no parameter lacks more than `precision` of its own.
#'
#' @inheritParams missing_information_blocks
#' @param nodes abilities (length Q).
#' @param precision largest share of a second moment left out.
#' @return K x K matrix.
missing_information <- function(answers, posterior, scores, moments, nodes, precision = 1e-6) {
  moments <- c(moments$dd, moments$aa, moments$log_sd)
  missing <- matrix(0, length(moments), length(moments))

  root <- sqrt(t(posterior))
  polynomials <- list(current = root, before = 0 * root, norm = numeric(ncol(root)))
  integrals <- integrate_scores(answers, root * polynomials$current, scores)
  explained <- Matrix::colSums(integrals^2)
  for (degree in seq_len(length(nodes) - 1L)) {
    if (all(moments - explained <= precision * moments)) break
    polynomials <- next_polynomials(polynomials, nodes)
    integrals <- integrate_scores(answers, root * polynomials$current, scores)
    explained <- explained + Matrix::colSums(integrals^2)
    missing <- missing + crossproduct(integrals)
  }
  missing
}

#' Orthonormal polynomials of the next degree, for all students at once
#'
#' The Lanczos recursion of the nodes from the square root of the posterior: column i of `current` is
#' p_l sqrt(posterior) of student i, a unit vector. A posterior that sits on few nodes has few such
#' polynomials; when they are used up the column stays zero.
#'
#' @param polynomials list of `current`, `before` (Q x N) and `norm` (length N), the norm that `current` had
#'   before it was scaled.
#' @param nodes abilities (length Q).
#' @return the same one degree higher.
next_polynomials <- function(polynomials, nodes) {
  current <- polynomials$current
  along <- function(student_values) rep(student_values, each = length(nodes))
  following <- nodes * current
  following <- following - along(colSums(following * current)) * current -
    along(polynomials$norm) * polynomials$before
  norm <- sqrt(colSums(following^2))
  scale <- ifelse(norm > 1e-6, 1 / norm, 0)
  list(current = following * along(scale), before = current, norm = norm)
}

# Sparse banks multiply entry by entry; from about a tenth of the entries on, dense BLAS is faster.
crossproduct <- function(x) {
  dense <- Matrix::nnzero(x) > 0.1 * length(x)
  as.matrix(if (dense) crossprod(as.matrix(x)) else Matrix::crossprod(x))
}
