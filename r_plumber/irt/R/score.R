# Scoring with fixed item parameters.

#' Score students on calibrated items
#'
#' @param responses data frame with `student_id` and `item_id` (character) and `correct` (logical or 0/1; `NA`
#'   is dropped).
#' @param items data frame with `item_id` (character), `a`, `b` (D = 1).
#' @param latent list of `mean`, `sd`: the normal distribution students are taken from.
#' @param quadrature list of `n` equally spaced nodes from `min` to `max`.
#' @param method "EAP", the posterior mean (Bock and Mislevy 1982).
#' @return list of `abilities` (columns `student_id`, sorted in the C locale, `theta`, `se`, the posterior sd,
#'   and `n_responses`), `method` and `n_ignored`, the number of answers on items that are not in `items`. A
#'   student with no other answer has no row.
#' @section Errors: `unprocessable` when a parameter is impossible, an item is given twice, an answer is
#'   repeated, or no answer is on a known item.
score <- function(responses, items, latent = list(mean = 0, sd = 1),
                  quadrature = list(n = 61L, min = -6, max = 6), method = "EAP") {
  require_one_of(method, "EAP", "method")
  check_quadrature(quadrature)
  check_latent(latent)
  check_items(items)
  answered <- index_responses(responses)
  answers <- select_items(answered, answered$items %in% items$item_id)
  if (length(answers$correct) == 0L) {
    stop(unprocessable("No answer is on an item with known parameters."))
  }

  known <- match(answers$items, items$item_id)
  nodes <- quadrature_nodes(quadrature)
  expected <- posterior_distribution(
    outcome_matrix(answers), list(a = items$a[known], d = -items$a[known] * items$b[known]), latent, nodes
  )
  list(
    abilities = ability_columns(answers, expected_abilities(expected$posterior, nodes)),
    method = method,
    n_ignored = length(answered$correct) - length(answers$correct)
  )
}
