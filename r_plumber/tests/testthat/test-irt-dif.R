# Differential item functioning: classical tests where abilities are known, none invented where groups differ
# in ability, and planted DIF found.

nodes <- seq(-6, 6, length.out = 61)

# Two groups, "focal" weaker by .8; items of `planted` are harder for it by `by` logits, or steeper by
# `steeper`.
simulate_groups <- function(n, items, seed, planted = integer(), by = 0.6, steeper = 0, n_answers = 20) {
  set.seed(1000 + seed)
  focal <- rep(c(FALSE, TRUE), each = n)
  theta <- rnorm(2 * n) - 0.8 * focal
  responses <- simulate_adaptive(theta, items, n_answers, seed, function(p, theta, item, student) {
    other <- focal[student] & item %in% planted
    ifelse(other, plogis((items$a[item] + steeper) * (theta - items$b[item]) - by), p)
  })
  groups <- data.frame(
    student_id = sprintf("s%05d", seq_along(theta)), group = ifelse(focal, "focal", "base")
  )
  list(responses = responses, groups = groups)
}

test_that("where abilities are known the tests are the classical ones", {
  set.seed(3)
  at <- sample(seq(21, 41, by = 4), 600, replace = TRUE)
  theta <- nodes[at]
  group <- rep(1:2, each = 300)
  correct <- as.integer(runif(600) < plogis(1.2 * theta - 0.2 - 1.2 * (group == 2)))
  common <- glm(correct ~ theta, family = binomial)
  item <- list(a = unname(coef(common)[2]), d = unname(coef(common)[1]), c = 0)
  answers <- list(
    students = sprintf("s%d", 1:600), items = "i", student = 1:600, item = rep(1L, 600), correct = correct
  )
  known <- matrix(0, 600, 61)
  known[cbind(1:600, at)] <- 1
  found <- compare_groups(answers, group, 50L, known, item, nodes, counted = FALSE)
  expect_identical(found[1:3], list(item_id = "i", n_reference = 300L, n_focal = 300L))

  classical <- mantelhaen.test(table(group, 1 - correct, at), correct = FALSE)
  expect_equal(found$mh_d_dif, -2.35 * log(unname(classical$estimate)))
  # Its variance is hypergeometric, given the margins; here it is the model's.
  expect_equal(found$mh_chi2, unname(classical$statistic), tolerance = 0.1)
  half_width <- diff(log(classical$conf.int)) / 2
  expect_equal(found$mh_se, 2.35 * half_width / qnorm(0.975), tolerance = 0.1)
  expect_identical(found$mh_q, found$mh_p)
  expect_identical(found$ets_class, "C")

  own <- glm(correct ~ theta * I(group == 2), family = binomial)
  expect_equal(found$lr_chi2, anova(common, own, test = "Rao")$Rao[2], tolerance = 1e-4)
  expect_identical(found$lr_df, 2L)
  # One scoring step from the common curve, not yet the maximum.
  at_mean <- coef(own)[[3]] + coef(own)[[4]] * mean(theta[group == 2])
  expect_equal(found$lr_uniform, at_mean, tolerance = 0.1)
  expect_equal(found$lr_effect, abs(at_mean), tolerance = 0.1)
  expect_true(found$flag)
})

test_that("answers that the posterior has not seen make the same tables as those it has", {
  items <- draw_items(12, 5)
  bank <- simulate_groups(150, items, 6, n_answers = 8)
  answers <- index_responses(bank$responses)
  parameters <- list(a = items$a, d = -items$a * items$b, c = items$c)
  pair <- match(bank$groups$group, c("base", "focal"))
  compared <- function(counted) {
    seen <- outcome_matrix(answers)[, c(counted, counted)]
    latent <- list(mean = c(0, -0.8), sd = c(1, 1))
    posterior <- posterior_distribution(seen, at_items(parameters, counted), latent, nodes, pair)$posterior
    lapply(compare_groups(answers, pair, 1L, posterior, parameters, nodes, counted), `[`, 4)
  }
  all <- compared(rep(TRUE, 12))
  without <- compared(1:12 != 4)
  # The stratum weights differ a little: they may be any.
  expect_equal(without$lr_chi2, all$lr_chi2)
  expect_equal(without$lr_uniform, all$lr_uniform, tolerance = 0.02)
  expect_equal(without$mh_d_dif, all$mh_d_dif, tolerance = 0.05)
  expect_equal(without$mh_se, all$mh_se, tolerance = 0.02)
})

