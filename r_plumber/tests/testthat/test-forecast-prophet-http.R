# Series by prophet through HTTP.

service <- start_service("forecast", R_SERVICE_CORES = "2")
arrays <- function(table) lapply(as.list(table), I)
numbers <- function(list) vapply(list, function(x) if (is.null(x)) NA_real_ else as.numeric(x), 0)
points <- rbind(
  simulate_series("wave", 30, 1), simulate_series("short", 12, 2),
  data.frame(series = "one", ds = as.Date("2023-01-02"), y = NA)
)
sent <- function(points) arrays(transform(points, ds = format(ds)))
# a process may end between is_gone()'s two questions
are_gone <- function(processes) {
  all(vapply(processes, function(process) tryCatch(is_gone(process), no_such_process = function(e) TRUE), NA))
}
holidays <- list(holiday = I(c("exam", "exam")), ds = I(c("2023-03-06", "2023-08-07")))

test_that("a fit arrives as the engine makes it, from JSON and from CSV, and predicts from its JSON alone", {
  options <- list(
    horizon = 3L, interval_width = 0.9, holidays = holidays, yearly_seasonality = FALSE, seed = 4L
  )
  result <- finished(service, "/prophet/fit", c(list(points = sent(points)), options))$result
  frame <- data.frame(holiday = "exam", ds = as.Date(as.vector(holidays$ds)))
  settings <- settings_with(
    horizon = 3L, interval_width = 0.9, holidays = frame, yearly_seasonality = FALSE, seed = 4L
  )
  expected <- forecast$fit_prophet(points, settings)
  expect_setequal(names(result), names(expected))
  expect_identical(result$engine, "prophet")
  expect_identical(result$version, forecast$prophet_version())
  expect_identical(result$settings$yearly_seasonality, FALSE)
  for (table in c("fitted", "forecast")) {
    expect_identical(unlist(result[[table]]$series), expected[[table]]$series)
    expect_identical(unlist(result[[table]]$ds), expected[[table]]$ds)
    for (name in c("yhat", "lower", "upper")) {
      expect_equal(numbers(result[[table]][[name]]), expected[[table]][[name]], tolerance = 1e-9)
    }
  }
  expect_equal(numbers(result$series$sigma_obs), expected$series$sigma_obs, tolerance = 1e-9)
  expect_identical(result$series$reason, list("all missing", NULL, NULL))

  body <- jsonlite::toJSON(options, auto_unbox = TRUE)
  text <- paste(capture.output(data.table::fwrite(points, na = "")), collapse = "\n")
  path <- paste0("/prophet/fit?options=", utils::URLencode(body, reserved = TRUE))
  expect_identical(finished(service, path, text, "Content-Type" = "text/csv")$result, result)

  from_json <- function(...) {
    body <- list(models = result$models, settings = result$settings, ...)
    body <- jsonlite::toJSON(body, auto_unbox = TRUE, null = "null", digits = NA)
    finished(service, "/prophet/predict", unclass(body))
  }
  again <- from_json()$result
  expect_identical(again$forecast$ds, result$forecast$ds)
  for (name in c("yhat", "lower", "upper")) {
    expect_equal(numbers(again$forecast[[name]]), expected$forecast[[name]], tolerance = 1e-9)
  }
  expect_length(from_json(horizon = 5L)$result$forecast$ds, 10L)
  dates <- list(series = I("wave"), ds = I("2023-02-06"))
  at_one <- from_json(dates = dates)$result$forecast
  here <- expected$fitted$series == "wave" & expected$fitted$ds == "2023-02-06"
  expect_equal(numbers(at_one$yhat), expected$fitted$yhat[here], tolerance = 1e-9)
  expect_identical(from_json(dates = list(series = I("one"), ds = I("2023-02-06")))$problem$status, 422L)
  expect_identical(from_json(dates = dates, horizon = 2L)$problem$errors[[1]]$field, "horizon")
})

test_that("one series stays columns, and what has none keeps them", {
  one <- data.frame(series = "one", ds = "2023-01-02", y = 3)
  response <- post(service, "/prophet/fit", list(points = arrays(one)), headers = list(Prefer = "wait=20"))
  expect_match(response$text, '"status":["refused"],"reason":["fewer than 2 points"],"n":[1]', fixed = TRUE)
  empty <- '"forecast":{"series":[],"ds":[],"yhat":[],"lower":[],"upper":[]}'
  expect_match(response$text, empty, fixed = TRUE)
})

