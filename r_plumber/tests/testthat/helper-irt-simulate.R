# Simulated banks whose truth is known: tests run a few, benchmarks many.

# Students from N(latent_mean, latent_sd^2) who each meet every item with probability `met`.
simulate_answers <- function(n_students, a, b, met, seed, latent_sd = 1, latent_mean = 0, c = 0 * a) {
  set.seed(seed)
  theta <- latent_mean + rnorm(n_students, sd = latent_sd)
  cells <- which(runif(n_students * length(a)) < met) - 1L
  student <- cells %% n_students + 1L
  item <- cells %/% n_students + 1L
  p <- c[item] + (1 - c[item]) * plogis(a[item] * (theta[student] - b[item]))
  list(
    theta = theta,
    responses = data.frame(
      student_id = sprintf("s%05d", student), item_id = sprintf("i%04d", item),
      correct = runif(length(cells)) < p
    )
  )
}

PRIORS_3PL <- list(a = list(meanlog = 0.1, sdlog = 0.4), c = list(mean = qlogis(0.2), sd = 0.5))

COVERAGE_CASES <- list(
  list(model = "2PL", students = 1000, items = 30, met = 1, priors = NULL, standard_errors = "full"),
  list(model = "2PL", students = 5000, items = 100, met = 0.15, priors = NULL, standard_errors = "full"),
  list(model = "2PL", students = 5000, items = 100, met = 0.15, priors = NULL, standard_errors = "block"),
  list(model = "3PL", students = 2000, items = 30, met = 1, priors = PRIORS_3PL, standard_errors = "full"),
  list(model = "3PL", students = 600, items = 40, met = 0.5, priors = PRIORS_3PL, standard_errors = "full")
)

#' (estimate - truth) / standard error of every item parameter
#'
#' Truth is drawn anew for each seed; that of a 3PL from the priors it is fitted with, as log a and logit c.
standardised_errors <- function(case, seeds) {
  of_seed <- function(seed) {
    set.seed(seed)
    guessing <- case$model == "3PL"
    a <- exp(rnorm(case$items, if (guessing) 0.1 else 0, if (guessing) 0.4 else 0.3))
    b <- rnorm(case$items)
    c <- if (guessing) plogis(rnorm(case$items, qlogis(0.2), 0.5)) else numeric(case$items)
    bank <- simulate_answers(case$students, a, b, case$met, seed = 1000 + seed, c = c)
    fit <- calibrate(
      bank$responses, case$model, case$priors, standard_errors = case$standard_errors, max_iterations = 2000L
    )
    stopifnot(fit$fit_meta$metrics$converged)
    found <- fit$item_params
    at <- match(found$item_id, sprintf("i%04d", seq_len(case$items)))
    z_b <- (found$b - b[at]) / found$se_b
    if (!guessing) return(list(a = (found$a - a[at]) / found$se_a, b = z_b))
    list(
      "log a" = (log(found$a) - log(a[at])) / (found$se_a / found$a), b = z_b,
      "logit c" = (qlogis(found$c) - qlogis(c[at])) / (found$se_c / (found$c * (1 - found$c)))
    )
  }
  do.call(Map, c(base::c, lapply(seeds, of_seed)))
}
