# Risks from parameters alone: what they must be, whatever the parameters.

set.seed(4)
landmarks <- simulate_landmarks(300, 5)
risk_model <- forecast$fit_survival(landmarks)$risk_model
written <- function(risk_model) {
  text <- forecast$to_json(list(risk_model = risk_model))
  forecast$read_risk_model(forecast$read_object(text, "The model")$risk_model)
}
new <- simulate_positions(200, 1)
predicted <- function(model = risk_model, rows = new) {
  risks <- forecast$predict_survival(rows, model)$risks
  lapply(risks[-(1:2)], matrix, nrow(rows))
}

test_that("no risk before the rest of 14 days has passed, and none that falls with the horizon", {
  of <- predicted()
  possible <- outer(new$idle, c(7, 14, 28), function(idle, horizon) idle + horizon >= 14)
  for (values in of) {
    expect_identical(values == 0, !possible)
    expect_true(all(values[, 1] <= values[, 2] & values[, 2] <= values[, 3]))
  }
  expect_true(all(of$risk_lower[possible] < of$risk[possible] & of$risk[possible] < of$risk_upper[possible]))
})

test_that("the days that the silence needs decide what is 0, where they are not 14 - idle", {
  later <- data.table::copy(new)
  later$due <- 14 - later$idle
  expect_identical(predicted(rows = later), predicted())
  later$due <- later$due + rep(c(0, 8), 100)
  possible <- outer(later$due, c(7, 14, 28), `<=`)
  of <- predicted(rows = later)
  for (name in names(of)) expect_identical(of[[name]] == 0, !possible)
  stays <- possible[, 1] | new$idle < 7 # nothing shorter was raised or is gone
  expect_identical(of$risk[stays & possible[, 2], 2], predicted()$risk[stays & possible[, 2], 2])
  later$due[3] <- 13 - later$idle[3]
  error <- tryCatch(predicted(rows = later), problem = identity)$errors[[1]]
  expect_identical(error[c("field", "row")], list(field = "rows.due", row = 3L))
})

test_that("a risk and its interval are those of the coefficients and their covariance", {
  one <- list(
    horizon = 28, idle_levels = c(0, 5),
    covariates = list(a_t = list(median = 1, mean = 2, sd = 4, missing = TRUE)),
    holidays = list(mean = 1, sd = 2), weekdays = 3,
    terms = c("intercept", "idle_5", "a_t", "a_t_missing", "a_t_idle", "weekday_3", "holidays"),
    coefficients = c(-1, 0.5, 0.3, 0.2, -0.7, 0.4, 0.6), covariance = diag(0.01, 7) + 0.002, recency = NULL
  )
  rows <- data.table::data.table(
    student_id = c("s", "t"), idle = c(4, 0), weekday = c(3, 1), a_t = c(6, NA), e_t = 0, r_t = 0,
    mean_gap = 0, session_rate = 0, holidays_28 = c(5, 0)
  )
  x <- rbind(c(1, 1, 1, 0, -2 / 7, 1, 2), c(1, 0, -1 / 4, 1, 1 / 4, 0, -1 / 2))
  logit <- drop(x %*% one$coefficients)
  se <- sqrt(0.01 * rowSums(x^2) + 0.002 * rowSums(x)^2)
  risks <- forecast$predict_survival(rows, list(one))$risks
  expect_equal(risks$risk, 1 / (1 + exp(-logit)), tolerance = 1e-7)
  expect_equal(risks$risk_lower, 1 / (1 + exp(-logit + 1.6448536 * se)), tolerance = 1e-7)
  expect_equal(risks$risk_upper, 1 / (1 + exp(-logit - 1.6448536 * se)), tolerance = 1e-7)
  expect_identical(risks[1:2], list(student_id = c("s", "t"), horizon = c(28, 28)))
})

