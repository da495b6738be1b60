# Two administrations of anchors some of which have become harder: tests run a few, benchmarks many.

drift_case <- function(drifting = 4L, latent_mean = 0, latent_sd = 1, model = "2PL", by_rule = TRUE,
                       standard_errors = "block") {
  as.list(environment())
}
DRIFT_CASES <- list(
  drift = drift_case(),
  "drift, other students" = drift_case(latent_mean = 0.3, latent_sd = 1.1),
  "no drift" = drift_case(drifting = 0L),
  "no drift, other students" = drift_case(drifting = 0L, latent_mean = 0.3, latent_sd = 1.1),
  "drift, whole matrix" = drift_case(standard_errors = "full"),
  "drift, anchors of any kind" = drift_case(by_rule = FALSE),
  "drift, Rasch" = drift_case(model = "Rasch"),
  "drift, 3PL" = drift_case(model = "3PL")
)

#' Two calibrations of 20 anchors, `case$drifting` of which are 0.5 harder in the second
#'
#' 1,000 students of either answer them and 10 items of their own. `by_rule`: anchors are what the rule for
#' anchors lets in, a at least 0.5 and b within -2 to 2.
#'
#' @return list of `new`, `reference` (item parameters), `drifting` (ids) and `A`, `B`, the constants between
#'   the scales on which the two samples of students have mean 0 and, but in a Rasch model, sd 1.
administer_twice <- function(case, seed) {
  set.seed(seed)
  candidates <- data.frame(a = rlnorm(200, 0, 0.3), b = rnorm(200))
  if (case$by_rule) candidates <- candidates[candidates$a >= 0.5 & abs(candidates$b) <= 2, ]
  drifting <- sample(20L, case$drifting)
  if (case$model == "Rasch") candidates$a <- 1
  candidates$c <- if (case$model == "3PL") plogis(rnorm(nrow(candidates), qlogis(0.2), 0.5)) else 0
  anchors <- candidates[1:20, ]
  harder <- transform(anchors, b = b + 0.5 * (seq_len(20) %in% drifting))

  reference <- administer(rbind(anchors, candidates[21:30, ]), "reference", case, 1e4 + seed)
  new <- administer(
    rbind(harder, candidates[31:40, ]), "new", case, 2e4 + seed, case$latent_mean, case$latent_sd
  )
  unit <- if (case$model == "Rasch") c(1, 1) else c(sd(new$theta), sd(reference$theta))
  list(
    new = new$items, reference = reference$items, drifting = sprintf("i%04d", drifting),
    A = unit[1] / unit[2], B = (mean(new$theta) - mean(reference$theta)) / unit[2]
  )
}

administer <- function(items, form, case, seed, latent_mean = 0, latent_sd = 1) {
  bank <- simulate_answers(1000, items$a, items$b, met = 1, seed, latent_sd, latent_mean, items$c)
  own <- bank$responses$item_id > "i0020"
  bank$responses$item_id[own] <- paste(form, bank$responses$item_id[own])
  fit <- calibrate(
    bank$responses, case$model, if (case$model == "3PL") PRIORS_3PL, max_iterations = 2000L,
    standard_errors = case$standard_errors
  )
  stopifnot(fit$fit_meta$metrics$converged)
  list(items = as.data.frame(fit$item_params[c("item_id", "a", "b", "c", UNCERTAINTY)]), theta = bank$theta)
}

#' What drift() finds of it
#'
#' @return list of `items` (with `drifting`), `errors` of B by method, "uninformed" being the robust link
#'   without standard errors, and `se` of the robust link's B.
find_drift <- function(case, seed) {
  truth <- administer_twice(case, seed)
  found <- drift(truth$new, truth$reference, case$model)
  bare <- lapply(truth[c("new", "reference")], `[`, c("item_id", "a", "b", "c"))
  uninformed <- link(bare$new, bare$reference, case$model)$constants
  B <- c(found$constants$B, uninformed$B[uninformed$method == "robust"])
  list(
    items = transform(as.data.frame(found$items), drifting = item_id %in% truth$drifting),
    errors = setNames(B - truth$B, c(found$constants$method, "uninformed")),
    se = found$constants$se_B[found$constants$method == "robust"]
  )
}
