# The IRT service through HTTP: the published values arrive, and what cannot be done is named.

spool <- tempfile("spool-")
dir.create(spool)
Sys.setenv(R_SERVICE_SPOOL_DIR = spool)
service <- start_service("irt")
Sys.unsetenv("R_SERVICE_SPOOL_DIR")

# 1,000 students, five items of the Law School Admission Test, sections 6 and 7 (Bock & Lieberman 1970).
lsat6 <- pattern_columns(c(
  "00000" = 3, "00001" = 6, "00010" = 2, "00011" = 11, "00100" = 1, "00101" = 1, "00110" = 3,
  "00111" = 4, "01000" = 1, "01001" = 8, "01011" = 16, "01101" = 3, "01110" = 2, "01111" = 15,
  "10000" = 10, "10001" = 29, "10010" = 14, "10011" = 81, "10100" = 3, "10101" = 28, "10110" = 15,
  "10111" = 80, "11000" = 16, "11001" = 56, "11010" = 21, "11011" = 173, "11100" = 11, "11101" = 61,
  "11110" = 28, "11111" = 298
))
lsat7 <- pattern_columns(c(
  "00000" = 12, "00001" = 19, "00010" = 1, "00011" = 7, "00100" = 3, "00101" = 19, "00110" = 3,
  "00111" = 17, "01000" = 10, "01001" = 5, "01010" = 3, "01011" = 7, "01100" = 7, "01101" = 23,
  "01110" = 8, "01111" = 28, "10000" = 7, "10001" = 39, "10010" = 11, "10011" = 34, "10100" = 14,
  "10101" = 51, "10110" = 15, "10111" = 90, "11000" = 6, "11001" = 25, "11010" = 7, "11011" = 35,
  "11100" = 18, "11101" = 136, "11110" = 32, "11111" = 308
))

calibrated <- function(...) {
  job <- finished(service, "/irt/calibrate", list(...))
  expect_identical(job$state, "succeeded")
  expect_true(job$result$fit_meta$metrics$converged)
  job$result
}
expect_column <- function(result, column, values, tolerance) {
  expect_lt(max(abs(unlist(result$item_params[[column]]) - values)), tolerance)
}

test_that("LSAT6 Rasch estimates match Thissen (1982)", {
  result <- calibrated(responses = lsat6, model = "Rasch")
  expect_lt(abs(result$fit_meta$metrics$latent_sd - .755), .005)
  expect_column(result, "b", c(-2.730, -.999, -.240, -1.306, -2.099), .005)
  expect_column(result, "a", 1, 1e-12)
  expect_lt(abs(result$fit_meta$metrics$log_lik - -2466.938), .01)
})

test_that("LSAT6 2PL estimates match the ltm paper", {
  result <- calibrated(responses = lsat6, model = "2PL")
  expect_column(result, "a", c(.825, .723, .890, .689, .657), .005)
  expect_column(result, "b", c(-3.360, -1.370, -.280, -1.866, -3.124), .005)
  expect_lt(abs(result$fit_meta$metrics$log_lik - -2466.653), .01)
})

test_that("LSAT7 2PL estimates match Chalmers (2012)", {
  result <- calibrated(responses = lsat7)
  a <- unlist(result$item_params$a)
  expect_column(result, "a", c(.988, 1.081, 1.706, .765, .736), .005)
  expect_lt(max(abs(-a * unlist(result$item_params$b) - c(1.856, .808, 1.804, .486, 1.854))), .005)
  expect_lt(abs(result$fit_meta$metrics$log_lik - -2658.805), .01)
  expect_identical(result$fit_meta$model, "2PL")
  expect_identical(result$fit_meta$linking_constants, NULL)
  expect_length(result$abilities$student_id, 1000L)
})

