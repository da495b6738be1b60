# Item fit and person fit: definitions computed the slow way, classical tests where abilities are known, and
# the model's own data, on which nothing may be found.

nodes <- seq(-6, 6, length.out = 61)
bank <- data.frame(
  item_id = sprintf("i%d", 1:8), a = c(0.6, 0.9, 1.2, 1.5, 0.8, 1, 1.3, 1.7),
  b = c(-2, -1, -0.5, 0, 0.3, 0.8, 1.2, 2), c = c(0, 0.2, 0, 0.15, 0.25, 0, 0.1, 0.2)
)
parameters <- list(a = bank$a, d = -bank$a * bank$b, c = bank$c)
latent <- list(mean = 0.3, sd = 1.2)
answered <- simulate_answers(60, bank$a, bank$b, met = 0.8, seed = 4, c = bank$c)$responses
answered$item_id <- sub("i000", "i", answered$item_id)
answered$correct <- as.integer(answered$correct)
curve_of <- function(item) bank$c[item] + (1 - bank$c[item]) * plogis(bank$a[item] * (nodes - bank$b[item]))

# Posterior of one student, from the definition; without the answers to `unseen`.
posterior_of <- function(student, unseen = 0L) {
  mine <- answered[answered$student_id == student, ]
  density <- dnorm(nodes, latent$mean, latent$sd)
  for (row in seq_len(nrow(mine))) {
    item <- match(mine$item_id[row], bank$item_id)
    p <- if (mine$correct[row] == 1) curve_of(item) else 1 - curve_of(item)
    if (item != unseen) density <- density * p
  }
  density / sum(density)
}

test_that("an answer's part in the posterior residual is its own residual times the regressor", {
  answers <- index_responses(answered)
  posterior <- posterior_distribution(outcome_matrix(answers), parameters, latent, nodes)$posterior
  bend <- matrix(nodes^2, 8, 61, byrow = TRUE)
  residuals <- generalised_residuals(answers, posterior, parameters, nodes, list(bend = bend))
  others <- posterior_distribution(
    outcome_matrix(answers)[, -c(3, 11)], at_items(parameters, -3), latent, nodes
  )$posterior
  unseen <- generalised_residuals(answers, others, parameters, nodes, list(bend = bend), seq_len(8) != 3)
  for (row in c(1, 60, 150, 200, which(answers$item == 3))) {
    item <- answers$item[row]
    student <- answers$students[answers$student[row]]
    predicted <- sum(posterior_of(student, unseen = item) * curve_of(item))
    expect_equal(residuals$residual[row], answers$correct[row] - predicted)
    expect_equal(residuals$variance[row], predicted * (1 - predicted))
    seen <- sum(posterior_of(student) * nodes^2 * (answers$correct[row] - curve_of(item)))
    expect_equal(residuals$regressors[[row, "bend"]] * residuals$residual[row], seen)
    if (item == 3) expect_equal(unseen$regressors[row, ], residuals$regressors[row, ])
  }
})

test_that("mean squares and RMSD are what their definitions say", {
  items <- fit(answered, bank, latent)$items
  expect_identical(items$item_id, bank$item_id)
  for (item in seq_len(8)) {
    mine <- answered[answered$item_id == bank$item_id[item], ]
    posterior <- t(vapply(mine$student_id, posterior_of, nodes))
    p <- matrix(curve_of(item), nrow(posterior), 61, byrow = TRUE)
    squares <- posterior * (mine$correct - p)^2
    expect_identical(items$n_responses[item], nrow(mine))
    expect_equal(items$infit[item], sum(squares) / sum(posterior * p * (1 - p)))
    expect_equal(items$outfit[item], sum(squares / (p * (1 - p))) / nrow(mine))
    share <- colSums(posterior[mine$correct == 1, ]) / colSums(posterior)
    weight <- dnorm(nodes, latent$mean, latent$sd)
    expect_equal(items$rmsd[item], sqrt(sum(weight * (share - curve_of(item))^2) / sum(weight)))
  }
})

