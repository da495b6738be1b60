# The forecast service through HTTP.

service <- start_service("forecast")
set.seed(9)
landmarks <- simulate_landmarks(300, 5)
gaps <- simulate_gaps(100, 5)
new <- simulate_positions(50, 1)
arrays <- function(table) lapply(as.list(table), I)
csv <- function(table) paste(capture.output(data.table::fwrite(table, na = "")), collapse = "\n")
numbers <- function(list) vapply(list, function(x) if (is.null(x)) NA_real_ else as.numeric(x), 0)

test_that("a fit arrives as the engine makes it, and predicts from its JSON alone", {
  body <- list(landmarks = arrays(landmarks), gaps = arrays(gaps))
  result <- finished(service, "/survival/fit", body)$result
  expected <- forecast$fit_survival(landmarks, gaps)
  expect_identical(result$engine, "plumber")
  for (i in 1:3) {
    of <- result$risk_model[[i]]
    expect_equal(numbers(of$coefficients), c(expected$risk_model[[i]]$coefficients), tolerance = 1e-9)
    expect_equal(
      do.call(rbind, lapply(of$covariance, numbers)), expected$risk_model[[i]]$covariance, tolerance = 1e-9
    )
    expect_identical(of$status, "fitted")
    expect_setequal(names(of), names(expected$risk_model[[i]]))
  }
  expect_equal(numbers(result$cox$coef), c(expected$cox$coef), tolerance = 1e-9)
  expect_identical(unlist(result$cox$ph_test$name), c(forecast$COVARIATES, "GLOBAL"))

  body <- list(rows = arrays(new), risk_model = result$risk_model)
  text <- jsonlite::toJSON(body, auto_unbox = TRUE, null = "null", na = "null", digits = NA)
  # fromJSON made lists of the arrays: an unboxed element is one of them all the same
  risks <- finished(service, "/survival/predict", unclass(text))$result$risks
  direct <- forecast$predict_survival(new, expected$risk_model)$risks
  expect_identical(unlist(risks$student_id), direct$student_id)
  for (name in c("horizon", "risk", "risk_lower", "risk_upper")) {
    expect_equal(numbers(risks[[name]]), direct[[name]], tolerance = 1e-7)
  }
})

test_that("JSON and CSV give the same answer on every route", {
  as_csv <- function(path, table, ...) {
    options <- utils::URLencode(jsonlite::toJSON(list(...), auto_unbox = TRUE, digits = NA), reserved = TRUE)
    path <- if (...length()) paste0(path, "?options=", options) else path
    finished(service, path, csv(table), "Content-Type" = "text/csv")$result
  }
  json <- finished(service, "/survival/fit", list(landmarks = arrays(landmarks), horizons = I(28)))$result
  expect_equal(as_csv("/survival/fit", landmarks, horizons = I(28)), json, tolerance = 1e-9)
  expect_identical(numbers(lapply(json$risk_model, `[[`, "horizon")), 28)
  expect_null(json$cox)
  expect_equal(
    as_csv("/survival/cox", gaps), finished(service, "/survival/cox", list(gaps = arrays(gaps)))$result,
    tolerance = 1e-9
  )
  idle_only <- list(list(
    horizon = 14, idle_levels = I(c(0, 7)), covariates = structure(list(), names = character()),
    holidays = NULL, weekdays = I(numeric()), terms = NULL, coefficients = NULL, covariance = NULL,
    recency = list(terms = c("intercept", "idle_7"), coefficients = c(-2, 1), covariance = diag(0.1, 2))
  ))
  body <- list(rows = arrays(new), risk_model = idle_only)
  text <- jsonlite::toJSON(body, auto_unbox = TRUE, null = "null", na = "null", digits = NA)
  by_json <- finished(service, "/survival/predict", unclass(text))$result
  model <- jsonlite::toJSON(list(risk_model = idle_only), auto_unbox = TRUE, null = "null", digits = NA)
  by_csv <- finished(
    service, paste0("/survival/predict?options=", utils::URLencode(model, reserved = TRUE)), csv(new),
    "Content-Type" = "text/csv"
  )$result
  expect_identical(by_csv, by_json)
  expect_identical(by_json$models, list(horizon = list(14L), model = list("recency")))
  expect_equal(numbers(by_json$risks$risk), plogis(ifelse(new$idle >= 4, -1, -2)), tolerance = 1e-7)
})

test_that("a whole model fits into the URL beside a CSV body", {
  risk_model <- forecast$fit_survival(landmarks)$risk_model
  options <- jsonlite::toJSON(list(risk_model = risk_model), auto_unbox = TRUE, null = "null", digits = I(9))
  path <- paste0("/survival/predict?options=", utils::URLencode(options, reserved = TRUE))
  risks <- finished(service, path, csv(new), "Content-Type" = "text/csv")$result$risks
  direct <- forecast$predict_survival(new, risk_model)$risks
  for (name in c("risk", "risk_lower", "risk_upper")) {
    expect_equal(numbers(risks[[name]]), direct[[name]], tolerance = 1e-7)
  }
})

