# Series by prophet: the answer is prophet's own, whatever the company.

same_as_prophet <- function(...) expect_lt(max(differences_from_prophet(...)), 1e-8)
plain <- forecast$PROPHET_DEFAULTS
predict_from <- function(fit, ...) {
  models <- Map(forecast$read_series_model, fit$models$parameters, seq_along(fit$models$parameters))
  forecast$predict_prophet(stats::setNames(models, fit$models$series), ...)
}

test_that("weekly series are fitted and forecast as prophet does with the same seed", {
  for (weeks in c(12, 26, 104)) same_as_prophet(simulate_series("a", weeks, weeks), plain)
  gaps <- simulate_series("a", 30, 1)
  gaps$y[c(3, 29, 30)] <- NA
  same_as_prophet(gaps, settings_with(seed = 5L))
})

test_that("every setting is prophet's", {
  points <- simulate_series("a", 110, 2)
  same_as_prophet(
    points,
    settings_with(
      horizon = 7L, n_changepoints = 5L, changepoint_range = 0.6, changepoint_prior_scale = 0.5,
      yearly_seasonality = FALSE, interval_width = 0.5, uncertainty_samples = 200L
    ),
    n.changepoints = 5, changepoint.range = 0.6, changepoint.prior.scale = 0.5, yearly.seasonality = FALSE,
    interval.width = 0.5, uncertainty.samples = 200
  )
  same_as_prophet(
    points,
    settings_with(
      yearly_seasonality = TRUE, seasonality_mode = "multiplicative", seasonality_prior_scale = 0.1,
      n_changepoints = 0L
    ),
    yearly.seasonality = TRUE, seasonality.mode = "multiplicative", seasonality.prior.scale = 0.1,
    n.changepoints = 0
  )
  same_as_prophet(points, settings_with(growth = "flat"), growth = "flat")
})

test_that("changes of slope are those of the fitted curve, in units of y per day", {
  fit <- forecast$fit_prophet(simulate_series("a", 60, 7), settings_with(yearly_seasonality = FALSE))
  slopes <- diff(fit$fitted$yhat) / 7
  expect_equal(sum(fit$changepoints$slope_change), slopes[59] - slopes[1], tolerance = 1e-6)
  expect_lt(sum(fit$changepoints$slope_change) * 7, -0.1) # bends from .1 to -.05 a week
})

test_that("holidays of a frame and of a country are prophet's", {
  points <- simulate_series("a", 60, 3)
  holidays <- data.frame(
    holiday = rep(c("exam", "feast"), each = 2), ds = as.Date("2023-01-02") + 7 * c(5, 61, 20, 58),
    lower_window = c(-1, -1, 0, 0), upper_window = c(0, 0, 7, 7)
  )
  points$y <- points$y + 2 * (points$ds %in% holidays$ds)
  same_as_prophet(
    points, settings_with(holidays = holidays, holidays_prior_scale = 2), holidays = holidays,
    holidays.prior.scale = 2
  )
  same_as_prophet(points, settings_with(country = "US"), country = "US")
})

test_that("the forecast of Peyton Manning's page is prophet's", {
  path <- beside_checkout("data", "prophet_examples", "example_wp_log_peyton_manning.csv")
  points <- cbind(series = "peyton", utils::read.csv(path, colClasses = c(ds = "Date")))
  same_as_prophet(
    points, settings_with(frequency = 1L, horizon = 28L, uncertainty_samples = 200L),
    uncertainty.samples = 200
  )
})

test_that("a prediction from the JSON is the fit's, at other dates too", {
  holidays <- data.frame(holiday = "exam", ds = as.Date(c("2023-03-06", "2025-01-06", "2025-01-13")))
  settings <- settings_with(holidays = holidays, seasonality_mode = "multiplicative")
  points <- rbind(simulate_series("long", 105, 4), simulate_series("short", 12, 5))
  fit <- forecast$fit_prophet(points, settings)
  expect_equal(predict_from(fit, settings)$forecast, fit$forecast, tolerance = 1e-12)
  dates <- data.frame(series = points$series, ds = points$ds)
  expect_equal(predict_from(fit, settings, dates)$forecast, fit$fitted, tolerance = 1e-12)
  between <- data.frame(series = "short", ds = as.Date("2023-02-01")) # its curve is a line between points
  curve <- lapply(fit$fitted, `[`, fit$fitted$series == "short")
  expect_equal(
    predict_from(fit, settings, between)$forecast$yhat, approx(as.Date(curve$ds), curve$yhat, between$ds)$y,
    tolerance = 1e-12
  )
})

test_that("neither the order of rows nor other series nor processes change an answer", {
  points <- data.table::rbindlist(lapply(1:40, function(i) simulate_series(sprintf("s%d", i), 12, i)))
  told <- numeric()
  note <- function(state) told <<- c(told, state$done / state$all)
  together <- forecast$fit_prophet(points, plain, cores = 2, progress = note)
  expect_false(is.unsorted(told))
  expect_true(all(told >= 0 & told <= 1))
  set.seed(1)
  expect_identical(forecast$fit_prophet(points[sample(nrow(points)), ], plain), together)
  alone <- forecast$fit_prophet(points[points$series == "s7", ], plain)
  for (table in c("series", "changepoints", "fitted", "forecast", "models")) {
    here <- together[[table]]$series == "s7"
    expect_identical(lapply(together[[table]], `[`, here), alone[[table]])
  }
  expect_identical(predict_from(together, plain, cores = 2), predict_from(together, plain))
  expect_gt(length(unique(together$series$seed)), 38L)
  another <- forecast$fit_prophet(points[points$series == "s7", ], settings_with(seed = 2L))
  expect_identical(another$forecast$yhat, alone$forecast$yhat)
  expect_false(identical(another$forecast$lower, alone$forecast$lower))
})