test_that("where abilities are known the score test is that of a logistic regression", {
  set.seed(8)
  at <- sample(11:51, 400, replace = TRUE)
  theta <- nodes[at]
  correct <- as.integer(runif(400) < 0.2 + 0.8 * plogis(1.5 * theta))
  narrow <- glm(correct ~ theta, family = binomial)
  wide <- glm(correct ~ theta + I(theta^2) + I(theta^3), family = binomial)
  rao <- anova(narrow, wide, test = "Rao")

  item <- list(a = unname(coef(narrow)[2]), d = unname(coef(narrow)[1]), c = 0)
  answers <- list(
    students = sprintf("s%d", 1:400), items = "i", student = 1:400, item = rep(1L, 400), correct = correct
  )
  known <- matrix(0, 400, 61)
  known[cbind(1:400, at)] <- 1
  ratios <- c(
    score_ratios(item, nodes, c("d", "a")), list(square = t(nodes^2), cube = t(nodes^3))
  )
  residuals <- generalised_residuals(answers, known, item, nodes, ratios, counted = FALSE)
  test <- score_tests(residuals, rep(1, 400), c("d", "a"), c("square", "cube"))
  expect_equal(test$stat, rao$Rao[2], tolerance = 1e-4)
  expect_identical(test$df, 2L)
  # As many answers as that have next to no excess in their fourth moments.
  expect_equal(test$p, rao[["Pr(>Chi)"]][2], tolerance = 0.1)
  residuals$regressors <- cbind(residuals$regressors, twice = 2 * residuals$regressors[, "square"])
  expect_equal(score_tests(residuals, rep(1, 400), c("d", "a"), c("square", "cube", "twice"))$df, 2L)
  expect_identical(score_tests(residuals, rep(1, 400), c("d", "a", "square"), "twice")$p, NA_real_)
})

test_that("the tail of few and lopsided answers is that of their own distribution", {
  # One regressor and 40 answers with probability .04: the statistic's exact distribution is binomial.
  n <- 40
  p <- 0.04
  excess <- n * (1 / (p * (1 - p)) - 6) / n^2
  stat <- function(right) (right - n * p)^2 / (n * p * (1 - p))
  exact <- function(limit) sum(dbinom(0:n, n, p)[stat(0:n) >= limit])
  far <- stat(7)
  off <- function(tail) abs(log(tail / exact(far)))
  expect_lt(off(scaled_f_tail(far, 1, excess)), off(pchisq(far, 1, lower.tail = FALSE)) / 3)
  expect_identical(scaled_f_tail(3, 2, -0.5), pchisq(3, 2, lower.tail = FALSE))
  # Mean and variance of the reference distribution, by integration of its tail.
  mean <- integrate(scaled_f_tail, 0, Inf, df = 2, excess = 1, rel.tol = 1e-8)$value
  second <- integrate(function(x) 2 * x * scaled_f_tail(x, 2, 1), 0, Inf, rel.tol = 1e-8)$value
  expect_equal(mean, 2, tolerance = 1e-6)
  expect_equal(second - mean^2, 2 * 2 + 1, tolerance = 1e-4)
})

test_that("l_z* is the centred log-likelihood with Snijders' correction at Warm's estimate", {
  students <- fit(answered, bank, latent)$students
  few <- students$n_responses < 5
  expect_true(any(few))
  expect_identical(is.na(students$lz_star), few)
  for (row in which(!few)) {
    mine <- answered[answered$student_id == students$student_id[row], ]
    item <- match(mine$item_id, bank$item_id)
    p_at <- function(theta) bank$c[item] + (1 - bank$c[item]) * plogis(bank$a[item] * (theta - bank$b[item]))
    derivative <- function(f, theta) (f(theta + 1e-4) - f(theta - 1e-4)) / 2e-4
    slope_at <- function(theta) derivative(p_at, theta)
    theta <- score(mine, bank, method = "WLE")$abilities$theta
    p <- p_at(theta)
    slope <- slope_at(theta)
    bias <- sum(slope * derivative(slope_at, theta) / (p * (1 - p))) / (2 * sum(slope^2 / (p * (1 - p))))
    k <- sum(slope * qlogis(p)) / sum(slope^2 / (p * (1 - p)))
    weight <- qlogis(p) - k * slope / (p * (1 - p))
    log_lik <- sum(log(ifelse(mine$correct == 1, p, 1 - p)))
    expected <- sum(p * log(p) + (1 - p) * log(1 - p))
    z <- (log_lik - expected + k * bias) / sqrt(sum(weight^2 * p * (1 - p)))
    expect_equal(students$lz_star[row], z, tolerance = 1e-4)
  }
})

