# The glmm service through HTTP.

service <- start_service("glmm")
set.seed(21)
scores <- simulate_topic_scores(40, 6, 3)
scores[, c("score", "se") := list(round(score, 6), round(se, 6))] # numbers that JSON and CSV hold exactly
answers <- simulate_item_answers(30, 4, 5)
answers[, c("a", "b") := list(round(a, 6), round(b, 6))]
rows <- simulate_covariate_answers(40, 12)
arrays <- function(table) lapply(as.list(table), I)
csv <- function(table) paste(capture.output(data.table::fwrite(table, na = "")), collapse = "\n")
numbers <- function(list) vapply(list, function(x) if (is.null(x)) NA_real_ else as.numeric(x), 0)
as_csv <- function(path, table, ...) {
  options <- jsonlite::toJSON(list(...), auto_unbox = TRUE, null = "null", digits = NA)
  options <- utils::URLencode(options, reserved = TRUE)
  path <- if (...length()) paste0(path, "?options=", options) else path
  finished(service, path, csv(table), "Content-Type" = "text/csv")
}

test_that("a trend arrives as the engine makes it", {
  result <- finished(service, "/glmm/fit_progress", list(rows = arrays(scores)))$result
  expected <- glmm$fit_progress(scores)
  expect_setequal(names(result), names(expected))
  expect_identical(result$engine, "lme4")
  for (part in c("fixed_effects", "students", "topics")) {
    expect_identical(names(result[[part]]), names(expected[[part]]))
    for (name in setdiff(names(expected[[part]]), c("term", "student_id", "topic_id"))) {
      expect_equal(numbers(result[[part]][[name]]), expected[[part]][[name]], tolerance = 1e-6)
    }
  }
  expect_identical(unlist(result$students$student_id), expected$students$student_id)
  expect_equal(
    do.call(rbind, lapply(result$fixed_covariance, numbers)), expected$fixed_covariance, tolerance = 1e-6
  )
  expect_equal(result$random, expected$random, tolerance = 1e-6)
  expect_equal(result$metrics, expected$metrics, tolerance = 1e-6)
  expect_identical(result$fit_meta$messages, list())
  expect_identical(result$fit_meta$n_topics, 3L)
})

test_that("JSON and CSV give the same answer on every route", {
  expect_identical(
    as_csv("/glmm/fit_progress", scores, reml = FALSE)$result,
    finished(service, "/glmm/fit_progress", list(rows = arrays(scores), reml = FALSE))$result
  )
  trend <- as_csv("/glmm/fit_progress", answers, family = "binomial")$result
  expect_identical(
    trend, finished(service, "/glmm/fit_progress", list(rows = arrays(answers), family = "binomial"))$result
  )
  expect_identical(trend$fit_meta$n_agq, 1L)
  expect_null(trend$random$residual)
  model <- as_csv("/glmm/fit", rows, fixed = I("hints"))$result$model
  expect_equal(
    finished(service, "/glmm/fit", list(rows = arrays(rows), fixed = I("hints")))$result$model, model,
    tolerance = 1e-9
  )
  expect_identical(unlist(model$random$factor), c("student_id", "item_id"))
  new <- rows[, c("student_id", "item_id", "hints")]
  body <- list(rows = arrays(new), model = model)
  text <- jsonlite::toJSON(body, auto_unbox = TRUE, null = "null", digits = NA)
  predicted <- finished(service, "/glmm/predict", unclass(text))$result$predictions
  direct <- glmm$fit_answers(rows, "hints")$model
  expected <- glmm$predict_answers(rows, direct)$predictions
  expect_equal(numbers(predicted$probability), expected$probability, tolerance = 1e-6)
  expect_equal(as_csv("/glmm/predict", new, model = model)$result$predictions, predicted, tolerance = 1e-9)
})