test_that("classes are those of the Educational Testing Service", {
  d <- c(0.9, 1.2, 1.2, 1.6, 1.6, -2, NA)
  se <- c(0.1, 0.7, 0.3, 0.5, 0.2, 0.4, 1)
  expect_identical(ets_class(d, se, 2 * pnorm(-abs(d) / se)), c("A", "A", "B", "B", "C", "C", NA))
})

test_that("a weaker group is no DIF, and its distribution is found", {
  runs <- lapply(1:5, function(seed) {
    items <- draw_items(60, seed)
    bank <- simulate_groups(800, items, seed)
    found <- dif(bank$responses, calibrated_items(bank$responses), bank$groups, "base")
    expect_equal(-diff(found$groups$mean), 0.8, tolerance = 0.15)
    found$items
  })
  rows <- as.data.frame(data.table::rbindlist(runs))
  expect_true(all(rows$focal == "focal"))
  # 300 rows: a binomial sd of .013.
  expect_lt(abs(mean(rows$mh_p < 0.05) - 0.05), 0.03)
  expect_lt(abs(mean(rows$lr_p < 0.05) - 0.05), 0.03)
  expect_lt(abs(mean(rows$mh_d_dif)), 0.05)
  expect_equal(sd(rows$mh_d_dif), sqrt(mean(rows$mh_se^2)), tolerance = 0.1)
  expect_lte(sum(rows$flag), 1)
})

test_that("planted DIF is found, as large as it is, and none beside it", {
  runs <- lapply(1:4, function(seed) {
    items <- draw_items(60, 10 + seed)
    bank <- simulate_groups(1500, items, seed, planted = 1:6)
    dif(bank$responses, calibrated_items(bank$responses), bank$groups, "base")$items
  })
  rows <- as.data.frame(data.table::rbindlist(runs))
  planted <- rows$item_id %in% sprintf("i%04d", 1:6)
  expect_gt(mean(rows$mh_p[planted] < 0.05), 0.8)
  expect_gt(mean(rows$lr_p[planted] < 0.05), 0.75)
  expect_equal(mean(rows$mh_d_dif[planted]), -2.35 * 0.6, tolerance = 0.1)
  expect_equal(mean(rows$lr_uniform[planted]), -0.6, tolerance = 0.2)
  expect_gt(mean(rows$flag[planted]), 0.6)
  expect_lt(mean(rows$flag[!planted]), 0.02)
  expect_lt(abs(mean(rows$mh_d_dif[!planted])), 0.1)
})

test_that("a steeper curve is found, which Mantel-Haenszel does not see", {
  items <- transform(draw_items(60, 31), b = b / 3)
  items$a[1:6] <- 0.7
  items$b[1:6] <- -0.7
  bank <- simulate_groups(2500, items, 32, planted = 1:6, by = 0, steeper = 1.2)
  found <- dif(bank$responses, items, bank$groups, "base")$items
  expect_gte(sum(found$lr_p[1:6] < 0.01), 5)
  expect_true(all(found$lr_nonuniform[1:6] > 0.4))
  expect_gt(median(found$lr_chi2[1:6]), 2 * median(found$mh_chi2[1:6]))
  expect_lte(sum(found$flag[-(1:6)]), 1)
})

