# Level and power of item fit, person fit and DIF on simulated answers, and their time; prints the tables of
# README.md.
# Rscript benchmarks/irt_fit_dif/measure.R [SEEDS]

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
services <- file.path(dirname(normalizePath(script)), "..", "..", "r_plumber")
engine <- list.files(file.path(services, "irt", "R"), pattern = "[.]R$", full.names = TRUE)
helper <- file.path(services, "tests", "testthat", "helper-irt-adaptive.R")
for (file in c(file.path(services, "common", "R", "problem.R"), engine, helper)) source(file)

SEEDS <- as.integer(c(commandArgs(trailingOnly = TRUE), 100)[[1L]])
PRIORS <- list(
  Rasch = NULL,
  `2PL` = list(a = list(meanlog = 0.25, sdlog = 0.5), d = list(mean = 0, sd = 3)),
  `3PL` = list(a = list(meanlog = 0.1, sdlog = 0.4), c = list(mean = qlogis(0.2), sd = 0.5))
)
# Which items a simulation changes; the others tell whether anything is invented beside them.
PLANTED <- 1:6

true_items <- function(n, model, seed) {
  items <- draw_items(n, seed)
  if (model == "Rasch") items$a <- 1
  if (model == "3PL") items$c <- plogis(rnorm(n, -1.4, 0.5))
  items
}

# Each student's next item is the nearest of eight drawn at random; without adaptation, all are equally near.
answers_of <- function(theta, items, n_answers, seed, adaptive, changed = NULL) {
  simulate_adaptive(theta, if (adaptive) items else transform(items, b = 0), n_answers, seed,
    function(p, theta, item, student) {
      p <- items$c[item] + (1 - items$c[item]) * plogis(items$a[item] * (theta - items$b[item]))
      if (is.null(changed)) p else changed(p, theta, item, student)
    }
  )
}

calibration <- function(responses, model) {
  calibrate(
    responses, model, PRIORS[[model]], min_responses = 30L, standard_errors = "none", tolerance = 1e-4
  )
}

fit_once <- function(seed, model, students, bank, n_answers, adaptive, change = identity, curve = NULL) {
  items <- change(true_items(bank, model, seed))
  set.seed(5000 + seed)
  responses <- answers_of(rnorm(students), items, n_answers, seed, adaptive, curve)
  calibrated <- calibration(responses, model)
  latent <- list(mean = 0, sd = calibrated$fit_meta$metrics$latent_sd)
  found <- fit(responses, as.data.frame(calibrated$item_params), latent)
  list(items = as.data.frame(found$items), students = as.data.frame(found$students))
}

dif_once <- function(seed, model, students, bank, n_answers, adaptive, impact, by = 0, steeper = 0) {
  items <- true_items(bank, model, seed)
  focal <- rep(c(FALSE, TRUE), each = students)
  set.seed(6000 + seed)
  theta <- rnorm(2 * students) - impact * focal
  curve <- function(p, theta, item, student) {
    planted <- focal[student] & item %in% PLANTED
    logit <- (items$a[item] + steeper) * (theta - items$b[item]) - by
    ifelse(planted, items$c[item] + (1 - items$c[item]) * plogis(logit), p)
  }
  responses <- answers_of(theta, items, n_answers, seed, adaptive, curve)
  group <- ifelse(focal, "focal", "base")
  groups <- data.frame(student_id = sprintf("s%05d", seq_along(group)), group = group)
  calibrated <- as.data.frame(calibration(responses, model)$item_params)
  as.data.frame(dif(responses, calibrated, groups, "base")$items)
}

is_planted <- function(rows) rows$item_id %in% sprintf("i%04d", PLANTED)
seeds_of <- function(once, ...) lapply(seq_len(SEEDS), once, ...)
table_row <- function(...) cat("|", paste(..., sep = " | "), "|\n")
share <- function(x) sprintf("%.3f", mean(x, na.rm = TRUE))
number <- function(x) sprintf("%.2f", mean(x, na.rm = TRUE))

show_fit <- function(label, ..., planted = FALSE) {
  items <- as.data.frame(data.table::rbindlist(lapply(seeds_of(fit_once, ...), `[[`, "items")))
  if (planted) items <- items[is_planted(items), ]
  flags <- table(items$flag)
  table_row(
    label, nrow(items), round(mean(items$n_responses)), share(items$fit_p < 0.05), share(items$fit_p < 0.01),
    share(items$fit_p < 0.001), number(items$infit), number(items$outfit), sprintf("%.3f", mean(items$rmsd)),
    if (planted) share(!is.na(items$flag)) else sprintf("%.2f of 500", 500 * mean(!is.na(items$flag)))
  )
}

show_person <- function(label, ...) {
  students <- as.data.frame(data.table::rbindlist(lapply(seeds_of(fit_once, ...), `[[`, "students")))
  z <- students$lz_star
  table_row(
    label, round(mean(students$n_responses)), length(z), number(z), sprintf("%.2f", sd(z, na.rm = TRUE)),
    sprintf("%.2f", quantile(z, 0.05, na.rm = TRUE)), share(z < qnorm(0.05)), share(z < qnorm(0.01))
  )
}

show_dif <- function(label, ..., planted = FALSE) {
  rows <- as.data.frame(data.table::rbindlist(seeds_of(dif_once, ...)))
  of <- function(label, rows) {
    table_row(
      label, nrow(rows), sprintf("%.0f + %.0f", mean(rows$n_reference), mean(rows$n_focal)),
      share(rows$mh_p < 0.05), share(rows$mh_p < 0.01), number(rows$mh_d_dif),
      paste(table(factor(rows$ets_class, c("A", "B", "C"))), collapse = " / "),
      share(rows$lr_p < 0.05), share(rows$lr_p < 0.01), number(rows$lr_uniform), number(rows$lr_nonuniform),
      sprintf("%.4f", mean(rows$flag))
    )
  }
  if (planted) of(paste(label, "(planted)"), rows[is_planted(rows), ])
  of(if (planted) "the items beside them" else label, if (planted) rows[!is_planted(rows), ] else rows)
}

