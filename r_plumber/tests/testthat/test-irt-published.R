test_that("LSAT6 under the Rasch model is Thissen (1982)", {
  fit <- calibrate(lsat6, "Rasch")
  expect_true(fit$fit_meta$metrics$converged)
  expect_identical(fit$item_params$a, rep(1, 5))
  expect_equal(fit$item_params$b, c(-2.730, -0.999, -0.240, -1.306, -2.099), tolerance = 1e-3)
  expect_lt(abs(fit$fit_meta$metrics$latent_sd - 0.755), 0.002)
  expect_lt(abs(fit$fit_meta$metrics$log_lik + 2466.938), 0.01)
})

test_that("LSAT6 under the 2PL is the ltm paper (Rizopoulos 2006)", {
  fit <- calibrate(lsat6)
  expect_true(fit$fit_meta$metrics$converged)
  expect_lt(max(abs(fit$item_params$a - c(0.825, 0.723, 0.890, 0.689, 0.657))), 0.005)
  expect_lt(max(abs(fit$item_params$b - c(-3.360, -1.370, -0.280, -1.866, -3.124))), 0.005)
  expect_lt(abs(fit$fit_meta$metrics$log_lik + 2466.653), 0.01)
})

test_that("LSAT7 under the 2PL is the mirt paper (Chalmers 2012)", {
  fit <- calibrate(lsat7)
  expect_true(fit$fit_meta$metrics$converged)
  d <- -fit$item_params$a * fit$item_params$b
  expect_lt(max(abs(fit$item_params$a - c(0.988, 1.081, 1.706, 0.765, 0.736))), 0.005)
  expect_lt(max(abs(d - c(1.856, 0.808, 1.804, 0.486, 1.854))), 0.005)
  expect_lt(abs(fit$fit_meta$metrics$log_lik + 2658.805), 0.01)
})

test_that("standard errors of LSAT6 and LSAT7 are those of mirt 1.47", {
  expect_equal(
    calibrate(lsat6)$item_params$se_a, c(0.25811, 0.18668, 0.23276, 0.18514, 0.20991), tolerance = 1e-3
  )
  expect_equal(
    calibrate(lsat7)$item_params$se_a, c(0.17720, 0.16876, 0.32107, 0.13412, 0.15113), tolerance = 1e-3
  )
  rasch <- calibrate(lsat6, "Rasch")$item_params
  expect_equal(rasch$se_b, c(0.13044, 0.07918, 0.07177, 0.08464, 0.10545), tolerance = 1e-3)
})

# 600 students, 32 multiple-choice items of a science test; option 8 is no answer, which is wrong.
sat12 <- function() {
  chosen <- as.matrix(read.csv(beside_checkout("data", "irt_tables", "mirt__SAT12.csv")))
  key <- c(1, 4, 5, 2, 3, 1, 2, 1, 3, 1, 2, 4, 2, 1, 5, 3, 4, 4, 1, 4, 3, 3, 4, 1, 3, 5, 1, 3, 1, 5, 4, 5)
  data.frame(
    student_id = sprintf("s%03d", row(chosen)), item_id = sprintf("i%02d", col(chosen)),
    correct = as.vector(t(t(chosen) == key))
  )
}

test_that("LSAT6, LSAT7 and SAT12 match the reference package in every model", {
  tables <- list(LSAT6 = lsat6, LSAT7 = lsat7, SAT12 = sat12())
  guessing <- list(a = list(meanlog = 0.1, sdlog = 0.4), c = list(mean = -1.5, sd = 0.5))
  cases <- list(
    c("LSAT6", "Rasch"), c("LSAT6", "2PL"), c("LSAT7", "Rasch"), c("LSAT7", "2PL"),
    c("SAT12", "Rasch"), c("SAT12", "2PL"), c("SAT12", "3PL")
  )
  for (case in cases) {
    file <- beside_checkout("reference", "irt", sprintf("expected_%s_%s.json", case[1], tolower(case[2])))
    expected <- jsonlite::fromJSON(file)
    fit <- calibrate(tables[[case[1]]], case[2], priors = if (case[2] == "3PL") guessing)
    expect_true(fit$fit_meta$metrics$converged)
    expect_lt(abs(fit$fit_meta$metrics$log_lik - expected$log_lik), 1e-3)
    expect_lt(abs(fit$fit_meta$metrics$latent_sd - expected$latent_sd), 2e-3)
    expect_lt(max(abs(fit$item_params$a - expected$items$a)), 2e-3)
    expect_lt(max(abs(fit$item_params$b - expected$items$b)), 2e-3)
    if (case[2] == "3PL") expect_lt(max(abs(fit$item_params$c - expected$items$c)), 1e-3)
    if (case[2] == "2PL") expect_equal(fit$item_params$se_a, expected$items$se_a, tolerance = 1e-3)
  }
})
