set.seed(1)
n_items <- 12L
bank <- data.frame(
  item_id = sprintf("i%02d", seq_len(n_items)), a = rlnorm(n_items, 0, 0.3), b = rnorm(n_items),
  c = runif(n_items, 0.1, 0.3), se_a = runif(n_items, 0.05, 0.15), se_b = runif(n_items, 0.05, 0.12)
)
bank$cov_ab <- -0.4 * bank$b / 2 * bank$se_a * bank$se_b
two_pl <- transform(bank, c = 0)
rasch <- transform(bank, a = 1, c = 0)
banks <- list(Rasch = rasch, "2PL" = two_pl, "3PL" = bank)

# What a calibration on a scale of its own gives, when theta_reference = A theta + B.
on_other_scale <- function(items, A, B) {
  transform(items, a = A * a, b = (b - B) / A, se_a = A * se_a, se_b = se_b / A)
}
constants_of <- function(...) {
  constants <- as.data.frame(link(...)$constants)
  rownames(constants) <- constants$method
  constants
}

test_that("the constants are those of equateIRT 2.5.1", {
  expect_published <- function(set, model, A, B) {
    forms <- jsonlite::fromJSON(beside_checkout("reference", "irt", sprintf("link_%s.json", set)))
    items <- lapply(forms, function(form) setNames(form, c("item_id", "a", "b", "c")))
    constants <- constants_of(items$T1, items$T2, model)
    methods <- c("mean/mean", "mean/sigma", "Haebara", "Stocking-Lord")
    expect_lt(max(abs(constants[methods, "A"] - A)), 1e-5)
    expect_lt(max(abs(constants[methods, "B"] - B)), 1e-5)
    expect_identical(constants$n_anchors[1], 10L)
    expect_true(all(is.na(constants$se_A)))
  }
  expect_published("estrasch", "Rasch", 1, c(-0.15208583, -0.15208583, -0.15063135, -0.15094545))
  expect_published(
    "est2pl", "2PL", c(1.21003746, 1.19021011, 1.21021240, 1.21056811),
    c(-0.14198910, -0.14048987, -0.14581869, -0.14518863)
  )
  expect_published(
    "est3pl", "3PL", c(1.09523184, 0.73634591, 1.20844667, 1.19460071),
    c(0.06415635, 0.02351520, -0.12568308, -0.13023959)
  )
})

test_that("every method recovers the constants between two scales", {
  for (model in names(banks)) {
    A <- if (model == "Rasch") 1 else 1.35
    for (known in list(banks[[model]], banks[[model]][c("item_id", "a", "b", "c")])) {
      constants <- constants_of(on_other_scale(banks[[model]], A, -0.7)[names(known)], known, model)
      expect_lt(max(abs(constants$A - A), abs(constants$B + 0.7)), 1e-8)
      expect_lt(max(constants$linking_error), 1e-8)
    }
  }
})

test_that("a bank is linked to itself by exactly A = 1, B = 0", {
  for (model in names(banks)) {
    result <- link(banks[[model]], banks[[model]], model)
    expect_identical(result$constants$A, rep(1, 5))
    expect_identical(result$constants$B, rep(0, 5))
    expect_identical(result$weights$weight, rep(1, n_items))
  }
})

test_that("items that only one side has, and the order of rows, do not matter", {
  new <- on_other_scale(transform(two_pl, b = b + 0.1 * sin(seq_len(n_items))), 1.2, 0.4)
  stranger <- transform(two_pl[1:2, ], item_id = c("x", "y"), a = c(-1, 2))
  shuffled <- rbind(stranger, new)[sample(n_items + 2), ]
  expect_identical(link(shuffled, two_pl[n_items:1, ]), link(new, two_pl))
})

test_that("the robust link leaves out what has drifted and recovers the constants from the rest", {
  drifted <- on_other_scale(transform(two_pl, b = b + 0.5 * (seq_len(n_items) %in% c(2, 7, 9, 11))), 1.2, 0.4)
  drifted$a[5] <- 2 * drifted$a[5]
  known <- c("item_id", "a", "b", "c", "se_a", "se_b", "cov_ab")
  for (columns in list(known, known[1:4])) {
    result <- link(drifted[columns], two_pl[columns])
    constants <- result$constants
    robust <- match("robust", constants$method)
    expect_equal(c(constants$A[robust], constants$B[robust]), c(1.2, 0.4), tolerance = 1e-8)
    expect_gt(abs(constants$B[match("Stocking-Lord", constants$method)] - 0.4), 0.1)
    out <- c(2, 5, 7, 9, 11)
    expect_identical(result$dropped$item_id, two_pl$item_id[out])
    expect_equal(result$dropped$difference_b, c(0.5, 0, 0.5, 0.5, 0.5), tolerance = 1e-8)
    expect_equal(result$dropped$difference_a, two_pl$a[5] * c(0, 1, 0, 0, 0), tolerance = 1e-8)
    expect_identical(grepl("^the slope", result$dropped$reason), c(FALSE, TRUE, FALSE, FALSE, FALSE))
    expect_identical(result$weights$weight, as.numeric(!seq_len(n_items) %in% out))
    expect_identical(constants$n_anchors, c(rep(n_items, 4), n_items - 5L))
  }
})

