# What is lost by not seeing the abilities: the sum over students of Cov(score | answers), the second term of
# Louis' (1982) information. Scores and parameters are those of standard_errors.R.

#' Integrals of the students' scores of each answer against functions of ability
#'
#' @param answers what [answers_in()] returns, of estimated items only.
#' @param functions Q x N: one function (already times the quadrature weight) for each student.
#' @param scores what [score_tables()] returns.
#' @return n x K matrix: an answer's integrals, one for each free parameter of its item.
integrate_answers <- function(answers, functions, scores) {
  n_parameters <- dim(scores$right)[3]
  values <- matrix(0, length(answers$item), n_parameters)
  for (rows in split(seq_along(answers$item), answers$item)) {
    item <- answers$item[rows[1]]
    table <- cbind(
      matrix(scores$right[item, , ], ncol = n_parameters), matrix(scores$wrong[item, , ], ncol = n_parameters)
    )
    integrals <- crossprod(functions[, answers$student[rows], drop = FALSE], table)
    right <- answers$correct[rows] == 1L
    values[rows, ] <- integrals[, n_parameters + seq_len(n_parameters)]
    values[rows[right], ] <- integrals[right, seq_len(n_parameters)]
  }
  values
}

#' Integrals of the students' whole scores against functions of ability
#'
#' @inheritParams integrate_answers
#' @param group each student's group.
#' @return N x K sparse matrix, K parameters in all; an entry for each parameter of each item the student
#'   answered, and for those of the student's group.
integrate_scores <- function(answers, functions, scores, group) {
  values <- integrate_answers(answers, functions, scores)
  n_items <- dim(scores$right)[1]
  n_of_items <- n_items * ncol(values)
  columns <- outer(answers$item, (seq_len(ncol(values)) - 1L) * n_items, "+")
  students <- rep(answers$student, ncol(values))
  for (k in seq_along(scores$latent)) {
    members <- which(group == scores$latent[[k]]$group)
    values <- c(values, scores$latent[[k]]$score %*% functions[, members, drop = FALSE])
    columns <- c(columns, rep(n_of_items + k, length(members)))
    students <- c(students, members)
  }
  Matrix::sparseMatrix(
    i = students, j = as.vector(columns), x = as.vector(values),
    dims = c(length(group), n_of_items + length(scores$latent))
  )
}

#' Sum over students of the posterior covariance of their scores, all parameters with all
#'
#' Node by node this would take one K x K crossproduct for each of the Q nodes. A score is a smooth function
#' of ability, so it is expanded instead in the polynomials p_0 = 1, p_1, p_2, ... that are orthonormal under
#' the student's own posterior. By Parseval
#'
#'   Cov(s_j, s_k | answers) = sum over l >= 1 of E(s_j p_l | answers) E(s_k p_l | answers),
#'
#' a handful of crossproducts. The expansion stops when two degrees (odd and even functions) have added to no
#' parameter's variance more than `precision` of it.
#'
#' @inheritParams integrate_scores
#' @param posterior N x Q matrix.
#' @param weight each student's weight.
#' @param nodes abilities (length Q).
#' @param precision smallest share of a variance that is worth another degree.
#' @return K x K matrix.
missing_information <- function(answers, posterior, scores, group, weight, nodes, precision = 1e-6) {
  root <- sqrt(t(posterior))
  polynomials <- list(current = root, before = 0 * root, norm = numeric(ncol(root)))
  missing <- 0
  added_before <- Inf
  for (degree in seq_len(length(nodes) - 1L)) {
    polynomials <- next_polynomials(polynomials, nodes)
    integrals <- integrate_scores(answers, root * polynomials$current, scores, group)
    added <- crossproduct(sqrt(weight) * integrals)
    missing <- missing + added
    if (all(diag(added) + added_before <= precision * diag(missing))) break
    added_before <- diag(added)
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
