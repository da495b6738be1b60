# The HTTP contract, on a service that has no statistics.

service <- start_service("echo", R_SERVICE_MAX_BODY_BYTES = "2e6", R_SERVICE_MAX_ROWS = "1000")
rows <- list(name = I(c("a", "b")), right = I(c(TRUE, NA)), size = I(c(0.1, 2)))

expect_problem <- function(response, status) {
  expect_identical(response$status, status)
  expect_identical(response$headers[["content-type"]], "application/problem+json")
  expect_identical(response$json$status, status)
  members <- c("type", "title", "status", "detail", "errors", if (status == 500L) "id")
  expect_setequal(names(response$json), members)
}

test_that("health and readiness are public, everything else needs the token", {
  stranger <- utils::modifyList(service, list(token = "battery staple"))
  for (path in c("/healthz", "/readyz")) expect_identical(get(stranger, path)$status, 200L)
  for (path in c("/metadata", "/openapi.json", "/jobs/x", "/nowhere")) {
    response <- get(stranger, path)
    expect_problem(response, 401L)
    expect_match(response$headers[["www-authenticate"]], "^Bearer")
  }
  expect_problem(post(stranger, "/echo", list(sleep = 0)), 401L)
  expect_problem(get(service, "/metadata", headers = list(Authorization = "Basic correct horse")), 401L)
  expect_problem(get(service, "/metadata", headers = list(Authorization = "correct horse")), 401L)
  lower <- list(Authorization = "bearer correct horse")
  expect_identical(get(service, "/metadata", headers = lower)$status, 200L)
})

test_that("metadata and the OpenAPI document describe the service", {
  metadata <- get(service, "/metadata")$json
  expect_identical(metadata$service, "echo")
  expect_identical(metadata$version, "0.0.1")
  expect_identical(metadata$models, list("mirror"))
  expect_identical(metadata$packages$data.table, as.character(getNamespaceVersion("data.table"))[[1]])
  expect_identical(metadata$limits$max_rows, 1000L)
  api <- get(service, "/openapi.json")$json
  expect_identical(api$openapi, "3.0.3")
  expect_identical(api$info$title, "Echo")
  expect_identical(api$paths[["/jobs/{id}"]]$get$parameters[[1]]$name, "id")
  expect_identical(api$paths[["/healthz"]]$get$security, list())
})

test_that("a job is accepted, located and read until it has succeeded", {
  accepted <- post(service, "/echo", list(rows = rows))
  expect_identical(accepted$status, 202L)
  expect_identical(accepted$headers$location, paste0("/jobs/", accepted$json$id))
  expect_true(accepted$json$state %in% c("queued", "running"))
  wait_until(get(service, accepted$headers$location)$json$state == "succeeded")
  job <- get(service, accepted$headers$location)$json
  expect_identical(job$result$rows, list(name = list("a", "b"), right = list(1L, NULL), size = list(0.1, 2L)))
  times <- unlist(job[c("submitted_at", "started_at", "finished_at")])
  expect_match(times, "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$")
  expect_false(is.unsorted(times))
})

test_that("columns stay arrays, scalars scalars, digits survive and NA is null", {
  one <- list(name = I("a"), right = I(0), size = I(0.1234567890123))
  response <- post(service, "/echo", list(rows = one), headers = list(Prefer = "wait=20"))
  expect_match(response$text, '"rows":{"name":["a"],"right":[0],"size":[0.1234567890123]}', fixed = TRUE)
  expect_match(response$text, '"unknown":null,"third":0.333333333333333', fixed = TRUE)
})

test_that("Prefer: wait answers at once when the job is done, and 202 when it is not", {
  done <- post(service, "/echo", list(sleep = 0.3), headers = list(Prefer = "respond-async, wait=20"))
  expect_identical(done$status, 200L)
  expect_identical(done$json$state, "succeeded")
  expect_lt(done$seconds, 10)
  early <- post(service, "/echo", list(sleep = 4), headers = list(Prefer = "wait=1"))
  expect_identical(early$status, 202L)
  expect_identical(early$json$state, "running")
  expect_identical(post(service, "/echo", "{}", headers = list(Prefer = "wait=soon"))$status, 202L)
  wait_until(get(service, early$headers$location)$json$state == "succeeded")
})

