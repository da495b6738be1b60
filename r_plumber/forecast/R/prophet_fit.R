# Prophet for many series: each is fitted as prophet() alone would fit it.

PROPHET_DEFAULTS <- list(
  horizon = 4L, frequency = 7L, growth = "linear", n_changepoints = 25L, changepoint_range = 0.8,
  changepoint_prior_scale = 0.05, yearly_seasonality = "auto", weekly_seasonality = "auto",
  daily_seasonality = "auto", seasonality_mode = "additive", seasonality_prior_scale = 10,
  holidays_prior_scale = 10, interval_width = 0.8, uncertainty_samples = 1000L, seed = 1L
)

# prophet's own; `order` is that of the Fourier series
SEASONS <- list(
  yearly = c(period = 365.25, order = 10), weekly = c(period = 7, order = 3), daily = c(period = 1, order = 4)
)

EXACT <- 1e-8 # residual sd, in units of the series' largest value, below which the fit has none

#' Fit series, and forecast them
#'
#' The maximum of the posterior (Taylor and Letham 2018, Forecasting at scale), by prophet's Stan model, which
#' is compiled with the package. Intervals are simulated: noise, and, after the last point, changes of the
#' trend as frequent and as large on average as those that were fitted. That the parameters are estimates is
#' not in them.
#'
#' @param points data frame of `series`, `ds` (Date) and `y` (`NA`: missing), no date twice in a series.
#' @param settings list like `PROPHET_DEFAULTS`; perhaps with `holidays` (data frame of `holiday`, `ds` and
#'   perhaps `lower_window`, `upper_window`) and `country` (code of one whose holidays prophet has).
#' @param cores processes at a time.
#' @param progress function(state), told how many series are done of all.
#' @return list of `engine`, `version`, `settings`, and tables, in the order of series and dates:
#'   `series` (columns `series`, `status`: "ok" or "refused"; `reason`; `n` points with a value, `n_missing`;
#'   `k`, `m`, `sigma_obs`, in prophet's scaled units; `seed`, with which predict() gives the same intervals),
#'   `changepoints` (`series`, `ds`, `delta`, and the same as `slope_change`, of the trend in units of y per
#'   day), `fitted` (at the points with a value) and `forecast` (`series`, `ds`, `yhat`, `lower`, `upper`),
#'   and `models` (`series`, `parameters`: JSON text for [predict_prophet()]).
#' @section Errors: `unprocessable` when a setting is impossible or there is no point.
fit_prophet <- function(points, settings = PROPHET_DEFAULTS, cores = 1, progress = function(state) NULL) {
  check_prophet_settings(settings)
  require_value(nrow(points) > 0L, "points", "must have at least one row")
  points <- in_order(points)
  items <- split(points, factor(points$series, unique(points$series)))
  fits <- for_each_series(unname(items), "fit_series", list(settings), cores, progress)
  table <- function(name) bind_tables(c(list(NO_ROWS[[name]]), lapply(fits, `[[`, name)))
  c(
    list(engine = "prophet", version = prophet_version(), settings = settings_to_tell(settings)),
    sapply(c("series", "changepoints", "fitted", "forecast", "models"), table, simplify = FALSE)
  )
}

NO_DATE <- as.Date(character())
NO_CURVE <- list(series = character(), ds = NO_DATE, yhat = numeric(), lower = numeric(), upper = numeric())
NO_ROWS <- list(
  series = NULL,
  changepoints = list(series = character(), ds = NO_DATE, delta = numeric(), slope_change = numeric()),
  fitted = NO_CURVE, forecast = NO_CURVE, models = list(series = character(), parameters = character())
)

#' Rows in the order of their text and dates, whatever the locale
#' @param rows data frame of one such column, and `ds`.
in_order <- function(rows) {
  rows <- as.data.frame(rows)
  rows[order(rows[[1L]], rows$ds, method = "radix"), ]
}

#' Tables under each other, dates as text
bind_tables <- function(tables) {
  table <- as.list(data.table::rbindlist(tables))
  lapply(table, function(column) if (inherits(column, "Date")) format(column) else column)
}

settings_to_tell <- function(settings) {
  if (!is.null(settings[["holidays"]])) settings[["holidays"]] <- bind_tables(list(settings[["holidays"]]))
  settings
}

#' Fit one series
#'
#' @param points its rows, sorted.
#' @param settings see [fit_prophet()].
#' @return list of its rows of each table.
fit_series <- function(points, settings) {
  id <- points$series[[1L]]
  known <- points[!is.na(points$y), ]
  told <- list(series = id, n = nrow(known), n_missing = nrow(points) - nrow(known))
  if (nrow(known) < 2L) {
    return(list(series = summarise(told, if (nrow(known)) "fewer than 2 points" else "all missing")))
  }
  fit <- optimise(points, settings)
  if (is.character(fit)) return(list(series = summarise(told, paste("not optimised:", fit))))
  model <- series_model(fit, points)
  seed <- series_seed(settings$seed, id)
  future <- future_dates(model, settings)
  curve <- curve_at(c(known$ds, future), model, settings)
  past <- seq_len(nrow(known))
  changes <- seq_along(fit[["changepoints"]]) # where there is none, the model has one at the start
  with_limits <- function(rows) c(list(series = id), interval_of(curve[rows, ], model, settings, seed))
  list(
    series = summarise(told, remark(known$y, model), model, seed),
    changepoints = list(
      series = rep(id, length(changes)), ds = model$start + model$changepoints[changes],
      delta = model$delta[changes], slope_change = model$delta[changes] * model$y_scale / model$days
    ),
    fitted = with_limits(past), forecast = with_limits(-past),
    models = list(series = id, parameters = to_json(lapply(model, text_of)))
  )
}

