# How long do a fit and a prediction take through HTTP, and how much memory? Prints the table of README.md.
#   Rscript benchmarks/survival_http/measure.R [STUDENTS]

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
helpers <- file.path(dirname(normalizePath(script)), "..", "..", "r_plumber", "tests", "testthat")
for (helper in c("helper-http.R", "helper-forecast.R")) source(file.path(helpers, helper), chdir = TRUE)
students <- as.integer(c(commandArgs(trailingOnly = TRUE), 40000L)[[1]])
EACH <- 25L # landmarks of a student
PART <- 1e5 # rows in one request of JSON

peak_mb <- function(pid) {
  line <- grep("VmHWM", readLines(sprintf("/proc/%d/status", pid)), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

#' Post a body from a file, wait for the job, leave its document in a file
job <- function(service, path, body, type, document) {
  handle <- curl::new_handle(
    customrequest = "POST", timeout = 300, postfields = readBin(body, "raw", file.size(body)),
    postfieldsize_large = file.size(body)
  )
  curl::handle_setheaders(handle, .list = list(
    Authorization = paste("Bearer", service$token), "Content-Type" = type, Prefer = "wait=300"
  ))
  response <- curl::curl_fetch_disk(paste0(service$url, path), document, handle)
  stopifnot(response$status_code == 200L, grepl('"state":"succeeded"', readLines(document, 1L, warn = FALSE)))
}

#' Run something against a service of its own while another process asks for its health
measure <- function(label, rows, work) {
  service <- start_service("forecast", R_SERVICE_MAX_WAIT_SECONDS = "300")
  on.exit(service$process$kill())
  watcher <- callr::r_bg(function(url) {
    repeat {
      began <- proc.time()[["elapsed"]]
      stopifnot(curl::curl_fetch_memory(paste0(url, "/healthz"))$status_code == 200L)
      cat(1000 * (proc.time()[["elapsed"]] - began), "\n")
      Sys.sleep(0.02)
    }
  }, list(service$url), stdout = tempfile())
  seconds <- system.time(work(service))[["elapsed"]]
  watcher$kill()
  waits <- scan(watcher$get_output_file(), quiet = TRUE)
  worker <- workers_of(service)[[1L]]
  cat(sprintf(
    "| %s | %s | %.1f | %.1f | %.0f | %.0f, %.0f |\n", label, format(rows, big.mark = ",", scientific = FALSE),
    seconds, sum(ps::ps_cpu_times(worker)[c("user", "system")]), peak_mb(ps::ps_pid(worker)),
    quantile(waits, 0.95), max(waits)
  ))
}

#' The same model and rows by stats::glm, in a process of its own
peer <- function(path) {
  of_glm <- callr::r(function(path) {
    landmarks <- data.table::fread(path, colClasses = c(student_id = "character"))
    seconds <- system.time(for (horizon in c(7, 14, 28)) {
      rows <- landmarks[14 - landmarks$idle <= horizon, ]
      rows$event <- rows[[paste0("event_", horizon)]]
      rows$holidays <- rows[[paste0("holidays_", horizon)]]
      rows$a_t_missing <- is.na(rows$a_t)
      rows$a_t[rows$a_t_missing] <- stats::median(rows$a_t, na.rm = TRUE)
      stats::glm(
        event ~ factor(idle) + (a_t + e_t + r_t + mean_gap + session_rate) * I(idle - 7) + a_t_missing +
          factor(weekday) + holidays - I(idle - 7), stats::binomial(), rows
      )
    })[["elapsed"]]
    line <- grep("VmHWM", readLines("/proc/self/status"), value = TRUE)
    c(seconds, sum(proc.time()[1:2]), as.numeric(gsub("[^0-9]", "", line)) / 1024)
  }, list(path))
  cat(sprintf(
    "| stats::glm, no covariance by student, no HTTP | %s | %.1f | %.1f | %.0f | |\n",
    format(nrow(landmarks), big.mark = ",", scientific = FALSE), of_glm[[1]], of_glm[[2]], of_glm[[3]]
  ))
}

set.seed(1)
landmarks <- simulate_landmarks(students, EACH, sd_student = 0.5)
gaps <- simulate_gaps(students, EACH)
folder <- tempfile("bodies-")
dir.create(folder)
at <- function(name) file.path(folder, name)
data.table::fwrite(landmarks, at("landmarks.csv"), na = "")
data.table::fwrite(gaps, at("gaps.csv"), na = "")
document <- at("document.json")

cat("| request | rows | seconds | worker's CPU seconds | worker's peak MB | /healthz p95, max ms |\n")
cat("|---|--:|--:|--:|--:|--:|\n")
measure("fit, three horizons, CSV", nrow(landmarks), function(service) {
  job(service, "/survival/fit", at("landmarks.csv"), "text/csv", document)
})
model <- regmatches(text <- readLines(document, warn = FALSE), regexpr('"risk_model":.*,"cox"', text))
model <- sub(',"cox"$', "", model)
positions <- landmarks[, setdiff(names(landmarks), paste0("event_", c(7, 14, 28))), with = FALSE]
starts <- seq(1, nrow(positions), by = PART)
for (i in seq_along(starts)) {
  part <- positions[starts[i]:min(starts[i] + PART - 1, nrow(positions)), ]
  rows <- jsonlite::toJSON(as.list(part), digits = NA, na = "null")
  writeLines(sprintf('{"rows":%s,%s}', rows, model), at(sprintf("rows-%02d.json", i)))
}
bodies <- Sys.glob(at("rows-*.json"))
data.table::fwrite(positions, at("rows.csv"), na = "")
# The URL takes 80 kB; nine digits are more than a risk is told with.
whole <- jsonlite::parse_json(sprintf("{%s}", model))
options <- jsonlite::toJSON(whole, auto_unbox = TRUE, null = "null", digits = I(9))
by_url <- paste0("/survival/predict?options=", utils::URLencode(options, reserved = TRUE))
label <- sprintf("predict, three horizons, CSV, model in %.0f kB of URL", nchar(by_url) / 1024)
measure(label, nrow(positions), function(service) {
  job(service, by_url, at("rows.csv"), "text/csv", document)
})
measure("predict, three horizons, one JSON request", min(PART, nrow(positions)), function(service) {
  job(service, "/survival/predict", bodies[1], "application/json", document)
})
measure(sprintf("predict, %d JSON requests", length(bodies)), nrow(positions), function(service) {
  for (body in bodies) job(service, "/survival/predict", body, "application/json", document)
})
measure("Cox model with its tests, CSV", nrow(gaps), function(service) {
  job(service, "/survival/cox", at("gaps.csv"), "text/csv", document)
})
peer(at("landmarks.csv"))
unlink(folder, recursive = TRUE)
