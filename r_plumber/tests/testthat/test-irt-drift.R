# Noise as a calibration makes it: correlated errors of a and b whose covariances are known.
bank_of <- function(n, seed, answers = 1000) {
  set.seed(seed)
  items <- list(a = rlnorm(n, 0, 0.3), b = rnorm(n), c = numeric(n))
  covariance <- unit_covariance(items, "2PL") / answers
  data.frame(
    item_id = sprintf("i%03d", seq_len(n)), a = items$a, b = items$b, c = 0,
    se_a = sqrt(covariance[, 1, 1]), se_b = sqrt(covariance[, 2, 2]), cov_ab = covariance[, 1, 2]
  )
}
noisy <- function(bank) {
  e_a <- rnorm(nrow(bank))
  rest <- sqrt(bank$se_b^2 - bank$cov_ab^2 / bank$se_a^2)
  transform(bank, a = a + se_a * e_a, b = b + cov_ab / se_a * e_a + rest * rnorm(nrow(bank)))
}
shifted <- function(bank, A, B) {
  transform(bank, a = A * a, b = (b - B) / A, se_a = A * se_a, se_b = se_b / A)
}

test_that("an anchor that has moved is found, with the size and the side of its drift", {
  reference <- bank_of(12, 1)
  new <- shifted(reference, 1.2, -0.4)
  new$b[3] <- new$b[3] + 0.6 / 1.2
  new$b[5] <- new$b[5] - 0.4 / 1.2
  new$a[8] <- new$a[8] * 1.8
  found <- drift(new, reference)
  items <- as.data.frame(found$items)
  expect_identical(which(items$flag), c(3L, 5L, 8L))
  expect_identical(items$severity[c(3, 5, 1)], c("large", "moderate", "none"))
  expect_identical(items$severity[8], if (0.8 * reference$a[8] >= 0.5) "large" else "moderate")
  expect_equal(items$d_b[c(3, 5, 8)], c(0.6, -0.4, 0), tolerance = 1e-8)
  expect_equal(items$d_a[8], 0.8 * reference$a[8], tolerance = 1e-8)
  expect_lt(max(abs(items$d_b[-c(3, 5)]), abs(items$d_a[-8]), abs(items$d_c)), 1e-8)
  robust <- match("robust", found$constants$method)
  expect_equal(c(found$constants$A[robust], found$constants$B[robust]), c(1.2, -0.4), tolerance = 1e-8)
  expect_gt(abs(found$constants$B[match("Stocking-Lord", found$constants$method)] + 0.4), 0.01)
})

test_that("a dropped anchor's errors are those of both sides and of the link, and d_square is Mahalanobis'", {
  reference <- bank_of(12, 2)
  new <- transform(reference, a = a * (1 + 1.2 * (seq_len(12) == 4)))
  found <- drift(new, reference)
  item <- lapply(found$items, `[`, 4)
  link_of <- lapply(found$constants, `[`, match("robust", found$constants$method))
  # The slope of B's variance along b: without its own weight, Var(A b + B) is the link's alone.
  anchors <- common_items(new, reference, "2PL", 3L)
  fit <- link_robustly(anchors)
  shares <- function(k, l) sum(covariance_shares(fit, anchors, k, l))
  b <- new$b[4]
  se_link <- sqrt(b^2 * shares("A", "A") + 2 * b * shares("A", "B") + shares("B", "B"))
  expect_equal(sqrt(shares("B", "B")), link_of$se_B)
  expect_equal(item$se_d_b, sqrt(2 * reference$se_b[4]^2 + se_link^2), tolerance = 1e-6)

  covariance <- linked_covariance(anchors, fit)[4, c("a", "b"), c("a", "b")]
  expect_true(item$flag) # for its slope: difficulties are not at a common one
  difference <- c(item$d_a, item$d_b)
  expect_equal(item$d_square, drop(difference %*% solve(covariance) %*% difference))
  expect_equal(item$p, pchisq(item$d_square, 2, lower.tail = FALSE))
})

