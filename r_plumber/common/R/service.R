# The HTTP face: what is the same on every route of every service.

SYNTAX_CHECK_BYTES <- 8 * 1024^2 # JSON up to this size is checked before it is accepted: 40 ms
MEDIA_TYPES <- c("application/json", "text/csv")
RETRY_AFTER_SECONDS <- "10"
MAX_KEY_LENGTH <- 255L
PATIENCE <- 2 # a refused body is read to its end up to this many times the largest that is taken

#' Run a service until it is interrupted
#'
#' @param folder Folder of the service: plumber.R, openapi.yaml, R/. Its name is the service's.
#' @param common The folder common/.
#' @param host,port Address to listen on.
#' @param workers Number of worker processes.
#' @param token Bearer token, or NULL for none.
#' @param limits What `read_limits()` returned.
run_service <- function(folder, common, host, port, workers, token, limits) {
  name <- basename(folder)
  spool <- tempdir()
  # kept in a variable, or the garbage collector closes the pipe that tells the janitor we live
  janitor <- processx::process$new(
    file.path(common, "janitor.sh"), spool, stdin = "|", stderr = "", cleanup = FALSE
  )
  code <- c(
    file.path(common, "R", c("problem.R", "parse.R", "work.R")),
    list.files(file.path(folder, "R"), "\\.R$", full.names = TRUE)
  )
  queue <- JobQueue$new(spool, code, workers, limits)
  api <- openapi_document(file.path(common, "openapi.yaml"), file.path(folder, "openapi.yaml"))
  router <- make_router(file.path(folder, "plumber.R"), name, api, queue, limits)
  app <- make_app(router, token_check(token), limits$max_body_bytes)
  server <- tryCatch(httpuv::startServer(host, port, app), error = function(e) {
    stop(sprintf("Cannot listen on %s port %d: %s.", host, port, conditionMessage(e)), call. = FALSE)
  })
  on.exit(server$stop())
  log_event("ready", service = name, host = host, port = port, workers = workers, pid = Sys.getpid())
  repeat later::run_now(Inf)
}

#' Put a service's routes and the common ones together
#'
#' @param file The service's plumber.R: annotated routes that call `as_job()`.
#' @param name Name of the service.
#' @param api Its OpenAPI document.
#' @param queue,limits See `run_service()`.
#' @return A plumber router that answers every request with JSON or a problem document.
make_router <- function(file, name, api, queue, limits) {
  routes <- new.env(parent = globalenv())
  routes$as_job <- function(req, res, parse, work, table, columnar) {
    as_job(req, res, list(parse = parse, work = work, columnar = columnar), table, queue, limits)
  }
  openapi <- to_json(api)
  router <- plumber::Plumber$new(file, envir = routes)
  router$setParsers(character()) # a body is for the worker to read
  router$setSerializer(plumber::serializer_json())
  router$handle("GET", "/healthz", function(res) respond(res, 200L, to_json(list(status = "ok"))))
  router$handle("GET", "/readyz", function(res) {
    reason <- queue$unready()
    if (!is.null(reason)) return(respond_problem(res, 503L, reason, retry = TRUE))
    respond(res, 200L, to_json(list(status = "ready")))
  })
  router$handle("GET", "/metadata", function(res) {
    if (is.null(queue$packages())) return(respond_problem(res, 503L, queue$unready(), retry = TRUE))
    respond(res, 200L, to_json(list(
      service = name, version = api$info$version, models = I(api$info[["x-models"]]),
      r = as.character(getRversion()), packages = as.list(queue$packages()), limits = limits
    )))
  })
  router$handle("GET", "/openapi.json", function(res) respond(res, 200L, openapi))
  router$handle("GET", "/jobs/<id>", function(res, id) {
    job <- queue$find(id)
    if (!is.null(job)) return(respond(res, 200L, job_document(job)))
    respond_problem(res, 404L, "There is no such job; jobs are kept for a limited time.")
  })
  router$set404Handler(function(req, res) {
    respond_problem(res, 404L, sprintf("There is no %s here.", req$PATH_INFO))
  })
  # plumber finds out itself that a path has other methods, but does not say which
  router$registerHook("postroute", function(req, res, value) {
    if (res$status != 405L) return(value)
    here <- Filter(function(endpoint) endpoint$matchesPath(req$PATH_INFO), unlist(router$endpoints))
    res$headers$Allow <- toString(unique(unlist(lapply(here, `[[`, "verbs"))))
    respond_problem(res, 405L, sprintf("%s does not take %s.", req$PATH_INFO, req$REQUEST_METHOD))
  })
  router$setErrorHandler(function(req, res, err) {
    if (inherits(err, "problem")) {
      return(respond_problem(res, err$status, err$detail, err$errors, retry = err$status == 503L))
    }
    log_event("error", id = req$id, message = conditionMessage(err), level = logger::ERROR)
    respond(
      res, 500L, problem_json(500L, "The service failed; its log says why under this id.", id = req$id),
      "application/problem+json"
    )
  })
  router
}

