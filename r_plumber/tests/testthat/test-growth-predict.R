# The probability of reaching a goal: closed forms against dense ones.

# Conditional mean and variance of the line at `week` from the joint normal of line and scores
dense_line <- function(own, draw, week) {
  g12 <- draw$correlation * draw$sd_intercept * draw$sd_week
  covariance <- matrix(c(draw$sd_intercept^2, g12, g12, draw$sd_week^2), 2)
  beta <- c(draw$intercept, draw$week)
  at <- c(1, week)
  x <- cbind(1, own$week)
  sigma <- x %*% covariance %*% t(x) + diag(draw$kappa^2 * own$se^2, nrow(own))
  gain <- t(at) %*% covariance %*% t(x) %*% solve(sigma)
  list(
    mean = sum(at * beta) + drop(gain %*% (own$score - x %*% beta)),
    variance = drop(t(at) %*% covariance %*% at - gain %*% x %*% covariance %*% at)
  )
}

scores <- simulate_scores(5, 6, seed = 3)[-(8:11)] # students with six, two and six scores
draws <- simulate_draws(40, seed = 4)
draws$sd_week[1:3] <- 0
draws$correlation[4:5] <- c(1, -1)
draws$sd_intercept[6] <- 0
goals <- data.table::data.table(
  student_id = c("s00002", "s00001", "s00005", "s00001"), goal_week = c(8, 4, -2.5, 0),
  target = c(0.4, 1, 0, -1)
)

test_that("means and variances are those of the joint normal distribution, for singular covariances too", {
  sums <- growth$student_sums(scores, goals$student_id)
  for (d in seq_len(nrow(draws))) {
    found <- growth$conditional_line(sums, as.list(draws[d, ]), goals$goal_week)
    expected <- Map(function(student, week) {
      dense_line(scores[scores$student_id == student, ], as.list(draws[d, ]), week)
    }, goals$student_id, goals$goal_week)
    expect_equal(found$mean, unname(vapply(expected, `[[`, 0, "mean")), tolerance = 1e-10)
    expect_equal(found$variance, unname(vapply(expected, `[[`, 0, "variance")), tolerance = 1e-10)
  }
})

test_that("a probability is the mean over draws, with their quantiles and the total variance", {
  found <- growth$predict_growth(scores, draws, goals)$goals
  expect_identical(found$student_id, goals$student_id)
  expect_identical(found$n_scores, c(2L, 6L, 6L, 6L))
  for (i in seq_len(nrow(goals))) {
    own <- scores[scores$student_id == goals$student_id[i], ]
    week <- goals$goal_week[i]
    lines <- lapply(seq_len(nrow(draws)), function(d) dense_line(own, as.list(draws[d, ]), week))
    m <- vapply(lines, `[[`, 0, "mean")
    variance <- vapply(lines, `[[`, 0, "variance")
    p <- pnorm(m, goals$target[i], sqrt(variance))
    expect_equal(found$p_goal[i], mean(p), tolerance = 1e-9)
    expect_equal(c(found$p_lower[i], found$p_upper[i]), unname(quantile(p, c(0.05, 0.95))), tolerance = 1e-9)
    expect_equal(found$mu[i], mean(m), tolerance = 1e-9)
    expect_equal(found$sigma[i], sqrt(mean(variance) + mean((m - mean(m))^2)), tolerance = 1e-9)
  }
})

test_that("a case worked by hand", {
  # one score of 1 and a prior N(0, 1), both of variance 1: N(1/2, 1/2)
  draw <- data.frame(intercept = 0, week = 0, sd_intercept = 1, sd_week = 0, correlation = 0, kappa = 2)
  score <- data.frame(student_id = "a", week = 0, score = 1, se = 0.5)
  goals <- data.frame(student_id = "a", goal_week = 3, target = c(0.5, 0, 0.5 + sqrt(0.5)))
  found <- growth$predict_growth(score, draw, goals)$goals
  expect_equal(found$p_goal, pnorm(c(0, sqrt(0.5), -1)), tolerance = 1e-12)
  expect_equal(found$mu, rep(0.5, 3), tolerance = 1e-12)
  expect_equal(found$sigma, rep(sqrt(0.5), 3), tolerance = 1e-12)
  expect_identical(found$p_lower, rep(NA_real_, 3)) # a single draw has no quantiles
})

