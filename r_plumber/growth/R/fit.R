# The posterior of what students have in common.

ENGINE <- "brms"
FEW <- 3L # fewer scores than this may be equal by chance

#' Sample the posterior of a growth model
#'
#' A student's score in a week is normal around a line of the student's own: level in week 0 and change per
#' week are binormal over students. Its sd is `kappa` times the score's standard error. Few data are no error:
#' the posterior is proper, and close to the priors then. So it is with one week of scores, which says nothing
#' of the change per week when it is week 0.
#'
#' @param scores data frame of `student_id`, `week` (0 is today, earlier is negative), `score`, and `se` > 0.
#' @param model A name of `MODELS`: "trend", or "level", whose students do not change.
#' @param priors Named list of those numbers of `PRIORS` that are not the default.
#' @param chains,samples,warmup Number of chains, draws kept of each, and draws before them.
#' @param seed Whole number; the same seed gives the same draws, on however many cores.
#' @param adapt_delta,max_treedepth Acceptance aimed at, and longest trajectory (2^n steps).
#' @param max_seconds Longest time; `Inf` for none.
#' @param keep_draws Draws to return, evenly from all chains; fewer if there are fewer.
#' @param cores Chains sampled at the same time.
#' @param progress function(state).
#' @return list of `engine`, `versions`, `model`, `formula`, `priors`, `settings`, `n`, `n_students`,
#'   `diagnostics` (of all that is estimated: largest `rhat`, smallest `ess_bulk`, `ess_tail`, `ebfmi`;
#'   `divergences`, `max_treedepth_hits`, `seconds`), `posterior_summary` and `draws`, columns of the
#'   `PARAMETERS`.
#' @section Errors: `unprocessable` when there are no scores, all are equal, a value is impossible, or the
#'   time is over.
fit_growth <- function(scores, model = "trend", priors = list(), chains = 4L, samples = 2000L,
                       warmup = 1000L, seed = 1L, adapt_delta = 0.9, max_treedepth = 10L, max_seconds = Inf,
                       keep_draws = 1000L, cores = 1, progress = function(state) NULL) {
  began <- proc.time()[["elapsed"]]
  check_scores(scores)
  require_value(nrow(scores) > 0L, "scores", "must have at least one score")
  # Without any error the likelihood grows beyond all bounds as kappa falls.
  varies <- nrow(scores) < FEW || any(scores$score != scores$score[[1L]])
  require_value(varies, "scores.score", "must vary: standard errors say nothing of scores that are all equal")
  require_value(model %in% names(MODELS), "model", paste("must be one of", toString(names(MODELS))))
  priors <- complete_priors(model, priors)
  settings <- list(
    chains = chains, samples = samples, warmup = warmup, seed = seed, adapt_delta = adapt_delta,
    max_treedepth = max_treedepth
  )
  check_settings(settings, max_seconds, keep_draws)
  students <- sort(unique(scores$student_id), method = "radix")
  rows <- data.frame(student = match(scores$student_id, students), scores[, c("week", "score", "se")])
  condensed <- condense(rows, with_week = "week" %in% names(MODELS[[model]]$stan))
  found <- sample_chains(
    compiled_model(model), do.call(brms::make_standata, model_definition(model, condensed, priors)),
    MODELS[[model]]$stan, settings, cores, max_seconds, progress
  )
  draws <- six_parameters(lapply(found, `[[`, "draws"), names(MODELS[[model]]$stan))
  summary <- summarise_posterior(draws)
  estimated <- summary[summary$parameter %in% sub("log_kappa", "kappa", names(MODELS[[model]]$stan)), ]
  formula <- model_formula(model)
  list(
    engine = ENGINE, versions = versions(), model = model,
    formula = toString(vapply(c(list(formula$formula), formula$pforms), deparse1, "")),
    priors = lapply(priors, function(numbers) if (length(numbers) > 1L) I(numbers) else numbers),
    settings = settings, n = nrow(scores), n_students = length(students),
    diagnostics = list(
      rhat = max(estimated$rhat), ess_bulk = min(estimated$ess_bulk), ess_tail = min(estimated$ess_tail),
      divergences = sum(vapply(found, `[[`, 0, "divergences")), ebfmi = min(vapply(found, `[[`, 0, "ebfmi")),
      max_treedepth_hits = sum(vapply(found, `[[`, 0, "max_treedepth_hits")),
      seconds = proc.time()[["elapsed"]] - began
    ),
    posterior_summary = summary, draws = thinned(draws, keep_draws)
  )
}