#' Fill in a response
#' @param res plumber's response.
#' @param status HTTP status code.
#' @param body Text or raw vector.
#' @param content_type Its media type.
#' @return `res`, which plumber sends as it is.
respond <- function(res, status, body, content_type = "application/json") {
  res$status <- status
  res$setHeader("Content-Type", content_type)
  res$body <- body
  res
}

#' Fill in a problem document
#' @inheritParams respond
#' @inheritParams problem_condition
#' @param retry Whether to say when to try again.
respond_problem <- function(res, status, detail, errors = list(), retry = FALSE) {
  if (retry) res$setHeader("Retry-After", RETRY_AFTER_SECONDS)
  respond(res, status, problem_json(status, detail, errors), "application/problem+json")
}

#' Accept the body of a request as a job
#'
#' @param req,res plumber's request and response.
#' @param task list(parse, work, columnar), see `run_job()`.
#' @param table The field that a CSV body stands for.
#' @param queue,limits See `run_service()`.
#' @return The response: 202 with the job's location, or, with Prefer: wait, a promise of 200 with the
#'   finished job.
as_job <- function(req, res, task, table, queue, limits) {
  body <- c(list(table = table), read_headers(req))
  if (!length(req$bodyRaw)) stop(malformed("The body is empty."))
  check_syntax(req$bodyRaw, body)
  job <- queue$submit(task, body, req$bodyRaw, read_key(req$HTTP_IDEMPOTENCY_KEY))
  answer <- function() {
    res$setHeader("Location", paste0("/jobs/", job$id))
    respond(res, if (is.null(job$finished_at)) 202L else 200L, job_document(job))
  }
  seconds <- min(read_wait(req$HTTP_PREFER), limits$max_wait_seconds)
  if (seconds == 0) return(answer())
  promises::then(queue$when_finished(job, seconds), function(job) answer())
}

#' What the headers and the query say about a body
#' @return list(media_type, options). Stops with 415 or 400.
read_headers <- function(req) {
  media_type <- tolower(trimws(sub(";.*", "", c(req$HTTP_CONTENT_TYPE, "")[[1L]])))
  if (!media_type %in% MEDIA_TYPES || !is.null(req$HTTP_CONTENT_ENCODING)) {
    stop(problem_condition(
      "unsupported", 415L, sprintf("Send %s, not compressed.", paste(MEDIA_TYPES, collapse = " or "))
    ))
  }
  allowed <- if (media_type == "text/csv") "options"
  unknown <- setdiff(names(req$argsQuery), allowed)
  if (length(unknown)) {
    stop(malformed("Unknown query parameters.", lapply(unknown, field_error, "is not a parameter here")))
  }
  list(media_type = media_type, options = req$argsQuery$options)
}

