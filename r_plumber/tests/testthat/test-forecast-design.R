# The columns of the risk model, counted by hand.

rows_of <- function(...) {
  given <- list(...)
  n <- max(2L, lengths(given))
  rows <- c(list(idle = 7:8, weekday = c(1, 3), holidays = 0), sapply(forecast$COVARIATES, function(name) 1))
  data.table::as.data.table(lapply(utils::modifyList(rows, given), rep, length.out = n))
}

test_that("columns have their names, order and values", {
  rows <- rows_of(
    idle = c(7, 9, 9, 13), weekday = c(1, 3, 5, 3), a_t = c(1, NA, 2, 6), holidays = c(0, 0, 0, 2)
  )
  design <- forecast$describe_design(rows)
  expect_identical(
    design$terms,
    c(
      "intercept", "idle_9", "idle_13", "a_t", "a_t_missing", "a_t_idle", "weekday_3", "weekday_5", "holidays"
    )
  )
  expect_identical(design$dropped, c("e_t", "r_t", "mean_gap", "session_rate"))
  a_t <- (c(1, 2, 2, 6) - 3) / sqrt(mean((c(1, 2, 6) - 3)^2)) # by what is known, the median for what is not
  by_hand <- cbind(
    1, c(0, 1, 1, 0), c(0, 0, 0, 1), a_t, c(0, 1, 0, 0), a_t * c(0, 2, 2, 6) / 7, c(0, 1, 0, 1),
    c(0, 0, 1, 0), c(-1, -1, -1, 3) / sqrt(3)
  )
  expect_equal(unname(design_matrix(rows, design)), unname(by_hand))
  scale <- design$covariates$a_t
  expect_equal(scale[c("median", "mean", "missing")], list(median = 2, mean = 3, missing = TRUE))
})

test_that("a column that is constant is left out, and said", {
  dropped <- function(...) forecast$describe_design(rows_of(...))$dropped
  expect_identical(dropped(), c(forecast$COVARIATES, "holidays"))
  expect_true("a_t_idle" %in% dropped(idle = 7, a_t = 1:4))
  expect_true("weekday_4" %in% dropped(weekday = 4, a_t = 1:4))
  expect_false(any(grepl("weekday", dropped(weekday = 1))))
  expect_true("a_t" %in% dropped(a_t = c(2, NA, 2, 2)))
  expect_true("a_t" %in% dropped(a_t = NA_real_))
  cases <- list(list(idle = 7, a_t = 1:4), list(weekday = 4, a_t = 1:4), list(idle = 0:3, holidays = 0:3))
  for (case in cases) {
    rows <- do.call(rows_of, case)
    x <- design_matrix(rows, forecast$describe_design(rows))
    expect_true(all(apply(x[, -1, drop = FALSE], 2, var) > 0))
  }
})

test_that("weekdays without a Monday among them have a column each", {
  expect_identical(forecast$describe_design(rows_of(weekday = c(2, 6)))$weekdays, c(2, 6))
})

test_that("idle days not seen in training are the nearest that were, of two the fewer", {
  design <- forecast$describe_design(rows_of(idle = c(2, 6, 9), a_t = 1:3))
  x <- design_matrix(rows_of(idle = 0:13, a_t = 3), design)
  level <- c(2, 2, 2, 2, 2, 6, 6, 6, 9, 9, 9, 9, 9, 9)
  expect_identical(unname(x[, "idle_6"]), as.numeric(level == 6))
  expect_identical(unname(x[, "idle_9"]), as.numeric(level == 9))
  expect_equal(unname(x[, "a_t_idle"]), unname(x[, "a_t"]) * (level - 7) / 7)
})

test_that("chunks together are the rows, each of the same idle days and none too large", {
  whole <- forecast$CHUNK_ROWS
  assign("CHUNK_ROWS", 10L, envir = forecast)
  withr::defer(assign("CHUNK_ROWS", whole, envir = forecast))
  idle <- rep(c(3, 0, 13), c(21, 10, 4))[order(sin(1:35))]
  chunks <- forecast$row_chunks(idle)
  expect_identical(sort(unlist(chunks, use.names = FALSE)), 1:35)
  expect_identical(unname(lengths(chunks)), c(10L, 10L, 10L, 1L, 4L))
  expect_true(all(vapply(chunks, function(at) length(unique(idle[at])) == 1L, NA)))
  expect_identical(sort(unlist(forecast$row_chunks(idle, 5:9), use.names = FALSE)), 5:9)
  expect_length(forecast$row_chunks(numeric()), 0L)
})
