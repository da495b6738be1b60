# From the fields of a request to the arguments of calibrate() and score(). Types are checked here;
# what values mean, and whether the statistics can be done, is checked there.

RESPONSE_COLUMNS <- c(student_id = "id", item_id = "id", correct = "binary")
ITEM_COLUMNS <- c(item_id = "id", a = "number", b = "number")
QUADRATURE <- c(n = "whole", min = "number", max = "number")

#' Read the fields of POST /irt/calibrate
#'
#' @param fields Named list, see `read_body()`: responses, and optionally the other arguments of
#'   `calibrate()`.
#' @param limits The service's limits.
#' @return Named list of arguments for `calibrate()`; what is not given is left out and takes its default.
read_calibration <- function(fields, limits) {
  scalars <- c(
    model = "text", min_responses = "whole", standard_errors = "text", tolerance = "number",
    max_iterations = "whole", max_seconds = "number"
  )
  check_fields(fields, "responses", c(names(scalars), "priors", "quadrature"))
  c(
    list(responses = read_table(fields$responses, "responses", RESPONSE_COLUMNS, limits$max_rows)),
    read_scalars(fields, scalars),
    given(priors = read_priors(fields$priors)),
    given(quadrature = read_record(fields$quadrature, "quadrature", QUADRATURE))
  )
}

#' Read the fields of POST /irt/score
#'
#' @inheritParams read_calibration
#' @return Named list of arguments for `score()`.
read_scoring <- function(fields, limits) {
  check_fields(fields, c("responses", "items"), c("latent", "quadrature", "method"))
  c(
    list(
      responses = read_table(fields$responses, "responses", RESPONSE_COLUMNS, limits$max_rows),
      items = read_table(fields$items, "items", ITEM_COLUMNS, limits$max_rows)
    ),
    read_scalars(fields, c(method = "text")),
    given(latent = read_record(fields$latent, "latent", c(mean = "number", sd = "number"))),
    given(quadrature = read_record(fields$quadrature, "quadrature", QUADRATURE))
  )
}

read_priors <- function(priors) {
  if (is.null(priors)) return(NULL)
  check_fields(priors, character(), c("a", "d"), "priors")
  list(
    a = read_record(priors$a, "priors.a", c(meanlog = "number", sdlog = "number")),
    d = read_record(priors$d, "priors.d", c(mean = "number", sd = "number"))
  )
}
