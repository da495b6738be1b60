# Simulated weekly series, and prophet called directly.

# A trend that bends once, with noise; `weeks` points from a Monday.
simulate_series <- function(id, weeks, seed) {
  set.seed(seed)
  week <- seq_len(weeks) - 1
  trend <- 10 + 0.1 * week - 0.15 * pmax(0, week - weeks / 2)
  data.table::data.table(
    series = id, ds = as.Date("2023-01-02") + 7 * week, y = round(trend + stats::rnorm(weeks, sd = 0.5), 6)
  )
}

settings_with <- function(...) utils::modifyList(forecast$PROPHET_DEFAULTS, list(...))

# The fit of one series beside prophet's own: the largest differences. Further arguments are prophet's.
differences_from_prophet <- function(points, settings, ..., country = NULL) {
  found <- forecast$fit_prophet(points, settings)
  suppressWarnings(suppressMessages({
    fit <- prophet::prophet(..., fit = FALSE)
    if (!is.null(country)) fit <- prophet::add_country_holidays(fit, country)
    fit <- prophet::fit.prophet(fit, as.data.frame(points)[c("ds", "y")])
    future <- prophet::make_future_dataframe(
      fit, settings$horizon, paste(settings$frequency, "days"), include_history = FALSE
    )
    expected <- lapply(list(fitted = fit$history["ds"], forecast = future), function(dates) {
      set.seed(found$series$seed)
      stats::predict(fit, dates)
    })
  }))
  changes <- fit[["changepoints"]] # $ would find changepoints.t where there are none
  far <- function(ours, theirs) if (length(theirs)) max(abs(ours - theirs)) else length(ours)
  of <- function(table) {
    ours <- found[[table]]
    theirs <- expected[[table]]
    stopifnot(identical(ours$ds, format(as.Date(theirs$ds))))
    c(far(ours$yhat, theirs$yhat), far(ours$lower, theirs$yhat_lower), far(ours$upper, theirs$yhat_upper))
  }
  c(
    fitted = of("fitted"), forecast = of("forecast"), k = far(found$series$k, fit$params$k),
    sigma = far(found$series$sigma_obs, fit$params$sigma_obs),
    delta = far(found$changepoints$delta, fit$params$delta[seq_along(changes)]),
    at = far(as.numeric(as.Date(found$changepoints$ds)), as.numeric(changes) / 86400)
  )
}