test_that("a student without scores is one of the population", {
  goals <- data.table::data.table(student_id = c("new", "s00001"), goal_week = 4, target = 0.5)
  found <- growth$predict_growth(scores, draws, goals)$goals
  expect_identical(found$n_scores, c(0L, 6L))
  at <- c(1, 4)
  p <- vapply(seq_len(nrow(draws)), function(d) {
    draw <- as.list(draws[d, ])
    sd <- sqrt(draw$sd_intercept^2 + 16 * draw$sd_week^2 +
                 8 * draw$correlation * draw$sd_intercept * draw$sd_week)
    pnorm(sum(at * c(draw$intercept, draw$week)), 0.5, sd)
  }, 0)
  expect_equal(found$p_goal[1], mean(p), tolerance = 1e-9)
  expect_equal(growth$predict_growth(scores[0, ], draws, goals)$goals$p_goal[2], mean(p), tolerance = 1e-9)
})

test_that("without any variance a goal is reached or it is not", {
  draw <- data.frame(intercept = 0.5, week = 0.25, sd_intercept = 0, sd_week = 0, correlation = 0, kappa = 1)
  goals <- data.frame(student_id = "s00001", goal_week = 2, target = c(0.9, 1, 1.1))
  found <- growth$predict_growth(scores, draw, goals)$goals
  expect_identical(found$p_goal, c(1, 1, 0))
  expect_identical(found$sigma, c(0, 0, 0))
})

test_that("the order of rows, and how many are held at once, change nothing", {
  found <- growth$predict_growth(scores, draws, goals)$goals
  shuffled <- growth$predict_growth(scores[sample(nrow(scores)), ], draws, goals[c(3, 1, 4, 2), ])$goals
  expect_equal(lapply(shuffled, `[`, c(2, 4, 1, 3)), found, tolerance = 1e-12)
  small <- new.env(parent = growth)
  small$CELLS_AT_ONCE <- 2 * nrow(draws)
  in_chunks <- growth$predict_growth
  environment(in_chunks) <- small
  expect_identical(in_chunks(scores, draws, goals)$goals, found)
})

test_that("more scores of the same kind bring the line nearer to them", {
  draw <- as.list(GROWTH_TRUTH)
  few <- data.frame(student_id = "a", week = seq(-4, -1), score = 2, se = 0.5)
  goals <- data.frame(student_id = "a", goal_week = 0, target = 1.9)
  chance <- vapply(c(1, 10, 100), function(times) {
    growth$predict_growth(few[rep(1:4, times), ], as.data.frame(draw), goals)$goals$p_goal
  }, 0)
  expect_true(all(diff(chance) > 0))
  expect_gt(chance[3], 0.95)
})

test_that("impossible values are named", {
  refused <- function(scores, draws, field, row) {
    problem <- tryCatch(growth$predict_growth(scores, draws, goals), unprocessable = identity)
    expect_identical(problem$errors[[1]][c("field", "row")], list(field = field, row = row))
  }
  changed <- function(table, name, value) {
    table <- data.table::copy(table)
    table[[name]][2] <- value
    table
  }
  refused(changed(scores, "se", 0), draws, "scores.se", 2L)
  refused(scores, changed(draws, "sd_week", -0.1), "draws.sd_week", 2L)
  refused(scores, changed(draws, "correlation", 1.01), "draws.correlation", 2L)
  refused(scores, changed(draws, "kappa", 0), "draws.kappa", 2L)
  expect_error(growth$predict_growth(scores, draws[0, ], goals), class = "unprocessable")
})
