items <- data.frame(item_id = c("x", "y", "z"), a = c(0.7, 1.2, 2), b = c(-1, 0, 1.5))
responses <- data.frame(
  student_id = c("s1", "s1", "s1", "s2", "s2", "s3", "s4", "s4"),
  item_id = c("x", "y", "z", "x", "y", "z", "y", "other"),
  correct = c(1, 1, 0, 0, 0, 1, 1, 1)
)

test_that("EAP scores and their standard deviations are integrals over the latent distribution", {
  latent <- list(mean = 0.3, sd = 1.2)
  expect_scored <- function(student, scored) {
    answers <- merge(responses[responses$student_id == student, ], items)
    moment <- function(power) {
      integrate(
        function(theta) {
          density <- dnorm(theta, latent$mean, latent$sd)
          for (k in seq_len(nrow(answers))) {
            p <- 1 / (1 + exp(-answers$a[k] * (theta - answers$b[k])))
            density <- density * if (answers$correct[k] == 1) p else 1 - p
          }
          theta^power * density
        }, -Inf, Inf, rel.tol = 1e-10
      )$value
    }
    mean <- moment(1) / moment(0)
    expect_equal(scored$theta, mean, tolerance = 1e-5)
    expect_equal(scored$se, sqrt(moment(2) / moment(0) - mean^2), tolerance = 1e-4)
    expect_identical(scored$n_responses, nrow(answers))
  }
  result <- score(responses, items, latent)
  abilities <- as.data.frame(result$abilities)
  expect_identical(abilities$student_id, c("s1", "s2", "s3", "s4"))
  for (row in seq_len(4)) expect_scored(abilities$student_id[row], abilities[row, ])
  expect_identical(result$method, "EAP")
})

test_that("answers on unknown items are left out and counted", {
  result <- score(responses, items)
  expect_identical(result$n_ignored, 1L)
  expect_identical(result$abilities, score(responses[responses$item_id != "other", ], items)$abilities)
  stranger <- rbind(responses, data.frame(student_id = "s5", item_id = "other", correct = 1))
  expect_identical(score(stranger, items)$abilities, result$abilities)
  expect_error(score(responses[8, ], items), class = "unprocessable")
})

test_that("scoring with a calibration's parameters gives its abilities", {
  bank <- simulate_answers(200, rep(1, 10), seq(-2, 2, length.out = 10), met = 0.7, seed = 9, latent_sd = 1.5)
  fit <- calibrate(bank$responses, "Rasch")
  latent <- list(mean = fit$fit_meta$metrics$latent_mean, sd = fit$fit_meta$metrics$latent_sd)
  expect_equal(score(bank$responses, as.data.frame(fit$item_params), latent)$abilities, fit$abilities)
})

test_that("a thousand answers do not underflow", {
  long <- data.frame(student_id = "s", item_id = sprintf("i%04d", 1:2000), correct = rep(0:1, 1000))
  bank <- data.frame(item_id = long$item_id, a = 1, b = 0.7)
  expect_equal(score(long, bank)$abilities$theta, 0.7, tolerance = 0.01)
})

test_that("impossible parameters are refused and the field named", {
  refused <- function(...) expect_error(score(responses, ...), class = "unprocessable")$errors[[1]]
  expect_identical(refused(items, method = "MLE")$field, "method")
  expect_identical(refused(items, latent = list(mean = 0, sd = 0))$field, "latent.sd")
  twice <- refused(rbind(items, items[2, ]))
  expect_identical(twice[c("field", "row")], list(field = "items.item_id", row = 4L))
  unknown <- refused(transform(items, b = c(0, NA, 0)))
  expect_identical(unknown[c("field", "row")], list(field = "items.b", row = 2L))
})

test_that("guessing enters the posterior", {
  guessed <- transform(items, c = c(0.1, 0.25, 0))
  likelihood <- function(theta) {
    p <- guessed$c + (1 - guessed$c) * plogis(guessed$a * outer(-guessed$b, theta, "+"))
    p[1, ] * p[2, ] * (1 - p[3, ]) * dnorm(theta)
  }
  moment <- function(power) integrate(function(t) t^power * likelihood(t), -8, 8, rel.tol = 1e-10)$value
  expect_equal(score(responses, guessed)$abilities$theta[1], moment(1) / moment(0), tolerance = 1e-5)
})

test_that("weighted likelihood estimates maximise Warm's criterion, and exist when all answers are right", {
  # Under a 2PL the estimate maximises log likelihood + log information / 2 (Warm 1989).
  bank <- simulate_answers(30, rep(c(0.7, 1.3, 2), 4), seq(-1.5, 1.5, length.out = 12), met = 0.8, seed = 3)
  known <- data.frame(
    item_id = sprintf("i%04d", 1:12), a = rep(c(0.7, 1.3, 2), 4), b = seq(-1.5, 1.5, length.out = 12)
  )
  scored <- as.data.frame(score(bank$responses, known, method = "WLE")$abilities)
  for (student in scored$student_id) {
    own <- merge(bank$responses[bank$responses$student_id == student, ], known)
    logit <- function(theta) own$a * (theta - own$b)
    information <- function(theta) sum(own$a^2 * plogis(logit(theta)) * plogis(-logit(theta)))
    objective <- function(theta) {
      log_lik <- sum(plogis(ifelse(own$correct, 1, -1) * logit(theta), log.p = TRUE))
      log_lik + log(information(theta)) / 2
    }
    best <- optimize(objective, c(-8, 8), maximum = TRUE, tol = 1e-9)$maximum
    row <- scored[scored$student_id == student, ]
    expect_equal(row$theta, best, tolerance = 1e-5)
    expect_equal(row$se, 1 / sqrt(information(best)), tolerance = 1e-4)
  }
  all_right <- data.frame(student_id = "s", item_id = known$item_id, correct = TRUE)
  expect_lt(score(all_right, known, method = "WLE")$abilities$theta, 6)
})