test_that("the model as JSON predicts what the fit itself does, whatever the order of horizons and rows", {
  expect_equal(predicted(written(risk_model)), predicted(), tolerance = 1e-7)
  expect_identical(predicted(risk_model[3:1]), predicted())
  backwards <- predicted(rows = new[200:1, ])
  expect_equal(lapply(backwards, function(values) values[200:1, ]), predicted(), tolerance = 1e-7)
  risks <- forecast$predict_survival(new, risk_model)$risks
  expect_identical(risks$student_id, rep(new$student_id, 3))
  expect_identical(risks$horizon, rep(c(7, 14, 28), each = 200))
})

test_that("calibrated on new students of the same family", {
  set.seed(5)
  many <- simulate_landmarks(4000, 5)
  of <- predicted(rows = many)
  for (i in 1:3) {
    happened <- many[[paste0("event_", c(7, 14, 28)[i])]]
    error <- sqrt(sum(of$risk[, i] * (1 - of$risk[, i]))) / nrow(many)
    expect_lt(abs(mean(happened) - mean(of$risk[, i])), 0.02 + 3 * error)
  }
})

test_that("without the whole model idle days alone are used, and without those nothing but the zeros", {
  fallback <- risk_model
  fallback[[2]][c("coefficients", "covariance")] <- list(NULL)
  fallback[[3]][c("coefficients", "covariance", "recency")] <- list(NULL)
  result <- forecast$predict_survival(new, written(fallback))
  expect_identical(result$models$model, c("full", "recency", "none"))
  risk <- matrix(result$risks$risk, 200)
  beta <- risk_model[[2]]$recency
  level <- c(0, beta$coefficients[-1])[match(new$idle, risk_model[[2]]$idle_levels)]
  expect_equal(risk[, 2], pmax(risk[, 1], plogis(beta$coefficients[1] + level)), tolerance = 1e-7)
  expect_equal(risk[, 3], risk[, 2]) # the cumulative maximum of what is known

  unknown <- forecast$fit_survival(landmarks[1:20, ])$risk_model
  risks <- forecast$predict_survival(new, written(unknown[1]))$risks
  expect_identical(is.na(risks$risk), new$idle >= 7)
  expect_identical(risks$risk[new$idle < 7], rep(0, sum(new$idle < 7)))
})

test_that("parameters that fit no design are refused by name", {
  refused <- function(change, status, field) {
    problem <- tryCatch(
      forecast$predict_survival(new, written(change(risk_model))), problem = identity
    )
    expect_identical(problem$status, status)
    expect_identical(problem$errors[[1]]$field, field)
  }
  first <- function(name, value) {
    function(models) {
      models[[1]][[name]] <- value
      models
    }
  }
  at <- function(name) paste0("risk_model[1].", name)
  size <- length(risk_model[[1]]$terms)
  refused(first("horizon", 9), 422L, "risk_model.horizon")
  refused(first("horizon", 14), 422L, "risk_model.horizon")
  refused(first("horizon", "7"), 400L, at("horizon"))
  refused(first("coefficients", rep(0.5, size - 1)), 422L, at("coefficients"))
  refused(first("coefficients", rep("x", size)), 400L, at("coefficients"))
  refused(first("covariance", matrix(0.5, size, size - 1)), 400L, at("covariance"))
  refused(first("covariance", diag(size - 1)), 422L, at("covariance"))
  refused(first("covariance", diag(-1, size)), 422L, at("covariance"))
  refused(first("terms", c("intercept", rep("theta", size - 1))), 422L, at("terms"))
  refused(first("terms", rep("intercept", size)), 422L, at("terms"))
  refused(first("idle_levels", c(7, 20)), 422L, at("idle_levels"))
  refused(first("holidays", list(mean = 0, sd = 0)), 422L, at("holidays.sd"))
  refused(first("holidays", list(mean = 0)), 400L, at("holidays.sd"))
  refused(first("covariates", list(theta = 1)), 400L, at("covariates.theta"))
  refused(first("extra", 1), 400L, at("extra"))
  refused(function(models) list(), 400L, "risk_model")
  refused(function(models) models[[1]], 400L, "risk_model")
})
