# Fewer scores that say the same.

#' Put at most two scores in place of all scores of a student
#'
#' With normal errors whose standard errors are known up to their common factor kappa, a student's scores say
#' of the line what their weighted least squares line says. So do two scores on it, each with half of the
#' weight w = sum(1 / se^2), one weighted sd of the weeks before their mean and one after: X'WX and X'Wy are
#' the same. A student of a single week needs one. What is lost, the squared residuals, speaks of kappa alone:
#' log likelihood of scores = that of `rows` - residual_n log kappa - residual_ss / (2 kappa^2) + constant.
#'
#' @param scores data frame of `student` (index from 1), `week`, `score`, `se`.
#' @param with_week Whether students have lines; without, all that counts is their mean.
#' @return list of `rows` (data frame like `scores`), `residual_n` (scores less rows) and `residual_ss`
#'   (weighted sum of squares).
condense <- function(scores, with_week) {
  weight <- 1 / scores$se^2
  total <- function(values) stats::ave(values, scores$student, FUN = sum)
  centred <- function(values) values - total(weight * values) / total(weight)
  week <- centred(if (with_week) scores$week else 0 * scores$week)
  score <- centred(scores$score)
  spread <- total(weight * week^2)
  several <- stats::ave(week, scores$student, FUN = function(week) max(week) > min(week)) == 1
  slope <- ifelse(several, total(weight * week * score) / spread, 0)
  sd <- ifelse(several, sqrt(spread / total(weight)), 0)

  one <- !duplicated(scores$student)
  at <- function(side, se) {
    data.frame(
      student = scores$student, week = scores$week - week + side * sd,
      score = scores$score - score + side * slope * sd, se = se
    )
  }
  rows <- rbind(
    at(0, sqrt(1 / total(weight)))[one & !several, ],
    at(-1, sqrt(2 / total(weight)))[one & several, ], at(1, sqrt(2 / total(weight)))[one & several, ]
  )
  list(
    rows = rows[order(rows$student), ], residual_n = nrow(scores) - nrow(rows),
    residual_ss = sum(weight * (score - slope * week)^2)
  )
}
