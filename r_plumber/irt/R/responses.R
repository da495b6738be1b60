# Answers as the estimators read them: positions instead of ids, sorted, one entry per answer that was given.

REPEATED <- c("refuse", "keep")

#' Index answers by student and item
#'
#' Ids are sorted in the C locale and answers by (item, student), so that no result depends on the order of
#' the rows or on the locale of the process.
#'
#' @param responses data frame with `student_id` and `item_id` (character) and `correct` (logical or 0/1;
#'   `NA` means not answered and is dropped).
#' @param repeated "refuse" a student's second answer to an item, or "keep" it as one more independent answer.
#' @return A list: `students`, `items` (sorted ids, N and J of them; an item that nobody answered is kept) and
#'   three parallel vectors over the answers, `student`, `item` (positions) and `correct` (0/1 integer).
#' @section Errors: `unprocessable` when a student answered the same item twice; it names the repeated rows.
index_responses <- function(responses, repeated = "refuse") {
  rows <- which(!is.na(responses$correct))
  students <- sort(unique(responses$student_id[rows]), method = "radix")
  items <- sort(unique(responses$item_id), method = "radix")
  student <- match(responses$student_id[rows], students)
  item <- match(responses$item_id[rows], items)

  sorted <- order(item, student, method = "radix")
  rows <- rows[sorted]
  answers <- list(
    students = students, items = items,
    student = student[sorted], item = item[sorted], correct = as.integer(responses$correct[rows])
  )
  again <- which(diff(answers$item) == 0L & diff(answers$student) == 0L) + 1L
  if (repeated == "refuse" && length(again) > 0L) {
    stop(duplicate_answers(rows[again], responses))
  }
  answers
}

duplicate_answers <- function(rows, responses) {
  unprocessable(
    sprintf("%d answers repeat a student and item already answered.", length(rows)),
    lapply(head(sort(rows), MAX_REPORTED), function(row) {
      answer <- sprintf("student %s, item %s", responses$student_id[row], responses$item_id[row])
      field_error("responses.item_id", paste("repeats an earlier row:", answer), row)
    })
  )
}

#' Keep the answers to some items
#'
#' Students left without an answer leave too, which takes no answer from any other item: selecting twice by a
#' rule on the items' own answers gives what selecting once gives.
#'
#' @param answers what [index_responses()] returns.
#' @param items sorted ids of the items to keep; one that nobody answered is kept too.
#' @return The same shape with positions renumbered, those of items in `items`.
select_items <- function(answers, items) {
  position <- match(answers$items, items)
  rows <- which(!is.na(position[answers$item]))
  present <- tabulate(answers$student[rows], length(answers$students)) > 0L
  list(
    students = answers$students[present], items = items,
    student = cumsum(present)[answers$student[rows]], item = position[answers$item[rows]],
    correct = answers$correct[rows]
  )
}

#' Items that answers say nothing finite about
#'
#' An item that all its students got right (or wrong) has its maximum likelihood at an infinite difficulty.
#'
#' @param tally data frame of `item_id`, `n` (answers) and `n_correct`.
#' @param min_responses fewest answers an item may have.
#' @param fixed ids of items that are not estimated and so cannot be left out for that.
#' @return A list of parallel vectors `item_id`, `reason`, `n_responses`, one entry per item to leave out.
excluded_items <- function(tally, min_responses, fixed = character()) {
  reason <- rep(NA_character_, nrow(tally))
  reason[tally$n_correct == tally$n] <- "all correct"
  reason[tally$n_correct == 0L] <- "all wrong"
  reason[tally$n < min_responses] <- sprintf("fewer than %d responses", min_responses)
  reason[tally$item_id %in% fixed] <- NA
  reason[tally$n == 0L] <- "no response"
  out <- !is.na(reason)
  list(item_id = tally$item_id[out], reason = reason[out], n_responses = tally$n[out])
}

#' Answers as a sparse indicator matrix
#'
#' One column per item and outcome makes a likelihood one sparse product with a stacked table of log
#' probabilities, and the expected counts its transpose, whatever the response model is.
#'
#' @param answers what [index_responses()] returns.
#' @return dgCMatrix, N x 2J, with a 1 per answer (their number, where some are repeated): column j for item j
#'   right, J + j for item j wrong.
outcome_matrix <- function(answers) {
  n_items <- length(answers$items)
  Matrix::sparseMatrix(
    i = answers$student, j = answers$item + n_items * (1L - answers$correct), x = 1,
    dims = c(length(answers$students), 2L * n_items)
  )
}

#' Answers back from their matrix
#'
#' @param outcomes what [outcome_matrix()] returns.
#' @return list of `student`, `item` (positions) and `correct`, sorted by item.
answers_in <- function(outcomes) {
  n_items <- ncol(outcomes) / 2L
  outcomes <- methods::as(outcomes, "CsparseMatrix")
  times <- as.integer(outcomes@x)
  column <- rep(rep(seq_len(2L * n_items), diff(outcomes@p)), times)
  item <- (column - 1L) %% n_items + 1L
  sorted <- order(item, method = "radix")
  list(
    student = rep(outcomes@i + 1L, times)[sorted], item = item[sorted],
    correct = as.integer(column <= n_items)[sorted]
  )
}