#' A series' row of the summary; without a model it is refused
summarise <- function(told, reason, model = NULL, seed = NA_integer_) {
  number <- function(name) if (is.null(model)) NA_real_ else model[[name]]
  list(
    series = told$series, status = if (is.null(model)) "refused" else "ok", reason = reason, n = told$n,
    n_missing = told$n_missing, k = number("k"), m = number("m"), sigma_obs = number("sigma_obs"), seed = seed
  )
}

#' What is to be known of a fit: that its interval has no noise in it
remark <- function(y, model) {
  if (min(y) == max(y)) return("constant")
  if (model$sigma_obs < EXACT) "exact fit" else NA_character_
}

#' Run prophet
#'
#' @inheritParams fit_series
#' @return The fit, or, when Stan found no maximum, the reason.
optimise <- function(points, settings) {
  rows <- data.frame(ds = points$ds, y = points$y)
  # Messages are of prophet's choices; its warning of the first optimiser, after which it tries the second
  fit <- tryCatch(
    suppressWarnings(suppressMessages(prophet::fit.prophet(new_prophet(settings), rows))), error = first_line
  )
  if (is.character(fit)) return(fit)
  code <- fit$stan.fit$return_code # a constant series never meets Stan
  if (!is.null(code) && code != 0L) return(sprintf("return code %d", code))
  if (all(is.finite(unlist(fit$params)))) fit else "estimates are not finite"
}

#' prophet's object before the fit
new_prophet <- function(settings) {
  # Without TZ lubridate asks the system for its zone, and machines without systemd answer with a warning.
  Sys.setenv(TZ = "UTC")
  model <- prophet::prophet(
    growth = settings$growth, n.changepoints = settings$n_changepoints,
    changepoint.range = settings$changepoint_range,
    changepoint.prior.scale = settings$changepoint_prior_scale,
    yearly.seasonality = settings$yearly_seasonality, weekly.seasonality = settings$weekly_seasonality,
    daily.seasonality = settings$daily_seasonality, seasonality.mode = settings$seasonality_mode,
    seasonality.prior.scale = settings$seasonality_prior_scale, holidays = settings[["holidays"]],
    holidays.prior.scale = settings$holidays_prior_scale, interval.width = settings$interval_width,
    uncertainty.samples = settings$uncertainty_samples, fit = FALSE
  )
  if (is.null(settings$country)) return(model)
  # prophet finds the countries' holidays only where it is attached
  if (!"package:prophet" %in% search()) attachNamespace("prophet")
  prophet::add_country_holidays(model, settings$country)
}

#' What a prediction needs of a fit
#'
#' @param fit a fitted prophet.
#' @inheritParams fit_series
#' @return list of `start` and `last` (Date of the first point with a value and of the last point); `days`
#'   from the first point with a value to the last; `y_scale`; `k`, `m`, `sigma_obs`; `changepoints` (days
#'   after the start) and their `delta`; the names of `seasonalities` and `holidays`; and `beta`, the
#'   coefficients of both.
series_model <- function(fit, points) {
  days <- fit$t.scale / SECONDS_OF_DAY
  list(
    start = as.Date(fit$start), last = max(points$ds), days = days, y_scale = fit$y.scale,
    k = fit$params$k, m = fit$params$m, sigma_obs = fit$params$sigma_obs,
    changepoints = round(fit$changepoints.t * days), delta = fit$params$delta[1L, ],
    seasonalities = as.character(names(fit$seasonalities)), holidays = as.character(fit$train.holiday.names),
    beta = fit$params$beta[1L, ]
  )
}

MODEL_FIELDS <- c(
  "start", "last", "days", "y_scale", "k", "m", "sigma_obs", "changepoints", "delta", "seasonalities",
  "holidays", "beta"
)
SECONDS_OF_DAY <- 86400

#' A part of a model on its way to JSON
text_of <- function(x) {
  if (inherits(x, "Date")) return(format(x))
  if (length(x) == 1L && is.numeric(x)) x else I(x)
}

#' A seed of the series' own, so that its company and its place do not matter
#' @param seed of the request.
#' @param id of the series.
series_seed <- function(seed, id) {
  bytes <- sodium::hash(charToRaw(enc2utf8(sprintf("%.0f %s", seed, id))))
  sum(as.integer(bytes[1:3]) * 256L^(0:2))
}
