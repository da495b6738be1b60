# How long does a fit take through HTTP, and how much memory? Prints the table of README.md.
#   Rscript benchmarks/glmm_http/measure.R [STUDENTS]

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
helpers <- file.path(dirname(normalizePath(script)), "..", "..", "r_plumber", "tests", "testthat")
for (helper in c("helper-http.R", "helper-glmm.R")) source(file.path(helpers, helper), chdir = TRUE)
students <- as.integer(c(commandArgs(trailingOnly = TRUE), 10000L)[[1]])
WEEKS <- 12L

peak_mb <- function(pid) {
  line <- grep("VmHWM", readLines(sprintf("/proc/%s/status", pid)), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

in_thousands <- function(n) format(n, big.mark = ",", scientific = FALSE)

#' Post a CSV body from a file and wait for the job's document
job <- function(service, path, body, document) {
  handle <- curl::new_handle(
    customrequest = "POST", timeout = 3600, postfields = readBin(body, "raw", file.size(body)),
    postfieldsize_large = file.size(body)
  )
  curl::handle_setheaders(handle, .list = list(
    Authorization = paste("Bearer", service$token), "Content-Type" = "text/csv", Prefer = "wait=3600"
  ))
  response <- curl::curl_fetch_disk(paste0(service$url, path), document, handle)
  stopifnot(response$status_code == 200L)
  jsonlite::fromJSON(document)$result$fit_meta
}

#' Run a fit against a service of its own while another process asks for its health
measure <- function(label, path, rows) {
  body <- tempfile()
  data.table::fwrite(rows, body)
  service <- start_service("glmm", R_SERVICE_MAX_WAIT_SECONDS = "3600", R_SERVICE_MAX_JOB_SECONDS = "3600")
  on.exit(service$process$kill())
  watcher <- callr::r_bg(function(url) {
    repeat {
      began <- proc.time()[["elapsed"]]
      stopifnot(curl::curl_fetch_memory(paste0(url, "/healthz"))$status_code == 200L)
      cat(1000 * (proc.time()[["elapsed"]] - began), "\n")
      Sys.sleep(0.02)
    }
  }, list(service$url), stdout = tempfile())
  seconds <- system.time(meta <- job(service, path, body, tempfile()))[["elapsed"]]
  watcher$kill()
  waits <- scan(watcher$get_output_file(), quiet = TRUE)
  worker <- workers_of(service)[[1L]]
  cat(sprintf(
    "| %s | %s | %.1f | %.1f | %.0f | %d | %s | %.0f, %.0f |\n", label, in_thousands(nrow(rows)), seconds,
    sum(ps::ps_cpu_times(worker)[c("user", "system")]), peak_mb(ps::ps_pid(worker)), meta$iterations,
    if (meta$converged) "yes" else "no", quantile(waits, 0.95), max(waits)
  ))
}

#' lme4 as it comes, without HTTP, in a process of its own
peer <- function(rows) {
  of_lmer <- callr::r(function(rows) {
    seconds <- system.time({
      fit <- suppressWarnings(
        lme4::lmer(score ~ week + (week | student_id) + (1 | topic_id), rows, weights = 1 / se^2)
      )
      effects <- lme4::ranef(fit, condVar = TRUE)
    })[["elapsed"]]
    line <- grep("VmHWM", readLines("/proc/self/status"), value = TRUE)
    c(seconds, sum(proc.time()[1:2]), as.numeric(gsub("[^0-9]", "", line)) / 1024, fit@optinfo$feval, logLik(fit))
  }, list(rows))
  here <- glmm$fit_progress(rows)$fit_meta$log_lik
  cat(sprintf(
    "| lmer and ranef(condVar = TRUE), no totals, no HTTP | %s | %.1f | %.1f | %.0f | %.0f | log-likelihood %.2f below | |\n",
    in_thousands(nrow(rows)), of_lmer[[1]], of_lmer[[2]], of_lmer[[3]], of_lmer[[4]], here - of_lmer[[5]]
  ))
}

set.seed(1)
two_topics <- simulate_topic_scores(students, WEEKS, 2, missing = 0)
cat("| request | rows | seconds | worker's CPU seconds | worker's peak MB | evaluations | converged | /healthz p95, max ms |\n")
cat("|---|--:|--:|--:|--:|--:|---|--:|\n")
trend <- "/glmm/fit_progress"
measure("scores, two topics", trend, two_topics)
measure("scores, no topics", trend, two_topics[two_topics$topic_id == "t1", -"topic_id"])
measure("scores, 40 topics", trend, simulate_topic_scores(students, WEEKS, 40, missing = 0.95))
binomial <- paste0(trend, "?options=", utils::URLencode('{"family":"binomial"}', reserved = TRUE))
measure("answers to fixed items", binomial, simulate_item_answers(students, WEEKS, 1))
measure("answers to fixed items, half the students", binomial, simulate_item_answers(students / 2, WEEKS, 5))
rows <- simulate_covariate_answers(students / 5, 50)
columns <- c("student_id", "item_id", "correct")
measure(sprintf("answers of %s students to 50 items", in_thousands(students / 5)), "/glmm/fit", rows[, ..columns])
peer(two_topics)
