# Students whose items are chosen by their own answers: of eight drawn at random, the one whose difficulty is
# nearest to a running estimate of the ability. `curve(p, theta, item, student)` changes the probability of a
# right answer.
simulate_adaptive <- function(theta, items, n_answers, seed, curve = function(p, theta, item, student) p) {
  set.seed(seed)
  students <- seq_along(theta)
  met <- matrix(FALSE, length(theta), nrow(items))
  estimate <- numeric(length(theta))
  rounds <- lapply(seq_len(n_answers), function(round) {
    drawn <- matrix(sample.int(nrow(items), 8L * length(theta), replace = TRUE), ncol = 8L)
    distance <- abs(items$b[drawn] - estimate) + 1e3 * met[cbind(rep(students, 8L), as.vector(drawn))]
    item <- drawn[cbind(students, max.col(-matrix(distance, ncol = 8L), "first"))]
    new <- !met[cbind(students, item)]
    p <- items$c[item] + (1 - items$c[item]) * plogis(items$a[item] * (theta - items$b[item]))
    correct <- runif(length(theta)) < curve(p, theta, item, students)
    met[cbind(students, item)] <<- TRUE
    estimate <<- estimate + ifelse(correct, 1.2, -1.2) / sqrt(round)
    answers <- data.frame(
      student_id = sprintf("s%05d", students), item_id = items$item_id[item], correct = correct
    )
    answers[new, ]
  })
  do.call(rbind, rounds)
}

# A bank of 2PL items.
draw_items <- function(n, seed) {
  set.seed(seed)
  data.frame(item_id = sprintf("i%04d", seq_len(n)), a = rlnorm(n, 0, 0.3), b = rnorm(n), c = 0)
}

# As the pipeline does it: calibrated on the answers, with weak priors.
calibrated_items <- function(responses, min_responses = 30L) {
  priors <- list(a = list(meanlog = 0.25, sdlog = 0.5), d = list(mean = 0, sd = 3))
  calibration <- calibrate(responses, "2PL", priors, min_responses = min_responses, standard_errors = "none")
  as.data.frame(calibration$item_params[c("item_id", "a", "b", "c")])
}

# Columns of a job's result are those that R computed
expect_columns <- function(received, computed) {
  testthat::expect_identical(names(received), names(computed))
  for (column in names(computed)) {
    missing <- computed[[column]][NA_integer_]
    values <- unlist(lapply(received[[column]], function(value) if (is.null(value)) missing else value))
    testthat::expect_equal(values, computed[[column]], tolerance = 1e-12)
  }
}
