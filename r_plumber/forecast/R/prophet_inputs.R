# From the fields of a request to the arguments of fit_prophet() and predict_prophet(). Types are checked
# here, and that dates are dates and given once; what settings may be is checked there.

POINT_COLUMNS <- c(series = "id", ds = "id", y = "number or null")
DATE_COLUMNS <- c(series = "id", ds = "id")
MODEL_COLUMNS <- c(series = "id", parameters = "id")
HOLIDAY_COLUMNS <- c(holiday = "id", ds = "id")
WINDOWS <- c(lower_window = "number", upper_window = "number")
SCALAR_SETTINGS <- c(
  horizon = "whole", frequency = "whole", growth = "text", n_changepoints = "whole",
  changepoint_range = "number", changepoint_prior_scale = "number", seasonality_mode = "text",
  seasonality_prior_scale = "number", holidays_prior_scale = "number", country = "text",
  interval_width = "number", uncertainty_samples = "whole", seed = "whole"
)
SEASONALITIES <- c("yearly_seasonality", "weekly_seasonality", "daily_seasonality")
SETTING_FIELDS <- c(names(SCALAR_SETTINGS), SEASONALITIES, "holidays")

#' Read the fields of POST /prophet/fit
#'
#' @param fields Named list, see `read_body()`: points, and optionally the settings of [fit_prophet()].
#' @param limits The service's limits.
#' @return Named list of arguments for `fit_prophet()`.
read_prophet_fit <- function(fields, limits) {
  check_fields(fields, "points", SETTING_FIELDS)
  points <- read_table(fields$points, "points", POINT_COLUMNS, limits$max_rows)
  points$ds <- read_dates(points$ds, "points.ds")
  refuse_repeated(points[, c("series", "ds")], "points.ds", "is given twice for this series")
  settings <- read_prophet_settings(fields[names(fields) != "points"], limits)
  list(points = points, settings = settings, cores = limits$cores)
}

#' Read the fields of POST /prophet/predict
#' @inheritParams read_prophet_fit
#' @return Named list of arguments for `predict_prophet()`.
read_prophet_predict <- function(fields, limits) {
  check_fields(fields, c("models", "settings"), c("dates", "horizon"))
  if (!is.null(fields$dates) && !is.null(fields$horizon)) {
    malformed_field("horizon", "cannot be given beside dates")
  }
  check_fields(fields$settings, character(), SETTING_FIELDS, "settings")
  settings <- read_prophet_settings(fields$settings, limits, "settings")
  horizon <- read_scalar(fields$horizon, "horizon", "whole")
  if (!is.null(horizon)) settings$horizon <- horizon
  models <- read_table(fields$models, "models", MODEL_COLUMNS, limits$max_rows)
  refuse_repeated(models[, "series"], "models.series", "is given twice")
  dates <- fields$dates
  if (!is.null(dates)) {
    dates <- read_table(dates, "dates", DATE_COLUMNS, limits$max_rows)
    dates$ds <- read_dates(dates$ds, "dates.ds")
    refuse_repeated(dates, "dates.ds", "is given twice for this series")
  }
  parameters <- lapply(seq_len(nrow(models)), function(row) read_series_model(models$parameters[[row]], row))
  c(
    list(models = stats::setNames(parameters, models$series), settings = settings, cores = limits$cores),
    list(dates = dates)
  )
}

#' Read the settings that are given; the others have their defaults
#' @param fields Named list.
#' @param limits The service's limits.
#' @param within Their path.
read_prophet_settings <- function(fields, limits, within = NULL) {
  given <- lapply(stats::setNames(nm = names(fields)), function(name) {
    path <- field_path(within, name)
    if (name %in% SEASONALITIES) return(read_seasonality(fields[[name]], path))
    if (name == "holidays") return(read_holidays(fields[[name]], path, limits))
    read_scalar(fields[[name]], path, SCALAR_SETTINGS[[name]])
  })
  utils::modifyList(PROPHET_DEFAULTS, Filter(Negate(is.null), given))
}

read_seasonality <- function(value, field) {
  if (!(is.null(value) || isTRUE(value) || isFALSE(value) || identical(value, "auto"))) {
    malformed_field(field, "must be \"auto\", true or false")
  }
  value
}

#' Read a frame of holidays
#' @return data.table sorted by holiday and date, or `NULL`.
read_holidays <- function(holidays, within, limits) {
  if (is.null(holidays)) return(NULL)
  windows <- if (is.list(holidays) && any(names(WINDOWS) %in% names(holidays))) WINDOWS
  holidays <- read_table(holidays, within, c(HOLIDAY_COLUMNS, windows), limits$max_rows)
  if (nrow(holidays) == 0L) return(NULL)
  field <- field_path(within, "ds")
  holidays$ds <- read_dates(holidays$ds, field)
  refuse_repeated(holidays[, c("holiday", "ds")], field, "is given twice for this holiday")
  in_order(holidays)
}

#' Dates from text, year-month-day
read_dates <- function(text, field) {
  dates <- as.Date(text, format = "%Y-%m-%d")
  whole <- grepl("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", text)
  refuse_rows(is.na(dates) | !whole, field, "must be a date like 2025-01-29")
  dates
}

refuse_repeated <- function(rows, field, message) refuse_rows(duplicated(rows), field, message)

refuse_rows <- function(bad, field, message) {
  if (!any(bad)) return()
  rows <- utils::head(which(bad), MAX_REPORTED)
  errors <- lapply(rows, function(row) field_error(field, message, row))
  stop(malformed(sprintf("%s %s.", field, message), errors))
}

#' Read what [fit_prophet()] has written of one series
#'
#' @param text JSON.
#' @param row its position, for messages.
#' @return list like [series_model()]'s.
read_series_model <- function(text, row) {
  refuse <- function(...) malformed_field("models.parameters", "is not as the fit has written it", row)
  model <- tryCatch(jsonlite::fromJSON(text), error = refuse)
  scalars <- c("days", "y_scale", "k", "m", "sigma_obs")
  finite <- function(x) is.numeric(x) && all(is.finite(x))
  fits <- is.list(model) && all(MODEL_FIELDS %in% names(model)) &&
    all(vapply(model[c(scalars, "changepoints", "delta", "beta")], finite, NA)) &&
    all(lengths(model[c("start", "last", scalars)]) == 1L) && model$days > 0 && model$sigma_obs >= 0 &&
    length(model$changepoints) == length(model$delta) && all(model$seasonalities %in% names(SEASONS))
  if (!fits) refuse()
  names <- c("seasonalities", "holidays")
  model[names] <- lapply(model[names], as.character) # [] has no type in R
  model[c("start", "last")] <- lapply(model[c("start", "last")], as.Date, optional = TRUE)
  if (anyNA(c(model$start, model$last))) refuse()
  model
}