at_planted <- function(...) {
  values <- list(...)
  function(items) {
    for (name in names(values)) items[[name]][PLANTED] <- values[[name]]
    items
  }
}
where_planted <- function(curve) {
  function(p, theta, item, student) ifelse(item %in% PLANTED, curve(p, theta), p)
}

cat("\n| item fit | items | answers | p < .05 | p < .01 | p < .001 | infit | outfit | RMSD | flagged |\n")
cat("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
for (model in names(PRIORS)) {
  show_fit(paste0(model, ", adaptive"), model, 500, 150, 20, TRUE)
  show_fit(paste0(model, ", random"), model, 500, 150, 20, FALSE)
}
show_fit("2PL, adaptive, few", "2PL", 300, 150, 20, TRUE)
show_fit("2PL, all students, 10 items", "2PL", 500, 10, 60, FALSE)
low_asymptote <- at_planted(a = 1.5, b = 1, c = 0.25)
show_fit("2PL, c = .25, a = 1.5, b = 1", "2PL", 2500, 100, 20, FALSE, low_asymptote, planted = TRUE)
show_fit("the same, 2,000 answers", "2PL", 4000, 40, 20, FALSE, low_asymptote, planted = TRUE)
flat_top <- where_planted(function(p, theta) 0.7 * p)
easy <- at_planted(a = 1.5, b = -0.5)
show_fit("2PL, never above .7", "2PL", 2500, 100, 20, FALSE, easy, flat_top, planted = TRUE)
step <- where_planted(function(p, theta) ifelse(theta < 0, 0.2, 0.9))
central <- at_planted(a = 1.5, b = 0)
show_fit("2PL, a step from .2 to .9", "2PL", 2500, 100, 20, TRUE, central, step, planted = TRUE)
falling <- where_planted(function(p, theta) ifelse(theta < 0.3, p, pmax(0.6 - 0.4 * (theta - 0.3), 0.1)))
show_fit("2PL, falls again", "2PL", 2500, 100, 20, TRUE, central, falling, planted = TRUE)
show_fit("2PL, wrong key", "2PL", 2500, 100, 20, TRUE, at_planted(a = -1), planted = TRUE)
show_fit("Rasch, a = .3", "Rasch", 2500, 100, 20, TRUE, at_planted(a = 0.3), planted = TRUE)
show_fit("Rasch, a = 2.5", "Rasch", 2500, 100, 20, TRUE, at_planted(a = 2.5), planted = TRUE)

cat("\n| person fit | answers | students | mean | sd | 5 % quantile | < -1.645 | < -2.326 |\n")
cat("|---|--:|--:|--:|--:|--:|--:|--:|\n")
show_person("2PL, random", "2PL", 500, 150, 20, FALSE)
show_person("2PL, random, long", "2PL", 500, 150, 50, FALSE)
show_person("3PL, random", "3PL", 500, 150, 20, FALSE)
show_person("Rasch, random", "Rasch", 500, 150, 20, FALSE)
show_person("2PL, adaptive", "2PL", 500, 150, 20, TRUE)
show_person("2PL, adaptive, long", "2PL", 500, 150, 50, TRUE)

cat("\n| DIF | rows | answers | MH p < .05 | p < .01 | D | A / B / C | LR p < .05 | p < .01 |",
    "uniform | non-uniform | flagged |\n")
cat("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
show_dif("none, equal groups", "2PL", 500, 60, 20, TRUE, 0)
show_dif("none, focal 1 weaker", "2PL", 500, 60, 20, TRUE, 1)
show_dif("none, focal 1 weaker, random", "2PL", 500, 60, 20, FALSE, 1)
show_dif("none, focal 1 weaker, few answers", "2PL", 400, 150, 20, TRUE, 1)
show_dif("none, focal .8 weaker, Rasch", "Rasch", 500, 60, 20, TRUE, 0.8)
show_dif("none, focal .8 weaker, 3PL", "3PL", 500, 60, 20, TRUE, 0.8)
show_dif("harder by .6", "2PL", 1500, 60, 20, TRUE, 0.8, by = 0.6, planted = TRUE)
show_dif("harder by .6, random", "2PL", 1500, 60, 20, FALSE, 0.8, by = 0.6, planted = TRUE)
show_dif("harder by 1", "2PL", 1500, 60, 20, TRUE, 0.8, by = 1, planted = TRUE)
show_dif("steeper by .8", "2PL", 1500, 60, 20, TRUE, 0.8, steeper = 0.8, planted = TRUE)
show_dif("steeper by .8, random", "2PL", 1500, 60, 20, FALSE, 0.8, steeper = 0.8, planted = TRUE)

items <- draw_items(2000, 1)
set.seed(2)
responses <- answers_of(rnorm(20000), items, 50, 3, FALSE)
groups <- data.frame(student_id = unique(responses$student_id))
groups$group <- rep(c("base", "one", "two"), length.out = nrow(groups))
cat("\n| seconds,", format(nrow(responses), big.mark = ","), "answers | |\n|---|--:|\n")
table_row("fit", number(system.time(fit(responses, items))[["elapsed"]]))
table_row("dif, three groups", number(system.time(dif(responses, items, groups, "base"))[["elapsed"]]))