# Both sides measured with the errors that the bank states.
with_noise <- function(items) {
  e_a <- rnorm(n_items)
  slope <- items$cov_ab / items$se_a
  e_b <- slope * e_a + sqrt(items$se_b^2 - slope^2) * rnorm(n_items)
  transform(items, a = a + se_a * e_a, b = b + e_b)
}
replicates <- lapply(1:150, function(seed) {
  set.seed(seed)
  constants_of(with_noise(on_other_scale(two_pl, 1.2, 0.4)), with_noise(two_pl))
})
replicated <- function(column) vapply(replicates, `[[`, numeric(5), column)

test_that("standard errors are the standard deviations of A and B over replications", {
  for (constant in c("A", "B")) {
    expect_equal(
      sqrt(rowMeans(replicated(paste0("se_", constant))^2)), apply(replicated(constant), 1, sd),
      tolerance = 0.15
    )
  }
})

test_that("without drift the linking error is that of B and the robust link loses little", {
  methods <- replicates[[1]]$method
  sds <- setNames(apply(replicated("B"), 1, sd), methods)
  curves <- c("Haebara", "Stocking-Lord")
  errors <- setNames(sqrt(rowMeans(replicated("linking_error")^2)), methods)
  expect_equal(errors[curves], sds[curves], tolerance = 0.15)
  expect_lt(sds[["robust"]], 1.1 * sds[["Stocking-Lord"]])
  expect_lt(abs(mean(replicated("B")[match("robust", methods), ]) - 0.4), 0.01)
})

test_that("sensitivities are derivatives, where the curves meet", {
  for (model in c("2PL", "3PL")) {
    new <- on_other_scale(banks[[model]], 1.2, 0.4)
    anchors <- common_items(new, banks[[model]], model, 3L)
    for (method in names(LINKS)) {
      fit <- LINKS[[method]](anchors)
      for (side in c("new", "reference")) {
        for (parameter in c("a", "b", if (model == "3PL") "c")) {
          constants_at <- function(step) {
            moved <- anchors
            moved[[side]][[parameter]][4] <- moved[[side]][[parameter]][4] + step
            LINKS[[method]](moved)$constants
          }
          slope <- (constants_at(1e-4) - constants_at(-1e-4)) / 2e-4
          expect_equal(fit$sensitivity[[side]][4, parameter, ], slope, tolerance = 1e-3)
        }
      }
    }
  }
})

test_that("what leaving out an anchor changes is what a link without it changes", {
  set.seed(9)
  anchors <- common_items(with_noise(on_other_scale(two_pl, 1.2, 0.4)), with_noise(two_pl), "2PL", 3L)
  for (method in setdiff(names(LINKS), "robust")) {
    fit <- LINKS[[method]](anchors)
    change <- t(vapply(seq_len(n_items), function(item) {
      left <- anchors
      left[c("new", "reference")] <- lapply(anchors[c("new", "reference")], lapply, `[`, -item)
      left$item_id <- anchors$item_id[-item]
      LINKS[[method]](left)$constants - fit$constants
    }, c(A = 0, B = 0)))
    exact <- startsWith(method, "mean")
    expect_lt(max(abs(fit$change_without_each - change)), if (exact) 1e-12 else 0.1 * max(abs(change)))
  }
})

test_that("the quadrature is exact for polynomials of N(0, 1)", {
  rule <- gauss_hermite(30L)
  even <- 2 * 0:12
  moments <- vapply(even, function(power) sum(rule$weights * rule$nodes^power), 0)
  expect_equal(moments, vapply(even, function(power) prod(seq(1, max(power - 1, 1), by = 2)), 0))
  expect_lt(abs(sum(rule$weights * rule$nodes^7)), 1e-8)
})