test_that("an idempotency key gives the same job, and refuses another request", {
  key <- list("Idempotency-Key" = "night-2026-01-05")
  first <- post(service, "/echo", list(sleep = 0.2), headers = key)$json$id
  expect_identical(post(service, "/echo", list(sleep = 0.2), headers = key)$json$id, first)
  expect_problem(post(service, "/echo", list(sleep = 0.3), headers = key), 409L)
  expect_false(identical(post(service, "/echo", list(sleep = 0.2))$json$id, first))
  job <- finished(service, "/echo", list(sleep = 0.2), "Idempotency-Key" = key[[1]])
  expect_identical(job$id, first)
  expect_identical(job$state, "succeeded")
  expect_problem(post(service, "/echo", "{}", headers = list("Idempotency-Key" = strrep("x", 256))), 400L)
})

test_that("the key of a failed job may be used again", {
  failed <- finished(service, "/echo", list(fail = "statistics"), "Idempotency-Key" = "again")
  again <- finished(service, "/echo", list(fail = "statistics"), "Idempotency-Key" = "again")
  expect_identical(again$state, "failed")
  expect_false(identical(again$id, failed$id))
})

test_that("what is not there is a 404, what is not allowed a 405 that says what is", {
  expect_problem(get(service, "/nowhere"), 404L)
  expect_problem(get(service, "/jobs/0123"), 404L)
  expect_problem(get(service, "/jobs/"), 404L)
  for (case in list(c("GET", "/echo", "POST"), c("DELETE", "/jobs/1", "GET"), c("POST", "/healthz", "GET"))) {
    response <- request(service, case[[1]], case[[2]])
    expect_problem(response, 405L)
    expect_identical(response$headers$allow, case[[3]])
  }
})

test_that("a body that cannot be taken is refused", {
  expect_problem(post(service, "/echo", "{\"sleep\": "), 400L)
  expect_problem(post(service, "/echo", as.raw(c(0x7b, 0x00, 0x7d))), 400L)
  expect_problem(post(service, "/echo", ""), 400L)
  form <- list("Content-Type" = "application/x-www-form-urlencoded")
  expect_problem(post(service, "/echo", "a=1", headers = form), 415L)
  expect_problem(post(service, "/echo", "{}", headers = list("Content-Encoding" = "gzip")), 415L)
  expect_problem(post(service, "/echo?modle=2PL", "{}"), 400L)
  expect_problem(post(service, "/echo?options=%7B", "a", headers = list("Content-Type" = "text/csv")), 400L)
  expect_problem(post(service, "/echo", strrep(" ", 2e6 + 1)), 413L)
  stranger <- utils::modifyList(service, list(token = "battery staple"))
  expect_problem(post(stranger, "/echo", strrep(" ", 2e6)), 401L)
  expect_problem(post(service, "/echo", "{}", headers = list("Transfer-Encoding" = "chunked")), 411L)
})

expect_failed <- function(body, status, field = NULL, row = NULL, ...) {
  job <- finished(service, "/echo", body, ...)
  expect_identical(job$state, "failed")
  expect_null(job$result)
  expect_identical(job$problem$status, status)
  if (!is.null(field)) expect_true(field %in% vapply(job$problem$errors, `[[`, "", "field"))
  if (!is.null(row)) expect_identical(job$problem$errors[[1]]$row, row)
  job$problem
}

test_that("a value that cannot be read is named by field and row", {
  with <- function(...) list(rows = utils::modifyList(rows, list(...)))
  expect_failed(with(right = I(c(1, 2))), 400L, "rows.right", 2L)
  expect_failed(with(right = I(c("yes", "no"))), 400L, "rows.right", 1L)
  expect_failed(with(right = I(c("1", "0"))), 400L, "rows.right", 1L)
  expect_failed(with(right = list(1, list(1))), 400L, "rows.right")
  expect_failed(with(name = I(c(1, 2))), 400L, "rows.name", 1L)
  expect_failed(with(name = I(c("a", ""))), 400L, "rows.name", 2L)
  expect_failed(with(name = I(c("a", NA))), 400L, "rows.name", 2L)
  expect_failed(with(size = I(c(1, NA))), 400L, "rows.size", 2L)
  expect_failed(with(size = I(c("1", "2"))), 400L, "rows.size", 1L)
  expect_failed(with(size = I(1)), 400L, "rows")
  expect_failed(list(rows = rows[c("name", "right")]), 400L, "rows.size")
  expect_failed(with(sise = I(1:2)), 400L, "rows.sise")
  expect_failed(list(rows = "a"), 400L, "rows")
  expect_failed(list(rows = list(1, 2)), 400L, "rows")
  expect_failed(list(sleap = 1), 400L, "sleap")
  expect_failed("{\"sleep\": 0, \"sleep\": 1}", 400L, "sleep")
  expect_failed(list(sleep = "long"), 400L, "sleep")
  expect_failed(list(sleep = I(1:2)), 400L, "sleep")
  expect_failed("[1, 2]", 400L)
})

