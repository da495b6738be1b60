# What do forecasts of 1,000 weekly series cost through HTTP, by prophet alone, and by AutoETS?
# Prints the tables of README.md.
#   Rscript benchmarks/prophet_http/measure.R [SERIES]

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
folder <- dirname(normalizePath(script))
helpers <- file.path(folder, "..", "..", "r_plumber", "tests", "testthat")
for (helper in c("helper-http.R", "helper-forecast.R", "helper-forecast-prophet.R")) {
  source(file.path(helpers, helper), chdir = TRUE)
}
n_series <- c(as.integer(commandArgs(trailingOnly = TRUE)), 1000L)[[1L]]
CORES <- 2L

many <- function(n, weeks) {
  data.table::rbindlist(lapply(seq_len(n), function(i) simulate_series(sprintf("s%04d", i), weeks, i)))
}
sent <- function(points) as.list(transform(points, ds = format(ds)))

peak_mb <- function(pid) {
  line <- grep("VmHWM", readLines(sprintf("/proc/%d/status", pid)), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

#' CPU seconds and peak memory of processes that end by themselves, as last seen
watch <- function(processes, seen) {
  for (process in processes) {
    pid <- as.character(ps::ps_pid(process))
    now <- tryCatch(
      c(sum(unlist(ps::ps_cpu_times(process)[c("user", "system")])), peak_mb(ps::ps_pid(process))),
      error = function(e) NULL # it has just ended
    )
    if (!is.null(now)) seen[[pid]] <- now
  }
  seen
}

#' Run one job against a service of its own while another process asks for its health
#'
#' @return list of `result`, `seconds`, `cpu`, `peak` (MB: worker, largest of its processes), `waits` (ms).
measure <- function(path, body, cores) {
  service <- start_service("forecast", R_SERVICE_CORES = as.character(cores))
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
  before <- watch(list(worker), list())[[1L]][[1L]]
  seen <- list()
  began <- proc.time()[["elapsed"]]
  location <- post(service, path, jsonlite::toJSON(body, auto_unbox = TRUE, digits = 9))$headers$location
  repeat {
    job <- get(service, location)$json
    if (!job$state %in% c("queued", "running")) break
    seen <- watch(ps::ps_children(worker), seen)
    Sys.sleep(0.1)
  }
  seconds <- proc.time()[["elapsed"]] - began
  stopifnot(job$state == "succeeded")
  watcher$kill()
  of_worker <- watch(list(worker), list())[[1L]]
  children <- do.call(rbind, c(seen, list(c(0, 0))))
  list(
    result = job$result, seconds = seconds, cpu = of_worker[[1L]] - before + sum(children[, 1L]),
    peak = c(of_worker[[2L]], max(children[, 2L])), waits = scan(watcher$get_output_file(), quiet = TRUE)
  )
}

#' prophet() and predict() twice for each series, in one process
directly <- function(points) {
  began <- proc.time()
  suppressMessages(for (one in split(as.data.frame(points), points$series)) {
    fit <- prophet::prophet(one[c("ds", "y")])
    stats::predict(fit)
    stats::predict(fit, prophet::make_future_dataframe(fit, 4, "7 days", include_history = FALSE))
  })
  took <- proc.time() - began
  list(seconds = took[["elapsed"]], cpu = sum(took[c("user.self", "sys.self")]), peak = peak_mb(Sys.getpid()))
}

Sys.setenv(TZ = "UTC")
points <- many(n_series, 26L)
cat("| what | seconds | CPU seconds | ms of CPU per series | peak MB: worker, a process | /healthz p95, max ms |\n",
    "|---|--:|--:|--:|--:|--:|\n", sep = "")
row <- function(what, of, n, waits = "") {
  cat(sprintf(
    "| %s | %.1f | %.1f | %.0f | %s | %s |\n", what, of$seconds, of$cpu, 1000 * of$cpu / n,
    toString(round(of$peak)), waits
  ))
}
health <- function(of) sprintf("%.0f, %.0f", stats::quantile(of$waits, 0.95), max(of$waits))
fit <- measure("/prophet/fit", list(points = sent(points)), CORES)
row(sprintf("/prophet/fit, %d processes", CORES), fit, n_series, health(fit))
again <- measure("/prophet/predict", list(models = fit$result$models, settings = fit$result$settings), CORES)
row(sprintf("/prophet/predict, %d processes", CORES), again, n_series, health(again))
few <- min(n_series, 50L)
alone <- directly(points[series <= sprintf("s%04d", few)])
row(sprintf("prophet() and predict() in one process, %d of the series", few), alone, few)

csv <- tempfile(fileext = ".csv")
data.table::fwrite(points, csv)
ets <- processx::run("python", c(file.path(folder, "autoets.py"), csv))
took <- scan(text = ets$stdout, quiet = TRUE)
row("AutoETS (statsforecast) in one process", list(seconds = took[[1L]], cpu = took[[2L]], peak = took[[3L]]), n_series)

cat("\n| points | ms of CPU per series: service's engine | prophet directly |\n|--:|--:|--:|\n")
for (weeks in c(12L, 26L, 104L)) {
  points <- many(20L, weeks)
  took <- system.time(forecast$fit_prophet(points))
  cat(sprintf("| %d | %.0f | %.0f |\n", weeks, 50 * sum(took[1:2]), 50 * directly(points)$cpu))
}
