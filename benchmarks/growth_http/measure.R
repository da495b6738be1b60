# How long do a fit by brms and a prediction take through HTTP, and how much memory? Prints the tables of README.md.
#   R_BRMS_MODELS_DIR=FOLDER Rscript benchmarks/growth_http/measure.R [STUDENTS ...]

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
helpers <- file.path(dirname(normalizePath(script)), "..", "..", "r_plumber", "tests", "testthat")
for (helper in c("helper-http.R", "helper-growth.R")) source(file.path(helpers, helper), chdir = TRUE)
sizes <- as.integer(commandArgs(trailingOnly = TRUE))
if (length(sizes) == 0L) sizes <- c(300L, 1000L)
WEEKS <- 12L

peak_mb <- function(pid) {
  line <- grep("VmHWM", readLines(sprintf("/proc/%d/status", pid)), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

#' Run one job against a service of its own while another process asks for its health
#'
#' @return list of `result`, `seconds`, `cpu` (worker and chains), `peak` (MB: worker, largest chain), `waits` (ms).
measure <- function(path, body) {
  service <- start_service(
    "growth", R_BRMS_INTERNAL_TOKEN = "correct horse", R_SERVICE_MAX_JOB_SECONDS = "7200"
  )
  on.exit(service$process$kill())
  watcher <- callr::r_bg(function(url) {
    repeat {
      began <- proc.time()[["elapsed"]]
      stopifnot(curl::curl_fetch_memory(paste0(url, "/healthz"))$status_code == 200L)
      cat(1000 * (proc.time()[["elapsed"]] - began), "\n")
      Sys.sleep(0.05)
    }
  }, list(service$url), stdout = tempfile())
  worker <- workers_of(service)[[1L]]
  chain_peak <- 0
  began <- proc.time()[["elapsed"]]
  location <- post(service, path, jsonlite::toJSON(body, auto_unbox = TRUE, digits = 9))$headers$location
  repeat {
    for (child in ps::ps_children(worker)) {
      chain_peak <- max(chain_peak, tryCatch(peak_mb(ps::ps_pid(child)), error = function(e) 0))
    }
    job <- get(service, location)$json
    if (!job$state %in% c("queued", "running")) break
    Sys.sleep(0.2)
  }
  seconds <- proc.time()[["elapsed"]] - began
  stopifnot(job$state == "succeeded")
  watcher$kill()
  list(
    result = job$result, seconds = seconds, cpu = sum(unlist(ps::ps_cpu_times(worker))),
    peak = c(peak_mb(ps::ps_pid(worker)), chain_peak), waits = scan(watcher$get_output_file(), quiet = TRUE)
  )
}

Sys.setenv(R_BRMS_MODELS_DIR = normalizePath(compiled_models()))
cat("| students x weeks | seconds | CPU seconds | peak MB: worker, a chain | R-hat | ESS bulk, tail | divergences |",
    "E-BFMI | /healthz p95, max ms |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
for (students in sizes) {
  scores <- simulate_scores(students, WEEKS, seed = 1)
  fit <- measure("/growth/fit", list(scores = as.list(scores)))
  told <- fit$result$diagnostics
  cat(sprintf(
    "| %s x %d | %.0f | %.0f | %.0f, %.0f | %.4f | %.0f, %.0f | %d | %.2f | %.0f, %.0f |\n",
    format(students, big.mark = ","), WEEKS, fit$seconds, fit$cpu, fit$peak[1], fit$peak[2], told$rhat,
    told$ess_bulk, told$ess_tail, told$divergences, told$ebfmi, quantile(fit$waits, 0.95), max(fit$waits)
  ))
}

cat("\n| goals x draws | seconds | CPU seconds | worker's peak MB | /healthz p95, max ms |\n|---|--:|--:|--:|--:|\n")
for (students in c(1000L, 10000L)) {
  scores <- simulate_scores(students, WEEKS, seed = 1)
  goals <- list(student_id = unique(scores$student_id), goal_week = rep(4, students), target = rep(0.5, students))
  body <- list(scores = as.list(scores), draws = as.list(simulate_draws(1000L, seed = 1)), goals = goals)
  made <- measure("/growth/predict", body)
  cat(sprintf(
    "| %s x 1,000 | %.1f | %.1f | %.0f | %.0f, %.0f |\n", format(students, big.mark = ","), made$seconds, made$cpu,
    made$peak[1], quantile(made$waits, 0.95), max(made$waits)
  ))
}