test_that("several groups, students without one, and pairs with few answers", {
  items <- draw_items(20, 41)
  bank <- simulate_groups(400, items, 42, n_answers = 10)
  groups <- bank$groups
  groups$group[1:200] <- "third"
  groups <- rbind(groups[-(401:420), ], data.frame(student_id = "nobody", group = "fourth"))
  found <- dif(bank$responses, items, groups, "base", min_per_group = 100)
  expect_identical(found$groups$group, c("base", "focal", "third"))
  expect_identical(found$groups$n_students, c(200L, 380L, 200L))
  counts <- table(bank$responses$item_id, groups$group[match(bank$responses$student_id, groups$student_id)])
  enough <- function(focal) rownames(counts)[counts[, "base"] >= 100 & counts[, focal] >= 100]
  expect_identical(found$items$item_id[found$items$focal == "focal"], enough("focal"))
  expect_identical(found$items$item_id[found$items$focal == "third"], enough("third"))
  expect_lt(length(enough("third")), 20)
  expect_equal(
    found$items$n_focal[found$items$focal == "focal"], unname(counts[enough("focal"), "focal"])
  )
  set.seed(43)
  shuffled <- dif(
    bank$responses[sample(nrow(bank$responses)), ], items[20:1, ], groups[sample(nrow(groups)), ], "base", 100
  )
  expect_identical(shuffled, found)
  # The other side of a comparison.
  turned <- dif(bank$responses, items, groups[groups$group != "third", ], "focal", 100)$items
  straight <- dif(bank$responses, items, groups[groups$group != "third", ], "base", 100)$items
  expect_equal(turned$mh_d_dif, -straight$mh_d_dif)
  expect_equal(turned$lr_chi2, straight$lr_chi2)
})

small <- simulate_groups(60, draw_items(6, 51), 52, n_answers = 6)
small_items <- draw_items(6, 51)

test_that("an item that a whole group got right has no odds ratio", {
  responses <- transform(small$responses, correct = as.integer(correct))
  responses$correct[responses$item_id == "i0001" & responses$student_id > "s00060"] <- 1L
  found <- dif(responses, small_items, small$groups, "base", 20)$items
  expect_identical(is.na(found$mh_d_dif), found$item_id == "i0001")
  expect_true(all(is.finite(found$mh_p)))
})

test_that("impossible requests are refused and the field named", {
  refused <- function(groups = small$groups, items = small_items, reference = "base", ...) {
    expect_error(dif(small$responses, items, groups, reference, ...), class = "unprocessable")$errors[[1]]
  }
  expect_identical(refused(reference = "nobody")$field, "reference")
  expect_identical(refused(small$groups[1:60, ])$field, "groups.group")
  elsewhere <- transform(small$groups, student_id = paste0("x", student_id))
  expect_identical(refused(elsewhere)$field, "groups.student_id")
  baseless <- rbind(data.frame(student_id = "x", group = "base"), small$groups[61:120, ])
  expect_identical(refused(baseless)$field, "reference")
  twice <- refused(rbind(small$groups, small$groups[7, ]))
  expect_identical(twice[c("field", "row")], list(field = "groups.student_id", row = 121L))
  expect_identical(refused(min_per_group = 0)$field, "min_per_group")
  expect_identical(refused(min_per_group = 1000)$field, "min_per_group")
  expect_identical(refused(items = transform(small_items, b = NaN))$field, "items.b")
  expect_identical(refused(repeated = "first")$field, "repeated")
})

test_that("the route gives what the function gives", {
  service <- start_service("irt")
  on.exit(service$process$kill())
  body <- list(
    responses = as.list(small$responses), items = as.list(small_items), groups = as.list(small$groups),
    reference = "base", min_per_group = 20
  )
  job <- finished(service, "/irt/dif", body)
  expect_identical(job$state, "succeeded")
  direct <- dif(small$responses, small_items, small$groups, "base", 20L)
  for (table in c("items", "groups")) expect_columns(job$result[[table]], direct[[table]])

  refused <- function(...) finished(service, "/irt/dif", utils::modifyList(body, list(...)))$problem
  unknown <- refused(reference = "nobody")
  expect_identical(unknown$status, 422L)
  expect_identical(unknown$errors[[1]]$field, "reference")
  expect_identical(refused(groups = list(group = rep(1, 120)))$errors[[1]]$field, "groups.group")
  expect_identical(refused(min_per_group = 1.5)$status, 400L)
  expect_identical(refused(focal = "focal")$errors[[1]]$field, "focal")
})