#' Refuse JSON that a worker could not read, while the client is still there
check_syntax <- function(bytes, body) {
  small <- length(bytes) <= SYNTAX_CHECK_BYTES
  if (body$media_type == "application/json" && small && !is_json(bytes)) {
    stop(malformed("The body is not JSON."))
  }
  if (!is.null(body$options) && !is_json(charToRaw(body$options))) {
    stop(malformed("The query parameter 'options' is not JSON."))
  }
}

is_json <- function(bytes) !any(bytes == 0) && jsonlite::validate(rawToChar(bytes))

#' An Idempotency-Key header: NULL or text of reasonable length
read_key <- function(header) {
  if (!is.null(header) && !nchar(header) %in% seq_len(MAX_KEY_LENGTH)) {
    stop(malformed(sprintf("Idempotency-Key must have 1 to %d characters.", MAX_KEY_LENGTH)))
  }
  header
}

#' Seconds that a Prefer header asks to wait
#'
#' A preference that cannot be read is ignored, as RFC 7240 asks.
read_wait <- function(header) {
  if (is.null(header)) return(0)
  pattern <- "(^|[,;[:space:]])wait *= *\"?([0-9]{1,9})"
  found <- regmatches(header, regexec(pattern, header, ignore.case = TRUE))[[1L]]
  if (length(found)) as.numeric(found[[3L]]) else 0
}

#' The application that httpuv serves: token and size come before the routes, a log line after
#'
#' A client that is still sending when it is refused sees a broken connection instead of the reason. So a
#' refused body is read to its end first, unless it is chunked or far larger than any that is taken.
#'
#' @param router A plumber router.
#' @param may_ask What `token_check()` returned.
#' @param max_body_bytes Largest body.
#' @return list(onHeaders, call), httpuv's interface; a response of onHeaders ends the request there.
make_app <- function(router, may_ask, max_body_bytes) {
  finish <- function(req, response) {
    log_event(
      "request", id = req$id, method = req$REQUEST_METHOD, path = req$PATH_INFO, status = response$status,
      ms = round(1000 * (proc.time()[["elapsed"]] - req$began))
    )
    response$headers[["X-Request-Id"]] <- req$id
    response
  }
  list(
    onHeaders = function(req) {
      req$id <- new_id()
      req$began <- proc.time()[["elapsed"]]
      req$refusal <- refusal(req, may_ask, max_body_bytes)
      bytes <- as.numeric(c(req$HTTP_CONTENT_LENGTH, 0)[[1L]])
      endless <- !is.null(req$HTTP_TRANSFER_ENCODING) || bytes > PATIENCE * max_body_bytes
      if (!is.null(req$refusal) && endless) finish(req, req$refusal)
    },
    call = function(req) {
      if (!is.null(req$refusal)) return(finish(req, req$refusal))
      response <- router$call(req)
      if (promises::is.promising(response)) {
        promises::then(response, function(response) finish(req, response))
      } else {
        finish(req, response)
      }
    }
  )
}

#' The answer to a request that no route needs to see, or NULL
#' @inheritParams make_app
refusal <- function(req, may_ask, max_body_bytes) {
  refuse <- function(status, detail, ...) {
    list(
      status = status, headers = list("Content-Type" = "application/problem+json", ...),
      body = problem_json(status, detail)
    )
  }
  if (!req$PATH_INFO %in% PUBLIC_PATHS && !may_ask(req$HTTP_AUTHORIZATION)) {
    return(refuse(401L, "A valid bearer token is needed.", "WWW-Authenticate" = "Bearer"))
  }
  if (!is.null(req$HTTP_TRANSFER_ENCODING)) {
    return(refuse(411L, "Say how long the body is (Content-Length); chunked bodies are not taken."))
  }
  if (isTRUE(as.numeric(req$HTTP_CONTENT_LENGTH) > max_body_bytes)) {
    return(refuse(413L, sprintf("The body is larger than %.0f bytes.", max_body_bytes)))
  }
  NULL
}
