a <- rep(c(0.8, 1.4), 6)
b <- seq(-1.5, 1.5, length.out = 12)
bank <- simulate_answers(300, a, b, met = 0.6, seed = 4)$responses

unprocessable_from <- function(code) expect_error(code, class = "unprocessable")

test_that("the order of the rows changes nothing, to the last bit", {
  set.seed(1)
  expect_identical(calibrate(bank[sample(nrow(bank)), ]), calibrate(bank))
})

test_that("ids sort by code point in every locale", {
  ids <- c("a", "B", "_", "Z", "b", "10", "9")
  renamed <- bank[bank$item_id %in% sprintf("i%04d", 1:7), ]
  renamed$item_id <- ids[match(renamed$item_id, sprintf("i%04d", 1:7))]
  renamed$student_id <- sub("s0000", "S", renamed$student_id)
  collate <- Sys.getlocale("LC_COLLATE")
  on.exit(Sys.setlocale("LC_COLLATE", collate))
  for (locale in c("C", "en_US.UTF-8", "ko_KR.UTF-8")) {
    if (suppressWarnings(Sys.setlocale("LC_COLLATE", locale)) == "") next # not installed
    fit <- calibrate(renamed, standard_errors = "none")
    expect_identical(fit$item_params$item_id, c("10", "9", "B", "Z", "_", "a", "b"))
    expect_lt(match("S1", fit$abilities$student_id), match("s00010", fit$abilities$student_id))
  }
})

test_that("an answer that is missing is an answer that was not given", {
  set.seed(2)
  missing <- sample(nrow(bank), 400)
  with_na <- bank
  with_na$correct[missing] <- NA
  expect_identical(calibrate(with_na), calibrate(bank[-missing, ]))
  expect_identical(calibrate(bank)$fit_meta$metrics$n_responses, nrow(bank))
})

test_that("0 and 1 are the same as FALSE and TRUE", {
  expect_identical(calibrate(transform(bank, correct = as.integer(correct))), calibrate(bank))
})

test_that("answers are counted per item and per student", {
  fit <- calibrate(bank, standard_errors = "none")
  expect_identical(fit$item_params$n_responses, as.vector(table(bank$item_id)))
  expect_identical(fit$abilities$n_responses, as.vector(table(bank$student_id)))
})

test_that("items that say nothing finite are left out and listed, and students with nothing else leave", {
  extra <- rbind(
    bank,
    data.frame(student_id = sprintf("s%05d", 1:40), item_id = "right", correct = TRUE),
    data.frame(student_id = sprintf("s%05d", 1:40), item_id = "wrong", correct = FALSE),
    data.frame(student_id = c("s00001", "s00002", "new"), item_id = "rare", correct = c(TRUE, FALSE, TRUE)),
    data.frame(student_id = "s00001", item_id = "unseen", correct = NA)
  )
  fit <- calibrate(extra, min_responses = 10L)
  expect_identical(fit$fit_meta$model_spec$exclusions, list(
    item_id = c("rare", "right", "unseen", "wrong"),
    reason = c("fewer than 10 responses", "all correct", "no response", "all wrong"),
    n_responses = c(3L, 40L, 0L, 40L)
  ))
  alone <- calibrate(bank)
  expect_identical(fit$item_params, alone$item_params)
  expect_identical(fit$abilities, alone$abilities)
})

test_that("a repeated answer is refused and its row named", {
  again <- rbind(bank, bank[7, ])
  problem <- unprocessable_from(calibrate(again))
  expect_length(problem$errors, 1)
  expect_identical(problem$errors[[1]]$row, nrow(bank) + 1L)
  unprocessable_from(score(again, data.frame(item_id = "i0001", a = 1, b = 0)))

  unanswered <- bank[7, ]
  unanswered$correct <- NA
  expect_identical(calibrate(rbind(bank, unanswered)), calibrate(bank))
})

test_that("data that identify no model are refused", {
  unprocessable_from(calibrate(bank[0, ]))
  unprocessable_from(calibrate(transform(bank, correct = NA)))
  unprocessable_from(calibrate(bank, min_responses = 1000L))
  unprocessable_from(calibrate(bank[bank$item_id %in% c("i0001", "i0002"), ]))
  unprocessable_from(calibrate(bank[bank$item_id == "i0001", ], "Rasch"))
  problem <- unprocessable_from(calibrate(bank[bank$student_id == "s00001", ]))
  expect_match(problem$errors[[1]]$message, "all (correct|wrong)")
})

test_that("impossible specifications are refused and the field named", {
  field_refused <- function(...) unprocessable_from(calibrate(bank, ...))$errors[[1]]$field
  expect_identical(field_refused(model = "4PL"), "model")
  expect_identical(field_refused(standard_errors = "jackknife"), "standard_errors")
  expect_identical(field_refused(priors = list(a = list(meanlog = 0, sdlog = 0))), "priors.a.sdlog")
  expect_identical(field_refused(priors = list(d = list(mean = 0, sd = -1))), "priors.d.sd")
  expect_identical(field_refused(priors = list(c = list(mean = 0, sd = 0))), "priors.c.sd")
  expect_identical(field_refused(priors = list(g = list(mean = 0, sd = 1))), "priors")
  expect_identical(field_refused(repeated = "ignore"), "repeated")
  expect_identical(field_refused(quadrature = list(n = 3L, min = -6, max = 6)), "quadrature.n")
  expect_identical(field_refused(quadrature = list(n = 61L, min = 6, max = -6)), "quadrature")
  expect_identical(field_refused(min_responses = 0L), "min_responses")
  expect_identical(field_refused(tolerance = 0), "tolerance")
  expect_identical(field_refused(max_iterations = 0L), "max_iterations")
  expect_identical(field_refused(max_seconds = 0), "max_seconds")
})