test_that("a problem in a process is the job's, and a process that dies fails it", {
  points <- data.table::rbindlist(lapply(1:40, function(i) simulate_series(sprintf("s%d", i), 12, i)))
  fit <- forecast$fit_prophet(points, plain)
  foreign <- settings_with(holidays = data.frame(holiday = "exam", ds = as.Date("2023-03-06")))
  problem <- tryCatch(predict_from(fit, foreign, cores = 2), problem = identity)
  expect_identical(problem$status, 422L)
  expect_match(problem$detail, "The model of series s[0-9]+ is not of these settings")
  end <- function() forecast$for_each_series(as.list(rep("no", 40)), "quit", list(status = 3), 2, identity)
  expect_error(end(), "callr")
})

test_that("an interval holds what it says of data from the model", {
  # a straight line with normal noise: the fit has nothing else to find
  held <- vapply(1:20, function(i) {
    set.seed(i)
    line <- data.frame(series = "a", ds = as.Date("2023-01-02") + 7 * 0:109)
    line$y <- 5 + 0.01 * 0:109 + stats::rnorm(110)
    settings <- settings_with(horizon = 10L, changepoint_prior_scale = 0.001, yearly_seasonality = FALSE)
    fit <- forecast$fit_prophet(line[1:100, ], settings)$forecast
    mean(line$y[101:110] > fit$lower & line$y[101:110] < fit$upper)
  }, 0)
  expect_lt(abs(mean(held) - 0.8), 4 * sqrt(0.8 * 0.2 / 200))
})

test_that("what cannot be fitted is refused by itself, and a fit without noise says so", {
  series <- function(id, y) data.frame(series = id, ds = as.Date("2023-01-02") + 7 * seq_along(y), y = y)
  points <- rbind(
    series("one", 1), series("missing", c(NA, NA, NA)), series("half", c(NA, 2, NA)),
    series("constant", rep(4, 8)), series("line", 1:9), series("two", c(1, 2)),
    series("usual", c(1, 3, 2, 4, 2))
  )
  fit <- forecast$fit_prophet(points, plain)
  of <- function(id) lapply(fit$series, `[`, fit$series$series == id)
  for (id in c("one", "half")) expect_identical(of(id)$reason, "fewer than 2 points")
  expect_identical(of("missing")$reason, "all missing")
  expect_identical(of("missing")[c("n", "n_missing")], list(n = 0L, n_missing = 3L))
  expect_identical(fit$series$series[fit$series$status == "refused"], c("half", "missing", "one"))
  expect_identical(of("constant")$reason, "constant")
  expect_identical(of("constant")$sigma_obs, 0)
  constant <- fit$forecast$series == "constant"
  for (name in c("yhat", "lower", "upper")) expect_equal(fit$forecast[[name]][constant], rep(4, 4))
  expect_identical(c(of("line")$reason, of("two")$reason), c("exact fit", "exact fit"))
  expect_equal(fit$forecast$yhat[fit$forecast$series == "line"], 10:13, tolerance = 1e-6)
  expect_identical(of("usual")$reason, NA_character_)
  expect_setequal(fit$models$series, c("constant", "line", "two", "usual"))

  none <- forecast$fit_prophet(series("one", 1), plain)
  expect_identical(none$forecast, utils::modifyList(forecast$NO_CURVE, list(ds = character())))
  expect_identical(none$series$k, NA_real_)
})

test_that("a series that Stan cannot fit is refused with its reason", {
  original <- forecast$new_prophet
  on.exit(forecast$new_prophet <- original)
  forecast$new_prophet <- function(settings) {
    fit <- original(settings)
    fit$changepoint.prior.scale <- -1 # Stan's data must be positive
    fit
  }
  fit <- forecast$fit_prophet(simulate_series("a", 12, 1), plain)
  expect_identical(fit$series$status, "refused")
  expect_match(fit$series$reason, "^not optimised: .")
  expect_length(fit$models$series, 0L)
})

test_that("settings that are impossible are refused by name", {
  points <- simulate_series("a", 12, 1)
  refused <- function(field, ...) {
    problem <- tryCatch(forecast$fit_prophet(points, settings_with(...)), problem = identity)
    expect_identical(problem$status, 422L)
    expect_identical(problem$errors[[1]]$field, field)
    problem
  }
  refused("horizon", horizon = 0L)
  refused("frequency", frequency = 0L)
  refused("growth", growth = "logistic")
  refused("n_changepoints", n_changepoints = -1L)
  refused("changepoint_range", changepoint_range = 1.1)
  refused("changepoint_prior_scale", changepoint_prior_scale = 0)
  refused("seasonality_mode", seasonality_mode = "both")
  refused("interval_width", interval_width = 1)
  refused("uncertainty_samples", uncertainty_samples = -1L)
  refused("seed", seed = -1L)
  expect_match(refused("country", country = "KR")$detail, "send a frame of holidays")
  day <- as.Date("2023-01-02")
  frame <- function(...) data.frame(holiday = c("a", "trend"), ds = day, ...)
  expect_identical(refused("holidays.holiday", holidays = frame())$errors[[1]]$row, 2L)
  refused("holidays.lower_window", holidays = frame(lower_window = 1, upper_window = 0))
  refused("holidays.upper_window", holidays = frame(lower_window = 0, upper_window = 0.5))
})
