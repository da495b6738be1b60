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
