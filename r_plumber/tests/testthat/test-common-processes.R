# Processes: who starts, who works while others work, who dies, and what is left.

run <- function(..., env = character()) {
  processx::run(
    "Rscript", c(file.path(R_PLUMBER, "common", "serve.R"), ...),
    env = c("current", R_IRT_INTERNAL_TOKEN = "", R_TESTS = "", env), error_on_status = FALSE, timeout = 30,
    stderr_to_stdout = TRUE
  )
}

test_that("a service without a token starts on a loopback address with --insecure only", {
  for (arguments in list(character(), c("--host", "0.0.0.0", "--insecure"))) {
    refused <- run("irt", "--port", httpuv::randomPort(), arguments)
    expect_identical(refused$status, 1L)
    expect_match(refused$stdout, "R_IRT_INTERNAL_TOKEN is not set")
  }
  service <- start_service("echo", token = NULL)
  expect_identical(get(service, "/metadata")$status, 200L)
  service$process$kill()
})

test_that("what cannot start says why", {
  expect_match(run("--help")$stdout, "R_SERVICE_MAX_BODY_BYTES")
  expect_identical(run("--help")$status, 0L)
  expect_match(run("chess", "--insecure")$stdout, "Name one service of: forecast, glmm, growth, irt")
  confused <- run("irt", "--insecure", env = c(R_SERVICE_MAX_ROWS = "many"))
  expect_match(confused$stdout, "R_SERVICE_MAX_ROWS must be a positive number")
  service <- start_service("echo")
  port <- sub(".*:", "", service$url)
  taken <- run("irt", "--insecure", "--port", port)
  expect_identical(taken$status, 1L)
  expect_match(taken$stdout, port)
  service$process$kill()
})

test_that("a service whose name the environment does not use says which token it needs", {
  refused <- run("growth", "--port", httpuv::randomPort(), env = c(R_BRMS_INTERNAL_TOKEN = ""))
  expect_identical(refused$status, 1L)
  expect_match(refused$stdout, "R_BRMS_INTERNAL_TOKEN is not set")
})

test_that("a service that awaits a file is ready while it is there", {
  awaited <- tempfile("awaited-")
  file.create(awaited)
  service <- start_service("echo", R_ECHO_AWAITS = awaited)
  unlink(awaited)
  unready <- get(service, "/readyz")
  expect_identical(unready$status, 503L)
  expect_match(unready$headers[["retry-after"]], "^[0-9]+$")
  expect_identical(unready$json$detail, sprintf("Missing: %s. Make it with: touch it", awaited))
  expect_identical(get(service, "/metadata")$status, 200L)
  file.create(awaited)
  expect_identical(get(service, "/readyz")$status, 200L)
  service$process$kill()
})

test_that("a full queue is a 503, health is answered meanwhile, and every job gets its turn", {
  service <- start_service("echo", R_SERVICE_MAX_QUEUE = "2")
  jobs <- lapply(1:3, function(i) post(service, "/echo", list(sleep = 1))$headers$location)
  states <- vapply(jobs, function(job) get(service, job)$json$state, "")
  expect_identical(states, c("running", "queued", "queued"))
  full <- post(service, "/echo", list(sleep = 0))
  expect_identical(full$status, 503L)
  expect_match(full$headers[["retry-after"]], "^[0-9]+$")
  expect_identical(get(service, "/healthz")$status, 200L)
  expect_identical(get(service, jobs[[2]])$json$state, "queued") # health did not wait for the fit
  wait_until("progress" %in% names(get(service, jobs[[2]])$json))
  expect_gt(get(service, jobs[[2]])$json$progress$left, 0)
  wait_until(get(service, jobs[[3]])$json$state == "succeeded")
  service$process$kill()
})

test_that("two workers do two jobs at a time", {
  service <- start_service("echo", arguments = c("--workers", "2"))
  wait_until(length(workers_of(service)) == 2L)
  jobs <- lapply(1:3, function(i) post(service, "/echo", list(sleep = 1.5))$headers$location)
  wait_until({
    states <- vapply(jobs, function(job) get(service, job)$json$state, "")
    identical(states, c("running", "running", "queued"))
  })
  wait_until(get(service, jobs[[3]])$json$state == "succeeded")
  pids <- vapply(jobs[1:2], function(job) get(service, job)$json$result$pid, 1L)
  expect_length(unique(pids), 2L)
  service$process$kill()
})

