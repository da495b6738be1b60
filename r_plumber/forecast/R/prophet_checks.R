# Settings that prophet cannot be run with are refused before anything is fitted.

LARGEST_WINDOW <- 366 # days

#' Refuse settings that no fit has
#' @param settings see [fit_prophet()].
check_prophet_settings <- function(settings) {
  check <- function(name, valid, message) require_value(valid(settings[[name]]), name, message)
  within <- function(low, high) function(x) x >= low && x <= high
  positive <- function(x) x > 0
  check("horizon", within(1, 1000), "must be from 1 to 1000")
  check("frequency", within(1, 366), "must be from 1 to 366 days")
  check("growth", function(x) x %in% c("linear", "flat"), "must be linear or flat")
  check("n_changepoints", within(0, 1000), "must be from 0 to 1000")
  check("changepoint_range", within(0, 1), "must be from 0 to 1")
  check("seasonality_mode", function(x) x %in% MODES, paste("must be", paste(MODES, collapse = " or ")))
  for (name in paste0(c("changepoint", "seasonality", "holidays"), "_prior_scale")) {
    check(name, positive, "must be above 0")
  }
  check("interval_width", function(x) x > 0 && x < 1, "must be between 0 and 1")
  check("uncertainty_samples", within(0, 10000), "must be from 0 (no interval) to 10000")
  check("seed", within(0, .Machine$integer.max), "must be at least 0")
  check_holidays(settings[["holidays"]])
  check_country(settings$country)
}

MODES <- c("additive", "multiplicative")

#' Refuse holidays that prophet does not take
#' @param holidays data frame of `holiday`, `ds` and perhaps the windows, or `NULL`.
check_holidays <- function(holidays) {
  if (is.null(holidays)) return()
  whole <- function(x, low, high) x == round(x) & x >= low & x <= high
  if (!is.null(holidays$lower_window)) {
    require_rows(
      whole(holidays$lower_window, -LARGEST_WINDOW, 0), "holidays.lower_window",
      sprintf("must be a whole number of days from -%d to 0", LARGEST_WINDOW)
    )
    require_rows(
      whole(holidays$upper_window, 0, LARGEST_WINDOW), "holidays.upper_window",
      sprintf("must be a whole number of days from 0 to %d", LARGEST_WINDOW)
    )
  }
  names <- unique(holidays$holiday)
  free <- names[vapply(names, is_free_name, NA)]
  require_rows(
    holidays$holiday %in% free, "holidays.holiday",
    "is a name that prophet keeps for itself, or holds _delim_"
  )
}

is_free_name <- function(name) {
  frame <- data.frame(holiday = name, ds = as.Date("2000-01-01"))
  tryCatch(
    {
      prophet::prophet(holidays = frame, fit = FALSE)
      TRUE
    },
    error = function(e) FALSE
  )
}

#' Refuse a country whose holidays prophet does not have
#' @param country its code, or `NULL`.
check_country <- function(country) {
  if (is.null(country)) return()
  known <- sort(unique(as.character(prophet::generated_holidays$country)), method = "radix")
  require_value(country %in% known, "country", sprintf(
    "is none that prophet %s has; send a frame of holidays instead, or one of %s",
    prophet_version(), toString(known)
  ))
}

prophet_version <- function() as.character(getNamespaceVersion("prophet"))[[1L]]