test_that("l_z* is null where every pattern is equally likely", {
  alike <- data.frame(item_id = bank$item_id, a = 1.3, b = 0.4)
  expect_true(all(is.na(fit(answered, alike)$students$lz_star)))
})

test_that("clean banks keep the level and are not flagged, whoever chose the items", {
  runs <- lapply(1:5, function(seed) {
    items <- draw_items(150, seed)
    responses <- simulate_adaptive(rnorm(500), items, 20, seed)
    fit(responses, calibrated_items(responses))$items
  })
  items <- as.data.frame(data.table::rbindlist(runs))
  expect_lt(mean(items$n_responses), 70)
  # 740 items: a binomial sd of the shares of .008, .0037; of the mean squares' means .002.
  expect_lt(abs(mean(items$fit_p < 0.05) - 0.05), 0.02)
  expect_lt(mean(items$fit_p < 0.01), 0.02)
  expect_equal(mean(items$infit), 1, tolerance = 0.02)
  expect_equal(mean(items$outfit), 1, tolerance = 0.04)
  expect_lte(sum(!is.na(items$flag)), 2)
})

test_that("known items fit their own data: mean squares of 1 even at five answers", {
  items <- draw_items(60, 11)
  set.seed(12)
  short <- fit(simulate_adaptive(rnorm(3000), items, 5, 13), items)$items
  expect_equal(mean(short$infit), 1, tolerance = 0.01)
  expect_equal(mean(short$outfit), 1, tolerance = 0.01)
  expect_lt(mean(short$fit_p < 0.05), 0.12)
})

test_that("planted misfit is found and named", {
  items <- draw_items(60, 21)
  items$a[1:12] <- rep(c(-1, 1.5, 1.5), each = 4)
  items$b[1:12] <- 0
  set.seed(22)
  theta <- rnorm(2500)
  responses <- simulate_adaptive(theta, items, 20, 23, function(p, theta, item, student) {
    p <- ifelse(item %in% 5:8, ifelse(theta < 0.3, p, pmax(0.6 - 0.4 * (theta - 0.3), 0.1)), p) # falls again
    ifelse(item %in% 9:12, ifelse(theta < 0, 0.2, 0.9), p) # a step
  })
  found <- fit(responses, calibrated_items(responses))$items
  flag <- stats::setNames(found$flag, found$item_id)
  expect_identical(unname(flag[1:4]), rep("low discrimination", 4))
  expect_gte(mean(found$fit_p[5:12] < 0.05), 0.75)
  expect_gte(sum(!is.na(flag[5:12])), 5)
  expect_lte(sum(!is.na(flag[-(1:12)])), 1)
})

test_that("in a Rasch bank slopes of their own are misfit", {
  items <- draw_items(60, 31)
  items$a <- 1
  items$a[1:8] <- rep(c(0.3, 2.5), each = 4)
  set.seed(32)
  responses <- simulate_adaptive(rnorm(2000), items, 20, 33)
  calibration <- calibrate(responses, "Rasch", standard_errors = "none")
  found <- fit(responses, as.data.frame(calibration$item_params), list(
    mean = 0, sd = calibration$fit_meta$metrics$latent_sd
  ))$items
  expect_true(all(found$fit_df == 3))
  expect_true(all(found$flag[1:4] %in% c("underfit", "low discrimination")))
  expect_true(sum(found$flag[5:8] %in% "overfit") >= 3)
})