test_that("arrays stay arrays at length one", {
  one <- list(student_id = I("s"), hints = I(1))
  model <- list(
    fixed = list(term = I("intercept"), estimate = I(1)),
    effects = list(student_id = list(level = I("s"), effect = I(-1)))
  )
  model_with <- list(
    fixed = list(term = c("intercept", "hints"), estimate = c(1, 2)),
    effects = structure(list(), names = character())
  )
  result <- finished(service, "/glmm/predict", list(rows = one["student_id"], model = model))$result
  expect_identical(result, list(predictions = list(probability = list(0.5), linear_predictor = list(0L))))
  result <- finished(service, "/glmm/predict", list(rows = one["hints"], model = model_with))$result
  expect_equal(result$predictions$linear_predictor, list(3))
  single <- scores[scores$topic_id == "t1", ]
  result <- finished(service, "/glmm/fit_progress", list(rows = arrays(single)))$result
  expect_identical(result$topics, list(topic_id = list(), effect = list(), se = list()))
  expect_null(result$random$sd_topic)
})

test_that("what cannot be read is a 400 that names field and row", {
  refused <- function(path, body, field, row = NULL) {
    problem <- finished(service, path, body)$problem
    expect_identical(problem$status, 400L)
    expect_identical(problem$errors[[1]]$field, field)
    expect_identical(problem$errors[[1]]$row, row)
  }
  broken <- arrays(scores)
  broken$score[3] <- NA
  refused("/glmm/fit_progress", list(rows = broken), "rows.score", 3L)
  refused("/glmm/fit_progress", list(rows = arrays(scores), nagq = 3), "nagq")
  refused("/glmm/fit_progress", list(rows = arrays(scores), reml = "yes"), "reml")
  refused("/glmm/fit_progress", list(rows = arrays(answers), family = "binomial", reml = TRUE), "reml")
  refused("/glmm/fit_progress", list(rows = arrays(answers)), "rows.score")
  refused("/glmm/fit", list(rows = arrays(rows), fixed = I("a b")), "fixed")
  refused("/glmm/fit", list(rows = arrays(rows), fixed = I("student_id")), "fixed")
  refused("/glmm/fit", list(rows = arrays(rows), fixed = 1), "fixed")
  refused("/glmm/fit", list(rows = arrays(rows), fixed = I("speed")), "rows.speed")
  refused("/glmm/fit", list(rows = arrays(rows)), "rows.hints") # no column that the model has no place for
  problem <- finished(service, "/glmm/predict", list(rows = arrays(rows), model = 3))$problem
  expect_identical(problem$status, 400L)
  model <- list(fixed = list(term = I("system('x')"), estimate = I(1)), effects = list(a = 1))
  refused("/glmm/predict", list(rows = arrays(rows), model = model), "model.effects.a")
})

test_that("what the statistics cannot be done on is a 422", {
  problem <- finished(service, "/glmm/fit_progress", list(rows = arrays(scores), family = "poisson"))$problem
  expect_identical(problem[c("status", "title")], list(status = 422L, title = "Unprocessable Content"))
  expect_identical(problem$errors[[1]]$field, "family")
  one_week <- scores[scores$week == -0.5, ]
  problem <- as_csv("/glmm/fit_progress", one_week)$problem
  expect_identical(problem$status, 422L)
  expect_match(problem$detail, "one has no trend")
})

test_that("a running fit tells how far it is, and the service answers meanwhile", {
  set.seed(22)
  many <- simulate_topic_scores(1500, 12, 3)
  job <- post(service, "/glmm/fit_progress", csv(many), headers = list("Content-Type" = "text/csv"))
  expect_identical(job$status, 202L)
  state <- function() get(service, job$headers[["location"]])$json
  seen <- 0L
  wait_until(
    {
      expect_identical(get(service, "/healthz")$status, 200L)
      at <- state()
      if (!is.null(at$progress)) seen <- max(seen, at$progress$evaluations)
      at$state == "succeeded"
    },
    seconds = 90
  )
  expect_gt(seen, 0L)
})

test_that("GET /openapi.json has the routes, and only who has the token may ask", {
  paths <- get(service, "/openapi.json")$json$paths
  expect_true(all(c("/glmm/fit_progress", "/glmm/fit", "/glmm/predict", "/jobs/{id}") %in% names(paths)))
  expect_true("lme4" %in% names(get(service, "/metadata")$json$packages))
  response <- request(
    utils::modifyList(service, list(token = NULL)), "POST", "/glmm/fit", body = list(rows = arrays(rows))
  )
  expect_identical(response$status, 401L)
})

service$process$kill()
