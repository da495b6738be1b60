# One worker process, seen from the service: an R process that holds the service's code.

#' A worker that is kept running
#'
#' It does one call at a time. When its process dies it is replaced. One that cannot load the service's
#' code ends the service: there is nothing it could do without.
Worker <- R6::R6Class("Worker", public = list(
  #' @description Start the process; it is free once `poll()` has seen it load its code.
  #' @param code R files to load, in order.
  #' @param folder Private folder of the service: the process keeps its temporary files there, and
  #'   `folder`/workers holds a file named by its process id, for the janitor.
  #' @param memory_mb Largest heap, MiB.
  initialize = function(code, folder, memory_mb) {
    private$code <- code
    private$folder <- folder
    private$options <- callr::r_session_options(
      user_profile = FALSE, stderr = "",
      env = c(R_MAX_VSIZE = sprintf("%.0fM", memory_mb), TMPDIR = folder)
    )
    private$launch()
  },

  #' @field packages The versions of the packages it has loaded; NULL until then.
  packages = NULL,

  #' @field awaited What the service waits for before it is ready, see `load_code()`.
  awaited = NULL,

  #' @description Whether it can take a call.
  is_free = function() private$state == "idle" && private$session$is_alive(),

  #' @description Start a call; only when free.
  #' @param fun,args The call. `fun` sees the worker's global environment.
  #' @param max_seconds Time after which the process is killed.
  #' @param done function(outcome), called in the end with list(result), or list(failure = "died" or
  #'   "time") when the worker did not live to return one.
  #' @return TRUE; FALSE when the process turns out to be dead: it is replaced, and `done` is not called.
  run = function(fun, args, max_seconds, done) {
    taken <- tryCatch(
      {
        private$session$call(fun, args)
        TRUE
      },
      error = function(problem) {
        private$give_up("died", conditionMessage(problem))
        FALSE
      }
    )
    if (taken) {
      private$state <- "busy"
      private$deadline <- Sys.time() + max_seconds
      private$done <- done
    }
    taken
  },

  #' @description See what has happened since the last look; to be called often.
  poll = function() {
    if (private$session$poll_process(0) == "ready") private$receive(private$session$read())
    if (private$state == "busy" && Sys.time() > private$deadline) private$give_up("time")
  }
), private = list(
  code = NULL, folder = NULL, options = NULL, session = NULL,
  state = NULL, # starting -> loading -> idle <-> busy
  deadline = NULL, done = NULL,

  pid_file = function() file.path(private$folder, "workers", private$session$get_pid()),

  launch = function() {
    private$session <- callr::r_session$new(private$options, wait = FALSE)
    private$state <- "starting"
    file.create(private$pid_file())
  },

  # A message is a list(code, result, error, message): 200 ends a call, 201 says that the session has
  # started, 500 and more that it has died, 301 passes on a condition (callr's protocol).
  receive = function(message) {
    if (is.null(message) || message$code == 301L) return()
    returned <- message$code == 200L && is.null(message$error)
    detail <- paste(message$message, if (!is.null(message$error)) conditionMessage(message$error))
    if (private$state == "starting" && message$code == 201L) {
      private$session$call(load_code, list(private$code))
      private$state <- "loading"
    } else if (private$state == "loading" && returned) {
      self$packages <- message$result$packages
      self$awaited <- message$result$awaited
      private$state <- "idle"
    } else if (private$state == "busy" && returned) {
      private$state <- "idle"
      private$done(list(result = message$result))
    } else if (private$state %in% c("idle", "busy")) {
      private$give_up("died", detail)
    } else {
      stop("A worker could not load the service: ", detail, call. = FALSE)
    }
  },

  give_up = function(failure, detail = NULL) {
    log_event("worker", state = "replaced", reason = failure, detail = detail, level = logger::WARN)
    was_busy <- private$state == "busy"
    private$session$kill()
    unlink(private$pid_file())
    private$launch()
    if (was_busy) private$done(list(failure = failure))
  }
))

#' What a fresh process runs: define the service's functions and load every package that they name
#'
#' It travels to the process as it is, so it uses nothing but base R.
#'
#' @param files R files, in order.
#' @return list of `packages` (named character: the versions of those packages) and `awaited`: what the
#'   service's function `awaited_files()` returns, if it has one: list of `files` that must be there before
#'   the service is ready, and `made_by`, the command that makes them.
load_code <- function(files) {
  packages <- lapply(files, function(file) {
    sys.source(file, globalenv())
    tokens <- utils::getParseData(parse(file, keep.source = TRUE))
    tokens$text[tokens$token == "SYMBOL_PACKAGE"]
  })
  list(
    packages = vapply(sort(unique(unlist(packages))), getNamespaceVersion, ""),
    awaited = if (exists("awaited_files")) get("awaited_files")()
  )
}
