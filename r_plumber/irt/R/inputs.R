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
    model = "text", min_responses = "whole", repeated = "text", standard_errors = "text",
    tolerance = "number", max_iterations = "whole", max_seconds = "number"
  )
  check_fields(fields, "responses", c(names(scalars), "priors", "anchors", "groups", "weights", "quadrature"))
  optional_table <- function(name, types) {
    if (!is.null(fields[[name]])) read_table(fields[[name]], name, types, limits$max_rows)
  }
  c(
    list(responses = read_responses(fields$responses, limits)),
    read_scalars(fields, scalars),
    given(
      priors = read_priors(fields$priors),
      anchors = if (!is.null(fields$anchors)) read_items(fields$anchors, "anchors", limits),
      groups = optional_table("groups", c(student_id = "id", group = "id")),
      weights = optional_table("weights", c(student_id = "id", weight = "number")),
      quadrature = read_record(fields$quadrature, "quadrature", QUADRATURE)
    )
  )
}

#' Read the fields of POST /irt/score
#'
#' @inheritParams read_calibration
#' @return Named list of arguments for `score()`.
read_scoring <- function(fields, limits) {
  scalars <- c(method = "text", repeated = "text", topic_sd = "number")
  check_fields(fields, c("responses", "items"), c(names(scalars), "latent", "quadrature", "topics"))
  c(
    list(
      responses = read_table(fields$responses, "responses", RESPONSE_COLUMNS, limits$max_rows),
      items = read_items(fields$items, "items", limits)
    ),
    read_scalars(fields, scalars),
    given(
      latent = read_record(fields$latent, "latent", c(mean = "number", sd = "number")),
      quadrature = read_record(fields$quadrature, "quadrature", QUADRATURE),
      topics = if (!is.null(fields$topics)) {
        read_table(fields$topics, "topics", c(item_id = "id", topic_id = "id"), limits$max_rows)
      }
    )
  )
}

#' Read item parameters
#' @inheritParams read_table
#' @inheritParams read_calibration
read_items <- function(table, within, limits) {
  read_table(table, within, ITEM_COLUMNS, limits$max_rows, optional = c(c = "number"))
}

#' Read answers, from the request or from the files that it names
#'
#' More answers than an HTTP body should carry wait in a folder under R_SERVICE_SPOOL_DIR as CSV files, each
#' with all answers of its students. They are read one at a time, when the calibration asks for them.
#'
#' @param responses A table, or an object with `spool`, the folder's name.
#' @inheritParams read_calibration
#' @return A table, or a list of functions that each return one.
read_responses <- function(responses, limits) {
  if (!"spool" %in% names(responses)) {
    return(read_table(responses, "responses", RESPONSE_COLUMNS, limits$max_rows))
  }
  spool <- read_record(responses, "responses", c(spool = "text"))$spool
  refuse <- function(message) malformed_field("responses.spool", message)
  root <- Sys.getenv("R_SERVICE_SPOOL_DIR")
  if (!nzchar(root)) refuse("cannot be used: the service has no R_SERVICE_SPOOL_DIR")
  if (!grepl("^[A-Za-z0-9_-]+$", spool)) refuse("must be the plain name of a folder")
  files <- sort(Sys.glob(file.path(root, spool, "*.csv")), method = "radix")
  if (!length(files)) refuse("names no folder with CSV files")
  lapply(files, function(file) {
    within <- sprintf("responses[%s]", basename(file))
    function() read_table(csv_file(file), within, RESPONSE_COLUMNS, limits$max_rows)
  })
}

read_priors <- function(priors) {
  if (is.null(priors)) return(NULL)
  check_fields(priors, character(), c("a", "d", "c"), "priors")
  normal <- c(mean = "number", sd = "number")
  list(
    a = read_record(priors$a, "priors.a", c(meanlog = "number", sdlog = "number")),
    d = read_record(priors$d, "priors.d", normal),
    c = read_record(priors$c, "priors.c", normal)
  )
}
