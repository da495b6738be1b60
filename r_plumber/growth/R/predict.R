# The probability of reaching a goal, from draws of the population's parameters and a student's own scores.

TAIL <- 0.05 # probability left out on each side of an interval
CELLS_AT_ONCE <- 1e6 # goals x draws held in memory

#' The probability that students reach their goals
#'
#' A goal is reached when the student's line, without the scores' error, is at or above the target in its
#' week. The line of a student without scores is drawn from the population.
#'
#' @param scores data frame of `student_id`, `week`, `score`, `se`, as in `fit_growth()`.
#' @param draws data frame of `PARAMETERS`, a row per draw.
#' @param goals data frame of `student_id`, `goal_week` (may be negative), `target`.
#' @return list of `goals`: those columns, `n_scores` of the student, and what `goal_probability()` returns.
#' @section Errors: `unprocessable` when there is no draw or a value is impossible.
predict_growth <- function(scores, draws, goals) {
  check_scores(scores)
  check_draws(draws)
  sums <- student_sums(scores, goals$student_id)
  chunk <- ceiling(seq_len(nrow(goals)) * nrow(draws) / CELLS_AT_ONCE)
  parts <- lapply(split(seq_len(nrow(goals)), chunk), function(at) {
    goal_probability(lapply(sums, `[`, at), draws, goals$goal_week[at], goals$target[at])
  })
  column <- function(name) as.numeric(unlist(lapply(parts, `[[`, name), use.names = FALSE))
  list(goals = c(
    as.list(goals),
    list(
      n_scores = sums$n, p_goal = column("p_goal"), p_lower = column("p_lower"), p_upper = column("p_upper"),
      mu = column("mu"), sigma = column("sigma")
    )
  ))
}

check_draws <- function(draws) {
  require_value(nrow(draws) > 0L, "draws", "must have at least one draw")
  for (name in c("sd_intercept", "sd_week")) {
    require_rows(draws[[name]] >= 0, field_path("draws", name), "must not be negative")
  }
  require_rows(abs(draws$correlation) <= 1, "draws.correlation", "must be from -1 to 1")
  require_rows(draws$kappa > 0, "draws.kappa", "must be greater than 0")
}

#' Sums over each student's scores, weighted by w = 1 / se^2
#'
#' @param scores See `predict_growth()`.
#' @param students Ids, in any order and number.
#' @return list of vectors along `students`: `n`, and the sums of `w`, `wt`, `wtt`, `wy`, `wty`; 0 without
#'   scores.
student_sums <- function(scores, students) {
  known <- unique(scores$student_id)
  weight <- 1 / scores$se^2
  terms <- cbind(
    n = rep(1, nrow(scores)), w = weight, wt = weight * scores$week, wtt = weight * scores$week^2,
    wy = weight * scores$score, wty = weight * scores$week * scores$score
  )
  sums <- rowsum(terms, factor(match(scores$student_id, known), seq_along(known)))
  of <- match(students, known)
  sums <- lapply(stats::setNames(nm = colnames(terms)), function(name) ifelse(is.na(of), 0, sums[of, name]))
  sums$n <- as.integer(sums$n)
  sums
}

#' The probability of one goal of each student
#'
#' Given a draw, the line at the goal is normal with the student's conditional mean m and variance s^2, and
#' the goal is reached with p = Phi((m - target) / s); s = 0: 1 when m >= target, else 0.
#'
#' @param sums What `student_sums()` returns.
#' @param draws data frame of `PARAMETERS`.
#' @param week,target Of the goals.
#' @return list of `p_goal`, the mean of p over draws; `p_lower` and `p_upper`, its 5 % and 95 % quantiles
#'   (`NA` with a single draw); `mu`, the mean of m; `sigma`, the root of the mean of s^2 plus m's variance.
goal_probability <- function(sums, draws, week, target) {
  goals <- length(week)
  p <- matrix(0, goals, nrow(draws))
  m <- matrix(0, goals, nrow(draws))
  variance <- numeric(goals)
  for (d in seq_len(nrow(draws))) {
    line <- conditional_line(sums, lapply(draws, `[[`, d), week)
    m[, d] <- line$mean
    variance <- variance + line$variance / nrow(draws)
    p[, d] <- ifelse(
      line$variance > 0, stats::pnorm((line$mean - target) / sqrt(line$variance)), line$mean >= target
    )
  }
  mu <- rowMeans(m)
  limits <- if (nrow(draws) > 1L) {
    apply(p, 1L, stats::quantile, c(TAIL, 1 - TAIL), names = FALSE)
  } else {
    matrix(NA_real_, 2L, goals)
  }
  list(
    p_goal = rowMeans(p), p_lower = limits[1L, ], p_upper = limits[2L, ], mu = mu,
    sigma = sqrt(variance + rowMeans((m - mu)^2))
  )
}

#' A student's line at a week, given the scores and one draw
#'
#' With A = X'WX / kappa^2 of the student's scores, the deviation u ~ N(0, G) has covariance (G^-1 + A)^-1 =
#' (G + |G| adj A) / |I + A G|, which is right for a singular G too.
#'
#' @inheritParams goal_probability
#' @param draw List of `PARAMETERS`, numbers.
#' @return list of `mean` and `variance`, along `week`.
#' @source Laird and Ware (1982), Random-effects models for longitudinal data; the inverse of a 2 x 2 matrix.
conditional_line <- function(sums, draw, week) {
  g11 <- draw$sd_intercept^2
  g22 <- draw$sd_week^2
  g12 <- draw$correlation * draw$sd_intercept * draw$sd_week
  det_g <- g11 * g22 * (1 - draw$correlation^2)
  precision <- 1 / draw$kappa^2
  a11 <- sums$w * precision
  a12 <- sums$wt * precision
  a22 <- sums$wtt * precision
  b1 <- (sums$wy - draw$intercept * sums$w - draw$week * sums$wt) * precision
  b2 <- (sums$wty - draw$intercept * sums$wt - draw$week * sums$wtt) * precision
  det <- 1 + g11 * a11 + 2 * g12 * a12 + g22 * a22 + det_g * (a11 * a22 - a12^2)
  v11 <- (g11 + det_g * a22) / det
  v12 <- (g12 - det_g * a12) / det
  v22 <- (g22 + det_g * a11) / det
  list(
    mean = draw$intercept + v11 * b1 + v12 * b2 + week * (draw$week + v12 * b1 + v22 * b2),
    variance = pmax(0, v11 + 2 * week * v12 + week^2 * v22)
  )
}
