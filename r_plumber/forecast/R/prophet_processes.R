# Series in several processes at a time: they use the cores there are, and end with the worker.

FEWEST_SERIES <- 20L # for which a process is worth its start, that of prophet
GLANCE_EVERY <- 0.1 # seconds

#' Do the same with each series
#'
#' @param items list with what each series has.
#' @param work name of a function of (item, ...).
#' @param arguments its other arguments.
#' @param cores processes at a time.
#' @param progress function(state), told how many series are done of all.
#' @return list with what `work` returns for each.
for_each_series <- function(items, work, arguments, cores, progress) {
  tell <- function(done) progress(list(done = done, all = length(items)))
  tell(0)
  size <- min(floor(cores), length(items) %/% FEWEST_SERIES)
  if (size < 2) {
    return(lapply(seq_along(items), function(i) {
      result <- do.call(work, c(items[i], arguments))
      tell(i)
      result
    }))
  }
  share <- rep_len(seq_len(size), length(items))
  results <- vector("list", length(items))
  split(results, share) <- in_processes(split(items, share), work, arguments, tell)
  results
}

#' Work on shares, each in a process of its own
#'
#' The processes end with this one, however it ends (`supervise`).
#'
#' @param shares list of lists of items.
#' @inheritParams for_each_series
#' @param tell function(done).
#' @return list of lists of results.
in_processes <- function(shares, work, arguments, tell) {
  folder <- tempfile("series-")
  dir.create(folder)
  processes <- list()
  on.exit({
    for (process in processes) process$kill()
    unlink(folder, recursive = TRUE)
  })
  code <- as.list(environment(sys.function()))
  tallies <- file.path(folder, seq_along(shares))
  file.create(tallies)
  processes <- Map(function(items, tally) {
    callr::r_bg(
      work_on_share, list(code, items, work, arguments, tally), user_profile = FALSE, supervise = TRUE,
      env = c(callr::rcmd_safe_env(), TMPDIR = folder)
    )
  }, shares, tallies)
  while (any(vapply(processes, function(process) process$is_alive(), NA))) {
    tell(sum(file.size(tallies)))
    Sys.sleep(GLANCE_EVERY)
  }
  lapply(processes, result_of)
}

#' What a process returned; a problem of its own is one here, too
result_of <- function(process) {
  tryCatch(process$get_result(), error = function(e) stop(if (inherits(e$parent, "problem")) e$parent else e))
}

#' One share, in its own process
#'
#' @param code the functions of this service.
#' @param items,work,arguments see [for_each_series()].
#' @param tally file that gets a byte for each item done.
work_on_share <- function(code, items, work, arguments, tally) {
  list2env(code, globalenv())
  lapply(items, function(item) {
    result <- do.call(work, c(list(item), arguments))
    cat(".", file = tally, append = TRUE)
    result
  })
}