test_that("l_z* is standard normal on the model's data, and low where answers are guesses", {
  items <- draw_items(100, 41)
  cohort <- simulate_answers(4000, items$a, items$b, met = 0.25, seed = 42)
  students <- as.data.frame(fit(cohort$responses, items)$students)
  long <- students[students$n_responses >= 20, ]
  expect_lt(abs(mean(long$lz_star)), 0.15)
  expect_equal(sd(long$lz_star), 1, tolerance = 0.05)
  expect_equal(mean(long$lz_star < qnorm(0.05)), 0.05, tolerance = 0.25)

  guessers <- sprintf("s%05d", 1:400)
  guessed <- cohort$responses
  rows <- guessed$student_id %in% guessers
  guessed$correct[rows] <- runif(sum(rows)) < 0.4
  low <- fit(guessed, items)$students
  expect_gt(mean(low$lz_star[low$student_id %in% guessers] < qnorm(0.05), na.rm = TRUE), 0.4)
})

test_that("the order of rows does not matter, and unknown items are left out", {
  whole <- fit(answered, bank, latent)
  set.seed(51)
  expect_identical(fit(answered[sample(nrow(answered)), ], bank[sample(8), ], latent), whole)
  stranger <- data.frame(student_id = "t", item_id = "other", correct = 1)
  expect_identical(fit(rbind(answered, stranger), bank, latent), whole)
  unanswered <- data.frame(student_id = "t", item_id = "i1", correct = NA)
  expect_identical(fit(rbind(unanswered, answered), bank, latent), whole)
  expect_equal(fit(answered, bank[-(2:8), ])$items$item_id, "i1")
})

test_that("extreme items give numbers or nothing, and no error", {
  steep <- transform(bank, a = 30 * a)
  found <- fit(answered, steep)
  expect_true(all(is.finite(found$items$infit) & is.finite(found$items$outfit) & is.finite(found$items$rmsd)))
  one <- fit(answered[1, ], bank)
  expect_identical(one$items$fit_p, NA_real_)
  expect_identical(one$students$lz_star, NA)
})

test_that("impossible requests are refused and the field named", {
  refused <- function(...) expect_error(fit(...), class = "unprocessable")$errors[[1]]
  expect_identical(refused(answered, bank, list(mean = 0, sd = 0))$field, "latent.sd")
  expect_identical(refused(answered, transform(bank, c = 1))$field, "items.c")
  given_twice <- refused(answered, rbind(bank, bank[2, ]))
  expect_identical(given_twice[c("field", "row")], list(field = "items.item_id", row = 9L))
  expect_identical(refused(answered, bank, quadrature = list(n = 3, min = -6, max = 6))$field, "quadrature.n")
  twice <- rbind(answered, answered[5, ])
  repeated <- refused(twice, bank)
  expect_identical(repeated[c("field", "row")], list(field = "responses.item_id", row = nrow(twice)))
  expect_identical(sum(fit(twice, bank, repeated = "keep")$items$n_responses), nrow(twice))
  expect_error(fit(answered, transform(bank, item_id = paste0("x", item_id))), class = "unprocessable")
})

test_that("the route gives what the function gives", {
  service <- start_service("irt")
  on.exit(service$process$kill())
  body <- list(responses = as.list(answered), items = as.list(bank), latent = latent)
  job <- finished(service, "/irt/fit", body)
  expect_identical(job$state, "succeeded")
  direct <- fit(answered, bank, latent)
  for (table in c("items", "students")) expect_columns(job$result[[table]], direct[[table]])
  one <- list(
    responses = list(student_id = I("s"), item_id = I("i1"), correct = I(1)),
    items = list(item_id = I("i1"), a = I(1), b = I(0))
  )
  expect_identical(finished(service, "/irt/fit", one)$result$students$lz_star, list(NULL))
  problem <- finished(service, "/irt/fit", replace(body, "latent", list(list(mean = 0))))$problem
  expect_identical(problem$status, 400L)
  expect_identical(problem$errors[[1]]$field, "latent.sd")
  below_zero <- utils::modifyList(body, list(items = list(c = rep(-0.1, 8))))
  problem <- finished(service, "/irt/fit", below_zero)$problem
  expect_identical(problem$status, 422L)
  expect_identical(problem$errors[[1]][c("field", "row")], list(field = "items.c", row = 1L))
})