test_that("a worker that dies fails its job only, and is replaced", {
  service <- start_service("echo")
  waiting <- post(service, "/echo", list(fail = "death"))$headers$location
  job <- finished(service, "/echo", "{}")
  expect_identical(job$state, "succeeded")
  dead <- get(service, waiting)$json
  expect_identical(dead$state, "failed")
  expect_identical(dead$problem$status, 500L)
  logged <- Filter(function(line) identical(line$id, dead$problem$id), log_lines(service))
  expect_identical(vapply(logged, `[[`, "", "state"), c("queued", "failed"))

  lapply(workers_of(service), ps::ps_kill) # an idle one
  wait_until(finished(service, "/echo", "{}")$state == "succeeded")
  expect_false(finished(service, "/echo", "{}")$result$pid == job$result$pid)
  service$process$kill()
})

test_that("time and memory of a job are limited", {
  service <- start_service("echo", R_SERVICE_MAX_JOB_SECONDS = "1", R_SERVICE_WORKER_MEMORY_MB = "200")
  slow <- finished(service, "/echo", list(sleep = 60))
  expect_identical(slow$problem$status, 422L)
  expect_match(slow$problem$detail, "longer than 1 seconds")
  large <- finished(service, "/echo", list(allocate = 1e8))
  expect_identical(large$problem$status, 413L)
  expect_identical(finished(service, "/echo", list(allocate = 1e6))$result$allocated, 1000000L)
  service$process$kill()
})

test_that("a finished job is forgotten, with its files", {
  service <- start_service("echo", R_SERVICE_KEEP_SECONDS = "1", R_SERVICE_SWEEP_SECONDS = "1")
  job <- finished(service, "/echo", "{}", "Idempotency-Key" = "k")
  wait_until(get(service, paste0("/jobs/", job$id))$status == 404L)
  expect_false(identical(finished(service, "/echo", "{}", "Idempotency-Key" = "k")$id, job$id))
  service$process$kill()
})

test_that("nothing outlives a service, however it ends", {
  endings <- list(
    terminated = tools::SIGTERM, interrupted = tools::SIGINT, killed = tools::SIGKILL
  )
  for (name in names(endings)) {
    temporary <- tempfile("spool-")
    dir.create(temporary)
    service <- start_service("echo", TMPDIR = temporary)
    location <- post(service, "/echo", list(sleep = 60))$headers$location
    wait_until(get(service, location)$json$state == "running")
    family <- ps::ps_children(ps::ps_handle(service$process$get_pid()), recursive = TRUE)
    expect_gte(length(family), 2L)
    expect_length(list.files(temporary), 1L)
    service$process$signal(endings[[name]])
    wait_until(!service$process$is_alive(), paste(name, "service did not end"), seconds = 5)
    wait_until(all(vapply(family, is_gone, TRUE)), paste(name, "service left a process"), seconds = 5)
    wait_until(length(list.files(temporary)) == 0L, paste(name, "service left files"), seconds = 5)
    expect_length(list.files(temporary), 0L)
  }
})

test_that("a worker found dead when it is called refuses the call and is replaced", {
  common <- new.env()
  for (file in c("logging.R", "worker.R")) sys.source(file.path(R_PLUMBER, "common", "R", file), common)
  folder <- tempfile("workers-")
  dir.create(file.path(folder, "workers"), recursive = TRUE)
  worker <- common$Worker$new(character(), folder, memory_mb = 1024)
  free <- function() {
    worker$poll()
    worker$is_free()
  }
  process <- function() as.integer(list.files(file.path(folder, "workers")))
  wait_until(free())
  first <- process()
  tools::pskill(first, tools::SIGKILL)
  wait_until(!first %in% ps::ps_pids() || ps::ps_status(ps::ps_handle(first)) == "zombie")
  Sys.sleep(1) # its last thread closes the pipe a moment later
  capture.output(taken <- worker$run(identity, list(1), max_seconds = 10, done = stop), type = "message")
  expect_false(taken)

  wait_until(free())
  expect_false(process() == first)
  outcome <- NULL
  expect_true(worker$run(identity, list(1), max_seconds = 10, done = function(given) outcome <<- given))
  wait_until({
    worker$poll()
    !is.null(outcome)
  })
  expect_identical(outcome, list(result = 1))
  ps::ps_kill(ps::ps_handle(process()))
})
