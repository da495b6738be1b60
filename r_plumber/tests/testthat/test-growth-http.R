# The growth service through HTTP. It runs where no compiler is on the PATH.

models <- compiled_models()

# A folder with every program of this machine but those that compile
without_compiler <- local({
  folder <- tempfile("programs-")
  dir.create(folder)
  programs <- list.files(strsplit(Sys.getenv("PATH"), ":")[[1]], full.names = TRUE)
  compilers <- "^(make|gmake|cc|c99|c89|c\\+\\+|.*g\\+\\+.*|.*gcc.*|.*clang.*|cpp.*)$"
  programs <- programs[!grepl(compilers, basename(programs)) & !duplicated(basename(programs))]
  file.symlink(normalizePath(programs, mustWork = FALSE), file.path(folder, basename(programs)))
  folder
})
growth_service <- function(...) {
  start_service("growth", R_BRMS_INTERNAL_TOKEN = "correct horse", R_BRMS_MODELS_DIR = models, ...)
}
service <- growth_service(PATH = without_compiler, R_SERVICE_CORES = "2")
arrays <- function(table) lapply(as.list(table), I)
numbers <- function(list) vapply(list, function(x) if (is.null(x)) NA_real_ else as.numeric(x), 0)
scores <- simulate_scores(20, 5, seed = 8)
short <- list(chains = 2L, samples = 100L, warmup = 100L, seed = 7L, keep_draws = 50L)

# The processes below a service, and those that are busy with a chain
family_of <- function(service) ps::ps_children(ps::ps_handle(service$process$get_pid()), recursive = TRUE)
chains_of <- function(service) {
  Filter(function(process) {
    tryCatch("R" %in% ps::ps_name(process), error = function(e) FALSE)
  }, unlist(lapply(workers_of(service), ps::ps_children), recursive = FALSE))
}
long <- c(list(scores = arrays(simulate_scores(300, 6, seed = 9))), list(samples = 50000L))

test_that("a fit arrives as the engine makes it, without a compiler, from JSON and from CSV", {
  paths <- processx::run(
    "which", c("g++", "make"), env = c("current", PATH = without_compiler), error_on_status = FALSE
  )
  expect_identical(paths$stdout, "")
  json <- finished(service, "/growth/fit", c(list(scores = arrays(scores)), short))$result
  expected <- do.call(growth$fit_growth, c(list(scores), short, cores = 2))
  for (name in growth$PARAMETERS) {
    expect_equal(numbers(json$draws[[name]]), expected$draws[[name]], tolerance = 1e-12)
  }
  summary <- expected$posterior_summary
  for (name in c("mean", "sd", "q5", "q50", "q95", "rhat", "ess_bulk", "ess_tail")) {
    expect_equal(numbers(json$posterior_summary[[name]]), summary[[name]], tolerance = 1e-12)
  }
  told <- c("engine", "model", "formula", "n", "n_students")
  expect_identical(json[told], expected[told])
  expect_identical(json$priors$week, list(0L, 0.5))
  expect_identical(json$priors$lkj, 2L)
  expect_setequal(names(json), names(expected))

  options <- utils::URLencode(jsonlite::toJSON(short, auto_unbox = TRUE), reserved = TRUE)
  text <- paste(capture.output(data.table::fwrite(scores)), collapse = "\n")
  csv <- finished(service, paste0("/growth/fit?options=", options), text, "Content-Type" = "text/csv")$result
  json$diagnostics$seconds <- csv$diagnostics$seconds <- NULL
  expect_identical(csv, json)
})

test_that("a prediction arrives as the engine makes it", {
  draws <- simulate_draws(30, seed = 2)
  goals <- data.table::data.table(student_id = c("s00003", "new"), goal_week = c(4, -1.5), target = c(0.5, 0))
  body <- list(scores = arrays(scores), draws = arrays(draws), goals = arrays(goals))
  found <- finished(service, "/growth/predict", body)$result$goals
  expected <- growth$predict_growth(scores, draws, goals)$goals
  expect_identical(unlist(found$student_id), goals$student_id)
  expect_identical(unlist(found$n_scores), c(5L, 0L))
  for (name in c("p_goal", "p_lower", "p_upper", "mu", "sigma")) {
    expect_equal(numbers(found[[name]]), expected[[name]], tolerance = 1e-9)
  }
  one <- list(
    scores = list(student_id = list(), week = list(), score = list(), se = list()),
    draws = arrays(draws[1, ]), goals = arrays(goals[2, ])
  )
  found <- finished(service, "/growth/predict", one)$result$goals
  expect_identical(found$p_lower, list(NULL))
  expect_length(found$p_goal, 1L)
})

test_that("a fit reports its progress, and health is answered meanwhile", {
  location <- post(service, "/growth/fit", utils::modifyList(long, list(samples = 500L)))$headers$location
  shares <- numeric()
  wait_until(seconds = 120, {
    expect_identical(get(service, "/healthz")$status, 200L)
    job <- get(service, location)$json
    if (!is.null(job$progress)) shares <- c(shares, job$progress$share)
    job$state != "running" && job$state != "queued"
  })
  expect_identical(get(service, location)$json$state, "succeeded")
  expect_false(is.unsorted(shares))
  expect_gt(length(unique(shares)), 5L)
  expect_true(all(shares >= 0 & shares <= 1))
})

test_that("a fit whose time is over is stopped, and the worker does the next job", {
  stopped <- finished(service, "/growth/fit", c(long, list(max_seconds = 3)))
  expect_identical(stopped$problem$status, 422L)
  expect_match(stopped$problem$detail, "Stopped after max_seconds, 3, with [0-9]+ % of the iterations done")
  expect_null(stopped$result)
  wait_until(length(chains_of(service)) == 0L)
  next_one <- finished(service, "/growth/fit", c(list(scores = arrays(scores)), short))
  expect_identical(next_one$state, "succeeded")
})