#' Refuse scores that cannot be
check_scores <- function(scores) {
  require_rows(scores$se > 0, "scores.se", "must be greater than 0")
}

#' The defaults, with those given in their place
complete_priors <- function(model, priors) {
  complete <- default_priors(model)
  unused <- setdiff(names(priors), names(complete))
  if (length(unused)) {
    field <- paste0("priors.", unused[[1L]])
    require_value(FALSE, field, sprintf("is no prior of the model %s", model))
  }
  complete[names(priors)] <- priors
  for (name in names(complete)) {
    spread <- complete[[name]][[length(complete[[name]])]]
    require_value(spread > 0, paste0("priors.", name), "must have a scale greater than 0")
  }
  complete
}

#' Refuse settings that no sampler can run with, or that leave nothing to diagnose
check_settings <- function(settings, max_seconds, keep_draws) {
  between <- function(name, least, most) {
    value <- settings[[name]]
    require_value(value >= least && value <= most, name, sprintf("must be from %g to %g", least, most))
  }
  between("chains", 1, 16)
  between("samples", 10, 1e5)
  between("warmup", 10, 1e5)
  between("seed", 0, .Machine$integer.max)
  between("adapt_delta", 0.5, 0.999)
  between("max_treedepth", 1, 20)
  require_value(max_seconds > 0, "max_seconds", "must be greater than 0")
  require_value(keep_draws >= 1, "keep_draws", "must be at least 1")
}

#' Path of a compiled model
#' @return It; stops with a `problem` of status 503 when it is not there.
compiled_model <- function(model) {
  path <- compiled_files(models_folder())[[model]]
  if (!file.exists(path)) {
    detail <- sprintf("The model is not compiled. Make it with: %s", awaited_files()$made_by)
    stop(problem_condition("unavailable", 503L, detail))
  }
  path
}

versions <- function() {
  packages <- c("brms", "rstan", "posterior")
  c(list(r = as.character(getRversion())), lapply(stats::setNames(nm = packages), getNamespaceVersion))
}

#' Draws of all six parameters, also of those that a model does not have
#'
#' @param chains List of matrices, iterations x parameters.
#' @param names Names of the parameters, `log_kappa` among them.
#' @return `posterior::draws_array` of `PARAMETERS`; what is not estimated is 0.
six_parameters <- function(chains, names) {
  by_chain <- lapply(chains, function(draws) {
    colnames(draws) <- names
    six <- matrix(0, nrow(draws), length(PARAMETERS), dimnames = list(NULL, PARAMETERS))
    shared <- intersect(PARAMETERS, names)
    six[, shared] <- draws[, shared]
    six[, "kappa"] <- exp(draws[, "log_kappa"])
    posterior::as_draws_matrix(six)
  })
  do.call(posterior::bind_draws, c(lapply(by_chain, posterior::as_draws_array), list(along = "chain")))
}

#' Mean, sd and quantiles of draws, and how far they can be trusted
#'
#' @param draws What `six_parameters()` returns.
#' @return Columns `parameter`, `mean`, `sd`, `q5`, `q50`, `q95`, `rhat`, `ess_bulk`, `ess_tail`.
#' @source Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021), Rank-normalization, folding, and
#'   localization: an improved R-hat.
summarise_posterior <- function(draws) {
  summary <- posterior::summarise_draws(
    draws, "mean", "sd", ~ posterior::quantile2(.x, c(0.05, 0.5, 0.95)), "rhat", "ess_bulk", "ess_tail"
  )
  names(summary)[[1L]] <- "parameter"
  as.data.frame(lapply(summary, as.vector))
}

#' Some of the draws, evenly from all chains
#' @inheritParams summarise_posterior
#' @param most How many.
#' @return data frame of `PARAMETERS`.
thinned <- function(draws, most) {
  all <- unclass(posterior::as_draws_matrix(draws))
  kept <- unique(round(seq(1, nrow(all), length.out = min(most, nrow(all)))))
  as.data.frame(all[kept, PARAMETERS, drop = FALSE], row.names = FALSE)
}
