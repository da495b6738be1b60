# Real services behind real HTTP: each is a child process on a free port of the loopback interface.

R_PLUMBER <- normalizePath(file.path("..", "..")) # testthat runs in the folder of the tests

#' Start a service and wait until it is ready
#'
#' @param service Folder of the service; "echo" is the one of the tests.
#' @param ... Environment variables.
#' @param token,arguments Bearer token (NULL: --insecure) and further command-line arguments.
#' @return list(process, url, token, log).
start_service <- function(service, ..., token = "correct horse", arguments = character()) {
  port <- httpuv::randomPort()
  log <- tempfile("service-", fileext = ".log")
  name <- sprintf("R_%s_INTERNAL_TOKEN", toupper(service))
  process <- processx::process$new(
    "Rscript",
    c(
      file.path(R_PLUMBER, "common", "serve.R"), service, "--port", port,
      if (service == "echo") c("--services", file.path(R_PLUMBER, "tests", "testthat", "services")),
      if (is.null(token)) "--insecure", arguments
    ),
    env = c("current", stats::setNames(c(token, ""), c(if (!is.null(token)) name, "R_TESTS")), ...),
    stdout = log, stderr = "2>&1"
  )
  running <- list(process = process, url = sprintf("http://127.0.0.1:%d", port), token = token, log = log)
  wait_until(answers_ready(running), "the service did not become ready")
  running
}

answers_ready <- function(service) {
  tryCatch(get(service, "/readyz")$status == 200L, error = function(e) FALSE)
}

#' Wait for a condition, and fail the test when it does not come
wait_until <- function(condition, message = "waited too long", seconds = 20) {
  expression <- substitute(condition)
  frame <- parent.frame()
  end <- Sys.time() + seconds
  while (!isTRUE(eval(expression, frame))) {
    if (Sys.time() > end) stop(message, call. = FALSE)
    Sys.sleep(0.05)
  }
}

#' Send a request
#'
#' @param service What `start_service()` returned.
#' @param method,path,headers,body The request; a list as body is sent as JSON.
#' @return list(status, headers, text, json, seconds).
request <- function(service, method, path, headers = list(), body = NULL) {
  defaults <- list(
    "Authorization" = if (!is.null(service$token)) paste("Bearer", service$token),
    "Content-Type" = if (!is.null(body)) "application/json"
  )
  handle <- curl::new_handle(customrequest = method, timeout = 90)
  if (!is.null(body)) {
    if (is.list(body)) body <- jsonlite::toJSON(body, auto_unbox = TRUE, na = "null", digits = NA)
    bytes <- if (is.raw(body)) body else charToRaw(enc2utf8(body))
    curl::handle_setopt(handle, postfieldsize = length(bytes), postfields = bytes)
  }
  curl::handle_setheaders(handle, .list = utils::modifyList(Filter(Negate(is.null), defaults), headers))
  began <- proc.time()[["elapsed"]]
  response <- curl::curl_fetch_memory(paste0(service$url, path), handle)
  text <- rawToChar(response$content)
  list(
    status = response$status_code, headers = curl::parse_headers_list(response$headers), text = text,
    json = jsonlite::fromJSON(text, simplifyVector = FALSE), seconds = proc.time()[["elapsed"]] - began
  )
}

get <- function(service, path, ...) request(service, "GET", path, ...)
post <- function(service, path, body, ...) request(service, "POST", path, ..., body = body)

#' Post a job and wait for its document
finished <- function(service, path, body, ...) {
  response <- post(service, path, body, headers = utils::modifyList(list(Prefer = "wait=60"), list(...)))
  testthat::expect_identical(response$status, 200L)
  response$json
}

log_lines <- function(service) lapply(readLines(service$log), jsonlite::fromJSON)

#' The R workers of a service that are alive
workers_of <- function(service) {
  children <- ps::ps_children(ps::ps_handle(service$process$get_pid()))
  Filter(function(child) ps::ps_name(child) == "R", children)
}

is_gone <- function(handle) !ps::ps_is_running(handle) || ps::ps_status(handle) == "zombie"

#' Columns of a response matrix, given as counts of 0/1 patterns
pattern_columns <- function(counts) {
  patterns <- rep(names(counts), counts)
  answers <- do.call(rbind, strsplit(patterns, ""))
  list(
    student_id = as.character(rep(seq_along(patterns), ncol(answers))),
    item_id = paste0("i", rep(seq_len(ncol(answers)), each = length(patterns))),
    correct = as.integer(answers)
  )
}
