# Person fit: are a student's answers as likely as those of a student of this ability should be?

#' Standardised log-likelihood of each student, corrected for the estimation of ability
#'
#' At ability theta, sum (x - P) w with w = logit P is how much more likely the answers are than expected.
#' At an estimate of theta its variance is smaller, which Snijders (2001, Psychometrika 66) corrects by
#' taking w - k r for w, r = P' / (P Q) being the weight of the answer in the likelihood equation and k such
#' that the sum does not change with theta. For Warm's estimate the sum is a log-likelihood centred as in
#' Magis, Raiche and Beland (2012, Journal of Educational and Behavioral Statistics 37). Standard normal
#' under the model; low values: right where wrong was likely, and wrong where right was.
#'
#' Where a student's own answers chose the items (adaptive tests), k is no constant: lucky answers bring
#' harder items, which makes large values of their own. Then the mean is above 0, and a low value is rarer
#' than the normal distribution says: a flag at -1.645 is safe, but finds less.
#'
#' @param answers what [select_items()] returns.
#' @param items list of `a`, `d`, `c` of `answers$items`.
#' @return list of `student_id`, `n_responses` and `lz_star`: `NA` with fewer than `FEWEST_ANSWERS`, or
#'   where all items are alike, so that at any given number of right answers every pattern is equally
#'   likely.
person_fit <- function(answers, items) {
  student <- answers$student
  of_answer <- at_items(items, answers$item)
  logit <- of_answer$a * weighted_likelihood(answers, items)$theta[student] + of_answer$d
  p <- of_answer$c + (1 - of_answer$c) * plogis(logit)
  variance <- p * (1 - of_answer$c) * plogis(-logit)
  w <- log(p) - log1p(-of_answer$c) - plogis(-logit, log.p = TRUE)
  r <- of_answer$a * plogis(logit) / p
  sums <- function(values) unname(rowsum(values, student, reorder = TRUE)[, 1])

  k <- sums(w * r * variance) / sums(r^2 * variance)
  corrected <- w - k[student] * r
  spread <- sums(corrected^2 * variance)
  n <- tabulate(student, length(answers$students))
  defined <- n >= FEWEST_ANSWERS & spread > smallest_spread * n
  lz_star <- sums((answers$correct - p) * corrected) / sqrt(spread)
  list(student_id = answers$students, n_responses = n, lz_star = ifelse(defined, lz_star, NA))
}

FEWEST_ANSWERS <- 5L
# Variance of an answer's corrected weight below which the items are alike; w and r are of the order of one.
smallest_spread <- 1e-6