test_that("the steepest items leave an estimate between them", {
  steep <- data.frame(item_id = c("x", "y", "z"), a = 200, b = c(-1, 0, 1))
  own <- data.frame(student_id = "s", item_id = steep$item_id, correct = c(1, 1, 0))
  theta <- score(own, steep, method = "WLE")$abilities$theta
  expect_gt(theta, 0)
  expect_lt(theta, 1)
})

test_that("with guessing the estimating equation has the derivatives of the curve", {
  bank <- list(a = c(0.9, 1.7), d = c(0.3, -1), c = c(0.2, 0.05))
  theta <- 0.4
  p <- function(j, t) bank$c[j] + (1 - bank$c[j]) * plogis(bank$a[j] * t + bank$d[j])
  for (j in 1:2) {
    slope <- (p(j, theta + 1e-4) - p(j, theta - 1e-4)) / 2e-4
    bend <- (p(j, theta + 1e-3) - 2 * p(j, theta) + p(j, theta - 1e-3)) / 1e-6
    variance <- p(j, theta) * (1 - p(j, theta))
    for (correct in 0:1) {
      terms <- lapply(estimating_terms(bank, theta, correct), `[`, j)
      expect_equal(terms$score, (correct - p(j, theta)) * slope / variance, tolerance = 1e-5)
      expect_equal(terms$information, slope^2 / variance, tolerance = 1e-5)
      expect_equal(terms$bias, slope * bend / variance, tolerance = 1e-4)
    }
  }
})

test_that("a topic's ability is the integral over general ability and all deviations", {
  known <- data.frame(item_id = c("x1", "x2", "y1", "y2"), a = c(1, 1.4, 0.8, 1.2), b = c(0, 0.5, -0.3, 0.8))
  own <- data.frame(student_id = "s", item_id = known$item_id, correct = c(1, 1, 0, 0))
  tau <- 0.5
  scored <- score(
    own, known, list(mean = 0.2, sd = 0.9), topic_sd = tau, topics = data.frame(
      item_id = known$item_id, topic_id = c("x", "x", "y", "y")
    )
  )
  right <- function(j, ability) plogis(known$a[j] * (ability - known$b[j]))
  of_x <- function(ability) right(1, ability) * right(2, ability)
  of_y <- function(ability) (1 - right(3, ability)) * (1 - right(4, ability))
  grid <- seq(-8, 8, by = 0.02)
  about_y <- vapply(grid, function(theta) sum(of_y(theta + grid) * dnorm(grid, sd = tau)) * 0.02, 0)
  # of ability in x: sum over theta of P(y | theta) P(theta) N(ability - theta; tau), times P(x | ability)
  density <- vapply(grid, function(ability) {
    of_x(ability) * sum(about_y * dnorm(grid, 0.2, 0.9) * dnorm(ability - grid, sd = tau)) * 0.02
  }, 0)
  mean <- sum(grid * density) / sum(density)
  expect_identical(scored$topic_abilities$topic_id, c("x", "y"))
  expect_equal(scored$topic_abilities$theta[1], mean, tolerance = 1e-3)
  sd <- sqrt(sum((grid - mean)^2 * density) / sum(density))
  expect_equal(scored$topic_abilities$se[1], sd, tolerance = 1e-3)
  expect_identical(scored$topic_sd, tau)
})

test_that("the sd of deviations by topic is found", {
  set.seed(8)
  n <- 400
  bank <- data.frame(item_id = sprintf("i%02d", 1:24), a = 1.2, b = rep(seq(-1.5, 1.5, length.out = 8), 3))
  topics <- data.frame(item_id = bank$item_id, topic_id = rep(c("x", "y", "z"), each = 8))
  ability <- rnorm(n) + matrix(rnorm(3 * n, sd = 0.6), n)
  rows <- expand.grid(student = seq_len(n), item = 1:24)
  p <- plogis(1.2 * (ability[cbind(rows$student, (rows$item - 1) %/% 8 + 1)] - bank$b[rows$item]))
  own <- data.frame(
    student_id = sprintf("s%03d", rows$student), item_id = bank$item_id[rows$item],
    correct = runif(nrow(rows)) < p
  )
  scored <- score(own, bank, topics = topics)
  expect_lt(abs(scored$topic_sd - 0.6), 0.08)
  student <- as.integer(substr(scored$topic_abilities$student_id, 2, 4))
  truth <- ability[cbind(student, match(scored$topic_abilities$topic_id, c("x", "y", "z")))]
  z <- (scored$topic_abilities$theta - truth) / scored$topic_abilities$se
  expect_lt(abs(mean(abs(z) < 1.645) - 0.9), 0.03)
})
