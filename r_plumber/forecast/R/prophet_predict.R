# Forecasts from a fit's parameters alone.

#' Predict series at dates
#'
#' At the dates that a fit forecast, and with its settings, the answer is the fit's. The simulations of a date
#' depend on which others are asked for with it.
#'
#' @param models list by series, what [series_model()] returns.
#' @param settings see [fit_prophet()].
#' @param dates data frame of `series` and `ds`, or `NULL`: `settings$horizon` points after each series' last.
#' @inheritParams fit_prophet
#' @return list of `engine`, `version` and `forecast` (columns `series`, `ds`, `yhat`, `lower`, `upper`), in
#'   the order of series and dates.
#' @section Errors: `unprocessable` when a setting is impossible, a series has no model, or a model is not of
#'   these settings.
predict_prophet <- function(models, settings, dates = NULL, cores = 1, progress = function(state) NULL) {
  check_prophet_settings(settings)
  if (is.null(dates)) {
    dates <- lapply(models, future_dates, settings)
  } else {
    require_rows(dates$series %in% names(models), "dates.series", "has no model")
    dates <- split(dates$ds, dates$series)
  }
  ids <- sort(names(dates), method = "radix")
  items <- lapply(ids, function(id) list(series = id, model = models[[id]], dates = sort(dates[[id]])))
  forecasts <- for_each_series(items, "forecast_series", list(settings), cores, progress)
  forecast <- bind_tables(c(list(NO_ROWS$forecast), forecasts))
  list(engine = "prophet", version = prophet_version(), forecast = forecast)
}

#' Forecast one series
#' @param item list of `series`, `model` and `dates`.
#' @inheritParams fit_series
forecast_series <- function(item, settings) {
  refuse <- function() {
    detail <- sprintf("The model of series %s is not of these settings.", item$series)
    stop(unprocessable(detail, list(field_error("models.parameters", "is not of these settings"))))
  }
  if (!has_these_holidays(item$model, settings)) refuse()
  curve <- tryCatch(curve_at(item$dates, item$model, settings), error = function(e) {
    # windows of holidays are columns, too
    if (grepl("non-conformable", conditionMessage(e), fixed = TRUE)) refuse() else stop(e)
  })
  seed <- series_seed(settings$seed, item$series)
  c(list(series = item$series), interval_of(curve, item$model, settings, seed))
}

has_these_holidays <- function(model, settings) {
  of_frame <- settings[["holidays"]]$holiday
  all(of_frame %in% model$holidays) && (!is.null(settings$country) || all(model$holidays %in% of_frame))
}

future_dates <- function(model, settings) model$last + settings$frequency * seq_len(settings$horizon)

#' The trend and what is added to it, by prophet
#'
#' @param dates Dates, sorted.
#' @param model what [series_model()] returns.
#' @inheritParams fit_series
#' @return data frame of `ds`, `t` (scaled time), `trend`, `additive_terms`, `multiplicative_terms`, `yhat`.
curve_at <- function(dates, model, settings) {
  prediction <- suppressMessages(stats::predict(restore(model, settings), data.frame(ds = dates)))
  data.frame(
    ds = dates, t = as.numeric(dates - model$start) / model$days,
    prediction[c("trend", "additive_terms", "multiplicative_terms", "yhat")]
  )
}

#' A fitted prophet from its parameters; it simulates nothing
#' @inheritParams curve_at
restore <- function(model, settings) {
  fit <- new_prophet(settings)
  fit$uncertainty.samples <- 0
  fit$history <- data.frame()
  fit$start <- as.POSIXct(format(model$start), tz = "GMT")
  fit$t.scale <- model$days * SECONDS_OF_DAY
  fit$y.scale <- model$y_scale
  fit$changepoints.t <- model$changepoints / model$days
  fit$params <- list(
    k = model$k, m = model$m, sigma_obs = model$sigma_obs, delta = matrix(model$delta, 1L),
    beta = matrix(model$beta, 1L)
  )
  fit$seasonalities <- lapply(SEASONS[model$seasonalities], function(season) {
    list(
      period = season[["period"]], fourier.order = season[["order"]],
      prior.scale = settings$seasonality_prior_scale, mode = settings$seasonality_mode, condition.name = NULL
    )
  })
  if (length(model$holidays)) fit$train.holiday.names <- model$holidays
  fit$component.modes <- list(additive = "additive_terms", multiplicative = "multiplicative_terms")
  fit
}

#' The interval around a curve
#'
#' The random numbers are those of prophet's predict() on these dates after set.seed(), which takes several
#' times as long.
#'
#' @param curve what [curve_at()] returns.
#' @param seed of the series.
#' @inheritParams curve_at
#' @return list of `ds`, `yhat`, `lower`, `upper`; `NA` without samples.
interval_of <- function(curve, model, settings, seed) {
  told <- list(ds = curve$ds, yhat = curve$yhat)
  if (settings$uncertainty_samples == 0) return(c(told, list(lower = NA_real_, upper = NA_real_)))
  set.seed(seed)
  samples <- simulate_paths(curve$t, model, settings)
  y <- (curve$trend + samples$trend) * (1 + curve$multiplicative_terms) + curve$additive_terms + samples$noise
  tails <- (1 + c(-1, 1) * settings$interval_width) / 2
  limits <- apply(y, 1L, stats::quantile, tails, names = FALSE)
  c(told, list(lower = limits[1L, ], upper = limits[2L, ]))
}

#' Simulate changes of the trend and noise
#'
#' @param t scaled time, 1 at the last point with a value.
#' @inheritParams interval_of
#' @return list of `trend` (what is added to it) and `noise`, matrices, a column for each sample.
simulate_paths <- function(t, model, settings) {
  sizes <- c(length(t), settings$uncertainty_samples)
  noise <- function(n) stats::rnorm(n, sd = model$sigma_obs) * model$y_scale
  if (max(t) <= 1) return(list(trend = 0, noise = matrix(noise(prod(sizes)), sizes[[1L]])))
  expected <- length(model$changepoints) * (max(t) - 1)
  scale <- mean(abs(model$delta)) + 1e-8
  # in prophet's order: number of changes, their times, their sizes, noise
  samples <- replicate(sizes[[2L]], simplify = FALSE, {
    n <- stats::rpois(1L, expected)
    list(
      at = stats::runif(n), delta = if (n > 0L) extraDistr::rlaplace(n, 0, scale), noise = noise(length(t))
    )
  })
  of <- function(name) unlist(lapply(samples, `[[`, name))
  at <- 1 + of("at") * (max(t) - 1)
  trend <- changes_of_trend(t, at, of("delta"), lengths(lapply(samples, `[[`, "at")))
  moves <- if (settings$growth == "flat") 0 else model$y_scale
  list(trend = moves * trend, noise = matrix(of("noise"), sizes[[1L]]))
}

#' What changes after the last point do to the trend
#' @param t scaled time.
#' @param at times of changes, sample by sample.
#' @param delta changes of slope at these times, those of a sample in the order of its times.
#' @param n number of changes of each sample.
#' @return matrix, times x samples.
changes_of_trend <- function(t, at, delta, n) {
  trend <- matrix(0, length(t), length(n))
  if (length(at) == 0L) return(trend)
  sample <- rep(seq_along(n), n)
  at <- at[order(sample, at)]
  trend[, n > 0L] <- t(rowsum(delta * pmax(-outer(at, t, `-`), 0), sample))
  trend
}
