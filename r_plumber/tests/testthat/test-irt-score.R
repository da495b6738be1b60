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
  expect_identical(refused(items, method = "WLE")$field, "method")
  expect_identical(refused(items, latent = list(mean = 0, sd = 0))$field, "latent.sd")
  twice <- refused(rbind(items, items[2, ]))
  expect_identical(twice[c("field", "row")], list(field = "items.item_id", row = 4L))
  unknown <- refused(transform(items, b = c(0, NA, 0)))
  expect_identical(unknown[c("field", "row")], list(field = "items.b", row = 2L))
})
