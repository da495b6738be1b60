# Bodies become data here, in the worker. Everything found wrong is a `malformed()` (400)
# that names field and row; what a number may be is for the statistics to say (422).

#' Read a spooled body
#'
#' @param path File with the body's bytes.
#' @param media_type "application/json" or "text/csv".
#' @param table Field that a CSV body stands for.
#' @param options JSON text with the other fields beside a CSV body, or NULL.
#' @return Named list, the request's fields: JSON arrays of one type are vectors, objects are lists,
#'   and a CSV body is a `csv_file()`, which `read_table()` reads when it knows the columns' types.
read_body <- function(path, media_type, table, options = NULL) {
  if (media_type == "application/json") return(read_object(file(path), "The body"))
  fields <- if (is.null(options)) list() else read_object(options, "The query parameter 'options'")
  if (table %in% names(fields)) {
    malformed_field(table, "is the CSV body; it cannot be among the options too")
  }
  fields[[table]] <- csv_file(path)
  fields
}

#' Read JSON text that must hold one object
#' @param json JSON text or a connection to it.
#' @param what How to name it in a message.
read_object <- function(json, what) {
  value <- tryCatch(
    jsonlite::parse_json(json, simplifyVector = TRUE, simplifyDataFrame = FALSE, simplifyMatrix = FALSE),
    error = function(e) stop(malformed(sprintf("%s is not JSON: %s", what, first_line(e))))
  )
  if (!is.list(value) || is.null(names(value))) stop(malformed(sprintf("%s must be a JSON object.", what)))
  value
}

#' A table that is still in its CSV file
#' @inheritParams read_body
csv_file <- function(path) structure(list(path = path), class = "csv_file")

#' Read a CSV file: a header, then text in every column but those that should hold numbers
#'
#' Millions of numbers are slow as text: each that is new to R is kept as a word. Where `fread()` finds
#' anything else in such a column, it stays text.
#'
#' @inheritParams read_body
#' @param numbers Names of the columns that should hold numbers.
read_csv <- function(path, numbers = character()) {
  refuse <- function(reason) stop(malformed(paste("The CSV body cannot be read:", reason)))
  complaints <- character()
  read <- function(...) {
    data.table::fread(
      file = path, sep = ",", header = TRUE, na.strings = NULL, encoding = "UTF-8", integer64 = "double",
      showProgress = FALSE, data.table = FALSE, ...
    )
  }
  # fread warns of lines it leaves out. It must come to its end, or the next one warns of this one.
  table <- tryCatch(
    withCallingHandlers(
      read(colClasses = list(character = setdiff(names(read(nrows = 0L)), numbers))),
      warning = function(w) {
        complaints <<- c(complaints, first_line(w))
        invokeRestart("muffleWarning")
      }
    ),
    error = function(e) refuse(first_line(e))
  )
  if (length(complaints)) refuse(complaints[[1L]])
  is_text <- vapply(table, is.character, NA) & names(table) %in% numbers
  table[is_text] <- lapply(table[is_text], numbers_of_text)
  table
}

#' Numbers from text: nothing is `NA`, and what is no number is infinite, which no reader takes
numbers_of_text <- function(text) {
  values <- suppressWarnings(as.numeric(text))
  values[is.na(values) & nzchar(text)] <- Inf
  values
}

#' The first line of a condition's message: the lines after it quote the body
first_line <- function(condition) sub("\n.*", "", conditionMessage(condition))

#' Stop because of one field
#' @inheritParams field_error
malformed_field <- function(field, message, row = NULL) {
  stop(malformed(sprintf("%s %s.", field, message), list(field_error(field, message, row))))
}

#' Check which fields an object has
#'
#' An unknown field is an error: a misspelt option must not silently mean its default.
#'
#' @param object Named list.
#' @param required,optional Names it must have, and may have beside.
#' @param within Path of the object, NULL for the body itself.
check_fields <- function(object, required, optional = character(), within = NULL) {
  if (!is.list(object) || (length(object) && is.null(names(object)))) {
    malformed_field(within, "must be an object")
  }
  given <- names(object)
  known <- c(required, optional)
  complain <- function(fields, message) lapply(field_path(within, fields), field_error, message)
  errors <- c(
    complain(setdiff(required, given), "is missing"),
    complain(setdiff(given, known), sprintf("is not a field here; known are %s", toString(known))),
    complain(unique(given[duplicated(given)]), "is given twice")
  )
  if (length(errors)) stop(malformed("The fields of the request are not as they should be.", errors))
}

field_path <- function(within, field) {
  if (is.null(within)) field else paste(within, field, sep = ".", recycle0 = TRUE)
}