test_that("parameters of a 3PL are compared at a common guessing", {
  reference <- transform(bank_of(20, 7), c = 0.2, se_c = 0.05, cov_ab = 0.3 * se_a * se_b)
  reference <- transform(reference, cov_ac = 0.6 * se_a * se_c, cov_bc = 0.7 * se_b * se_c)
  # What an error of c does to a and b as well is no drift, however far off they are.
  off <- function(x) 4 * x * (reference$item_id == "i004")
  new <- transform(reference, c = c + off(se_c), a = a + off(0.6 * se_a), b = b + off(0.7 * se_b))
  found <- drift(new, reference, "3PL")$items
  expect_equal(found$d_c, off(reference$se_c))
  expect_lt(max(found$d_square), 0.1)
  ignorant <- function(items) transform(items, cov_ac = 0, cov_bc = 0)
  expect_gt(drift(ignorant(new), ignorant(reference), "3PL")$items$d_square[4], 4)
})

test_that("without drift z is standard normal and p uniform", {
  set.seed(3)
  banks <- lapply(1:40, function(seed) bank_of(15, seed))
  items <- do.call(rbind, lapply(banks, function(bank) {
    as.data.frame(drift(noisy(shifted(bank, 1.1, 0.3)), noisy(bank))$items)
  }))
  for (z in c("z_a", "z_b")) {
    expect_lt(abs(mean(items[[z]])), 0.12)
    expect_equal(sd(items[[z]]), 1, tolerance = 0.1)
  }
  expect_lt(abs(cor(items$z_a, items$z_b)), 0.12)
  expect_equal(mean(items$p < 0.5), 0.5, tolerance = 0.13)
  expect_lt(mean(items$p < 0.05), 0.08)
  expect_gt(mean(items$p < 0.05), 0.025)
  expect_lt(mean(items$flag), 0.03)
})

test_that("a Rasch model has difficulties only", {
  set.seed(4)
  reference <- transform(bank_of(10, 4), a = 1, se_a = NA, se_b = 0.08, cov_ab = NA)
  new <- transform(reference, b = b + 0.2 + 0.08 * rnorm(10) + 0.7 * (item_id == "i002"))
  items <- as.data.frame(drift(new, reference, "Rasch")$items)
  expect_identical(items$item_id[items$flag], "i002")
  expect_true(all(is.na(items$z_a)) && all(is.na(items$se_d_a)) && all(items$d_a == 0))
  expect_equal(items$d_square, items$z_b^2)
  expect_equal(items$p, pchisq(items$z_b^2, 1, lower.tail = FALSE))
  expect_equal(items$z_b, items$d_b / items$se_d_b)
})

test_that("certain but small, and large but uncertain differences are not flagged", {
  reference <- transform(bank_of(12, 5), se_a = se_a / 50, se_b = se_b / 50, cov_ab = cov_ab / 2500)
  small <- transform(reference, b = b + 0.2 * (item_id == "i003"))
  items <- as.data.frame(drift(small, reference)$items)
  expect_gt(items$z_b[3], 10)
  expect_false(any(items$flag))
  unsure <- transform(bank_of(12, 5), se_b = 5 * se_b, cov_ab = 0)
  large <- transform(unsure, b = b + 0.4 * (item_id == "i003"))
  items <- as.data.frame(drift(large, unsure)$items)
  expect_gt(items$d_b[3], 0.25)
  expect_false(any(items$flag))
})

test_that("drift cannot be judged without standard errors", {
  bank <- bank_of(5, 6)
  refused <- function(...) {
    problem <- expect_error(drift(...), class = "unprocessable")$errors[[1]]
    problem[c("field", "row")]
  }
  expect_identical(
    refused(transform(bank, se_b = replace(se_b, 3, NA)), bank), list(field = "new.se_b", row = 3L)
  )
  expect_identical(refused(bank, bank[c("item_id", "a", "b")]), list(field = "reference.se_a", row = 1L))
  stranger <- rbind(bank, transform(bank[1, ], item_id = "other", se_b = NA))
  expect_length(drift(stranger, bank)$items$item_id, 5)
})

# The small form of benchmarks/irt_drift.
test_that("planted drift is found, none is invented, and the robust link does not bend", {
  found <- lapply(1:15, function(seed) find_drift(DRIFT_CASES$drift, seed))
  items <- do.call(rbind, lapply(found, `[[`, "items"))
  expect_gt(mean(items$flag[items$drifting]), 0.8)
  expect_lt(mean(items$flag[!items$drifting]), 0.05)
  expect_lt(abs(mean(items$d_b[items$drifting]) - 0.5), 0.08)
  errors <- vapply(found, `[[`, numeric(3), "errors")
  expect_lt(abs(mean(errors["robust", ])), 0.03)
  expect_lt(mean(errors["Stocking-Lord", ]), -0.07)
})
