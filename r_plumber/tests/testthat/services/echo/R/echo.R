ROW_COLUMNS <- c(name = "id", right = "binary", size = "number")

read_echo <- function(fields, limits) {
  check_fields(fields, character(), c("rows", "answers", "sleep", "fail", "allocate"))
  given(
    rows = if (!is.null(fields$rows)) read_table(fields$rows, "rows", ROW_COLUMNS, limits$max_rows),
    answers = if (!is.null(fields$answers)) {
      read_table(fields$answers, "answers", ROW_COLUMNS[c("name", "right")], limits$max_rows)
    },
    sleep = read_scalar(fields$sleep, "sleep", "number"),
    fail = read_scalar(fields$fail, "fail", "text"),
    allocate = read_scalar(fields$allocate, "allocate", "number")
  )
}

# Computes without a pause for `sleep` seconds, as a fit does, and tells how far it is.
echo <- function(rows = list(), answers = list(), sleep = 0, fail = "", allocate = 0,
                 progress = function(state) NULL) {
  until <- proc.time()[["elapsed"]] + sleep
  while (proc.time()[["elapsed"]] < until) {
    progress(list(left = until - proc.time()[["elapsed"]]))
    sum(sqrt(seq_len(1e5)))
  }
  switch(fail,
    statistics = stop(unprocessable("constant", list(field_error("rows.right", "does not vary", 2L)))),
    error = stop("secret of the service"),
    death = tools::pskill(Sys.getpid(), tools::SIGKILL)
  )
  list(
    rows = as.list(rows), answers = as.list(answers), allocated = length(numeric(allocate)),
    pid = Sys.getpid(), token = Sys.getenv("R_ECHO_INTERNAL_TOKEN"), unknown = NA_real_, third = 1 / 3
  )
}

awaited_files <- function() list(files = Filter(nzchar, Sys.getenv("R_ECHO_AWAITS")), made_by = "touch it")
