# One JSON object per line on standard error. Never a body, a student or a token.

#' Make `log_event()` write JSON lines
start_logging <- function() {
  logger::log_formatter(logger::formatter_json)
  logger::log_layout(logger::layout_json_parser(fields = "level"))
  logger::log_appender(logger::appender_stderr)
}

#' Write one line
#'
#' @param event What happened: "ready", "request", "job", "worker", "error".
#' @param ... Named scalars that say more; NULL is left out.
#' @param level A level of the logger package.
log_event <- function(event, ..., level = logger::INFO) {
  fields <- Filter(Negate(is.null), list(level = level, time = timestamp(), event = event, ...))
  do.call(logger::log_level, fields)
}

#' A random id: 32 hexadecimal digits, independent of R's random numbers
new_id <- function() sodium::bin2hex(sodium::random(16))

#' Now, or another time, as RFC 3339 text in UTC with milliseconds
timestamp <- function(time = Sys.time()) format(time, "%Y-%m-%dT%H:%M:%OS3Z", tz = "UTC")