test_that("no chain outlives a job over the service's limit, nor the service", {
  limited <- growth_service(R_SERVICE_MAX_JOB_SECONDS = "15", R_SERVICE_CORES = "2")
  location <- post(limited, "/growth/fit", long)$headers$location
  wait_until(length(chains_of(limited)) == 2L)
  family <- family_of(limited)
  wait_until(get(limited, location)$json$state == "failed")
  expect_match(get(limited, location)$json$problem$detail, "longer than 15 seconds")
  wait_until(length(chains_of(limited)) == 0L)
  post(limited, "/growth/fit", long)
  wait_until(length(chains_of(limited)) == 2L)
  family <- c(family, family_of(limited))
  limited$process$kill()
  wait_until(all(vapply(family, is_gone, TRUE)), "the service left a process")
})

test_that("a service without its models is not ready, says what makes them, and becomes ready", {
  folder <- tempfile("models-")
  dir.create(folder)
  port <- httpuv::randomPort()
  process <- processx::process$new(
    "Rscript", c(file.path(R_PLUMBER, "common", "serve.R"), "growth", "--port", port, "--insecure"),
    env = c("current", R_TESTS = "", R_BRMS_INTERNAL_TOKEN = "", R_BRMS_MODELS_DIR = folder),
    stderr = tempfile()
  )
  bare <- list(process = process, url = sprintf("http://127.0.0.1:%d", port), token = NULL)
  answer <- function() tryCatch(get(bare, "/readyz"), error = function(e) list(status = 0L))
  wait_until(grepl("Make it with", answer()$text))
  expect_identical(answer()$status, 503L)
  expect_match(answer()$json$detail, paste("Rscript r_plumber/growth/compile.R", folder), fixed = TRUE)
  job <- finished(bare, "/growth/fit", c(list(scores = arrays(scores)), short))
  expect_identical(job$problem$status, 503L)
  expect_match(job$problem$detail, "compile.R", fixed = TRUE)
  file.symlink(growth$compiled_files(models), file.path(folder, basename(growth$compiled_files(models))))
  expect_identical(answer()$status, 200L)
  process$kill()
})

test_that("models that are there are not compiled again; without a compiler, it says what is missing", {
  compile <- function(folder) {
    processx::run(
      "Rscript", c(file.path(R_PLUMBER, "growth", "compile.R"), folder), error_on_status = FALSE,
      env = c("current", R_TESTS = "", PATH = without_compiler)
    )
  }
  again <- compile(models)
  expect_identical(again$status, 0L)
  expect_match(again$stderr, "trend: there already")
  expect_match(again$stderr, "level: there already")
  fresh <- compile(file.path(tempfile("models-"), "new"))
  expect_identical(fresh$status, 1L)
  expect_match(fresh$stderr, "no make, g++. On Debian: apt-get install r-base-dev", fixed = TRUE)
  expect_match(compile(character())$stderr, "Usage")
})

test_that("what is wrong with a request is named", {
  refused <- function(path, body, status, field, row = NULL) {
    problem <- finished(service, path, body)$problem
    expect_identical(problem$status, status)
    expect_identical(problem$errors[[1]]$field, field)
    expect_identical(problem$errors[[1]]$row, row)
  }
  fit <- "/growth/fit"
  with <- function(...) c(list(scores = arrays(scores)), list(...))
  changed <- function(name, value) {
    columns <- arrays(scores)
    columns[[name]][2] <- value
    list(scores = columns)
  }
  refused(fit, list(model = "trend"), 400L, "scores")
  refused(fit, list(scores = arrays(scores)[-2]), 400L, "scores.week")
  refused(fit, changed("week", NA), 400L, "scores.week", 2L)
  refused(fit, changed("se", 0), 422L, "scores.se", 2L)
  refused(fit, with(chain = 2L), 400L, "chain")
  refused(fit, with(chains = 2.5), 400L, "chains")
  refused(fit, with(chains = 20L), 422L, "chains")
  refused(fit, with(model = "spline"), 422L, "model")
  refused(fit, with(priors = list(week = 0.5)), 400L, "priors.week")
  refused(fit, with(priors = list(slope = 0.5)), 400L, "priors.slope")
  refused(fit, with(priors = list(sd_week = -1)), 422L, "priors.sd_week")
  goals <- list(student_id = I("a"), goal_week = I(4), target = I(NA))
  predict <- list(scores = arrays(scores), draws = arrays(simulate_draws(2, 1)), goals = goals)
  refused("/growth/predict", predict, 400L, "goals.target", 1L)
  refused("/growth/predict", predict[-2], 400L, "draws")
  predict$goals$target <- I(0)
  predict$draws$kappa <- I(c(1, -1))
  refused("/growth/predict", predict, 422L, "draws.kappa", 2L)
})

test_that("the service describes itself, and strangers are refused", {
  stranger <- utils::modifyList(service, list(token = "battery staple"))
  for (path in c("/growth/fit", "/growth/predict")) {
    expect_identical(post(stranger, path, list(a = 1))$status, 401L)
    expect_identical(get(service, path)$status, 405L)
  }
  metadata <- get(service, "/metadata")$json
  expect_identical(metadata$service, "growth")
  expect_identical(unlist(metadata$models), names(growth$MODELS))
  expect_identical(metadata$packages$brms, as.character(getNamespaceVersion("brms"))[[1]])
  expect_identical(metadata$limits$cores, 2L)
  api <- get(service, "/openapi.json")$json
  for (path in c("/growth/fit", "/growth/predict")) {
    expect_setequal(names(api$paths[[path]]$post$requestBody$content), c("application/json", "text/csv"))
  }
})

service$process$kill()