test_that("JSON and CSV give the same answer", {
  fields <- list(model = "Rasch", standard_errors = "none", quadrature = list(n = 31, min = -5, max = 5))
  options <- jsonlite::toJSON(fields, auto_unbox = TRUE)
  lines <- do.call(paste, c(lsat6, sep = ","))
  csv <- finished(
    service, paste0("/irt/calibrate?options=", utils::URLencode(options, reserved = TRUE)),
    paste(c("student_id,item_id,correct", lines), collapse = "\n"), "Content-Type" = "text/csv"
  )
  json <- do.call(calibrated, c(list(responses = lsat6), fields))
  expect_identical(csv$result, json)
  expect_identical(json$fit_meta$model_spec$quadrature, list(n = 31L, min = -5L, max = 5L))
  expect_identical(json$item_params$se_b, rep(list(NULL), 5))
})

test_that("priors reach the fit", {
  priors <- list(a = list(meanlog = 0, sdlog = 0.01), d = list(mean = 0, sd = 3))
  result <- calibrated(responses = lsat6, priors = priors)
  expect_column(result, "a", 1, .05)
  expect_identical(result$fit_meta$model_spec$priors$a$sdlog, 0.01)
})

test_that("scores on the calibrated items are the calibration's own, and unknown items are counted", {
  fit <- calibrated(responses = lsat7)
  items <- lapply(fit$item_params[c("item_id", "a", "b")], unlist)
  scored <- finished(service, "/irt/score", list(responses = lsat7, items = items))$result
  expect_identical(scored$method, "EAP")
  expect_identical(scored$n_ignored, 0L)
  expect_identical(scored$abilities$student_id, fit$abilities$student_id)
  expect_equal(unlist(scored$abilities$theta), unlist(fit$abilities$theta), tolerance = 1e-9)
  one <- list(item_id = I("i1"), a = I(1), b = I(0))
  answers <- list(student_id = I(c("s", "s")), item_id = I(c("i1", "new")), correct = I(c(TRUE, FALSE)))
  latent <- list(mean = 1, sd = 0.5)
  job <- finished(service, "/irt/score", list(responses = answers, items = one, latent = latent))
  expect_identical(job$result$n_ignored, 1L)
  posterior <- function(power) {
    integrand <- function(t) t^power * stats::plogis(t) * stats::dnorm(t, 1, 0.5)
    stats::integrate(integrand, -6, 6, rel.tol = 1e-10)$value
  }
  expect_equal(job$result$abilities$theta, list(posterior(1) / posterior(0)), tolerance = 1e-6)
})

test_that("anchors, groups, weights and topics reach the statistics", {
  known <- lapply(calibrated(responses = lsat7)$item_params, unlist)
  anchors <- lapply(known[c("item_id", "a", "b")], function(column) I(column[1:3]))
  students <- unique(lsat7$student_id)
  result <- calibrated(
    responses = lsat7, anchors = anchors,
    groups = list(student_id = students, group = rep(c("g", "h"), length.out = length(students))),
    weights = list(student_id = students, weight = rep(2, length(students)))
  )
  expect_identical(unlist(result$item_params$is_anchor), c(TRUE, TRUE, TRUE, FALSE, FALSE))
  expect_column(result, "b", known$b, 0.05)
  expect_identical(result$fit_meta$metrics$groups$group, list("g", "h"))
  expect_lt(max(abs(unlist(result$fit_meta$metrics$groups$mean))), 0.1)

  scored <- finished(service, "/irt/score", list(
    responses = lsat7, items = anchors, method = "WLE",
    topics = list(item_id = anchors$item_id, topic_id = I(c("x", "x", "y")))
  ))$result
  expect_identical(scored$method, "WLE")
  expect_identical(scored$topic_abilities$topic_id[1:2], list("x", "y"))
  expect_length(scored$topic_abilities$theta, 2000L)
})