test_that("what cannot be linked is refused, and the field and row named", {
  refused <- function(...) {
    problem <- expect_error(link(...), class = "unprocessable")$errors[[1]]
    problem[intersect(c("field", "row"), names(problem))]
  }
  at <- function(field, row) list(field = field, row = row)
  with <- function(column, row, value) {
    two_pl[[column]][row] <- value
    two_pl
  }
  expect_identical(refused(two_pl, two_pl, "4PL"), list(field = "model"))
  expect_identical(refused(two_pl, two_pl, method = "equipercentile"), list(field = "method"))
  expect_identical(refused(two_pl, two_pl, min_anchors = 1), list(field = "min_anchors"))
  expect_identical(refused(two_pl, two_pl[1:2, ]), list(field = "reference.item_id"))
  strangers <- transform(two_pl, item_id = paste("other", item_id))
  expect_error(link(two_pl, strangers), "has 0 of the 12 items of new among its 12; a link needs 3")
  expect_identical(refused(with("a", 4, 0), two_pl), at("new.a", 4L))
  expect_identical(refused(two_pl, with("a", 4, -1)), at("reference.a", 4L))
  expect_identical(refused(two_pl, with("b", 3, Inf)), at("reference.b", 3L))
  expect_identical(refused(bank, transform(bank, c = replace(c, 2, 1)), "3PL"), at("reference.c", 2L))
  expect_identical(refused(bank, two_pl), at("new.c", 1L))
  expect_identical(refused(rasch, two_pl, "Rasch"), at("reference.a", 1L))
  expect_identical(refused(rbind(two_pl, two_pl[6, ]), two_pl), at("new.item_id", 13L))
  expect_identical(refused(with("se_b", 5, -0.1), two_pl), at("new.se_b", 5L))
  expect_identical(refused(with("cov_ab", 5, 1), two_pl), at("new.cov_ab", 5L))
  impossible <- transform(bank, se_c = 0.1, cov_ab = 0, cov_ac = 0.09 * se_a, cov_bc = 0.09 * se_b)
  expect_identical(refused(impossible, bank, "3PL"), at("new.cov_bc", 1L))
  far <- transform(two_pl, b = 1e4)
  expect_error(link(far, far), "too flat", class = "unprocessable")
})

service <- start_service("irt")

test_that("links and drift arrive through HTTP, with null for what is not known", {
  new <- on_other_scale(transform(two_pl, b = b + 0.6 * (item_id == "i03")), 1.2, 0.4)
  columns <- function(items, names) lapply(items[names], I)
  known <- c("item_id", "a", "b", "se_a", "se_b", "cov_ab")
  fields <- list(new = columns(new, known), reference = columns(two_pl, known))
  job <- finished(service, "/irt/link", c(fields, list(model = "2PL", method = "Haebara", min_anchors = 5)))
  expect_identical(job$state, "succeeded")
  result <- job$result
  local <- link(new, two_pl, method = "Haebara")
  expect_identical(result$chosen, "Haebara")
  expect_identical(result$n_anchors, n_items)
  expect_identical(unlist(result$constants$method), names(LINKS))
  for (column in c("A", "B", "se_A", "se_B", "linking_error", "n_anchors")) {
    expect_equal(unlist(result$constants[[column]]), local$constants[[column]], tolerance = 1e-8)
  }
  expect_identical(result$dropped$item_id, list("i03"))
  expect_length(result$weights$weight, n_items)

  unknown <- list(new = columns(new, known[1:3]), reference = columns(two_pl, known[1:3]))
  unknown$new$se_b <- I(rep(NA, n_items))
  result <- finished(service, "/irt/link", unknown)$result
  expect_identical(result$chosen, "robust")
  expect_identical(result$constants$se_B, rep(list(NULL), 5))
  expect_equal(result$constants$A[[5]], 1.2, tolerance = 1e-8)

  result <- finished(service, "/irt/drift", fields)$result
  expect_identical(unlist(result$constants$method), c("robust", "Stocking-Lord"))
  expect_identical(unlist(result$items$flag), two_pl$item_id == "i03")
  expect_equal(result$items$d_b[[3]], 0.6, tolerance = 1e-8)
  expect_identical(result$items$severity[[3]], "large")
  raschs <- list(new = columns(rasch, known[-4]), reference = columns(rasch, known[-4]), model = "Rasch")
  result <- finished(service, "/irt/drift", raschs)$result
  expect_identical(result$items$z_a, rep(list(NULL), n_items))
})

test_that("what is wrong with a request to link is named", {
  expect_refused <- function(path, body, status, field, row = NULL) {
    problem <- finished(service, path, body)$problem
    expect_identical(problem$status, status)
    expect_identical(problem$errors[[1]]$field, field)
    expect_identical(problem$errors[[1]]$row, row)
  }
  items <- lapply(two_pl[c("item_id", "a", "b", "se_a", "se_b")], I)
  with <- function(...) utils::modifyList(items, list(...))
  request <- function(new = items, ...) list(new = new, reference = items, ...)
  for (path in c("/irt/link", "/irt/drift")) {
    expect_refused(path, list(new = items), 400L, "reference")
    expect_refused(path, request(anchors = items), 400L, "anchors")
    expect_refused(path, request(with(se_b = I(c("x", items$se_b[-1])))), 400L, "new.se_b", 1L)
    expect_refused(path, request(with(discrimination = items$a)), 400L, "new.discrimination")
    expect_refused(path, request(model = "Graded"), 422L, "model")
    expect_refused(path, request(min_anchors = 13), 422L, "reference.item_id")
    expect_refused(path, request(with(a = I(c(0, items$a[-1])))), 422L, "new.a", 1L)
  }
  expect_refused("/irt/link", request(method = "best"), 422L, "method")
  expect_refused("/irt/drift", request(with(se_b = I(c(NA, items$se_b[-1])))), 422L, "new.se_b", 1L)
})

service$process$kill()