test_that("a broken column is reported in its first rows only", {
  n <- 500
  many <- list(name = as.character(1:n), right = rep(7, n), size = rep(1, n))
  expect_length(expect_failed(list(rows = many), 400L, "rows.right", 1L)$errors, 20L)
})

test_that("too many rows are a 413, impossible statistics a 422", {
  n <- 1001
  expect_failed(list(rows = list(name = as.character(1:n), right = rep(1, n), size = rep(1, n))), 413L)
  problem <- expect_failed(list(fail = "statistics"), 422L, "rows.right", 2L)
  expect_identical(problem$detail, "constant")
})

test_that("a CSV body is its table, and the other fields are in the query", {
  csv <- function(body, options = "{}") {
    finished(
      service, paste0("/echo?options=", utils::URLencode(options, reserved = TRUE)), body,
      "Content-Type" = "text/csv; charset=utf-8"
    )
  }
  rows <- "{\"rows\":{\"name\":[\"x\"],\"right\":[1],\"size\":[2]}}"
  job <- csv("name,right\r\n007,TRUE\r\n\"a, b\",\r\nNA,0\r\n", rows)
  expect_identical(job$result$answers, list(name = list("007", "a, b", "NA"), right = list(1L, NULL, 0L)))
  expect_identical(job$result$rows$name, list("x"))

  refused <- function(...) {
    job <- csv(...)
    expect_identical(job$problem$status, 400L)
    job$problem
  }
  expect_identical(
    lapply(refused("name,right\na,1\nb,2\n,1\n")$errors, `[`, c("field", "row")),
    list(list(field = "answers.name", row = 3L), list(field = "answers.right", row = 2L))
  )
  expect_identical(csv("name,right\na,1\n")$state, "succeeded") # a refused body leaves nothing behind
  expect_identical(refused("name,wrong\na,1\n")$errors[[1]]$field, "answers.right")
  expect_match(refused("name,right\na,1\nb\n")$detail, "cannot be read")
  expect_match(refused("name,right\na,1\n\nb,0\n")$detail, "cannot be read")
  expect_match(refused("\n")$detail, "cannot be read")
  expect_identical(csv("name,right\na,1\n")$state, "succeeded")
  expect_identical(refused("name,right\na,1\n", "{\"answers\":1}")$errors[[1]]$field, "answers")
  expect_identical(refused("name,right\na,1\n", "{\"sleap\":1}")$errors[[1]]$field, "sleap")
})

test_that("a handler that breaks is a 500 whose id is in the log, without what broke", {
  response <- post(service, "/break", "{}")
  expect_problem(response, 500L)
  expect_no_match(response$text, "the handler broke")
  logged <- Filter(function(line) line$event == "error" && line$id == response$json$id, log_lines(service))
  expect_match(logged[[1]]$message, "the handler broke")
})

test_that("work that breaks is a failed job with a 500 whose id is in the log", {
  problem <- expect_failed(list(fail = "error"), 500L)
  expect_no_match(problem$detail, "secret")
  logged <- Filter(function(line) line$event == "job" && line$id == problem$id, log_lines(service))
  logged <- Filter(function(line) line$state == "failed", logged)
  expect_match(logged[[1]]$message, "secret of the service")
})

test_that("the log has a line per request and never what was sent", {
  student <- "7d444840-9dc0-11d1-b245-5ffdce74fad2"
  response <- post(service, "/echo", list(rows = list(name = I(student), right = I(1), size = I(1))))
  logged <- Filter(function(line) identical(line$id, response$headers[["x-request-id"]]), log_lines(service))
  expect_length(logged, 1L)
  expect_identical(
    logged[[1]][c("event", "method", "path", "status")],
    list(event = "request", method = "POST", path = "/echo", status = 202L)
  )
  expect_false(any(grepl(student, readLines(service$log), fixed = TRUE)))
  expect_false(any(grepl(service$token, readLines(service$log), fixed = TRUE)))
})

test_that("the workers do not know the token", {
  expect_identical(finished(service, "/echo", "{}")$result$token, "")
})

service$process$kill()