test_that("many series tell how many are done; no process outlives a job over the limit, nor the service", {
  limited <- start_service("forecast", R_SERVICE_CORES = "2", R_SERVICE_MAX_JOB_SECONDS = "10")
  processes_of <- function() unlist(lapply(workers_of(limited), ps::ps_children), recursive = FALSE)
  many <- data.table::rbindlist(lapply(1:400, function(i) simulate_series(sprintf("s%d", i), 26, i)))
  location <- post(limited, "/prophet/fit", list(points = sent(many)))$headers$location
  done <- numeric()
  wait_until(seconds = 60, {
    expect_identical(get(limited, "/healthz")$status, 200L)
    job <- get(limited, location)$json
    if (!is.null(job$progress)) done <- c(done, job$progress$done / job$progress$all)
    length(unique(done)) > 2L
  })
  expect_false(is.unsorted(done))
  busy <- processes_of()
  expect_gte(length(busy), 2L)
  wait_until(get(limited, location)$json$state == "failed")
  expect_match(get(limited, location)$json$problem$detail, "longer than 10 seconds")
  wait_until(are_gone(busy), "the job left a process")
  post(limited, "/prophet/fit", list(points = sent(many)))
  wait_until(length(processes_of()) >= 2L)
  family <- ps::ps_children(ps::ps_handle(limited$process$get_pid()), recursive = TRUE)
  limited$process$kill()
  wait_until(are_gone(family), "the service left a process")
})

test_that("what is wrong with a request is named", {
  refused <- function(path, body, status, field, row = NULL) {
    problem <- finished(service, path, body)$problem
    expect_identical(problem$status, status)
    expect_identical(problem$errors[[1]]$field, field)
    expect_identical(problem$errors[[1]]$row, row)
    invisible(problem)
  }
  fit <- "/prophet/fit"
  with <- function(...) c(list(points = sent(points)), list(...))
  changed <- function(name, value) {
    columns <- sent(points)
    columns[[name]][2] <- value
    list(points = columns)
  }
  refused(fit, list(horizon = 4L), 400L, "points")
  refused(fit, list(points = sent(points)[-3]), 400L, "points.y")
  refused(fit, changed("ds", "2023-02-30"), 400L, "points.ds", 2L)
  refused(fit, changed("ds", "2023-2-3"), 400L, "points.ds", 2L)
  refused(fit, changed("ds", "2023-01-02"), 400L, "points.ds", 2L)
  refused(fit, changed("series", ""), 400L, "points.series", 2L)
  endless <- sub("null]", "\"Inf\"]", jsonlite::toJSON(list(points = sent(points)), na = "null"))
  refused(fit, endless, 400L, "points.y", nrow(points))
  refused(fit, with(growing = "linear"), 400L, "growing")
  refused(fit, with(horizon = 1.5), 400L, "horizon")
  refused(fit, with(horizon = 0L), 422L, "horizon")
  refused(fit, with(weekly_seasonality = "often"), 400L, "weekly_seasonality")
  refused(fit, with(country = "KR"), 422L, "country")
  refused(fit, with(holidays = holidays["ds"]), 400L, "holidays.holiday")
  refused(fit, with(holidays = c(holidays, list(lower_window = I(c(0, 0))))), 400L, "holidays.upper_window")
  twice <- utils::modifyList(holidays, list(ds = I(rep("2023-03-06", 2))))
  refused(fit, with(holidays = twice), 400L, "holidays.ds", 2L)
  refused(fit, with(holidays = utils::modifyList(holidays, list(holiday = I(c("a", "yearly"))))), 422L,
          "holidays.holiday", 2L)
  refused(fit, list(points = list(series = list(), ds = list(), y = list())), 422L, "points")

  predict <- "/prophet/predict"
  result <- forecast$fit_prophet(simulate_series("a", 12, 1), forecast$PROPHET_DEFAULTS)
  model <- function(parameters, settings = result$settings) {
    list(models = list(series = I("a"), parameters = I(parameters)), settings = settings)
  }
  refused(predict, model(result$models$parameters)["models"], 400L, "settings")
  refused(predict, model("{\"k\":1}"), 400L, "models.parameters", 1L)
  refused(predict, model("k"), 400L, "models.parameters", 1L)
  refused(predict, model(result$models$parameters, list(speed = 1)), 400L, "settings.speed")
  foreign <- c(result$settings, list(holidays = holidays))
  refused(predict, model(result$models$parameters, foreign), 422L, "models.parameters")
})

test_that("the routes are described, and strangers are refused", {
  stranger <- utils::modifyList(service, list(token = "battery staple"))
  api <- get(service, "/openapi.json")$json
  for (path in c("/prophet/fit", "/prophet/predict")) {
    expect_identical(post(stranger, path, list(a = 1))$status, 401L)
    expect_identical(get(service, path)$status, 405L)
    expect_setequal(names(api$paths[[path]]$post$requestBody$content), c("application/json", "text/csv"))
  }
  expect_true("prophet" %in% unlist(get(service, "/metadata")$json$models))
  settings <- names(api$components$schemas$ProphetSettings$properties)
  expect_setequal(settings, forecast$SETTING_FIELDS)
})

service$process$kill()
