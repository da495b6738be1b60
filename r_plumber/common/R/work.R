# What a worker process does with one job. It talks to the service through the files of the job's
# folder: body -> progress.json -> result.json or problem.json.

PROGRESS_EVERY <- 0.25 # seconds between two writes of progress.json

#' Carry out one job
#'
#' @param folder The job's folder.
#' @param task list(parse, work, columnar). `parse` and `work` name two functions of the service:
#'   `parse(fields, limits)` makes the arguments of `work` from the request's fields, `work` returns the
#'   result as a list; if it has an argument `progress`, it gets a function(state) to report to. `columnar`
#'   names the lists in the result whose members are columns.
#' @param body list(media_type, table, options), see `read_body()`.
#' @param limits The service's limits.
#' @return list(succeeded, status, message, warnings): what the log may know.
run_job <- function(folder, task, body, limits) {
  warnings <- character()
  report <- function(succeeded, status, message = NULL) {
    list(
      succeeded = succeeded, status = status, message = message,
      warnings = if (length(warnings)) I(unique(warnings))
    )
  }
  fail <- function(status, detail, errors = list(), id = NULL) {
    write_whole(problem_json(status, detail, errors, id), file.path(folder, "problem.json"))
  }
  attempt <- function() {
    fields <- read_body(file.path(folder, "body"), body$media_type, body$table, body$options)
    arguments <- match.fun(task$parse)(fields, limits)
    if ("progress" %in% names(formals(task$work))) arguments$progress <- progress_writer(folder)
    result <- do.call(task$work, arguments)
    write_whole(to_json(keep_columns(result, task$columnar)), file.path(folder, "result.json"))
    report(TRUE, 200L)
  }
  tryCatch(
    withCallingHandlers(attempt(), warning = function(w) {
      warnings <<- c(warnings, conditionMessage(w))
      tryInvokeRestart("muffleWarning")
    }),
    problem = function(p) {
      fail(p$status, p$detail, p$errors)
      report(FALSE, p$status)
    },
    error = function(e) {
      if (grepl("vector memory exhausted|cannot allocate", conditionMessage(e))) {
        fail(413L, sprintf("The job needs more than the %g MiB a worker may use.", limits$worker_memory_mb))
        return(report(FALSE, 413L, conditionMessage(e)))
      }
      fail(500L, "The service failed; its log says why under this id.", id = basename(folder))
      report(FALSE, 500L, paste0(conditionMessage(e), " [", deparse(conditionCall(e), nlines = 1L), "]"))
    }
  )
}

#' Make columns arrays of JSON, also when they have one row
#'
#' @param value A result.
#' @param columnar Names of the lists in it, at any depth, whose members are columns.
keep_columns <- function(value, columnar) {
  if (!is.list(value)) return(value)
  Map(function(member, name) {
    if (name %in% columnar) lapply(member, column_json) else keep_columns(member, columnar)
  }, value, names(value))
}

#' A column on its way to `to_json()`
#'
#' data.table writes a million numbers ten times as fast as jsonlite.
#'
#' @param column A vector; what is not finite is unknown.
#' @return Finished JSON for numbers, otherwise the column as it is.
column_json <- function(column) {
  if (!is.double(column) || length(column) == 0L) return(I(column))
  column[!is.finite(column)] <- NA
  written <- tempfile()
  on.exit(unlink(written))
  data.table::fwrite(list(as.vector(column)), written, col.names = FALSE, eol = ",", na = "null")
  structure(sprintf("[%s]", readChar(written, file.size(written) - 1L, useBytes = TRUE)), class = "json")
}

#' A function that keeps progress.json up to date
#' @inheritParams run_job
progress_writer <- function(folder) {
  written <- -Inf
  function(state) {
    now <- proc.time()[["elapsed"]]
    if (now - written < PROGRESS_EVERY) return(invisible())
    written <<- now
    write_whole(to_json(state), file.path(folder, "progress.json"))
  }
}

#' Write a file so that a reader sees all of it or nothing
write_whole <- function(text, path) {
  draft <- paste0(path, ".draft")
  writeLines(text, draft, useBytes = TRUE)
  file.rename(draft, path)
}