test_that("the days that a silence needs come as JSON and as CSV, or are refused", {
  later <- data.table::copy(landmarks)
  later$due <- 14 - later$idle + (seq_len(nrow(later)) %% 2) * 3
  for (horizon in c(7, 14, 28)) later[[paste0("event_", horizon)]][later$due > horizon] <- 0L
  json <- finished(service, "/survival/fit", list(landmarks = arrays(later)))$result
  text <- finished(service, "/survival/fit", csv(later), "Content-Type" = "text/csv")$result
  expect_equal(text, json, tolerance = 1e-9)
  rows_of_fit <- function(result) numbers(lapply(result$risk_model, `[[`, "n"))
  possible <- vapply(c(7, 14, 28), function(horizon) sum(later$due <= horizon) + 0, 0)
  expect_identical(rows_of_fit(json), possible)
  refused <- function(value, status) {
    later$due[2] <- value
    for (problem in list(
      finished(service, "/survival/fit", list(landmarks = arrays(later)))$problem,
      finished(service, "/survival/fit", csv(later), "Content-Type" = "text/csv")$problem
    )) {
      expect_identical(problem$status, status)
      expect_identical(problem$errors[[1]][c("field", "row")], list(field = "landmarks.due", row = 2L))
    }
  }
  refused(0, 422L)
  refused(15.5, 422L)
  refused(NA, 400L)
})

test_that("arrays stay arrays at length one, and what is not estimated is null", {
  one <- list(
    student_id = I("s"), idle = I(3), weekday = I(1), a_t = I(NA), e_t = I(NA), r_t = I(NA), mean_gap = I(NA),
    session_rate = I(NA), holidays_7 = I(0), holidays_14 = I(0), holidays_28 = I(0), event_7 = I(0),
    event_14 = I(0), event_28 = I(NA)
  )
  response <- post(service, "/survival/fit", list(landmarks = one), headers = list(Prefer = "wait=20"))
  for (model in response$json$result$risk_model) {
    expect_identical(model$status, "too few events")
    expect_null(model$coefficients)
  }
  expect_length(response$json$result$risk_model, 3L)
  same <- data.table::copy(landmarks)
  constant <- list(idle = 5, weekday = 1, event_7 = 0, holidays_14 = 1)
  constant[forecast$COVARIATES] <- 1
  for (name in names(constant)) same[[name]] <- constant[[name]]
  body <- list(landmarks = arrays(same), horizons = I(14))
  response <- post(service, "/survival/fit", body, headers = list(Prefer = "wait=20"))
  expect_match(response$text, '"idle_levels":[5],"covariates":{},"holidays":null,"weekdays":[]', fixed = TRUE)
  expect_match(response$text, '"terms":["intercept"],"coefficients":[-', fixed = TRUE)
})

test_that("what is wrong with a request is named", {
  refused <- function(path, body, status, field = NULL, row = NULL, ...) {
    problem <- finished(service, path, body, ...)$problem
    expect_identical(problem$status, status)
    if (!is.null(field)) expect_identical(problem$errors[[1]]$field, field)
    expect_identical(problem$errors[[1]]$row, row)
  }
  fit <- "/survival/fit"
  changed <- function(name, value) {
    columns <- arrays(landmarks)
    columns[[name]][2] <- value
    list(landmarks = columns)
  }
  refused(fit, list(gaps = arrays(gaps)), 400L, "landmarks")
  refused(fit, list(landmarks = arrays(landmarks)[-2]), 400L, "landmarks.idle")
  refused(fit, list(landmarks = c(arrays(landmarks), list(theta = I(0)))), 400L, "landmarks.theta")
  refused(fit, changed("idle", NA), 400L, "landmarks.idle", 2L)
  refused(fit, changed("event_14", 2L), 400L, "landmarks.event_14", 2L)
  refused(fit, changed("idle", 14), 422L, "landmarks.idle", 2L)
  refused(fit, c(list(landmarks = arrays(landmarks)), list(horizons = I(c(7, 10)))), 422L, "horizons", 2L)
  refused(fit, c(list(landmarks = arrays(landmarks)), list(horizons = "7")), 400L, "horizons")
  refused("/survival/cox", list(gaps = arrays(gaps)[-3]), 400L, "gaps.a_t")
  refused("/survival/predict", list(rows = arrays(new), risk_model = list()), 400L, "risk_model")

  text <- strsplit(csv(landmarks), "\n")[[1]]
  as_text <- function(lines) paste(lines, collapse = "\n")
  type <- list("Content-Type" = "text/csv")
  refused_csv <- function(lines, ...) do.call(refused, c(list(fit, as_text(lines), 400L, ...), type))
  refused_csv(sub("^(s000001),[0-9]+,", "\\1,three,", text), "landmarks.idle", 1L)
  refused_csv(sub("a_t", "idle", text[1:3]), "landmarks.a_t")
  refused_csv(sub("^(s000001),[0-9]+,", "\\1,NaN,", text), "landmarks.idle", 1L)
})

test_that("a problem is problem+json, the service describes itself, and strangers are refused", {
  broken <- post(service, "/survival/fit", "{")
  expect_identical(broken$status, 400L)
  expect_identical(broken$headers[["content-type"]], "application/problem+json")
  stranger <- utils::modifyList(service, list(token = "battery staple"))
  for (path in c("/survival/fit", "/survival/cox", "/survival/predict")) {
    expect_identical(post(stranger, path, list(a = 1))$status, 401L)
    expect_identical(get(service, path)$status, 405L)
  }
  metadata <- get(service, "/metadata")$json
  expect_identical(metadata$service, "forecast")
  expect_identical(metadata$packages$survival, as.character(getNamespaceVersion("survival"))[[1]])
  api <- get(service, "/openapi.json")$json
  for (path in c("/survival/fit", "/survival/cox", "/survival/predict")) {
    expect_setequal(names(api$paths[[path]]$post$requestBody$content), c("application/json", "text/csv"))
  }
})

service$process$kill()