#' Read a columnar table
#'
#' @param table A list of columns of equal length, as JSON has it; a `csv_file()`.
#' @param within Its path in the request.
#' @param types Named character: for each column "id" (text, not empty), "binary" (0, 1, true, false or
#'   null; the same words, or nothing for null, in CSV) or "number" (finite). "number or null" (NA) is for
#'   what may be unknown.
#' @param max_rows Longest table taken.
#' @param optional Like `types`: columns that may be absent.
#' @return data.table: "id" columns character, "binary" integer with NA, "number" double.
read_table <- function(table, within, types, max_rows, optional = character()) {
  if (inherits(table, "csv_file")) {
    expected <- c(types, optional)
    table <- read_csv(table$path, names(expected)[startsWith(expected, "number")])
  }
  check_fields(table, names(types), names(optional), within)
  types <- c(types, optional[names(optional) %in% names(table)])
  sizes <- lengths(table)[names(types)]
  if (length(unique(sizes)) > 1L) {
    found <- paste(names(sizes), "has", sizes, collapse = ", ")
    malformed_field(within, paste("must have columns of one length, but", found))
  }
  if (sizes[[1L]] > max_rows) {
    stop(too_large(sprintf("%s has %.0f rows; this service takes %.0f.", within, sizes[[1L]], max_rows)))
  }
  readers <- list(
    id = read_ids, number = read_numbers, "number or null" = read_numbers_or_null,
    binary = if (is.data.frame(table)) read_binary_words else read_binary
  )
  columns <- lapply(names(types), function(name) {
    column <- table[[name]]
    if (is.list(column)) column <- rep(NA_character_, length(column)) # [] or an array of mixed things
    readers[[types[[name]]]](column)
  })
  errors <- unlist(recursive = FALSE, Map(column_errors, columns, field_path(within, names(types))))
  if (length(errors)) {
    errors <- utils::head(unname(errors), MAX_REPORTED)
    stop(malformed(sprintf("%s holds values that cannot be read.", within), errors))
  }
  data.table::setDT(stats::setNames(lapply(columns, `[[`, "values"), names(types)))[]
}

# Each reader returns list(values, bad = positions that cannot be read, message = what they should be).

read_ids <- function(column) {
  readable <- is.character(column) & !is.na(column) & nzchar(column) & validUTF8(as.character(column))
  list(
    values = as.character(column), bad = which(!readable),
    message = "must be text that is not empty (numbers lose digits in JSON: write ids in quotes)"
  )
}

read_binary <- function(column) {
  readable <- !is.character(column) & (is.na(column) | column %in% 0:1)
  list(
    values = as.integer(column == 1), bad = which(!readable),
    message = "must be 0, 1, true, false or null"
  )
}

read_binary_words <- function(column) {
  values <- unname(c("0" = 0L, "1" = 1L, "false" = 0L, "true" = 1L)[tolower(column)])
  list(
    values = values, bad = which(is.na(values) & nzchar(column)),
    message = "must be 0, 1, true, false or empty"
  )
}

read_numbers <- function(column) {
  readable <- is.numeric(column) & is.finite(column)
  values <- if (length(column)) column else numeric() # [] has no type in R
  list(values = values, bad = which(!readable), message = "must be a finite number")
}

# A column of nothing but null has no type in R.
read_numbers_or_null <- function(column) {
  numeric <- is.numeric(column) | (is.logical(column) & is.na(column))
  list(
    values = as.numeric(column), bad = which(!(numeric & (is.na(column) | is.finite(column)))),
    message = "must be a finite number or null"
  )
}

column_errors <- function(column, field) {
  lapply(utils::head(column$bad, MAX_REPORTED), function(row) field_error(field, column$message, row))
}

#' Check that a field, when it is given, is one value of a type
#'
#' @param value The field's value; NULL (absent, or null in JSON) passes.
#' @param field Its path.
#' @param type "number" (finite), "whole" (a whole number) or "text".
#' @return The value; "whole" as integer.
read_scalar <- function(value, field, type) {
  if (is.null(value)) return(NULL)
  fits <- is.atomic(value) && length(value) == 1L && !is.na(value) && switch(type,
    number = is.numeric(value) && is.finite(value),
    whole = is.numeric(value) && value == round(value) && abs(value) <= .Machine$integer.max,
    text = is.character(value)
  )
  expected <- c(number = "a finite number", whole = "a whole number", text = "text")
  if (!fits) malformed_field(field, paste("must be", expected[[type]]))
  if (type == "whole") as.integer(value) else value
}

#' Check an object whose fields are all scalars
#'
#' @param object Named list or NULL.
#' @param within Its path.
#' @param required,optional Named character: the type of each field, as in `read_scalar()`.
#' @return The object with its values read, or NULL.
read_record <- function(object, within, required = character(), optional = character()) {
  if (is.null(object)) return(NULL)
  check_fields(object, names(required), names(optional), within)
  types <- c(required, optional)
  Map(read_scalar, object, field_path(within, names(object)), types[names(object)])
}

#' The scalar fields that are given
#'
#' @param fields Named list.
#' @param types Named character: the type of each field, as in `read_scalar()`.
#' @return Named list without those that are absent or null.
read_scalars <- function(fields, types) {
  present <- intersect(names(types), names(fields))
  do.call(given, Map(read_scalar, fields[present], present, types[present]))
}

#' A list of the arguments that are not NULL
given <- function(...) Filter(Negate(is.null), list(...))
