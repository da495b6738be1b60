# Jobs: accepted, queued, done by a worker, kept for a while. Everything large is a file in the job's
# folder; the service itself never parses a body or a result.

POLL_SECONDS <- 0.05

#' Accepts jobs and sees them through
#'
#' A job is an environment: id, state (queued, running, succeeded, failed), submitted_at, started_at,
#' finished_at, folder, and what the queue needs to know.
JobQueue <- R6::R6Class("JobQueue", public = list(
  #' @description Start the workers and look after them from the event loop.
  #' @param folder Private folder; each job gets one inside it.
  #' @param code R files the workers load.
  #' @param size Number of workers.
  #' @param limits What `read_limits()` returned.
  initialize = function(folder, code, size, limits) {
    private$folder <- folder
    private$limits <- limits
    dir.create(file.path(folder, "workers"))
    private$workers <- lapply(seq_len(size), function(i) Worker$new(code, folder, limits$worker_memory_mb))
    private$jobs <- new.env()
    private$keys <- new.env()
    private$tick()
    private$sweep()
  },

  #' @description Versions of the packages the workers use; NULL before one is ready.
  packages = function() private$workers[[1L]]$packages,

  #' @description Why no job can be done yet.
  #' @return One sentence or two; NULL when the service is ready.
  unready = function() {
    if (is.null(self$packages())) return("The workers are loading.")
    awaited <- private$workers[[1L]]$awaited
    missing <- Filter(Negate(file.exists), awaited$files)
    if (length(missing)) sprintf("Missing: %s. Make it with: %s", toString(missing), awaited$made_by)
  },

  #' @description Find a job.
  #' @param id Its id.
  #' @return The job or NULL.
  find = function(id) private$jobs[[id]],

  #' @description Accept a job.
  #' @param task,body See `run_job()`.
  #' @param bytes The body.
  #' @param key Idempotency key or NULL.
  #' @return A new job, or the one kept under the same key. Stops with a `problem`: 409 when the key came
  #'   with another request, 503 when the queue is full.
  submit = function(task, body, bytes, key = NULL) {
    fingerprint <- if (!is.null(key)) sodium::hash(c(serialize(list(task, body), NULL), bytes))
    job <- private$kept(key, fingerprint)
    if (!is.null(job)) return(job)
    waiting <- length(private$waiting)
    if (waiting >= private$limits$max_queue) {
      stop(problem_condition("busy", 503L, sprintf("%d jobs are waiting; try again later.", waiting)))
    }
    job <- list2env(list(
      id = new_id(), state = "queued", submitted_at = Sys.time(), task = task, body = body,
      fingerprint = fingerprint, waiters = list()
    ))
    job$folder <- file.path(private$folder, job$id)
    dir.create(job$folder)
    writeBin(bytes, file.path(job$folder, "body"))
    private$jobs[[job$id]] <- job
    if (!is.null(key)) private$keys[[key]] <- job$id
    private$waiting <- c(private$waiting, job)
    log_event("job", id = job$id, work = task$work, state = "queued", bytes = length(bytes))
    private$dispatch()
    job
  },

  #' @description Wait without blocking.
  #' @param job A job.
  #' @param seconds The longest wait.
  #' @return A promise, kept when the job has finished or the time is over.
  when_finished = function(job, seconds) {
    promises::promise(function(resolve, reject) {
      if (!is.null(job$finished_at)) return(resolve(job))
      wake <- function() resolve(job)
      job$waiters <- c(job$waiters, wake)
      later::later(wake, seconds)
    })
  }
), private = list(
  folder = NULL, limits = NULL, workers = NULL,
  jobs = NULL, # by id
  keys = NULL, # idempotency key -> id
  waiting = list(),

  tick = function() {
    for (worker in private$workers) worker$poll()
    private$dispatch()
    later::later(private$tick, POLL_SECONDS)
  },

  dispatch = function() {
    for (worker in private$workers) {
      if (length(private$waiting) && worker$is_free() && private$start(private$waiting[[1L]], worker)) {
        private$waiting <- private$waiting[-1L]
      }
    }
  },

  start = function(job, worker) {
    taken <- worker$run(
      function(...) run_job(...), list(job$folder, job$task, job$body, private$limits),
      max_seconds = private$limits$max_job_seconds, done = function(outcome) private$finish(job, outcome)
    )
    if (taken) {
      job$state <- "running"
      job$started_at <- Sys.time()
    }
    taken
  },

  finish = function(job, outcome) {
    report <- if (is.null(outcome$failure)) outcome$result else private$lost(job, outcome$failure)
    job$finished_at <- Sys.time()
    job$state <- if (report$succeeded) "succeeded" else "failed"
    unlink(file.path(job$folder, "body"))
    log_event(
      "job", id = job$id, work = job$task$work, state = job$state, status = report$status,
      seconds = round(as.numeric(job$finished_at - job$started_at, units = "secs"), 3),
      message = report$message, warnings = report$warnings,
      level = if (report$status >= 500L) logger::ERROR else logger::INFO
    )
    for (wake in job$waiters) wake()
    job$waiters <- list()
  },

  lost = function(job, failure) {
    limit <- private$limits$max_job_seconds
    report <- switch(failure,
      died = list(status = 500L, detail = "The worker died; the service's log says more under this id."),
      time = list(status = 422L, detail = sprintf("The job took longer than %g seconds, the limit.", limit))
    )
    id <- if (failure == "died") job$id
    write_whole(problem_json(report$status, report$detail, id = id), file.path(job$folder, "problem.json"))
    list(succeeded = FALSE, status = report$status, message = paste("worker:", failure))
  },

  # The key of a job that has failed is free again: the client may try once more.
  kept = function(key, fingerprint) {
    job <- if (!is.null(key) && !is.null(private$keys[[key]])) self$find(private$keys[[key]])
    if (is.null(job) || job$state == "failed") return(NULL)
    if (!identical(job$fingerprint, fingerprint)) {
      stop(problem_condition("conflict", 409L, "This Idempotency-Key was used with another request."))
    }
    job
  },

  sweep = function() {
    for (job in as.list(private$jobs)) {
      if (!is.null(job$finished_at) && Sys.time() - job$finished_at > private$limits$keep_seconds) {
        unlink(job$folder, recursive = TRUE)
        rm(list = job$id, envir = private$jobs)
      }
    }
    forgotten <- Filter(function(key) is.null(self$find(private$keys[[key]])), names(private$keys))
    rm(list = forgotten, envir = private$keys)
    later::later(private$sweep, private$limits$sweep_seconds)
  }
))

#' A job as the JSON document a client reads
#'
#' Progress and result are put in as the worker wrote them, without reading them.
#'
#' @param job A job of a `JobQueue`.
#' @return Raw vector.
job_document <- function(job) {
  time <- function(name) if (is.null(job[[name]])) NULL else timestamp(job[[name]])
  head <- to_json(list(
    id = job$id, state = job$state, submitted_at = time("submitted_at"), started_at = time("started_at"),
    finished_at = time("finished_at")
  ))
  members <- lapply(c("progress", "result", "problem"), function(name) {
    path <- file.path(job$folder, paste0(name, ".json"))
    if (file.exists(path)) c(charToRaw(sprintf(",\"%s\":", name)), readBin(path, "raw", file.size(path)))
  })
  c(charToRaw(sub("\\}$", "", head)), unlist(members), charToRaw("}"))
}