test_that("answers in files give what the same answers in a body give", {
  folder <- file.path(spool, "lsat7")
  dir.create(folder)
  table <- as.data.frame(lapply(lsat7, c))
  parts <- split(table, table$student_id %in% unique(table$student_id)[1:500])
  Map(function(part, name) {
    utils::write.csv(part, file.path(folder, name), row.names = FALSE, quote = FALSE)
  }, parts, c("part-1.csv", "part-2.csv"))
  expect_equal(calibrated(responses = list(spool = "lsat7")), calibrated(responses = lsat7), tolerance = 1e-6)
  refused <- function(name) {
    finished(service, "/irt/calibrate", list(responses = list(spool = name)))$problem
  }
  for (wrong in c("../lsat7", "nowhere", "")) {
    expect_identical(refused(wrong)$status, 400L)
    expect_identical(refused(wrong)$errors[[1]]$field, "responses.spool")
  }
  writeLines(c("student_id,item_id,correct", "s1,i1,maybe"), file.path(folder, "part-3.csv"))
  problem <- refused("lsat7")
  expect_identical(problem$errors[[1]]$field, "responses[part-3.csv].correct")
  expect_identical(problem$errors[[1]]$row, 1L)
})

test_that("a million rows of garbage end in a problem that names the first of them", {
  csv <- function(line) paste(c("student_id,item_id,correct", rep(line, 1e6)), collapse = "\n")
  sent <- function(line) finished(service, "/irt/calibrate", csv(line), "Content-Type" = "text/csv")$problem
  nonsense <- sent("s,i,maybe")
  expect_identical(nonsense$status, 400L)
  expect_identical(nonsense$errors[[1]][c("field", "row")], list(field = "responses.correct", row = 1L))
  expect_length(nonsense$errors, 20L)
  one_answer <- sent("s,i,1")
  expect_identical(one_answer$status, 422L)
  expect_identical(one_answer$errors[[1]]$row, 2L)
  expect_identical(sent("only one column")$status, 400L)
})

test_that("what is wrong with a request is named", {
  expect_refused <- function(path, body, status, fields = character(), row = NULL) {
    problem <- finished(service, path, body)$problem
    expect_identical(problem$status, status)
    expect_identical(vapply(problem$errors, `[[`, "", "field"), fields)
    if (!is.null(row)) expect_identical(problem$errors[[1]]$row, row)
  }
  two <- list(student_id = I(c("s", "t")), item_id = I(c("i", "i")), correct = I(c(1, 0)))
  calibration <- function(..., responses = two) c(list(responses = responses), list(...))
  scoring <- function(a = 1, ...) {
    list(responses = two, items = list(item_id = I("i"), a = I(a), b = I(0)), ...)
  }
  with <- function(...) utils::modifyList(two, list(...))

  refused <- function(body, ...) expect_refused("/irt/calibrate", body, ...)
  refused(calibration(modle = "2PL"), 400L, "modle")
  refused(list(model = "2PL"), 400L, "responses")
  refused(calibration(responses = with(correct = I(c(1, 3)))), 400L, "responses.correct", 2L)
  refused(calibration(model = 2), 400L, "model")
  refused(calibration(max_iterations = 1.5), 400L, "max_iterations")
  refused(calibration(quadrature = list(n = 61)), 400L, c("quadrature.min", "quadrature.max"))
  refused(calibration(priors = list(c = list(mean = 0))), 400L, "priors.c.sd")
  refused(calibration(priors = list(g = list(mean = 0, sd = 1))), 400L, "priors.g")
  refused(calibration(priors = list(a = list(meanlog = 0, sdlog = "x"))), 400L, "priors.a.sdlog")
  refused(calibration(model = "5PL"), 422L, "model")
  refused(calibration(priors = list(a = list(meanlog = 0, sdlog = -1))), 422L, "priors.a.sdlog")
  refused(calibration(responses = with(student_id = I(c("s", "s")))), 422L, "responses.item_id", 2L)
  refused(calibration(responses = lapply(two, function(column) I(column[0]))), 422L)

  refused <- function(body, ...) expect_refused("/irt/score", body, ...)
  refused(list(responses = two), 400L, "items")
  refused(scoring(a = "1"), 400L, "items.a", 1L)
  refused(scoring(method = "MLE"), 422L, "method")
  refused(scoring(latent = list(mean = 0, sd = -1)), 422L, "latent.sd")
})

service$process$kill()
unlink(spool, recursive = TRUE)
