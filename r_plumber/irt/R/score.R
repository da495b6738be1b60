# Scoring with fixed item parameters.

#' Score students on calibrated items
#'
#' @param responses data frame with `student_id` and `item_id` (character) and `correct` (logical or 0/1; `NA`
#'   is dropped).
#' @param items data frame with `item_id` (character), `a`, `b` and, where there is guessing, `c` (D = 1).
#' @param latent list of `mean`, `sd`: the normal distribution students are taken from.
#' @param quadrature list of `n` equally spaced nodes from `min` to `max`.
#' @param method "EAP", the posterior mean (Bock and Mislevy 1982), or "WLE", the weighted likelihood estimate
#'   (Warm 1989), which needs no latent distribution and has no answer's weight pulled towards it.
#' @param repeated whether to "refuse" a second answer of a student to an item, or to "keep" it.
#' @param topics `NULL` or a data frame of `item_id`, `topic_id`: abilities by topic too, see
#'   [topic_abilities()].
#' @param topic_sd sd of the students' deviations by topic; `NULL`: estimated.
#' @return list of `abilities` (columns `student_id`, sorted in the C locale, `theta`, `se`, the posterior sd
#'   or 1 / sqrt(information), and `n_responses`), `method` and `n_ignored`, the number of answers on items
#'   that are not in `items`. A student with no other answer has no row. With topics also `topic_abilities`
#'   (columns `student_id`, `topic_id`, `theta`, `se`, `n_responses`) and `topic_sd`.
#' @section Errors: `unprocessable` when a parameter is impossible, an item is given twice, an answer is
#'   repeated, or no answer is on a known item (or, with topics, on one that has a topic).
score <- function(responses, items, latent = list(mean = 0, sd = 1),
                  quadrature = list(n = 61L, min = -6, max = 6), method = "EAP", repeated = "refuse",
                  topics = NULL, topic_sd = NULL) {
  require_one_of(method, c("EAP", "WLE"), "method")
  require_one_of(repeated, REPEATED, "repeated")
  check_quadrature(quadrature)
  check_latent(latent)
  check_items(items)
  items <- with_guessing(items)
  require_value(is.null(topic_sd) || topic_sd > 0, "topic_sd", "must be above 0")
  if (!is.null(topics)) require_rows(!duplicated(topics$item_id), "topics.item_id", "is given twice")
  answered <- index_responses(responses, repeated)
  answers <- select_items(answered, sort(intersect(answered$items, items$item_id), method = "radix"))
  if (length(answers$correct) == 0L) {
    stop(unprocessable("No answer is on an item with known parameters."))
  }

  known <- match(answers$items, items$item_id)
  parameters <- list(a = items$a[known], d = -items$a[known] * items$b[known], c = items$c[known])
  nodes <- quadrature_nodes(quadrature)
  abilities <- if (method == "EAP") {
    expected <- posterior_distribution(outcome_matrix(answers), parameters, latent, nodes)
    expected_abilities(expected$posterior, nodes)
  } else {
    weighted_likelihood(answers, parameters)
  }
  c(
    list(
      abilities = list(
        student_id = answers$students, theta = abilities$theta, se = abilities$se,
        n_responses = tabulate(answers$student, length(answers$students))
      ),
      method = method,
      n_ignored = length(answered$correct) - length(answers$correct)
    ),
    if (!is.null(topics)) topic_abilities(answers, parameters, topics, latent, nodes, topic_sd)
  )
}

#' Weighted likelihood estimates of ability
#'
#' The root of score + J / (2 I), with I the information, sum P'^2 / (P Q), and J = sum P' P'' / (P Q) (Warm
#' 1989, Psychometrika 54). It exists when all answers are right, too. Several roots are possible (items far
#' apart, guessing): the function is integrated over a grid, and the root nearest to the integral's largest
#' value is found by bisection, all students at once, within -10 and 10.
#'
#' @param answers what [index_responses()] returns.
#' @param items list of `a`, `d`, `c` of `answers$items`.
#' @param tolerance half the width of the last bracket.
#' @return list of `theta` and `se` = 1 / sqrt(I), one for each of `answers$students`.
weighted_likelihood <- function(answers, items, tolerance = 1e-7) {
  grid <- seq(-10, 10, by = 0.25)
  outcomes <- outcome_matrix(answers)
  of_right <- estimating_terms(items, grid, 1)
  of_wrong <- estimating_terms(items, grid, 0)
  on_grid <- lapply(names(of_right), function(term) {
    as.matrix(outcomes %*% rbind(of_right[[term]], of_wrong[[term]]))
  })
  estimating <- warm_equation(on_grid[[1]], on_grid[[2]], on_grid[[3]])
  integral <- estimating
  integral[, 1] <- 0
  for (q in seq_along(grid)[-1]) {
    integral[, q] <- integral[, q - 1L] + (estimating[, q - 1L] + estimating[, q]) / 2
  }
  highest <- max.col(integral, "first")
  low <- grid[pmax(highest - 1L, 1L)]
  high <- grid[pmin(highest + 1L, length(grid))]

  of_item <- at_items(items, answers$item)
  at <- function(theta) {
    terms <- estimating_terms(of_item, theta[answers$student], answers$correct)
    rowsum(do.call(cbind, terms), answers$student, reorder = TRUE)
  }
  while (max(high - low) > 2 * tolerance) {
    middle <- (low + high) / 2
    terms <- at(middle)
    rising <- warm_equation(terms[, 1], terms[, 2], terms[, 3]) > 0
    low <- ifelse(rising, middle, low)
    high <- ifelse(rising, high, middle)
  }
  theta <- (low + high) / 2
  list(theta = theta, se = 1 / sqrt(unname(at(theta)[, 2])))
}

# Far from steep items the information is 0 in a double, and so is the bias.
warm_equation <- function(score, information, bias) {
  score + ifelse(information > 0, bias / (2 * information), 0)
}

#' An answer's share in the estimating equation of Warm's estimate
#'
#' With the logistic curve s, P' = (1 - c) a s (1 - s) and P'' = a (1 - 2 s) P'.
#'
#' @param items list of `a`, `d`, `c` (length J).
#' @param theta abilities: a grid (the result is J x Q), or one for each of the items.
#' @param correct 0 or 1, for all or for each.
#' @return list of `score`, `information` and `bias` (J's share).
estimating_terms <- function(items, theta, correct) {
  on_grid <- length(correct) == 1L
  logit <- if (on_grid) outer(items$a, theta) + items$d else items$a * theta + items$d
  logistic <- plogis(logit)
  p <- items$c + (1 - items$c) * logistic
  known <- if (any(items$c > 0)) logistic / p else 1 # the share of right answers that are no guesses
  score <- items$a * known * (correct - p)
  information <- items$a^2 * known * logistic * plogis(-logit) * (1 - items$c)
  list(score = score, information = information, bias = information * items$a * (1 - 2 * logistic))
}
