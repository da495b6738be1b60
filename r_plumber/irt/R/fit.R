# Do the answers look as the model says, item by item and student by student?

#' Item fit and person fit
#'
#' @param responses data frame with `student_id` and `item_id` (character) and `correct` (logical or 0/1;
#'   `NA` is dropped).
#' @param items data frame with `item_id` (character), `a`, `b` and, where there is guessing, `c` (D = 1).
#' @param latent list of `mean`, `sd`: the normal distribution students are taken from.
#' @param quadrature list of `n` equally spaced nodes from `min` to `max`.
#' @param repeated whether to "refuse" a second answer of a student to an item, or to "keep" it.
#' @return list of columns, sorted by id in the C locale: `items`, see [item_fit()], and `students`, see
#'   [person_fit()]. Answers on items that are not given are left out, and so are items that nobody answered
#'   and students with no other answer.
#' @section Errors: `unprocessable` when a parameter is impossible, an item is given twice, an answer is
#'   repeated, or no answer is on a known item.
fit <- function(responses, items, latent = list(mean = 0, sd = 1),
                quadrature = list(n = 61L, min = -6, max = 6), repeated = "refuse") {
  require_one_of(repeated, REPEATED, "repeated")
  check_quadrature(quadrature)
  check_latent(latent)
  check_items(items)
  items <- with_guessing(items)
  answered <- index_responses(responses, repeated)
  met <- answered$items[unique(answered$item)]
  answers <- select_items(answered, sort(intersect(met, items$item_id), method = "radix"))
  if (length(answers$correct) == 0L) {
    stop(unprocessable("No answer is on an item with known parameters."))
  }
  known <- match(answers$items, items$item_id)
  parameters <- list(a = items$a[known], d = -items$a[known] * items$b[known], c = items$c[known])
  list(
    items = item_fit(answers, parameters, latent, quadrature_nodes(quadrature)),
    students = person_fit(answers, parameters)
  )
}

#' Read the fields of POST /irt/fit
#'
#' @param fields Named list, see `read_body()`: `responses`, `items` and optionally the other arguments of
#'   `fit()`.
#' @param limits The service's limits.
#' @return Named list of arguments for `fit()`.
read_fit <- function(fields, limits) {
  check_fields(fields, c("responses", "items"), c("latent", "quadrature", "repeated"))
  c(
    list(
      responses = read_table(fields$responses, "responses", RESPONSE_COLUMNS, limits$max_rows),
      items = read_items(fields$items, "items", limits)
    ),
    read_scalars(fields, c(repeated = "text")),
    given(
      latent = read_record(fields$latent, "latent", c(mean = "number", sd = "number")),
      quadrature = read_record(fields$quadrature, "quadrature", QUADRATURE)
    )
  )
}
