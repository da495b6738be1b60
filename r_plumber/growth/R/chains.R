# Chains of a sampler, each in a process of its own: they use the cores there are, are watched while they run,
# and can be stopped.

LOOK_EVERY <- 0.1 # seconds

#' Sample chains
#'
#' The processes end with this one, however it ends (`supervise`).
#'
#' @param model Path of a compiled model.
#' @param data What `brms::make_standata()` returns.
#' @param parameters Names of the parameters to keep.
#' @param settings list of `chains`, `samples`, `warmup`, `seed`, `adapt_delta`, `max_treedepth`.
#' @param cores Chains at the same time.
#' @param max_seconds Time for all of it.
#' @param progress function(state), told the share of the iterations that are done.
#' @return list with what `sample_chain()` returns for each chain.
#' @section Errors: `unprocessable` when the time is over or a chain cannot start; nothing runs on.
sample_chains <- function(model, data, parameters, settings, cores, max_seconds, progress) {
  began <- proc.time()[["elapsed"]]
  folder <- tempfile("chains-")
  dir.create(folder)
  processes <- list()
  on.exit({
    for (process in processes) process$kill()
    unlink(folder, recursive = TRUE)
  })
  start <- function(chain) {
    callr::r_bg(
      sample_chain, list(model, data, parameters, settings, chain), stdout = output_of(folder, chain),
      env = c(callr::rcmd_safe_env(), TMPDIR = folder), user_profile = FALSE, supervise = TRUE
    )
  }
  iterations <- settings$chains * (settings$warmup + settings$samples)
  repeat {
    running <- sum(vapply(processes, function(process) process$is_alive(), NA))
    to_start <- min(settings$chains - length(processes), max(1, floor(cores)) - running)
    if (running + to_start == 0) break
    processes <- c(processes, lapply(length(processes) + seq_len(to_start), start))
    share <- sum(iterations_done(folder, length(processes))) / iterations
    progress(list(share = share))
    if (proc.time()[["elapsed"]] - began > max_seconds) {
      stop(unprocessable(sprintf(
        "Stopped after max_seconds, %g, with %.0f %% of the iterations done; nothing of it is kept.",
        max_seconds, 100 * share
      )))
    }
    Sys.sleep(LOOK_EVERY)
  }
  chains <- lapply(processes, function(process) process$get_result())
  if (any(vapply(chains, is.null, NA))) {
    stop(unprocessable("A chain found no place to start: scores and priors are too far apart, or too large."))
  }
  chains
}

#' One chain, in its own process
#'
#' The chain's random numbers are a function of the seed and its number. The function travels to the process
#' as it is, so it uses nothing but packages.
#'
#' @inheritParams sample_chains
#' @param chain Its number, from 1.
#' @return list of `draws` (matrix, iterations x parameters), `divergences`, `max_treedepth_hits`, and
#'   `ebfmi`, the energy's Bayesian fraction of missing information; NULL when it could not start.
#' @source Betancourt (2016), Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo.
sample_chain <- function(model, data, parameters, settings, chain) {
  iterations <- settings$warmup + settings$samples
  fit <- rstan::sampling(
    readRDS(model), data, pars = unique(sub("\\[.*", "", parameters)), chains = 1L, chain_id = chain,
    iter = iterations, warmup = settings$warmup, seed = settings$seed, refresh = max(1L, iterations %/% 100L),
    control = list(adapt_delta = settings$adapt_delta, max_treedepth = settings$max_treedepth)
  )
  if (fit@mode != 0L) return(NULL)
  list(
    draws = as.array(fit, pars = unname(parameters))[, 1L, ], divergences = rstan::get_num_divergent(fit),
    max_treedepth_hits = rstan::get_num_max_treedepth(fit), ebfmi = rstan::get_bfmi(fit)
  )
}

output_of <- function(folder, chain) file.path(folder, sprintf("chain-%d.out", chain))

#' Iterations that the first chains have reported
iterations_done <- function(folder, chains) {
  vapply(seq_len(chains), function(chain) {
    lines <- grep("Iteration:", readLines(output_of(folder, chain), warn = FALSE), value = TRUE)
    if (length(lines) == 0L) return(0)
    as.numeric(sub(".*Iteration: *([0-9]+) /.*", "\\1", lines[[length(lines)]]))
  }, 0)
}
