# Two administrations of anchors some of which have become harder: tests run a few, benchmarks many.

DRIFT_CASES <- list(
  drift = list(drifting = 4L, latent_mean = 0, latent_sd = 1, by_rule = TRUE, standard_errors = "block"),
  "drift, other students" = list(
    drifting = 4L, latent_mean = 0.3, latent_sd = 1.1, by_rule = TRUE, standard_errors = "block"
  ),
  "no drift" = list(drifting = 0L, latent_mean = 0, latent_sd = 1, by_rule = TRUE, standard_errors = "block"),
  "no drift, other students" = list(
    drifting = 0L, latent_mean = 0.3, latent_sd = 1.1, by_rule = TRUE, standard_errors = "block"
  ),
  "drift, whole matrix" = list(
    drifting = 4L, latent_mean = 0, latent_sd = 1, by_rule = TRUE, standard_errors = "full"
  ),
  "drift, anchors of any kind" = list(
    drifting = 4L, latent_mean = 0, latent_sd = 1, by_rule = FALSE, standard_errors = "block"
  )
)

#' Two calibrations of 20 anchors, `case$drifting` of which are 0.5 harder in the second
#'
#' 1,000 students of either answer them and 10 items of their own. `by_rule`: anchors are what the rule for
#' anchors lets in, a at least 0.5 and b within -2 to 2.
#'
#' @return list of `new`, `reference` (item parameters), `drifting` (ids) and `A`, `B`, the constants between
#'   the scales on which the two samples of students have mean 0 and sd 1.
administer_twice <- function(case, seed) {
  set.seed(seed)
  candidates <- data.frame(a = rlnorm(200, 0, 0.3), b = rnorm(200))
  if (case$by_rule) candidates <- candidates[candidates$a >= 0.5 & abs(candidates$b) <= 2, ]
  anchors <- candidates[1:20, ]
  own <- list(reference = candidates[21:30, ], new = candidates[31:40, ])
  drifting <- sample(20L, case$drifting)
  harder <- transform(anchors, b = b + 0.5 * (seq_len(20) %in% drifting))

  reference <- administer(rbind(anchors, own$reference), "reference", 1e4 + seed, case$standard_errors)
  new <- administer(
    rbind(harder, own$new), "new", 2e4 + seed, case$standard_errors, case$latent_mean, case$latent_sd
  )
  list(
    new = new$items, reference = reference$items, drifting = sprintf("i%04d", drifting),
    A = sd(new$theta) / sd(reference$theta),
    B = (mean(new$theta) - mean(reference$theta)) / sd(reference$theta)
  )
}

administer <- function(items, form, seed, standard_errors, latent_mean = 0, latent_sd = 1) {
  bank <- simulate_answers(
    1000, items$a, items$b, met = 1, seed = seed, latent_mean = latent_mean, latent_sd = latent_sd
  )
  own <- bank$responses$item_id > "i0020"
  bank$responses$item_id[own] <- paste(form, bank$responses$item_id[own])
  fit <- calibrate(bank$responses, "2PL", standard_errors = standard_errors)
  stopifnot(fit$fit_meta$metrics$converged)
  known <- c("item_id", "a", "b", "c", "se_a", "se_b", "cov_ab")
  list(items = as.data.frame(fit$item_params[known]), theta = bank$theta)
}

#' What drift() finds of it
#'
#' @return list of `items` (with `drifting`), `errors` of B by method, "uninformed" being the robust link
#'   without standard errors, and `se` of the robust link's B.
find_drift <- function(case, seed) {
  truth <- administer_twice(case, seed)
  found <- drift(truth$new, truth$reference)
  bare <- lapply(truth[c("new", "reference")], `[`, c("item_id", "a", "b"))
  uninformed <- link(bare$new, bare$reference)$constants
  B <- c(found$constants$B, uninformed$B[uninformed$method == "robust"])
  list(
    items = transform(as.data.frame(found$items), drifting = item_id %in% truth$drifting),
    errors = setNames(B - truth$B, c(found$constants$method, "uninformed")),
    se = found$constants$se_B[found$constants$method == "robust"]
  )
}
