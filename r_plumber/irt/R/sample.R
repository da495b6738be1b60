# A sample of answers as the calibration goes through it: students in chunks, so that what is in memory of
# their posteriors does not grow with their number.

#' Gather the answers of one table, or of many that would not fit in memory together
#'
#' Parts are read one after the other, each with all answers of its students; what is made of them waits in
#' files. The chunks of a single table stay in memory.
#'
#' @param responses data frame, see [index_responses()], or a list of functions that each return one.
#' @param min_responses,repeated see [calibrate()].
#' @param fixed ids of items whose parameters are known.
#' @param groups,weights `NULL`, or data frames of `student_id` and `group` or `weight`.
#' @param chunk_size students to a chunk.
#' @return A list: `items` (sorted ids), `n_responses`, `n_correct` (length J), `exclusions` (see
#'   [excluded_items()]), `groups` (sorted names), `n_students` (of each group) and `chunks`, to be
#'   [restored()].
#' @section Errors: `unprocessable` when an answer is repeated, a student is in two parts, or has no group or
#'   weight where there are any.
gather_sample <- function(responses, min_responses, repeated, fixed, groups, weights,
                          chunk_size = students_per_chunk) {
  parts <- if (is.data.frame(responses)) list(function() responses) else responses
  store <- if (length(parts) > 1L) in_file else identity
  gathered <- lapply(parts, function(part) {
    answers <- index_responses(part(), repeated)
    n <- tabulate(answers$item, length(answers$items))
    n_correct <- tabulate(answers$item[answers$correct == 1L], length(answers$items))
    list(
      answers = store(answers), students = answers$students,
      tally = data.frame(item_id = answers$items, n = n, n_correct = n_correct)
    )
  })
  check_students(unlist(lapply(gathered, `[[`, "students")), groups, weights)
  tally <- sum_tallies(data.table::rbindlist(lapply(gathered, `[[`, "tally")))
  exclusions <- excluded_items(tally, min_responses, fixed)
  tally <- tally[!tally$item_id %in% exclusions$item_id, ]

  names <- if (is.null(groups)) "all" else sort(unique(groups$group), method = "radix")
  n_students <- integer(length(names))
  chunks <- list()
  for (part in gathered) {
    answers <- select_items(restored(part$answers), tally$item_id)
    for (members in split(seq_along(answers$students), (seq_along(answers$students) - 1L) %/% chunk_size)) {
      chunk <- make_chunk(answers, members, groups, names, weights)
      n_students <- n_students + tabulate(chunk$group, length(names))
      chunks <- c(chunks, list(store(chunk)))
    }
  }
  list(
    items = tally$item_id, n_responses = tally$n, n_correct = tally$n_correct,
    exclusions = exclusions, groups = names, n_students = n_students, chunks = chunks
  )
}

sum_tallies <- function(tallies) {
  items <- sort(unique(tallies$item_id), method = "radix")
  sums <- rowsum(cbind(tallies$n, tallies$n_correct), match(tallies$item_id, items))
  data.frame(item_id = items, n = as.integer(sums[, 1]), n_correct = as.integer(sums[, 2]))
}

# 20,000 posteriors on 61 nodes are 10 MB, and a cycle has a handful of such matrices at a time.
students_per_chunk <- 20000L

#' Some students' answers, groups and weights
#'
#' @param answers what [index_responses()] returns.
#' @param members positions of the students, without gaps.
#' @inheritParams gather_sample
#' @param names the groups, sorted.
#' @return list of `students` (ids), `outcomes` (see [outcome_matrix()]), `group` (positions in `names`) and
#'   `weight`.
make_chunk <- function(answers, members, groups, names, weights) {
  students <- answers$students[members]
  rows <- which(answers$student >= members[1] & answers$student <= members[length(members)])
  outcomes <- outcome_matrix(list(
    students = students, items = answers$items, student = answers$student[rows] - members[1] + 1L,
    item = answers$item[rows], correct = answers$correct[rows]
  ))
  of_students <- function(table, column) table[[column]][match(students, table$student_id)]
  list(
    students = students, outcomes = if (Matrix::nnzero(outcomes) > dense_share * length(outcomes)) {
      as.matrix(outcomes)
    } else {
      outcomes
    },
    group = if (is.null(groups)) rep(1L, length(students)) else match(of_students(groups, "group"), names),
    weight = if (is.null(weights)) rep(1, length(students)) else of_students(weights, "weight")
  )
}

# Half the entries of a complete table are 1; from about a tenth on, dense BLAS is faster than sparse
# products.
dense_share <- 0.1

#' Keep a value in a file of the process's temporary folder
#' @return What [restored()] makes the value of again.
in_file <- function(value) {
  path <- tempfile("part-", fileext = ".rds")
  saveRDS(value, path, compress = FALSE)
  structure(path, class = "in_file")
}

restored <- function(value) if (inherits(value, "in_file")) readRDS(value) else value

#' Refuse students without a group or weight, and one whose answers are in two parts
#' @param students ids of each part's students, one after the other.
#' @inheritParams gather_sample
check_students <- function(students, groups, weights) {
  again <- students[duplicated(students)]
  require_value(
    length(again) == 0L, "responses",
    sprintf("has answers of student %s in more than one part", c(again, "")[1])
  )
  for (table in list(list("groups", groups), list("weights", weights))) {
    missing <- setdiff(students, table[[2]]$student_id)
    require_value(
      is.null(table[[2]]) || length(missing) == 0L, table[[1]],
      sprintf("must name every student; %d are missing, %s among them", length(missing), c(missing, "")[1])
    )
  }
}
