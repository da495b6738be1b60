# What is wrong with a request, said the same way everywhere: a condition inside R,
# a problem document (RFC 9457) outside.

MAX_REPORTED <- 20L # errors named in one problem; a broken column is broken a million times

#' A condition that a client can be told about
#'
#' @param class Name of the condition's class, put before "problem".
#' @param status HTTP status code it is answered with.
#' @param detail One sentence for the person who reads it.
#' @param errors List of `field_error()`s; empty when the problem has no place.
#' @return A condition of class c(class, "problem", "error", "condition").
problem_condition <- function(class, status, detail, errors = list()) {
  structure(
    class = c(class, "problem", "error", "condition"),
    list(message = detail, call = NULL, status = status, detail = detail, errors = errors)
  )
}

#' The request cannot be read: syntax, a type, a missing or an unknown field (400)
#' @inheritParams problem_condition
malformed <- function(detail, errors = list()) problem_condition("malformed", 400L, detail, errors)

#' The request is larger than this service takes (413)
#' @inheritParams problem_condition
too_large <- function(detail, errors = list()) problem_condition("too_large", 413L, detail, errors)

#' The request can be read, but the statistics cannot be done on it (422)
#' @inheritParams problem_condition
unprocessable <- function(detail, errors = list()) {
  problem_condition("unprocessable", 422L, detail, errors)
}

#' Where in a request something is wrong
#'
#' @param field Path of the field, e.g. "responses.correct".
#' @param message What is wrong with it.
#' @param row Position in the column, counted from 1; NULL when the whole field is meant.
field_error <- function(field, message, row = NULL) {
  c(list(field = field), if (!is.null(row)) list(row = as.integer(row)), list(message = message))
}

#' Stop when a field's value is impossible
#' @param valid Whether it is possible.
#' @inheritParams field_error
require_value <- function(valid, field, message) {
  if (!valid) stop(unprocessable(sprintf("%s %s.", field, message), list(field_error(field, message))))
}

#' Stop when rows of a column are impossible, and name them
#' @param valid For each row, whether it is possible.
#' @inheritParams field_error
require_rows <- function(valid, field, message) {
  if (!all(valid)) {
    rows <- utils::head(which(!valid), MAX_REPORTED)
    stop(unprocessable(
      sprintf("%s %s.", field, message), lapply(rows, function(row) field_error(field, message, row))
    ))
  }
}

PROBLEM_TITLES <- c(
  "400" = "Bad Request", "401" = "Unauthorized", "404" = "Not Found", "405" = "Method Not Allowed",
  "409" = "Conflict", "411" = "Length Required", "413" = "Content Too Large",
  "415" = "Unsupported Media Type", "422" = "Unprocessable Content",
  "500" = "Internal Server Error", "503" = "Service Unavailable"
)

#' A problem document as JSON text
#'
#' @inheritParams problem_condition
#' @param id For a 500: the id under which the log tells more.
#' @source RFC 9457, Problem Details for HTTP APIs.
problem_json <- function(status, detail, errors = list(), id = NULL) {
  to_json(c(
    list(
      type = "about:blank", title = PROBLEM_TITLES[[as.character(status)]], status = as.integer(status),
      detail = detail, errors = I(lapply(errors, Filter, f = Negate(is.null)))
    ),
    if (!is.null(id)) list(id = id)
  ))
}

#' JSON as every service writes it: scalars unboxed, all 15 digits, NA and NULL as null
#'
#' @param value A list; vectors that must stay arrays at length one are wrapped in `I()`, and what is JSON
#'   already has class "json".
to_json <- function(value) {
  as.character(jsonlite::toJSON(
    value, auto_unbox = TRUE, digits = NA, na = "null", null = "null", json_verbatim = TRUE
  ))
}
