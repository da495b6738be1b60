# What the environment decides. Every variable is read here and nowhere else.

LIMITS <- list(
  R_SERVICE_MAX_BODY_BYTES = list(default = 256 * 1024^2, meaning = "largest request body, bytes"),
  R_SERVICE_MAX_ROWS = list(default = 1e7, meaning = "longest column of a request"),
  R_SERVICE_MAX_QUEUE = list(default = 32, meaning = "jobs waiting for a worker; one more is a 503"),
  R_SERVICE_MAX_JOB_SECONDS = list(default = 900, meaning = "a job that runs longer is ended"),
  R_SERVICE_MAX_WAIT_SECONDS = list(default = 60, meaning = "longest Prefer: wait"),
  R_SERVICE_KEEP_SECONDS = list(default = 3600, meaning = "a finished job is kept this long"),
  R_SERVICE_SWEEP_SECONDS = list(default = 60, meaning = "how often finished jobs are looked through"),
  R_SERVICE_WORKER_MEMORY_MB = list(default = 4096, meaning = "R heap of one worker, MiB"),
  R_SERVICE_CORES = list(
    default = max(1L, parallel::detectCores(), na.rm = TRUE),
    meaning = "processes that one job may run at a time, where it can"
  )
)

# Services that the environment calls otherwise than by their folders' names
NAMES_IN_VARIABLES <- c(growth = "brms")

#' The limits of this service
#'
#' @return Named list of numbers: max_body_bytes, max_rows, max_queue, max_job_seconds,
#'   max_wait_seconds, keep_seconds, sweep_seconds, worker_memory_mb, cores. Stops when a variable is not a
#'   positive number.
read_limits <- function() {
  limits <- lapply(names(LIMITS), function(variable) {
    text <- Sys.getenv(variable, unset = NA)
    value <- if (is.na(text)) LIMITS[[variable]]$default else suppressWarnings(as.numeric(text))
    if (is.na(value) || value <= 0) {
      stop(variable, " must be a positive number, not '", text, "'.", call. = FALSE)
    }
    value
  })
  names(limits) <- tolower(sub("^R_SERVICE_", "", names(LIMITS)))
  limits
}

#' The bearer token that clients must show
#'
#' The variable is taken out of the environment, so that the workers do not inherit it.
#'
#' @param service Name of the service; its token is in R_<SERVICE>_INTERNAL_TOKEN, or under the name in
#'   `NAMES_IN_VARIABLES`.
#' @param host Address the service will listen on.
#' @param insecure Whether a loopback service may go without a token.
#' @return The token, or NULL for a service without one. Stops when a token is needed and missing.
take_token <- function(service, host, insecure) {
  name <- if (service %in% names(NAMES_IN_VARIABLES)) NAMES_IN_VARIABLES[[service]] else service
  variable <- sprintf("R_%s_INTERNAL_TOKEN", toupper(name))
  token <- Sys.getenv(variable)
  Sys.unsetenv(variable)
  if (nzchar(token)) return(token)
  loopback <- host %in% c("localhost", "::1") || grepl("^127\\.", host)
  if (!(insecure && loopback)) {
    stop(
      variable, " is not set. Set it to a secret that the clients know too, or, on this machine only, ",
      "start with --host 127.0.0.1 --insecure.", call. = FALSE
    )
  }
  NULL
}
